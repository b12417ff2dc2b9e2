"""A published file becomes blocks of rows: its layout is found in the file itself, never guessed from its date.

CSV is cut into blocks of whole lines. A block is first parsed straight into the declared types; if a value resists,
it is read again as text, and if a line resists even that, line by line. So the clean block is fast and the dirty one
costs no more than itself.
"""

from __future__ import annotations

import csv
import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
from isal import igzip, isal_zlib

from nyctaxi_etl.datasets import INDEX_COLUMNS
from nyctaxi_etl.errors import CorruptFile, SchemaDrift
from nyctaxi_etl.schema import key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from nyctaxi_etl.schema import Column

# 1 MiB holds about 11,000 yellow rows; larger blocks are no faster and cost memory for each block in flight.
BLOCK_BYTES = 1 << 20
BATCH_ROWS = 65_536
SNIFF_BYTES = 100_000
_DICTIONARY = pa.dictionary(pa.int32(), pa.string())
# NA is a payment type and N/A a zone, so only what no file means as a value is null.
_NULLS = ["", "NaN", "nan", "NULL", "null"]
_BROKEN_GZIP: tuple[type[Exception], ...] = (EOFError, igzip.BadGzipFile, isal_zlib.error)


class Reject(NamedTuple):
    """A row that is not loaded: its line (or row) in the file from 1, why, and its raw text."""

    line: int
    reason: str
    raw: str


@dataclass(frozen=True)
class Layout:
    """The columns of one file: as published, and what each means (``None``: nothing that is declared)."""

    names: tuple[str, ...]
    columns: tuple[Column | None, ...]
    width: int

    @property
    def unknown(self) -> tuple[str, ...]:
        """Published names that no declared column knows, but pandas' index columns."""
        pairs = zip(self.names, self.columns, strict=True)
        return tuple(name.strip() for name, column in pairs if column is None and key(name) not in INDEX_COLUMNS)

    @property
    def fields(self) -> tuple[str, ...]:
        """A distinct name for every field of a row; fields beyond the published names included."""
        return tuple(f"f{index}" for index in range(self.width))


@dataclass(frozen=True)
class Block:
    """Some rows of a file, still raw: whole lines of CSV, or a batch of Parquet. ``first`` is its first line or row."""

    first: int
    data: bytes | pa.RecordBatch

    @property
    def size(self) -> int:
        """How many bytes it holds in memory."""
        return len(self.data) if isinstance(self.data, bytes) else self.data.nbytes


@dataclass(frozen=True)
class Rows:
    """A parsed block: ``columns`` holds, by canonical name, the arrays of its published columns, each ``count`` long.

    ``surplus`` are fields beyond the published names, which must be empty. ``broken`` are lines that are no rows.
    """

    block: Block
    count: int
    columns: dict[str, list[pa.Array]]
    surplus: list[pa.Array]
    broken: list[Reject]
    lines: Sequence[int] | None = None

    def originals(self, indices: Sequence[int]) -> list[tuple[int, str]]:
        """Return (line number, raw text) of the rows at ``indices``."""
        data = self.block.data
        if isinstance(data, pa.RecordBatch):
            picked = data.take(pa.array(indices, pa.int64())).to_pylist()
            texts = [json.dumps(row, default=str) for row in picked]
            return [(self.block.first + index, text) for index, text in zip(indices, texts, strict=True)]
        if self.lines is None:
            starts = _line_starts(data, self.count)
            spans = [(self.block.first + int(starts[1][i]), int(starts[0][i])) for i in indices]
            return [(line, _text(data[start : _line_end(data, start)])) for line, start in spans]
        every = data.split(b"\n")
        return [(self.block.first + self.lines[i], _text(every[self.lines[i]])) for i in indices]


class CsvFile:
    """A CSV file, plain or gzipped: its layout and its blocks of lines."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        self.path = path
        with _opened(path) as stream:
            head = stream.read(BLOCK_BYTES)
        _refuse_web_page(head, path)
        names, body = _header(head, path)
        self._skip = head[:body].count(b"\n")
        self.layout = _layout(names, columns, path, width=_width(head[body:], len(names)))
        self._text_fields = self._resisting(_first_lines(head[body:]))

    def blocks(self) -> Iterator[Block]:
        """Yield the file's data lines in order, in blocks of about a mebibyte."""
        with _opened(self.path) as stream:
            for _ in range(self._skip):
                stream.readline()
            yield from _blocks(stream, self._skip + 1)

    def parse(self, block: Block) -> Rows:
        """Parse a block into typed columns, or text where typing fails; never loses a line."""
        assert isinstance(block.data, bytes)  # noqa: S101 - tells the type checker which half of Block it is
        for text_fields in (self._text_fields, frozenset(self.layout.fields)):
            try:
                table = self._table(block.data, text_fields)
            except pa.ArrowInvalid:
                continue
            if table.num_rows == _count_lines(block.data, table.num_rows):
                return self._rows(block, table.num_rows, [_flat(column) for column in table.columns])
        return self._line_by_line(block)

    def _table(self, data: bytes, text_fields: frozenset[str]) -> pa.Table:
        return pc.read_csv(
            pa.BufferReader(data),
            read_options=pc.ReadOptions(
                use_threads=False, column_names=self.layout.fields, block_size=max(len(data) + 1, BLOCK_BYTES)
            ),
            convert_options=pc.ConvertOptions(
                column_types=dict(self._types(text_fields)),
                include_columns=[field for field, _ in self._types(text_fields)],
                null_values=_NULLS,
                strings_can_be_null=True,
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
        if self._parses(lines, frozenset()) or not self._parses(lines, every):
            return frozenset()
        return frozenset(field for field in every if not self._parses(lines, every - {field}))

    def _parses(self, lines: bytes, text_fields: frozenset[str]) -> bool:
        try:
            self._table(lines, text_fields)
        except pa.ArrowInvalid:
            return False
        return True

    def _rows(
        self,
        block: Block,
        count: int,
        arrays: list[pa.Array],
        broken: list[Reject] | None = None,
        lines: Sequence[int] | None = None,
    ) -> Rows:
        columns: dict[str, list[pa.Array]] = {}
        known = [column for column in self.layout.columns if column]
        for column, array in zip(known, arrays, strict=False):
            columns.setdefault(column.name, []).append(array)
        return Rows(block, count, columns, arrays[len(known) :], broken or [], lines)

    def _line_by_line(self, block: Block) -> Rows:
        broken: list[Reject] = []
        good: list[list[str]] = []
        lines: list[int] = []
        for offset, raw in enumerate(bytes(block.data).split(b"\n")):
            if not raw.strip():
                continue
            fields = _fields(raw, len(self.layout.names), self.layout.width)
            if isinstance(fields, str):
                broken.append(Reject(block.first + offset, fields, _text(raw)))
            else:
                good.append(fields)
                lines.append(offset)
        wanted = [int(field[1:]) for field, _ in self._types(frozenset())]
        arrays = [pa.array([row[index] for row in good], pa.string()) for index in wanted]
        return self._rows(block, len(good), arrays, broken, lines)


class ParquetFile:
    """A Parquet file: its layout and its batches."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        self.path = path
        with _parquet(path) as file:
            names = file.schema_arrow.names
        self.layout = _layout(names, columns, path, width=len(names))

    def blocks(self) -> Iterator[Block]:
        """Yield the file's rows in order, only the columns that mean something."""
        wanted = [name for name, column in zip(self.layout.names, self.layout.columns, strict=True) if column]
        first = 1
        with _parquet(self.path) as file:
            batches = file.iter_batches(BATCH_ROWS, columns=wanted)
            while batch := _next(batches, self.path):
                yield Block(first, batch)
                first += batch.num_rows

    def parse(self, block: Block) -> Rows:
        """Sort a batch's columns by what they mean."""
        assert isinstance(block.data, pa.RecordBatch)  # noqa: S101 - tells the type checker which half of Block it is
        meaning = dict(zip(self.layout.names, self.layout.columns, strict=True))
        columns: dict[str, list[pa.Array]] = {}
        for name, array in zip(block.data.schema.names, block.data.columns, strict=True):
            if column := meaning[name]:
                columns.setdefault(column.name, []).append(array)
        return Rows(block, block.data.num_rows, columns, [], [])


def open_trips(path: Path, columns: Sequence[Column]) -> CsvFile | ParquetFile:
    """Open a published file (``.parquet``, ``.csv.gz``, ``.csv``) and find its layout among declared ``columns``.

    Raises ``CorruptFile`` for bytes of another kind, ``SchemaDrift`` when a required column is missing.
    """
    return ParquetFile(path, columns) if path.suffix == ".parquet" else CsvFile(path, columns)


def _read_type(column: Column, *, as_text: bool) -> pa.DataType:
    if column.types.arrow == "string" or (as_text and column.type == "code"):
        return _DICTIONARY
    return pa.string() if as_text else pa.type_for_alias(column.types.arrow)


def _layout(names: Sequence[str], columns: Sequence[Column], path: Path, width: int) -> Layout:
    meaning = {name: column for column in columns for name in column.keys}
    found = tuple(meaning.get(key(name)) for name in names)
    for column in columns:
        if column.required and column not in found:
            message = f"{path.name}: no column means {column.name}; its first line begins {','.join(names)[:80]!r}."
            raise SchemaDrift(message, f"Known names: {', '.join((column.name, *column.aliases))}.")
    return Layout(tuple(names), found, width)


def _header(head: bytes, path: Path) -> tuple[list[str], int]:
    """Return the published names and where the data lines begin; blank lines before and after are skipped."""
    start = len(head) - len(head.lstrip())
    if start == len(head):
        message = f"{path.name} is empty."
        raise CorruptFile(message, "Fetch it again, or look at what its source holds.")
    end = _line_end(head, start)
    names = next(csv.reader([head[start:end].decode("utf-8-sig", "replace").strip()]))
    body = end + 1
    while body < len(head) and not head[body : _line_end(head, body)].strip():
        body = _line_end(head, body) + 1
    return names, min(body, len(head))


def _width(body: bytes, names: int) -> int:
    line = body[: _line_end(body, 0)]
    fields = next(csv.reader([line.decode("utf-8", "replace").rstrip("\r")]), [])
    return max(len(fields), names)


def _fields(raw: bytes, names: int, width: int) -> list[str] | str:
    """Split one line into ``width`` fields, or say why it is no row."""
    try:
        fields = next(csv.reader([raw.decode("utf-8").rstrip("\r")]))
    except (UnicodeDecodeError, csv.Error) as error:
        return f"not readable as text: {error}"
    if len(fields) < names:
        return f"{len(fields)} fields where {names} are named"
    if any(field.strip() for field in fields[width:]):
        return f"{len(fields)} fields where {names} are named"
    return (fields + [""] * width)[:width]


def _blocks(stream: BinaryIO, first: int) -> Iterator[Block]:
    rest = b""
    while piece := stream.read(BLOCK_BYTES):
        cut = piece.rfind(b"\n") + 1
        if cut == 0:
            rest += piece
            continue
        data = rest + piece[:cut]
        yield Block(first, data)
        first += data.count(b"\n")
        rest = piece[cut:]
    if rest.strip():
        yield Block(first, rest)


def _first_lines(body: bytes) -> bytes:
    """Return the first whole lines, enough to see what words a file uses for codes."""
    return body[: body.rfind(b"\n", 0, SNIFF_BYTES) + 1] or body


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file, unzipped if its name says so; what is wrong with its bytes is a ``CorruptFile``."""
    try:
        with igzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            yield stream
    except _BROKEN_GZIP as error:
        message = f"{path.name} is damaged or cut off: {error}"
        raise CorruptFile(message, "Fetch it again.") from error


@contextmanager
def _parquet(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        # Without pre_buffer and with a buffer, a row group of a whole month is read page by page.
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=BLOCK_BYTES) as file:
            yield file
    except pa.ArrowInvalid as error:
        with path.open("rb") as stream:
            _refuse_web_page(stream.read(BLOCK_BYTES), path)
        raise _damaged(path, error) from error


def _next(batches: Iterator[pa.RecordBatch], path: Path) -> pa.RecordBatch | None:
    try:
        return next(batches, None)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> CorruptFile:
    return CorruptFile(f"{path.name} is not a whole Parquet file: {str(error).splitlines()[0]}", "Fetch it again.")


def _refuse_web_page(head: bytes, path: Path) -> None:
    if head.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        message = f"{path.name} is a web page, not data."
        raise CorruptFile(message, "It was saved from an error or log-in page: fetch it again.")


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
    return column.chunk(0) if column.num_chunks == 1 else pa.array([], column.type)
