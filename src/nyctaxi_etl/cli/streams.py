"""stdout and stderr, which are never the reason that a month is not loaded: what they don't take is lost, and known."""

from __future__ import annotations

import errno
import io
import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer  # collections.abc has it from Python 3.12 on

_STANDARD = 3
_PAUSE_SECONDS = 0.01


class ProtectedStream(io.RawIOBase):
    """A stream that takes everything; ``error`` is why what it was given went nowhere, if it did."""

    def __init__(self, stream: io.RawIOBase | None) -> None:
        self._stream = stream
        self.error = None if stream else OSError(errno.EBADF, os.strerror(errno.EBADF))

    def writable(self) -> bool:
        """Tell that it can be written to: it always can."""
        return True

    def isatty(self) -> bool:
        """Tell whether it is a terminal."""
        return bool(self._stream and self._stream.isatty())

    def fileno(self) -> int:
        """Return the descriptor that it writes to. Raises ``OSError`` if there is none."""
        if not self._stream:
            raise io.UnsupportedOperation
        return self._stream.fileno()

    def write(self, block: Buffer) -> int:
        """Write what is taken, and return how much that is; all, once nothing is taken any more."""
        while self._stream and not self.error:
            try:
                count = self._stream.write(block)
            except OSError as error:
                self.error = error
            else:
                if count is not None:
                    return count
                time.sleep(_PAUSE_SECONDS)  # another program made it non-blocking, and its reader is slow
        return memoryview(block).nbytes


def protect_standard_streams() -> ProtectedStream:
    """Make stdout and stderr last, whatever becomes of them; return what stdout writes to.

    A descriptor that was closed is opened on nothing: else the next file that is opened, say the warehouse, has its
    number, and gets what a library writes to stderr.
    """
    for number in range(_STANDARD):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    sys.stderr, _ = _protected(sys.stderr, is_lines=True)
    sys.stdout, written = _protected(sys.stdout, is_lines=False)
    return written


def _protected(stream: object, *, is_lines: bool) -> tuple[io.TextIOWrapper, ProtectedStream]:
    """Return a text stream that lasts, and what it writes to; a sign that its encoding hasn't is written as a code."""
    given = stream if isinstance(stream, io.TextIOWrapper) else None
    buffer = given.buffer if given else None
    raw = ProtectedStream(getattr(buffer, "raw", buffer))
    lines = is_lines or bool(given and given.line_buffering)
    encoding = given.encoding if given else "utf-8"
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=lines), raw
