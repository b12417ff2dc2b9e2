"""How a command is asked to stop: Ctrl-C or SIGTERM, once for an end in order, again for an end at once."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from contextlib import suppress
from threading import Timer
from threading import enumerate as threads
from typing import TYPE_CHECKING, NoReturn

from nyctaxi_etl.core.report import EXIT_INTERRUPTED, EXIT_TERMINATED
from nyctaxi_etl.orchestration.runners import is_ours

if TYPE_CHECKING:
    from types import FrameType

# How long the interpreter may take to end: a thread of Prefect's may wait for a silent server, to send it its log.
_END_SECONDS = 8.0
_STOP_SECONDS = 0.5
_EXIT_CODES = {signal.SIGINT: EXIT_INTERRUPTED, signal.SIGTERM: EXIT_TERMINATED}
_LAST_WORDS = b"Stopped at once. Finished months are in, the others are what they were; the same command goes on.\n"
_SHOW_CURSOR = b"\x1b[?25h"


class Stop:
    """Which signal has asked this process to stop, if one did.

    The first raises ``KeyboardInterrupt``: months stop between two blocks of rows. The second ends the process at once:
    databases roll back what had begun, and the next run removes what was staged.
    """

    def __init__(self) -> None:
        self.signal = signal.SIGINT
        self._code: int | None = None

    @property
    def exit_code(self) -> int:
        """What a shell shows for a process that this signal ended: 130 for Ctrl-C, 143 for SIGTERM."""
        return _EXIT_CODES[self.signal]

    def listen(self) -> None:
        """Hear the signals from now on; to be called before anything else: what ``atexit`` has first, it calls last."""
        atexit.register(self._end)
        for number in _EXIT_CODES:
            signal.signal(number, self._first)

    def _first(self, number: int, _frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        for again in _EXIT_CODES:
            signal.signal(again, self._second)
        raise KeyboardInterrupt

    def _second(self, _number: int, _frame: FrameType | None) -> None:
        screen = sys.__stderr__
        with suppress(OSError, ValueError):
            if screen is not None:
                os.write(screen.fileno(), (_SHOW_CURSOR if screen.isatty() else b"") + _LAST_WORDS)
        os._exit(self.exit_code)

    def leave(self, code: int) -> NoReturn:
        """End the process: in order and soon if its work is done, at once if some of it was left behind.

        The interpreter's own end takes a thread that is in a database's code from under it, which aborts the process,
        and tidies up for a second what the system takes back anyway: it ends where the functions of ``atexit`` do.
        """
        self._code = code
        for number in _EXIT_CODES:
            signal.signal(number, lambda *_: os._exit(code))
        if any(map(is_ours, threads())):
            self._end()
        end = Timer(_STOP_SECONDS if code in _EXIT_CODES.values() else _END_SECONDS, self._end)
        end.daemon = True
        end.start()
        sys.exit(code)

    def _end(self) -> None:
        if self._code is None:  # it has left by another way
            return
        for stream in filter(None, (sys.stdout, sys.stderr)):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(self._code)
