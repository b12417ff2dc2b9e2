"""Whether Prefect's server is still there."""

from __future__ import annotations

import time
from contextvars import copy_context
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# A server that has not answered for so long is not coming back soon enough for anyone to wait for it.
SILENT_SECONDS = 15.0
_ASK_SECONDS = 2.0


class Pulse:
    """Asks the server every other second, from the first question on, whether it is there."""

    def __init__(self, is_healthy: Callable[[], bool]) -> None:
        self._is_healthy = is_healthy
        self._answered: float | None = None

    def is_lost(self) -> bool:
        """Tell whether the server hasn't answered for ``SILENT_SECONDS``; not before that time has passed."""
        if self._answered is None:
            self._answered = time.monotonic()
            Thread(target=copy_context().run, args=(self._ask,), name="pulse", daemon=True).start()
        return time.monotonic() - self._answered > SILENT_SECONDS

    def _ask(self) -> None:
        while True:
            if self._is_healthy():
                self._answered = time.monotonic()
            time.sleep(_ASK_SECONDS)


def server_pulse() -> Pulse:
    """Return the pulse of the server that Prefect's settings name, or of the one that this process has started."""
    from prefect.client.orchestration import get_client

    def is_healthy() -> bool:
        # With its own time-out: Prefect's, a minute, is as long as a server may be silent four times over.
        with get_client(sync_client=True, httpx_settings={"timeout": _ASK_SECONDS}) as client:
            return client.api_healthcheck() is None

    return Pulse(is_healthy)
