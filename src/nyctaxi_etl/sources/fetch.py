"""Get a month's file from its source, whole and checked, and remember where it came from.

A file that is kept has a side file, ``{name}.json``: its URL, the server's validators, its size and sha256. While it is
fetched it is ``{name}.part``; ``.{name}.lock`` keeps two processes from fetching it at once.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from nyctaxi_etl.core.answer import is_sendable
from nyctaxi_etl.core.errors import CorruptFile, NotPublished, NycTaxiError, Transient, UsageError
from nyctaxi_etl.core.limits import swelling
from nyctaxi_etl.core.pace import FLOOR_BYTES
from nyctaxi_etl.core.partition import RawFile
from nyctaxi_etl.core.progress import Event, tell
from nyctaxi_etl.core.side_files import is_count, is_digest, is_text, read_side
from nyctaxi_etl.schema.datasets import FIRST_MONTHS
from nyctaxi_etl.sources.download import Want, blocked_by_page, connect, download, drop

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    import httpx

    from nyctaxi_etl.core.partition import Color, Partition
    from nyctaxi_etl.sources.registry import Source

READ_BYTES = 1 << 20
LOCK_SECONDS = 0.5
WEB_PAGE = "a web page"

_SIDE_FIELDS: Mapping[str, Callable[[Any], bool]] = {
    "url": is_text,
    "etag": is_sendable,
    "last_modified": is_sendable,
    "bytes": is_count,
    "sha256": is_digest,
    "mtime_ns": is_count,
}
_ELSEWHERE = "Make room or give access there, or name another folder: --data-dir, --source."
_NOT_OURS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR})


def fetch(
    source: Source, partition: Partition, into: Path, *, sample_rows: int = 50_000, floor: int = FLOOR_BYTES
) -> RawFile:
    """Return the month's published file, whole and checked: downloaded or generated below ``into``, or a folder's own.

    A file that is here and unchanged at its source is not brought again. A download that brings less than ``floor``
    bytes a second, over a minute, is broken off and tried again. Raises ``NotPublished``, ``Blocked``, ``Transient``
    (also where a copy is here: whether it is still the published one is not known) and ``CorruptFile``.
    """
    with _on_disk(into):
        if source.is_remote:
            return _fetch_remote(source, partition, into, floor)
        if source.base:
            return _find_in_folder(source, partition)
        return _generate(source, partition, into, sample_rows)


def discard(raw: RawFile) -> None:
    """Remove a fetched or generated copy that reading proved corrupt, so that it is brought anew.

    A user's own file stays, and so does a copy that another process has replaced in the meantime.
    """
    if _kept(raw.partition, raw.path, raw.source, raw.url) != raw:
        return
    with _on_disk(raw.path), _alone(raw.path, raw.partition):
        if _kept(raw.partition, raw.path, raw.source, raw.url) == raw:
            raw.path.unlink(missing_ok=True)
            _side(raw.path).unlink(missing_ok=True)


def _fetch_remote(source: Source, partition: Partition, into: Path, floor: int) -> RawFile:
    folder = into / (re.sub(r"[^A-Za-z0-9._-]", "_", source.name).strip(".") or "_")
    with connect() as client:
        for key in source.candidates(partition):
            path = folder / key
            with _alone(path, partition):
                kept = _kept(partition, path, source.name, f"{source.base}/{key}")
                part = path.with_name(path.name + ".part")
                want = Want(str(partition), f"{source.base}/{key}", part, kept, floor)
                found = _bring(client, want, RawFile(partition, path, source.name, want.url, "", "", 0, "", 0))
            if found:
                return found
    raise _not_published(source, partition)


def _bring(client: httpx.Client, want: Want, blank: RawFile) -> RawFile | None:
    """Bring the wanted file to where ``blank`` says, or leave what is there if it is the same; None: no such file."""
    part, kept = want.part, want.kept
    try:
        published = download(client, want)
    except Transient as broken:
        raise _with_copy(broken, kept) from broken
    if kept and published == "unchanged":
        drop(part)
        tell(Event(want.subject, "extract", kept.bytes, kept.bytes, "bytes", "unchanged at its source"))
        return kept
    if isinstance(published, str):
        return None
    size = part.stat().st_size
    tell(Event(want.subject, "extract", size, size, "bytes", "checking it to the last byte"))
    _check_part(blank.partition, want.url, blank.path, part)
    raw = _keep(part, replace(blank, etag=published.etag, last_modified=published.last_modified))
    drop(part)
    return raw


def _with_copy(broken: Transient, kept: RawFile | None) -> Transient:
    if kept is None:
        return broken
    since = kept.last_modified or _iso(kept.mtime_ns)
    message = f"{broken.message} A whole copy from {since} is here; whether it is still the published one isn't known."
    return Transient(message, f"{broken.hint} Or load the copy: --source {kept.path.parent}", broken.retry_after)


def _keep(part: Path, raw: RawFile) -> RawFile:
    """Make ``part`` the file at ``raw.path``, with its side file, and return ``raw`` with size, sha256 and time.

    The side file goes first: if this is interrupted, it doesn't match what is there, and the ``.part`` still is.
    """
    with part.open("rb+") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
        found = os.fstat(file.fileno())
    kept = replace(raw, bytes=found.st_size, sha256=digest, mtime_ns=found.st_mtime_ns)
    known = {name: getattr(kept, name) for name in _SIDE_FIELDS}
    side = _side(raw.path)
    side.with_name(side.name + ".new").write_text(json.dumps(known, indent=1), encoding="utf-8")
    side.with_name(side.name + ".new").replace(side)
    part.replace(raw.path)
    return kept


def _kept(partition: Partition, path: Path, source: str, url: str) -> RawFile | None:
    """Return the copy at ``path`` if its side file proves that it is whole, and of this URL."""
    known = read_side(_side(path), _SIDE_FIELDS)
    raw = RawFile(partition, path, source, **known) if known else None
    return raw if raw and raw.url == url and raw.is_current() else None


def _side(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _find_in_folder(source: Source, partition: Partition) -> RawFile:
    for key in source.candidates(partition):
        path = Path(source.base, key)
        if path.is_file():
            fault = _glance(path, path.name)
            if fault:
                message = f"{partition}: {path} is {fault}."
                raise CorruptFile(message, "Replace the file, or name another --source.")
            return _as_it_is(source, partition, path)
    raise _not_published(source, partition)


def _as_it_is(source: Source, partition: Partition, path: Path) -> RawFile:
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    size, mtime_ns = found.st_size, found.st_mtime_ns
    return RawFile(partition, path, source.name, path.as_posix(), "", _iso(mtime_ns), size, digest, mtime_ns)


def _iso(mtime_ns: int) -> str:
    return datetime.fromtimestamp(mtime_ns // 10**9, tz=UTC).isoformat()


def _generate(source: Source, partition: Partition, into: Path, rows: int) -> RawFile:
    from nyctaxi_etl.sample import months as sample

    path = into / "sample" / f"{partition.stem}-{rows}.csv.gz"
    url = f"sample:{partition.stem}?rows={rows}"
    with _alone(path, partition):
        kept = _kept(partition, path, source.name, url)
        if kept:
            return kept
        tell(Event(str(partition), "extract", note=f"generating {rows:,} rows"))
        part = path.with_name(f"{partition.stem}-{rows}.part.csv.gz")  # the ending tells the writer the format
        sample.write_month(partition, part, rows)
        return _keep(part, RawFile(partition, path, source.name, url, "", "", 0, "", 0))


def _not_published(source: Source, partition: Partition) -> NotPublished:
    keys = source.candidates(partition)
    if not source.is_remote:
        message = f"{partition}: not in the folder {source.base}."
        return NotPublished(message, f"Looked for {', '.join(keys)}.")
    others = f" (nor as {', '.join(keys[1:])})" if keys[1:] else ""
    return NotPublished(
        f"{partition}: not published at {source.base}/{keys[0]}{others}.", _publication(source, partition.color)
    )


def _publication(source: Source, color: Color) -> str:
    """Say from when to when the colour is published, at this source if that is known."""
    if color not in source.published:
        return f"The TLC publishes {color} from {FIRST_MONTHS[color]} on, a month about two months after its end."
    first, last = source.published[color]
    return f"{source.name} has {color} from {first} " + (f"to {last}." if last else "on.")


def _check_part(partition: Partition, url: str, path: Path, part: Path) -> None:
    fault = _glance(part, path.name) or _fault(part, path.name)
    if not fault:
        return
    drop(part)
    if fault == WEB_PAGE:
        raise blocked_by_page(str(partition), url)
    message = f"{partition}: {path.name} as {url} sent it is {fault}."
    raise CorruptFile(message, "Nothing of it was kept. Run the command again; if it stays so, the source is damaged.")


def _glance(path: Path, name: str) -> str:
    """Say what the file's first and last bytes show it to be, if that is not what ``name`` says."""
    with path.open("rb") as file:
        head = file.read(1024)
        file.seek(-min(4, os.fstat(file.fileno()).st_size), os.SEEK_END)
        tail = file.read()
    if not head:
        return "empty"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html")):
        return WEB_PAGE
    if name.endswith(".parquet") and not head.startswith(b"PAR1"):
        return "not a Parquet file"
    if name.endswith(".parquet") and tail != b"PAR1":
        return "a Parquet file cut short"
    return "not a gzip file" if name.endswith(".gz") and not head.startswith(b"\x1f\x8b") else ""


def _fault(path: Path, name: str) -> str:
    """Decode the whole file and say what is wrong with it, if anything is."""
    if name.endswith(".gz"):
        return _gzip_fault(path)
    if name.endswith(".parquet"):
        return _parquet_fault(path)
    with path.open("rb") as file:  # some servers compress, even when told not to
        return "compressed, as its name does not say" if file.read(2) == b"\x1f\x8b" else ""


def _gzip_fault(path: Path) -> str:
    from isal import igzip, isal_zlib

    block = bytearray(READ_BYTES)
    size, unzipped = path.stat().st_size, 0
    try:
        with igzip.IGzipFile(path, "rb") as file:
            while count := file.readinto(block):
                unzipped += count
                if fault := swelling(size, unzipped):
                    return fault
    except (EOFError, igzip.BadGzipFile, isal_zlib.error) as error:  # type: ignore[misc]  # nor know a class
        return f"a damaged gzip file ({error})"
    return ""


def _parquet_fault(path: Path) -> str:
    import pyarrow as pa

    from nyctaxi_etl.staging.pages import open_published, rows_at_once

    try:
        # Few writers give their pages a checksum; where there is one it is compared.
        with open_published(path, page_checksum_verification=True) as file:
            rows = sum(batch.num_rows for batch in file.iter_batches(rows_at_once(path)))
            return "" if rows == file.metadata.num_rows else "a Parquet file with rows missing"
    except CorruptFile as error:
        return f"a damaged Parquet file ({error.message})"
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:  # Arrow's own have none: this one is the disk's
            raise
        return f"a damaged Parquet file ({error})"


@contextmanager
def _alone(path: Path, partition: Partition) -> Iterator[None]:
    """Hold ``path`` for this process alone.

    The lock is an SQLite transaction: it works the same on every system, also between threads, and the system itself
    gives it back when its holder dies, so that none is ever stale.
    """
    import sqlite3

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    _mend(lock)
    with closing(sqlite3.connect(lock, timeout=LOCK_SECONDS, isolation_level=None)) as database:
        while not _is_held(database):
            tell(Event(str(partition), "extract", note="another process is fetching it: waiting"))
        yield


def _mend(lock: Path) -> None:
    """Remove a damaged lock: nothing is ever written to one, and nobody holds one that is no database."""
    with suppress(FileNotFoundError):
        if lock.is_file() and lock.stat().st_size:
            lock.unlink()


def _is_held(database: sqlite3.Connection) -> bool:
    import sqlite3

    try:
        database.execute("PRAGMA journal_mode=MEMORY")  # no journal file: nothing is ever written
        database.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            return False
        raise
    return True


@contextmanager
def _on_disk(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into an error that names the place."""
    import sqlite3

    try:
        yield
    except sqlite3.Error as error:
        message = f"{path}: can't be locked ({error})."
        raise UsageError(message, _ELSEWHERE) from error
    except OSError as error:
        message = f"{error.filename or path}: {error.strerror or error}."
        kind = UsageError if error.errno in _NOT_OURS else NycTaxiError
        raise kind(message, _ELSEWHERE) from error
