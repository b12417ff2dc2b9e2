"""How much a Parquet file's pages hold when they are unpacked, read in their headers before any is.

Arrow makes room for what a page says of itself before it looks inside: one damaged byte asks for 2 GB. And Arrow's own
view of a footer ends the process where the footer is damaged (parquet::ParquetException, "Definition level histogram
size mismatch"). So footer and headers are read here first, in little Python.
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift has what the numbers mean.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import pyarrow.parquet as pq

from nyctaxi_etl.core.errors import CorruptFile
from nyctaxi_etl.core.limits import BATCH_BYTES, BATCH_ROWS, FOOTER_BYTES, PAGE_BYTES
from nyctaxi_etl.staging.thrift import Reader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nyctaxi_etl.staging.thrift import Fields, Value

# What is read ahead of one column.
_READ_AHEAD_BYTES = 1 << 20
# A page's header takes some 30 bytes, with the extremes of short values less than 200.
_HEADER_BYTES = (512, 1 << 20)
_MAGIC = b"PAR1"
_FETCH_AGAIN = "It is damaged, or no month of trips: fetch it again."


class Column(NamedTuple):
    """A column of one row group: its name, and where in the file its pages lie."""

    name: str
    start: int
    end: int


class Page(NamedTuple):
    """A page's size when it is unpacked, and how many values it says it holds."""

    unpacked: int
    values: int


def open_published(source: Any, **options: Any) -> pq.ParquetFile:
    """Open a published file to be read in bounded memory: row groups page by page, texts as dictionaries.

    A long text that is written once then stays one in memory. Raises what Arrow raises.
    """
    metadata = pq.read_metadata(source)
    columns = (metadata.schema.column(index) for index in range(metadata.num_columns))
    texts = [c.path for c in columns if c.physical_type == "BYTE_ARRAY" and c.max_repetition_level == 0]
    # Without pre_buffer and with a buffer, a row group of a whole month is read page by page.
    frugal = {"pre_buffer": False, "buffer_size": _READ_AHEAD_BYTES}
    return pq.ParquetFile(source, metadata=metadata, read_dictionary=texts, **frugal, **options)


def rows_at_once(path: Path) -> int:
    """Return how many rows of a file can be read at once in bounded memory: fewer, the longer its values are.

    Raises ``CorruptFile`` for a footer or a page's header that can't be read, and for a page over ``PAGE_BYTES``.
    """
    longest: dict[str, float] = {}
    with path.open("rb") as file:
        for column in _columns(file, path):
            for page in _pages(file, column, path):
                if not 0 <= page.unpacked <= PAGE_BYTES:
                    message = f"{path.name}: a page of column {column.name} is said to have {page.unpacked:,} bytes."
                    raise CorruptFile(message, _FETCH_AGAIN)
                longest[column.name] = max(longest.get(column.name, 1), page.unpacked / max(page.values, 1))
    return max(1, min(BATCH_ROWS, int(BATCH_BYTES / max(sum(longest.values()), 1))))


def _columns(file: BinaryIO, path: Path) -> Iterator[Column]:
    """Yield the columns of each row group, as the footer (FileMetaData) has them."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 8))
    tail = file.read()
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != _MAGIC or not 0 < length <= min(FOOTER_BYTES, size - 8):
        message = f"{path.name} has no footer of Parquet's at its end."
        raise CorruptFile(message, _FETCH_AGAIN)
    file.seek(size - 8 - length)
    try:
        footer = Reader(file.read(length)).struct()
    except (IndexError, ValueError):
        message = f"{path.name}: its footer can't be read."
        raise CorruptFile(message, _FETCH_AGAIN) from None
    for group in _list(footer, 4):  # RowGroup
        for chunk in _list(_fields(group), 1):  # ColumnChunk
            about = _fields(_fields(chunk).get(3))  # ColumnMetaData
            if _number(about, 5) == 0:  # no values: an empty row group has pages that nobody reads
                continue
            first, dictionary = _number(about, 9), _number(about, 11)
            start = dictionary if 0 < dictionary < first else first
            name = b".".join(part for part in _list(about, 3) if isinstance(part, bytes)).decode("utf-8", "replace")
            yield Column(name, start, start + _number(about, 7))


def _pages(file: BinaryIO, column: Column, path: Path) -> Iterator[Page]:
    """Yield a column's pages."""
    start = column.start
    while 0 <= start < column.end:
        for most in _HEADER_BYTES:
            file.seek(start)
            header = Reader(file.read(most))
            try:
                fields = header.struct()
            except (IndexError, ValueError):
                continue
            break
        else:
            message = f"{path.name}: a page of its column {column.name} can't be read."
            raise CorruptFile(message, _FETCH_AGAIN)
        # Of the kinds of page, the data page (5), the dictionary (7) and the data page of version 2 (8) have values.
        counts = (_number(_fields(fields.get(kind)), 1) for kind in (5, 7, 8))
        yield Page(_number(fields, 2), max(counts))
        start += header.position + max(0, _number(fields, 3))


def _number(fields: Fields, number: int) -> int:
    value = fields.get(number)
    return value if isinstance(value, int) else 0


def _list(fields: Fields, number: int) -> list[Value]:
    value = fields.get(number)
    return value if isinstance(value, list) else []


def _fields(value: Value) -> Fields:
    return value if isinstance(value, dict) else {}
