"""CSV becomes blocks of rows: whole lines, of which none is lost, whatever stands in it.

A block is first parsed as it is. If it has lines that are no rows, these are sorted out, and the others parsed. Columns
with values that aren't of their declared type are parsed as text.
"""

from __future__ import annotations

import re
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
from isal import igzip, isal_zlib

from nyctaxi_etl.core.errors import CorruptFile, QualityError, SchemaDrift
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
from nyctaxi_etl.readers.csv_lines import (
    Fields,
    Lines,
    count_lines,
    ends_within_quotes,
    has_lone_returns,
    lines_in,
    not_blank,
    sort_lines,
    split,
)
from nyctaxi_etl.readers.layout import Block, Layout, Rows, find_layout, refuse_other_kinds
from nyctaxi_etl.staging.arrow_types import arrow_type
from nyctaxi_etl.staging.rejects import as_text, none_rejected

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from nyctaxi_etl.schema.columns import Column

# "In CSV column #3: Row #57: CSV conversion error to int16: invalid value 'x'".
_COLUMN = re.compile(r"In CSV column #(\d+):")
# A block is parsed anew for each column that resists; after so many all its columns are read as text.
_TRIES = 3
_SNIFF_LINES = 100
_TOO_LONG = f"not readable as text: it is longer than {HEADER_BYTES:,} bytes"
_DICTIONARY = pa.dictionary(pa.int32(), pa.string())
# NA is a payment type and N/A a zone, so only what no file means as a value is null.
_NULLS = ["", "NaN", "nan", "NULL", "null"]
# The stubs of isal know the class as a value.
_BROKEN_GZIP: tuple[type[Exception], ...] = (EOFError, igzip.BadGzipFile, isal_zlib.error)  # type: ignore[assignment]


class CsvFile:
    """A CSV file, plain or gzipped: its layout and its blocks of lines."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        self.path = path
        with _opened(path) as stream:
            head = stream.read(HEAD_BYTES)
        refuse_other_kinds(head, path)
        names, self._skip, body = _header(head, path)
        self.layout = find_layout(names, columns, path, width=_width(body, len(names)))
        self._types = dict(_read_types(self.layout))
        wanted = frozenset(int(field[1:]) for field in self._types)
        self._fields = Fields(len(names), self.layout.width, wanted)
        whole = (field for field, (kind, _) in self._types.items() if pa.types.is_integer(kind))
        self._whole_numbers = frozenset(whole)
        # Fields with values that are not of their declared type, as far as has been seen: codes as words.
        self._as_text: frozenset[str] = frozenset()

    @property
    def columns(self) -> frozenset[str]:
        """The names of the declared columns that the file has."""
        return frozenset(column.name for column in self.layout.columns if column)

    def blocks(self) -> Iterator[Block]:
        """Yield the file's data lines in order, in blocks of about a mebibyte."""
        with _opened(self.path) as stream:
            for _ in range(self._skip):
                stream.readline()
            yield from _blocks(stream, self._skip + 1, self.path)

    def parse(self, block: Block) -> Rows:
        """Parse a block into typed columns, or text where typing fails; never loses a line."""
        assert isinstance(block.data, bytes)  # noqa: S101 - tells the type checker which half of Block it is
        return self._at_once(block.data, block.first) or self._sorted(block.data, block.first)

    def _at_once(self, data: bytes, first: int) -> Rows | None:
        """Parse lines of which each is a row, or return nothing if one isn't.

        The rows are counted against the lines. A quote left open takes a row off, and so does a blank line, which is
        not counted; what would add one is ruled out first.
        """
        lines = lines_in(data, first)
        if self.layout.width == 1 or data.startswith(BOM) or lines.longest > LINE_BYTES or has_lone_returns(data):
            return None
        if ends_within_quotes(data) or (table := self._table(data)) is None:
            return None
        if table.num_rows != len(lines):
            lines = lines.pick(not_blank(lines))
        return self._rows(table, lines, none_rejected()) if table.num_rows == len(lines) else None

    def _sorted(self, data: bytes, first: int) -> Rows:
        """Parse the lines that are rows, and set aside those that are none."""
        parts = sort_lines(data, first, self._fields)
        table = self._table(parts.data) if len(parts.rows) else self._no_rows()
        if table is None or table.num_rows != len(parts.rows):
            message = f"{self.path.name}: its rows can't be told apart after line {first - 1}."
            raise QualityError(message, "Please report it, with these lines.")
        return self._rows(table, parts.rows, parts.broken)

    def _table(self, data: bytes) -> pa.Table | None:
        """Parse whole lines, columns that resist as text; nothing if it is not a column that resists."""
        # Arrow reads hexadecimal 0x1 as a number, which no file means.
        text = self._as_text | self._whole_numbers if b"x" in data or b"X" in data else self._as_text
        for tried in range(len(self._types) + 1):
            try:
                return self._read(data, text)
            except pa.ArrowInvalid as error:
                named = _COLUMN.search(str(error))
                field = self.layout.fields[int(named[1])] if named else ""
                if not field or field in text:
                    return None
                self._as_text |= {field}
                text = frozenset(self._types) if tried == _TRIES else text | {field}
        return None

    def _no_rows(self) -> pa.Table:
        return pa.schema([(field, kind) for field, (kind, _) in self._types.items()]).empty_table()

    def _read(self, data: bytes, text: frozenset[str]) -> pa.Table:
        types = {field: as_text if field in text else kind for field, (kind, as_text) in self._types.items()}
        return pc.read_csv(
            pa.BufferReader(data),
            read_options=pc.ReadOptions(
                use_threads=False, column_names=self.layout.fields, block_size=max(len(data) + 1, BLOCK_BYTES)
            ),
            convert_options=pc.ConvertOptions(
                column_types=types, include_columns=list(types), null_values=_NULLS, strings_can_be_null=True
            ),
        )

    def _rows(self, table: pa.Table, lines: Lines, broken: pa.RecordBatch) -> Rows:
        arrays = [_flat(column) for column in table.columns]
        columns: dict[str, list[pa.Array]] = {}
        declared = [column for column in self.layout.columns if column]
        for column, array in zip(declared, arrays, strict=False):
            columns.setdefault(column.name, []).append(array)
        return Rows(table.num_rows, columns, arrays[len(declared) :], broken, lines.originals)


def _read_types(layout: Layout) -> Iterator[tuple[str, tuple[pa.DataType, pa.DataType]]]:
    """Return the fields that are read: those that mean something, and those beyond the names, which must be empty.

    Each has the type that it is read in, and the one that takes whatever stands in it.
    """
    for index, field in enumerate(layout.fields):
        if index >= len(layout.names):
            yield field, (pa.null(), pa.string())
        elif column := layout.columns[index]:
            declared = arrow_type(column)
            words = pa.types.is_string(declared) or column.type == "code"
            yield (
                field,
                (_DICTIONARY if pa.types.is_string(declared) else declared, _DICTIONARY if words else pa.string()),
            )


def _header(head: bytes, path: Path) -> tuple[list[str], int, bytes]:
    """Return the published names, how many lines to skip with them, and what follows; the first lines may be blank."""
    start = len(head) - len(head.removeprefix(BOM).lstrip())
    if start == len(head):
        message = f"{path.name} is empty."
        raise CorruptFile(message, "Fetch it again, or look at what its source holds.")
    end = _line_end(head, start)
    names = split(head[start:end].strip()) if end - start <= HEADER_BYTES else _TOO_LONG
    if end == len(head) >= HEAD_BYTES:
        names = _TOO_LONG
    if not isinstance(names, str) and len(names) > FIELDS:
        names = f"{len(names):,} names, of which no month has more than {FIELDS:,}"
    if isinstance(names, str):
        message = f"{path.name}: its first line is {names}: {as_text(head[start:end])[:80]!r}."
        raise SchemaDrift(message, "Look at what its source holds, and fetch it again.")
    plain = [name.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for name in names]
    return plain, head[:start].count(b"\n") + 1, head[end + 1 :]


def _width(body: bytes, names: int) -> int:
    """Return how many fields most of the first rows have: 2016H2 has 19 under 17 names."""
    lines = body.split(b"\n", _SNIFF_LINES)[:_SNIFF_LINES]
    rows = (split(line) for line in lines if line.strip() and len(line) <= LINE_BYTES)
    widths = Counter(len(row) for row in rows if not isinstance(row, str) and len(row) <= names + SURPLUS_FIELDS)
    return max(names, *(width for width, _ in widths.most_common(1)), 1)


def _blocks(stream: BinaryIO, first: int, path: Path) -> Iterator[Block]:
    rest = b""
    size, unzipped, start = path.stat().st_size, 0, first
    while piece := stream.read(BLOCK_BYTES):
        unzipped += len(piece)
        refuse_what_swells(path, size, unzipped, first - start)
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


def _line_end(data: bytes, start: int) -> int:
    end = data.find(b"\n", start)
    return len(data) if end < 0 else end


def _flat(column: pa.ChunkedArray) -> pa.Array:
    """Return a parsed column as one array: a block is parsed in one chunk, and an empty one in none."""
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [pa.nulls(0, column.type)])
