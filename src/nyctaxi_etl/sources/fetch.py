"""Get a month's file from its source, whole and checked, and remember where it came from."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from nyctaxi_etl.core.errors import CorruptFile, NotPublished, Transient
from nyctaxi_etl.core.pace import FLOOR_BYTES
from nyctaxi_etl.core.partition import RawFile
from nyctaxi_etl.core.progress import Event, tell
from nyctaxi_etl.core.signatures import WEB_PAGE
from nyctaxi_etl.schema.datasets import FIRST_MONTHS
from nyctaxi_etl.sources.cache import cached_copy, disk_errors, fetching_alone, store
from nyctaxi_etl.sources.connection import connect
from nyctaxi_etl.sources.download import download
from nyctaxi_etl.sources.partial import drop_part
from nyctaxi_etl.sources.request import DownloadRequest, blocked_by_page
from nyctaxi_etl.sources.verify import fault_at_edges, fault_inside

if TYPE_CHECKING:
    import httpx

    from nyctaxi_etl.core.partition import Partition
    from nyctaxi_etl.sources.registry import Source


def fetch(
    source: Source, partition: Partition, into: Path, *, sample_rows: int = 50_000, floor: int = FLOOR_BYTES
) -> RawFile:
    """Return the month's published file, whole and checked: downloaded or generated below ``into``, or a folder's own.

    A file that is here and unchanged at its source is not brought again. A download that brings less than ``floor``
    bytes a second, over a minute, is broken off and tried again. Raises ``NotPublished``, ``Blocked``, ``Transient``
    (also where a copy is here: whether it is still the published one is not known) and ``CorruptFile``; ``UsageError``
    or ``NycTaxiError`` where the file system refuses.
    """
    with disk_errors(into):
        if source.is_remote:
            return _download_first(source, partition, into, floor)
        if source.base:
            return _find_in_folder(source, partition)
        return _generate(source, partition, into, sample_rows)


def _download_first(source: Source, partition: Partition, into: Path, floor: int) -> RawFile:
    """Return the first of the source's candidates that is published, downloaded unless its copy is current."""
    folder = into / (re.sub(r"[^A-Za-z0-9._-]", "_", source.name).strip(".") or "_")
    with connect() as client:
        for key in source.candidates(partition):
            path, url = folder / key, f"{source.base}/{key}"
            with fetching_alone(path, partition):
                copy = cached_copy(partition, path, source.name, url)
                request = DownloadRequest(str(partition), url, path.with_name(f"{path.name}.part"), copy, floor)
                raw = _download_to(RawFile(partition, path, source.name, url, "", "", 0, "", 0), client, request)
            if raw:
                return raw
    raise _not_published(source, partition)


def _download_to(blank: RawFile, client: httpx.Client, request: DownloadRequest) -> RawFile | None:
    """Return the file at ``blank.path``, brought there or unchanged; ``None``: the server has no such file."""
    part, copy = request.part, request.copy
    try:
        published = download(client, request)
    except Transient as broken:
        raise (_with_copy(broken, copy) if copy else broken) from broken
    if copy and published == "unchanged":
        drop_part(part)
        tell(Event(request.subject, "extract", copy.bytes, copy.bytes, "bytes", "unchanged at its source"))
        return copy
    if isinstance(published, str):
        return None
    size = part.stat().st_size
    tell(Event(request.subject, "extract", size, size, "bytes", "checking it to the last byte"))
    name = blank.path.name
    if fault := fault_at_edges(part, name) or fault_inside(part, name):
        drop_part(part)
        if fault == WEB_PAGE:
            raise blocked_by_page(request.subject, request.url)
        message = f"{request.subject}: {name} as {request.url} sent it is {fault}."
        hint = "Nothing of it was kept. Run the command again; if it stays so, the source is damaged."
        raise CorruptFile(message, hint)
    raw = store(part, replace(blank, etag=published.etag, last_modified=published.last_modified))
    drop_part(part)
    return raw


def _with_copy(broken: Transient, copy: RawFile) -> Transient:
    since = copy.last_modified or _iso(copy.mtime_ns)
    message = f"{broken.message} A whole copy from {since} is here; whether it is still the published one isn't known."
    return Transient(message, f"{broken.hint} Or load the copy: `source={copy.path.parent}`", broken.retry_after)


def _find_in_folder(source: Source, partition: Partition) -> RawFile:
    """Return the user's own file, used where it lies; its path stands for a URL, its time for Last-Modified."""
    for key in source.candidates(partition):
        path = Path(source.base, key)
        if path.is_file():
            if fault := fault_at_edges(path, path.name):
                message = f"{partition}: {path} is {fault}."
                raise CorruptFile(message, "Replace the file, or name another `source=`.")
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            url, modified = path.as_posix(), _iso(status.st_mtime_ns)
            return RawFile(partition, path, source.name, url, "", modified, status.st_size, digest, status.st_mtime_ns)
    raise _not_published(source, partition)


def _iso(mtime_ns: int) -> str:
    return datetime.fromtimestamp(mtime_ns // 10**9, tz=UTC).isoformat()


def _generate(source: Source, partition: Partition, into: Path, rows: int) -> RawFile:
    """Return the made-up month of so many rows, made unless it is here: it is the same file always."""
    from nyctaxi_etl.sample import months as sample

    path = into / "sample" / f"{partition.stem}-{rows}.csv.gz"
    url = f"sample:{partition.stem}?rows={rows}"
    with fetching_alone(path, partition):
        copy = cached_copy(partition, path, source.name, url)
        if copy:
            return copy
        tell(Event(str(partition), "extract", note=f"generating {rows:,} rows"))
        part = path.with_name(f"{partition.stem}-{rows}.part.csv.gz")  # the ending tells the writer the format
        sample.write_month(partition, part, rows)
        return store(part, RawFile(partition, path, source.name, url, "", "", 0, "", 0))


def _not_published(source: Source, partition: Partition) -> NotPublished:
    """Return the error that says where the month was looked for, and which months the source has."""
    keys = source.candidates(partition)
    if not source.is_remote:
        message = f"{partition}: not in the folder {source.base}."
        return NotPublished(message, f"Looked for {', '.join(keys)}.")
    others = f" (nor as {', '.join(keys[1:])})" if keys[1:] else ""
    message = f"{partition}: not published at {source.base}/{keys[0]}{others}."
    color = partition.color
    if color not in source.published:
        return NotPublished(
            message, f"The TLC publishes {color} from {FIRST_MONTHS[color]} on, a month about two months after its end."
        )
    first, last = source.published[color]
    return NotPublished(message, f"{source.name} has {color} from {first} " + (f"to {last}." if last else "on."))
