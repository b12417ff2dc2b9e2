"""One policy for what may pass by itself: pauses that grow, or those that a server asks for, up to a cap in all."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from nyctaxi_etl.core.errors import Transient

if TYPE_CHECKING:
    from collections.abc import Callable

# What a server may ask for by Retry-After, all pauses of one piece of work together.
LONGEST_WAIT_SECONDS = 120.0

Result = TypeVar("Result")


def with_retries(
    work: Callable[[int], Result],
    attempts: int,
    longest_pause: float,
    say: Callable[[str], None],
    pause_after: Callable[[Exception], bool | float] | None = None,
) -> Result:
    """Return ``work(attempt)``, tried again while it raises ``Transient``; ``say`` is told why, and after which pause.

    Attempts count from 1. Pauses grow from a second to ``longest_pause`` seconds, unless ``pause_after`` says otherwise
    of an error: ``True`` for one that grows, ``False`` for no attempt, or seconds. Left out, it is what a server asks
    for. Raises the last attempt's ``Transient``, and any other error at once.
    """
    import stamina

    pauses = pause_after or Pauses()
    growing = stamina.retry_context(
        pauses, attempts, timeout=None, wait_initial=1.0, wait_max=longest_pause, wait_jitter=1.0
    )
    for attempt in growing:
        with attempt:
            try:
                return work(attempt.num)
            except Transient as broken:
                wait = pauses(broken)
                if attempt.num < attempts and wait is not False:
                    seconds = attempt.next_wait if wait is True else wait
                    say(f"{broken.message} Trying again in {seconds:.0f} s.")
                raise
    message = "No attempt was made."  # a deactivated stamina still makes one
    raise Transient(message)


def may_pass(error: object) -> bool:
    """Tell whether work that has tried within should be tried as a whole.

    Not where a server said how long to wait: that was done within, up to the cap.
    """
    return isinstance(error, Transient) and error.retry_after is None


class Pauses:
    """Says of each error in turn whether to try again, and after how many seconds if the server named a number."""

    def __init__(self) -> None:
        self._left = LONGEST_WAIT_SECONDS
        self._last: tuple[Exception | None, bool | float] = (None, False)

    def __call__(self, error: Exception) -> bool | float:
        """Return the pause before the next attempt: ``True`` for one that grows, ``False`` for no attempt."""
        if error is not self._last[0]:
            self._last = (error, self._after(error))
        return self._last[1]

    def _after(self, error: Exception) -> bool | float:
        """Return the pause after this error; what a server asks for is taken off what it may ask for in all."""
        if not isinstance(error, Transient):
            return False
        if error.retry_after is None:
            return True
        if error.retry_after > 0 and self._left <= 0:
            return False
        wait = min(error.retry_after, self._left)
        self._left -= wait
        return wait
