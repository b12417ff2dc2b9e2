"""The lake in a folder: files that other programs read as they are, replaced by a rename."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nyctaxi_etl.core.claims import claimed, sweep
from nyctaxi_etl.core.disk import disk_errors_as
from nyctaxi_etl.core.errors import CorruptFile, LakeError, NotPublished
from nyctaxi_etl.core.progress import Event, tell
from nyctaxi_etl.core.side_files import is_count, is_texts, read_side_file, side_file
from nyctaxi_etl.lakes.base import DISK_HINT
from nyctaxi_etl.lakes.parquet import read_metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import BinaryIO


_FIELDS: Mapping[str, Callable[[Any], bool]] = {"bytes": is_count, "mtime_ns": is_count, "facts": is_texts}


class LocalLake:
    """A lake below ``folder``, which is made when the first object is put.

    The metadata is in the footer of a Parquet file that carries it, so it can't be parted from its rows. That of
    any other object is in ``.{name}.json`` beside it, and counts while its size and time of change are still the same.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def address(self) -> str:
        """The folder."""
        return str(self.folder)

    def metadata(self, key: str) -> Mapping[str, str] | None:
        """Return what was put with the object: see ``Lake.metadata``."""
        path = self._path(key)
        with disk_errors_as(LakeError, path, DISK_HINT):
            if not path.is_file():
                return None
            return _metadata_beside(path) or _metadata_inside(path)

    def put(self, key: str, path: Path, metadata: Mapping[str, str], subject: str) -> None:
        """Copy the file to a ``.part``, flush it to the disk and rename it: see ``Lake.put``."""
        target, total = self._path(key), path.stat().st_size
        tell(Event(subject, "put", 0, total, "bytes"))
        with disk_errors_as(LakeError, target, DISK_HINT):
            target.parent.mkdir(parents=True, exist_ok=True)
            sweep(target.parent, f"{target.name}.", ".part")
            with (
                claimed(target.parent, f"{target.name}.", ".part") as part,
                claimed(target.parent, f"{target.name}.json.", ".part") as side_part,
            ):
                _copy(path, part)
                if _metadata_inside(part) != dict(metadata):
                    side_part.write_text(_side_text(part, metadata), encoding="utf-8")
                part.replace(target)
                # The side file after the object: if this is not reached, the old one no longer counts.
                if side_part.exists():
                    side_part.replace(side_file(target, hidden=True))
                else:
                    side_file(target, hidden=True).unlink(missing_ok=True)
        tell(Event(subject, "put", total, total, "bytes"))

    def get(self, key: str, into: Path, subject: str) -> Path:  # noqa: ARG002 - a bucket needs them
        """Return the object itself: see ``Lake.get``. It is not to be changed."""
        path = self._path(key)
        if not path.is_file():
            message = f"{subject}: {path} isn't there."
            raise NotPublished(message, "Put the month into this lake with `nyctaxi upload`, or name another `lake=`.")
        return path

    def open(self, key: str) -> BinaryIO:
        """Open the file."""
        return self._path(key).open("rb")

    def remove(self, key: str) -> None:
        """Remove the object and what is noted of it."""
        path = self._path(key)
        with disk_errors_as(LakeError, path, DISK_HINT):
            path.unlink(missing_ok=True)
            side_file(path, hidden=True).unlink(missing_ok=True)

    def uri(self, key: str) -> str:
        """Return the file's path."""
        return str(self._path(key))

    def _path(self, key: str) -> Path:
        return self.folder / key


def _metadata_inside(path: Path) -> dict[str, str]:
    """Return the metadata in a Parquet file; ``path`` may be its ``.part``."""
    if ".parquet" not in path.suffixes:
        return {}
    # An object that can't be read is one of which nothing is known: it is put again.
    with suppress(CorruptFile, OSError):
        return read_metadata(path)
    return {}


def _metadata_beside(path: Path) -> dict[str, str]:
    """Return the metadata in the side file if it is of this very file; else none."""
    note = read_side_file(side_file(path, hidden=True), _FIELDS)
    status = path.stat()
    is_of_it = (note.get("bytes"), note.get("mtime_ns")) == (status.st_size, status.st_mtime_ns)
    return note["facts"] if is_of_it else {}


def _side_text(path: Path, metadata: Mapping[str, str]) -> str:
    status = path.stat()
    return json.dumps({"bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "facts": dict(metadata)}, indent=1)


def _copy(path: Path, part: Path) -> None:
    shutil.copyfile(path, part)
    with part.open("rb+") as file:
        os.fsync(file.fileno())
