"""CSV becomes blocks of rows: whole lines, of which none is lost, whatever stands in it.

A block is first parsed as it is. If it has lines that are no rows, these are sorted out, and the others parsed. Columns
with values that aren't of their declared type are parsed as text. Decision 0002 tells why.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.csv as pc

from nyctaxi_etl.core.errors import QualityError
from nyctaxi_etl.core.limits import BLOCK_BYTES, LINE_BYTES
from nyctaxi_etl.core.signatures import BOM
from nyctaxi_etl.readers.csv_blocks import line_blocks, read_header
from nyctaxi_etl.readers.csv_lines import Lines, ends_within_quotes, has_lone_returns, lines_in, not_blank
from nyctaxi_etl.readers.csv_sorting import Fields, sort_lines
from nyctaxi_etl.readers.layout import Block, Layout, Rows, find_layout
from nyctaxi_etl.staging.arrow_types import arrow_type
from nyctaxi_etl.staging.rejects import none_rejected

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from pathlib import Path

    from nyctaxi_etl.schema.columns import Column

# "In CSV column #3: Row #57: CSV conversion error to int16: invalid value 'x'".
_COLUMN = re.compile(r"In CSV column #(\d+):")
# A block is parsed anew for each column that resists; after so many all its columns are read as text.
_TRIES = 3
_DICTIONARY = pa.dictionary(pa.int32(), pa.string())
# NA is a payment type and N/A a zone, so only what no file means as a value is null.
_NULLS = ["", "NaN", "nan", "NULL", "null"]


class CsvFile:
    """A CSV file, plain or gzipped: its layout and its blocks of lines."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        """Read the header. Raises ``CorruptFile`` for bytes of another kind, ``SchemaDrift`` for other columns."""
        self.path = path
        header = read_header(path)
        self._skip = header.lines
        self.layout = find_layout(header.names, columns, path, width=header.width)
        self._types = dict(_read_types(self.layout))
        wanted = frozenset(int(field[1:]) for field in self._types)
        self._fields = Fields(len(header.names), self.layout.width, wanted)
        whole = (field for field, (kind, _) in self._types.items() if pa.types.is_integer(kind))
        self._whole_numbers = frozenset(whole)
        # Fields with values that are not of their declared type, as far as has been seen: codes as words. Threads that
        # add to it at once cost each other a second try at most.
        self._as_text: frozenset[str] = frozenset()

    @property
    def columns(self) -> frozenset[str]:
        """The names of the declared columns that the file has."""
        return frozenset(column.name for column in self.layout.columns if column)

    def blocks(self) -> Generator[Block[bytes]]:
        """Yield the file's data lines in order, in blocks of about a mebibyte: see ``line_blocks``."""
        return line_blocks(self.path, self._skip)

    def parse(self, block: Block[bytes]) -> Rows:
        """Parse a block into typed columns, or text where typing fails; never loses a line."""
        return self._at_once(block) or self._sorted(block)

    def _at_once(self, block: Block[bytes]) -> Rows | None:
        """Parse lines of which each is a row; ``None`` if one isn't.

        The rows are counted against the lines. A quote left open takes a row off, and so does a blank line, which is
        not counted; what would add one is ruled out first, or two errors could cancel in that count.
        """
        data, lines = block.data, lines_in(block.data, block.first)
        # To Arrow a carriage return ends a line wherever it stands, a byte order mark is nothing at the start of any
        # block, and white space is a row where there is one column. A quote left open takes in all that follows, and
        # the row is not missed if it is in the last line.
        if self.layout.width == 1 or data.startswith(BOM) or lines.longest > LINE_BYTES or has_lone_returns(data):
            return None
        if ends_within_quotes(data) or (table := self._table(data)) is None:
            return None
        if table.num_rows != len(lines):
            lines = lines.pick(not_blank(lines))
        return self._rows(table, lines, none_rejected()) if table.num_rows == len(lines) else None

    def _sorted(self, block: Block[bytes]) -> Rows:
        """Parse the lines that are rows, and set aside those that are none."""
        parts = sort_lines(block.data, block.first, self._fields)
        if not len(parts.rows):  # Arrow refuses to read nothing
            empty = [pa.nulls(0, kind) for kind, _ in self._types.values()]
            return self._rows(pa.Table.from_arrays(empty, list(self._types)), parts.rows, parts.rejects)
        table = self._table(parts.data)
        if table is None or table.num_rows != len(parts.rows):
            message = f"{self.path.name}: its rows can't be told apart after line {block.first - 1}."
            raise QualityError(message, "Please report it, with these lines.")
        return self._rows(table, parts.rows, parts.rejects)

    def _table(self, data: bytes) -> pa.Table | None:
        """Parse whole lines, columns that resist as text; ``None`` if it is not a column that resists."""
        # Arrow reads hexadecimal 0x1 as a number, which no file means: it is for the casts to refuse.
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

    def _read(self, data: bytes, text: frozenset[str]) -> pa.Table:
        """Parse whole lines with Arrow; the fields in ``text`` as text, the others in their declared types."""
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


def _flat(column: pa.ChunkedArray) -> pa.Array:
    """Return a parsed column as one array: a block is parsed in one chunk, and an empty one in none."""
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [pa.nulls(0, column.type)])
