"""How the steps say how far they are, without knowing who listens.

The listener is a function in a context variable, so it reaches worker threads and Prefect's tasks without being
a parameter. It may raise ``KeyboardInterrupt`` to stop the work between two blocks.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True)
class Event:
    """A step of ``subject``, a month or another thing that is moved, is at ``done`` of ``total`` bytes or rows.

    ``total`` is 0 where it is not known; ``note`` says why the step waits, if it does.
    A step of the run as a whole has an empty ``subject``.
    """

    subject: str
    step: str
    done: int = 0
    total: int = 0
    unit: str = "rows"
    note: str = ""

    @property
    def reason(self) -> str:
        """The note without the month that it may begin with, for a line that has named it."""
        return self.note.removeprefix(f"{self.subject}: ")


def _nobody(_event: Event) -> None:
    """Listen to nothing."""


_LISTENER: ContextVar[Callable[[Event], None]] = ContextVar("listener", default=_nobody)


def tell(event: Event) -> None:
    """Tell the listener, if there is one."""
    _LISTENER.get()(event)


def listener() -> Callable[[Event], None]:
    """Return who listens now."""
    return _LISTENER.get()


@contextmanager
def listening(listener: Callable[[Event], None]) -> Iterator[None]:
    """Send every event of this context, and of the threads that copy it, to ``listener``."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)
