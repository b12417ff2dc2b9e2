"""Files that were fetched and are kept, so that none is fetched twice: the file, its side file, and its lock.

The side file, ``{name}.json``, has its URL, the server's validators, its size, sha256 and time of change. While it is
fetched the file is ``{name}.part``, and ``.{name}.lock`` keeps two processes from fetching it at once.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sqlite3
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from nyctaxi_etl.core.answer import is_sendable
from nyctaxi_etl.core.disk import disk_errors_as
from nyctaxi_etl.core.errors import NycTaxiError, UsageError
from nyctaxi_etl.core.locks import lock_path, wait_for_lock
from nyctaxi_etl.core.partition import RawFile
from nyctaxi_etl.core.progress import Event, tell
from nyctaxi_etl.core.side_files import is_count, is_digest, is_text, read_side_file, side_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import Any

    from nyctaxi_etl.core.partition import Partition

LOCK_SECONDS = 0.5

_FIELDS: Mapping[str, Callable[[Any], bool]] = {
    "url": is_text,
    "etag": is_sendable,
    "last_modified": is_sendable,
    "bytes": is_count,
    "sha256": is_digest,
    "mtime_ns": is_count,
}
_ELSEWHERE = "Make room or give access there, or name another folder: `data_dir=`, `source=`."
_USERS_TO_MEND = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR})


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into an error that names the path; ``UsageError`` where access is missing."""
    with disk_errors_as(NycTaxiError, path, _ELSEWHERE, usage=_USERS_TO_MEND):
        yield


def cached_copy(partition: Partition, path: Path, source: str, url: str) -> RawFile | None:
    """Return the copy at ``path`` if its side file proves that it is whole, and of this URL."""
    fields = read_side_file(side_file(path), _FIELDS)
    raw = RawFile(partition, path, source, **fields) if fields else None
    return raw if raw and raw.url == url and raw.is_current() else None


def store(part: Path, raw: RawFile) -> RawFile:
    """Make ``part`` the file at ``raw.path``, with its side file, and return ``raw`` with size, sha256 and time.

    The side file goes first: if this is interrupted, it doesn't match the old file, and the ``.part`` still is there.
    """
    with part.open("rb+") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
        status = os.fstat(file.fileno())
    stored = replace(raw, bytes=status.st_size, sha256=digest, mtime_ns=status.st_mtime_ns)
    side = side_file(raw.path)
    new = side.with_name(f"{side.name}.new")
    new.write_text(json.dumps({name: getattr(stored, name) for name in _FIELDS}, indent=1), encoding="utf-8")
    new.replace(side)
    part.replace(raw.path)
    return stored


def discard(raw: RawFile) -> None:
    """Remove a fetched or generated copy that reading proved corrupt, so that it is brought anew.

    A user's own file stays, and so does a copy that another process has replaced in the meantime.
    """
    if cached_copy(raw.partition, raw.path, raw.source, raw.url) != raw:
        return
    with disk_errors(raw.path), fetching_alone(raw.path, raw.partition):
        if cached_copy(raw.partition, raw.path, raw.source, raw.url) == raw:
            raw.path.unlink(missing_ok=True)
            side_file(raw.path).unlink(missing_ok=True)


@contextmanager
def fetching_alone(path: Path, partition: Partition) -> Iterator[None]:
    """Lock ``path`` for this process and thread; wait for another that has it, and say so meanwhile.

    Raises ``UsageError`` where it can't be locked.
    """

    def say() -> None:
        tell(Event(str(partition), "extract", note="it is being fetched already: waiting"))

    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(wait_for_lock(lock_path(path), LOCK_SECONDS, say))
        except sqlite3.Error as error:
            message = f"{path}: can't be locked ({error})."
            raise UsageError(message, _ELSEWHERE) from error
        yield
