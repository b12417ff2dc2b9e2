"""A CSV file, plain or gzipped: its header, and its data in blocks of whole lines."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
from isal import igzip, isal_zlib

from nyctaxi_etl.core.errors import CorruptFile, SchemaDrift
from nyctaxi_etl.core.limits import (
    BLOCK_BYTES,
    BLOCK_LINES,
    ENDLESS_LINE_BYTES,
    FIELDS,
    HEAD_BYTES,
    HEADER_BYTES,
    LINE_BYTES,
    SURPLUS_FIELDS,
    refuse_what_swells,
)
from nyctaxi_etl.core.signatures import BOM
from nyctaxi_etl.readers.csv_lines import NoRow, count_lines, split
from nyctaxi_etl.readers.layout import Block, refuse_other_kinds
from nyctaxi_etl.staging.rejects import as_text

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

_SNIFF_LINES = 100
_TOO_LONG = NoRow(f"not readable as text: it is longer than {HEADER_BYTES:,} bytes")
# The stubs of isal know the class as a value.
_BROKEN_GZIP: tuple[type[Exception], ...] = (EOFError, igzip.BadGzipFile, isal_zlib.error)  # type: ignore[assignment]


class Header(NamedTuple):
    """The published names, how many lines end with theirs, and how many fields most of the first rows have."""

    names: list[str]
    lines: int
    width: int


def read_header(path: Path) -> Header:
    """Read the names of a file's columns; blank lines may stand before them.

    Raises ``CorruptFile`` for bytes of another kind and an empty file, ``SchemaDrift`` for a first line that is none of
    names.
    """
    with _opened(path) as stream:
        head = stream.read(HEAD_BYTES)
    refuse_other_kinds(head, path)
    start = len(head) - len(head.removeprefix(BOM).lstrip())
    if start == len(head):
        message = f"{path.name} is empty."
        raise CorruptFile(message, "Fetch it again, or look at what its source holds.")
    end = head.find(b"\n", start)
    if end < 0:
        end = len(head)
    names = split(head[start:end].strip()) if end - start <= HEADER_BYTES else _TOO_LONG
    if end == len(head) >= HEAD_BYTES:
        names = _TOO_LONG
    if not isinstance(names, NoRow) and len(names) > FIELDS:
        names = NoRow(f"{len(names):,} names, of which no month has more than {FIELDS:,}")
    if isinstance(names, NoRow):
        message = f"{path.name}: its first line is {names.reason}: {as_text(head[start:end])[:80]!r}."
        raise SchemaDrift(message, "Look at what its source holds, and fetch it again.")
    plain = [name.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for name in names]
    return Header(plain, head[:start].count(b"\n") + 1, _width(head[end + 1 :], len(names)))


def _width(body: bytes, names: int) -> int:
    """Return how many fields most of the first rows have: 2016H2 has 19 under 17 names."""
    lines = body.split(b"\n", _SNIFF_LINES)[:_SNIFF_LINES]
    rows = (split(line) for line in lines if line.strip() and len(line) <= LINE_BYTES)
    widths = Counter(len(row) for row in rows if not isinstance(row, NoRow) and len(row) <= names + SURPLUS_FIELDS)
    return max(names, *(width for width, _ in widths.most_common(1)), 1)


def line_blocks(path: Path, skip: int) -> Generator[Block[bytes]]:
    """Yield a file's lines after the first ``skip`` in order, in blocks of about a mebibyte.

    Raises ``CorruptFile`` for damaged gzip, a line without an end, and more of either than a file of its size holds.
    """
    size = path.stat().st_size
    with _opened(path) as stream:
        for _ in range(skip):
            stream.readline()
        rest, first, unzipped = b"", skip + 1, 0
        while piece := stream.read(BLOCK_BYTES):
            unzipped += len(piece)
            refuse_what_swells(path, size, unzipped, first - skip - 1)
            cut = piece.rfind(b"\n") + 1
            if cut == 0:
                rest += piece
                _refuse_endless_line(rest, first, path)
                continue
            for data, lines in _portions(rest + piece[:cut]):
                yield Block(first, data)
                first += lines
            rest = piece[cut:]
        if rest.strip():
            yield Block(first, rest)


def _portions(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Cut whole lines into portions of not too many, and count them."""
    lines = count_lines(data)
    if lines <= BLOCK_LINES:
        yield data, lines
        return
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n")) + 1
    start = 0
    for first in range(0, lines, BLOCK_LINES):
        last = min(first + BLOCK_LINES, lines)
        yield data[start : ends[last - 1]], last - first
        start = ends[last - 1]


def _refuse_endless_line(rest: bytes, line: int, path: Path) -> None:
    if len(rest) > ENDLESS_LINE_BYTES:
        message = f"{path.name}: line {line} is longer than {ENDLESS_LINE_BYTES:,} bytes."
        raise CorruptFile(message, "Look at what its source holds, and fetch it again.")


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file, unzipped if its name says so; what is wrong with its bytes is a ``CorruptFile``."""
    try:
        with igzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            yield stream
    except _BROKEN_GZIP as error:
        message = f"{path.name} is damaged or cut off: {error}"
        raise CorruptFile(message, "Fetch it again.") from error
