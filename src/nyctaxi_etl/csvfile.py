"""CSV becomes blocks of rows: whole lines, of which none is lost, whatever stands in it.

A block is first parsed straight into the declared types. If a value or line resists, it is cut out and the rest parsed
again; what was cut out is read as text, and split by hand if it resists even that.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
from isal import igzip, isal_zlib

from nyctaxi_etl.arrays import array as array_of
from nyctaxi_etl.errors import CorruptFile, SchemaDrift
from nyctaxi_etl.layout import BOM, Block, Reject, Rows, find_layout, refuse_other_kinds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from nyctaxi_etl.schema import Column

# 1 MiB holds about 11,000 yellow rows; larger blocks are no faster and cost memory for each block in flight.
BLOCK_BYTES = 1 << 20
HEAD_BYTES = 1 << 20
# The longest published line has 370 bytes; one of a mebibyte is no line.
LINE_BYTES = 1 << 20
_SNIFF_BYTES = 100_000
# "In CSV column #3: Row #57: CSV conversion error", "CSV parse error: Row #57: Expected 18 columns, got 3".
_ROW = re.compile(r"Row #(\d+):")
_SNIFF_LINES = 100
_FEW_LINES = 16
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
        self._text_fields = self._resisting(_first_lines(body))

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

    def parse(self, block: Block) -> list[Rows]:
        """Parse a block into typed columns, or text where typing fails; never loses a line."""
        assert isinstance(block.data, bytes)  # noqa: S101 - tells the type checker which half of Block it is
        rows = self._typed(block.data, block.first)
        return [rows] if isinstance(rows, Rows) else list(self._resisted(block.data, block.first, rows))

    def _resisted(self, data: bytes, first: int, culprit: int) -> Iterator[Rows]:
        """Parse lines that resist typing, without the row that Arrow names as the first ``culprit`` (0: it named none).

        If all parts still resist, it is no single line, and all are read as text; only lines that resist that are
        split by hand.
        """
        parts = _parts(data, first, culprit)
        typed = [self._typed(*part) for part in parts]
        if not any(isinstance(rows, Rows) for rows in typed):
            rows = self._parsed(data, first, frozenset(self.layout.fields))
            if isinstance(rows, Rows) or not parts:
                yield rows if isinstance(rows, Rows) else self._line_by_line(data, first)
                return
        for part, rows in zip(parts, typed, strict=True):
            if isinstance(rows, Rows):
                yield rows
            else:
                yield from self._resisted(*part, rows)

    def _typed(self, data: bytes, first: int) -> Rows | int:
        # Arrow reads hexadecimal 0x1 as a number, which no file means.
        if b"x" in data or b"X" in data:
            return 0
        return self._parsed(data, first, self._text_fields)

    def _parsed(self, data: bytes, first: int, text_fields: frozenset[str]) -> Rows | int:
        """Parse whole lines with the given fields as text; the number of a row that resists, 0 if none is known to."""
        if self.layout.width == 1 or not _lines_end_rows(data):
            return 0
        try:
            table = self._table(data, text_fields)
        except pa.ArrowInvalid as error:
            named = _ROW.search(str(error))
            return int(named[1]) if named else 0
        if table.num_rows != _count_lines(data, table.num_rows):
            return 0
        originals = partial(_originals, data, first, table.num_rows)
        return self._rows(table.num_rows, [_flat(column) for column in table.columns], [], originals)

    def _table(self, data: bytes, text_fields: frozenset[str]) -> pa.Table:
        types = dict(self._types(text_fields))
        return pc.read_csv(
            pa.BufferReader(data),
            read_options=pc.ReadOptions(
                use_threads=False, column_names=self.layout.fields, block_size=max(len(data) + 1, BLOCK_BYTES)
            ),
            convert_options=pc.ConvertOptions(
                column_types=types, include_columns=list(types), null_values=_NULLS, strings_can_be_null=True
            ),
        )

    def _types(self, text_fields: frozenset[str]) -> Iterator[tuple[str, pa.DataType]]:
        for index, field in enumerate(self.layout.fields):
            if index >= len(self.layout.names):
                yield field, pa.string() if field in text_fields else pa.null()
            elif column := self.layout.columns[index]:
                yield field, _read_type(column, as_text=field in text_fields)

    def _resisting(self, lines: bytes) -> frozenset[str]:
        """Return the fields whose values in the first lines are not of their declared type: codes as words."""
        every = frozenset(self.layout.fields)
        if self._reads(lines, frozenset()) or not self._reads(lines, every):
            return frozenset()
        return frozenset(field for field in every if not self._reads(lines, every - {field}))

    def _reads(self, lines: bytes, text_fields: frozenset[str]) -> bool:
        try:
            self._table(lines, text_fields)
        except pa.ArrowInvalid:
            return False
        return True

    def _rows(self, count: int, arrays: list[pa.Array], broken: list[Reject], originals: partial[_Originals]) -> Rows:
        columns: dict[str, list[pa.Array]] = {}
        known = [column for column in self.layout.columns if column]
        for column, array in zip(known, arrays, strict=False):
            columns.setdefault(column.name, []).append(array)
        return Rows(count, columns, arrays[len(known) :], broken, originals)

    def _line_by_line(self, data: bytes, first: int) -> Rows:
        wanted = [int(field[1:]) for field, _ in self._types(frozenset())]
        broken: list[Reject] = []
        good: list[list[str]] = []
        kept: list[tuple[int, bytes]] = []
        for line, raw in enumerate(data.split(b"\n"), start=first):
            if not raw.strip():
                continue
            fields = _values(raw, wanted, len(self.layout.names), self.layout.width)
            if isinstance(fields, str):
                broken.append(Reject(line, fields, _text(raw)))
            else:
                good.append(fields)
                kept.append((line, raw))
        arrays = [array_of([row[place] for row in good], pa.string()) for place in range(len(wanted))]
        return self._rows(len(good), arrays, broken, partial(_kept_originals, kept))


_Originals = list[tuple[int, str]]


def _originals(data: bytes, first: int, rows: int, indices: Sequence[int]) -> _Originals:
    starts, lines = _line_starts(data, rows)
    spans = [(first + int(lines[index]), int(starts[index])) for index in indices]
    return [(line, _text(data[start : _line_end(data, start)])) for line, start in spans]


def _kept_originals(kept: Sequence[tuple[int, bytes]], indices: Sequence[int]) -> _Originals:
    return [(kept[index][0], _text(kept[index][1])) for index in indices]


def _read_type(column: Column, *, as_text: bool) -> pa.DataType:
    if column.types.arrow == "string" or (as_text and column.type == "code"):
        return _DICTIONARY
    return pa.string() if as_text else pa.type_for_alias(column.types.arrow)


def _header(head: bytes, path: Path) -> tuple[list[str], int, bytes]:
    """Return the published names, how many lines to skip with them, and what follows; the first lines may be blank."""
    start = len(head) - len(head.removeprefix(BOM).lstrip())
    if start == len(head):
        message = f"{path.name} is empty."
        raise CorruptFile(message, "Fetch it again, or look at what its source holds.")
    end = _line_end(head, start)
    names = _split(head[start:end].strip())
    if isinstance(names, str):
        message = f"{path.name}: its first line is {names}: {_text(head[start:end])[:80]!r}."
        raise SchemaDrift(message, "Look at what its source holds, and fetch it again.")
    plain = [name.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for name in names]
    return plain, head[:start].count(b"\n") + 1, head[end + 1 :]


def _width(body: bytes, names: int) -> int:
    """Return how many fields most of the first rows have: 2016H2 has 19 under 17 names."""
    rows = (_split(line) for line in body.split(b"\n", _SNIFF_LINES)[:_SNIFF_LINES] if line.strip())
    widths = Counter(len(row) for row in rows if not isinstance(row, str))
    return max(names, *(width for width, _ in widths.most_common(1)), 1)


def _values(raw: bytes, wanted: Sequence[int], names: int, width: int) -> list[str] | str:
    """Return the wanted fields of one line, or say why it is no row."""
    fields = _split(raw)
    if isinstance(fields, str):
        return fields
    if len(fields) < names or any(field.strip() for field in fields[width:]):
        return f"{len(fields)} fields where {names} are named"
    fields += [""] * (width - len(fields))
    values = [fields[index] for index in wanted]
    if any("\udc80" <= character <= "\udcff" for value in values if not value.isascii() for character in value):
        return "not readable as text: it is not UTF-8"
    return values


def _split(raw: bytes) -> list[str] | str:
    """Split one line into its fields, or say why that can't be; bytes that aren't UTF-8 become surrogates."""
    reader = csv.reader([raw.rstrip(b"\r").decode("utf-8", "surrogateescape"), ""])
    try:
        fields = next(reader)
    except csv.Error as error:
        return f"not readable as text: {error}"
    return fields if reader.line_num == 1 else "not readable as text: a quote is not closed"


def _blocks(stream: BinaryIO, first: int, path: Path) -> Iterator[Block]:
    rest = b""
    while piece := stream.read(BLOCK_BYTES):
        cut = piece.rfind(b"\n") + 1
        if cut == 0:
            rest += piece
            _refuse_endless_line(rest, first, path)
            continue
        data = rest + piece[:cut]
        yield Block(first, data)
        first += data.count(b"\n")
        rest = piece[cut:]
    if rest.strip():
        yield Block(first, rest)


def _refuse_endless_line(rest: bytes, line: int, path: Path) -> None:
    if len(rest) > LINE_BYTES:
        message = f"{path.name}: line {line} is longer than {LINE_BYTES:,} bytes."
        raise CorruptFile(message, "Look at what its source holds, and fetch it again.")


def _first_lines(body: bytes) -> bytes:
    """Return the first whole lines, enough to see what words a file uses for codes."""
    return body[: body.rfind(b"\n", 0, _SNIFF_BYTES) + 1] or body


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file, unzipped if its name says so; what is wrong with its bytes is a ``CorruptFile``."""
    try:
        with igzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            yield stream
    except _BROKEN_GZIP as error:
        message = f"{path.name} is damaged or cut off: {error}"
        raise CorruptFile(message, "Fetch it again.") from error


def _parts(data: bytes, first: int, culprit: int) -> list[tuple[bytes, int]]:
    """Cut lines before and after a row, or in two if none is named; few lines are not cut."""
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n")) + 1
    if len(ends) < _FEW_LINES:
        return []
    cuts = {culprit - 1, culprit} if 0 < culprit < len(ends) else {len(ends) // 2}
    edges = [0, *(int(ends[cut - 1]) for cut in sorted(cuts) if cut), len(data)]
    spans = [(start, end) for start, end in pairwise(edges) if start < end]
    return [(data[start:end], first + data.count(b"\n", 0, start)) for start, end in spans]


def _lines_end_rows(data: bytes) -> bool:
    """Tell whether the count of rows shows every line that is no row: a lone carriage return adds one.

    A quote left open swallows the next line, which takes one off; so where there are quotes, there must be no lone
    carriage return, and no open quote in the last line.
    """
    if b'"' not in data:
        return True
    if data.count(b"\r") != data.count(b"\r\n"):
        return False
    return not isinstance(_split(data.rstrip().rpartition(b"\n")[2]), str)


def _count_lines(data: bytes, rows: int) -> int:
    """Count the lines that aren't blank, the slow way only if there may be blank ones."""
    lines = data.count(b"\n") + (not data.endswith(b"\n"))
    return lines if lines == rows else sum(1 for line in data.split(b"\n") if line.strip())


def _line_starts(data: bytes, rows: int) -> tuple[Sequence[int], Sequence[int]]:
    """Return, for each row, the offset of its line in ``data`` and the line's index; blank lines are no rows."""
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
    starts = np.concatenate(([0], ends + 1))
    starts = starts[starts < len(data)]
    if len(starts) == rows:
        return starts, range(rows)  # type: ignore[return-value]
    kept = [index for index, start in enumerate(starts) if data[start : _line_end(data, start)].strip()]
    return starts[kept], kept  # type: ignore[return-value]


def _line_end(data: bytes, start: int) -> int:
    end = data.find(b"\n", start)
    return len(data) if end < 0 else end


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\r").decode("utf-8", "backslashreplace")


def _flat(column: pa.ChunkedArray) -> pa.Array:
    """Return a parsed column as one array: a block is parsed in one chunk, and an empty one in none."""
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [pa.nulls(0, column.type)])
