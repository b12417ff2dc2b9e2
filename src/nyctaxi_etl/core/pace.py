"""The floor of a transfer: one that brings too little in a minute is cut off, wherever it is stuck.

A limit for each read, which is all that a client has, never ends a server that sends a byte a second; and it may send
them in headers or between chunks, where nothing is given to who reads. So a thread looks at what came, once a minute.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

FLOOR_SECONDS = 60.0
# What curl's users choose most often for --speed-limit, with the same minute; a month would take a week.
FLOOR_BYTES = 1000


class Pace:
    """Watches one transfer while its ``with`` block lasts. ``floor`` counts bytes a second; 0: nothing is watched.

    ``is_slow`` tells afterwards that the connection was cut for it.
    """

    def __init__(self, floor: int) -> None:
        self.floor = floor
        self.is_slow = False
        self._done = 0
        self._socket: socket.socket | None = None
        self._ended = Event()
        self._thread = Thread(target=self._watch, name="nyctaxi-pace", daemon=True)

    def __enter__(self) -> Self:
        if self.floor:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self.floor:
            self._thread.join()

    def trace(self, name: str, info: Mapping[str, Any]) -> None:
        """Remember the connection: httpx calls this as the extension ``trace`` of a request."""
        if name.endswith(("connect_tcp.complete", "start_tls.complete")):  # encryption takes the socket over
            self._socket = info["return_value"].get_extra_info("socket")

    def count(self, size: int) -> None:
        """Count bytes of the body that came."""
        self._done += size

    def _watch(self) -> None:
        """Look once in ``FLOOR_SECONDS`` at how much came since, and cut the connection if it was too little."""
        before = 0
        while not self._ended.wait(FLOOR_SECONDS):
            done = self._done
            if self._socket is not None and done - before < self.floor * FLOOR_SECONDS:
                self.is_slow = True
                # Of the plain class, also where it is encrypted: it ends the read that another thread is in.
                with suppress(OSError):
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
            before = done
