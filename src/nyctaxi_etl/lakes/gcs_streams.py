"""What a bucket's object is written to and read from: files that say how far they are, and what is wrong."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from nyctaxi_etl.core.errors import Transient
from nyctaxi_etl.core.progress import Event, tell

if TYPE_CHECKING:
    from collections.abc import Callable


_TELL_BYTES = 256 << 10


@dataclass
class ProgressFile:
    """A file that says how far it is while it is written."""

    file: BinaryIO
    subject: str
    total: int
    done: int = 0
    last_told: int = 0

    def write(self, data: bytes) -> int:
        """Write on, and tell of it now and then. Raises ``Transient`` for more than there is."""
        if self.done + len(data) > self.total:
            message = f"{self.subject}: more came than the {self.total:,} bytes that the bucket has."
            raise Transient(message, "Run the same command again.")
        self.file.write(data)
        self.done += len(data)
        if self.done - self.last_told >= _TELL_BYTES or self.done == self.total:
            self.last_told = self.done
            tell(Event(self.subject, "get", self.done, self.total, "bytes"))
        return len(data)


class ObjectReader(io.RawIOBase):
    """An object that is read from any place: ``read`` reads on in ``reader`` and says in our words what is wrong."""

    def __init__(self, reader: BinaryIO, read: Callable[[int], bytes]) -> None:
        self._reader, self._read = reader, read

    def readable(self) -> bool:
        """Tell that it is to be read."""
        return True

    def seekable(self) -> bool:
        """Tell that any place can be read."""
        return True

    def tell(self) -> int:
        """Return the place that is read next."""
        return self._reader.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        return self._reader.seek(offset, whence)

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # any buffer, says io
        """Read on."""
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the object."""
        self._reader.close()
        super().close()
