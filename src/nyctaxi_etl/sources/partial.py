"""A file that is still coming: its ``.part``, and the side file that tells what it is a part of."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from nyctaxi_etl.core.answer import is_sendable
from nyctaxi_etl.core.errors import CorruptFile, NycTaxiError
from nyctaxi_etl.core.progress import Event, tell
from nyctaxi_etl.core.side_files import is_count, is_text, read_side_file, side_file
from nyctaxi_etl.schema.datasets import LARGEST_MONTH_BYTES
from nyctaxi_etl.sources.request import Published

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import Any

    from nyctaxi_etl.sources.request import DownloadRequest

WRITE_BYTES = 1 << 20
EVENT_SECONDS = 0.1
# Left free for others; the room is looked at anew after so many bytes, because others write, too.
RESERVE_BYTES = 256 << 20
ROOM_BYTES = 64 << 20

_FIELDS: Mapping[str, Callable[[Any], bool]] = {
    "url": is_text,
    "etag": is_sendable,
    "last_modified": is_sendable,
    "if_range": is_sendable,
    "bytes": is_count,
}


def part_size(part: Path) -> int:
    """Return how many bytes have come; 0 if none have."""
    return part.stat().st_size if part.exists() else 0


def resumable(request: DownloadRequest) -> Published | None:
    """Return what was begun of this very file, if the server can prove that the rest belongs to it."""
    fields = read_side_file(side_file(request.part), _FIELDS)
    begun = Published(**fields) if fields else None
    return begun if begun and begun.url == request.url and begun.if_range and part_size(request.part) > 1 else None


def drop_part(part: Path) -> None:
    """Remove a ``.part`` and its side file: the bytes first, they are nothing without it."""
    part.unlink(missing_ok=True)
    side_file(part).unlink(missing_ok=True)


def write_part(request: DownloadRequest, published: Published, blocks: Iterator[bytes], start: int) -> int:
    """Append the blocks to the ``.part`` from byte ``start`` on, or begin it anew where that is 0; return its size.

    Raises ``CorruptFile`` for more bytes than there can be, of which nothing is kept, ``NycTaxiError`` where the disk
    has no room.
    """
    tell_progress = _progress(request.subject, published.bytes)
    try:
        _check_ceiling(request, published.bytes, start)
        room_until = _room(request, published.bytes, start)
        if start:
            os.truncate(request.part, start)
        else:
            drop_part(request.part)
            side_file(request.part).write_text(json.dumps(asdict(published)), encoding="utf-8")
        with request.part.open("ab", buffering=WRITE_BYTES) as file:
            done = start
            for block in blocks:
                _check_ceiling(request, published.bytes, done + len(block))
                if done + len(block) > room_until:
                    room_until = _room(request, published.bytes, done)
                done += file.write(block)
                tell_progress(done)
    except CorruptFile:
        drop_part(request.part)
        raise
    return done


def _check_ceiling(request: DownloadRequest, announced: int, done: int) -> None:
    """Refuse a file larger than any can be, or than the server itself announced."""
    if max(announced, done) > request.ceiling:
        message = f"{request}: larger than {request.ceiling:,} bytes, which nothing published comes near to."
        raise CorruptFile(message, "Nothing of it was kept. Is it the right address? Or name another `source=`.")
    if announced and done > announced:
        message = f"{request}: goes on behind the {announced:,} bytes that the server announced."
        raise CorruptFile(
            message, "Nothing of it was kept. Run the command again; if it stays so, ask who runs the server."
        )


def _room(request: DownloadRequest, announced: int, done: int) -> int:
    """Return up to which byte the disk has room, looked at anew every ``ROOM_BYTES``: others write to it, too.

    Raises ``NycTaxiError`` where it has none, ``CorruptFile`` where a body of no announced length is what fills it.
    """
    free = shutil.disk_usage(request.part.parent).free - RESERVE_BYTES
    if free >= max(announced - done, 1):
        return done + min(free, ROOM_BYTES)
    if not announced and done > LARGEST_MONTH_BYTES:
        came = f"{done:,} bytes came without an end, more than any month has"
        message = f"{request}: {came}, and the disk has no more room."
        raise CorruptFile(message, "Nothing of it was kept. Name another `source=`.")
    wants = f"the {announced - done:,} bytes that are missing" if announced else "more of it"
    message = f"{request}: {request.part.parent}: no room for {wants}; {RESERVE_BYTES >> 20} MiB are left free."
    raise NycTaxiError(message, "Make room there, or name another folder with `data_dir=`.")


def _progress(subject: str, total: int) -> Callable[[int], None]:
    """Return what tells how many bytes are done: the last ones always, others not more often than people can read."""
    last = 0.0

    def tell_progress(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= EVENT_SECONDS or done == total:
            last = now
            tell(Event(subject, "extract", done, total, "bytes"))

    return tell_progress
