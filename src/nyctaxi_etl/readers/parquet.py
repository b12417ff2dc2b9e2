"""Parquet becomes blocks of rows: batch by batch, only the columns that mean something."""

from __future__ import annotations

import json
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nyctaxi_etl.core.errors import CorruptFile
from nyctaxi_etl.core.limits import BATCH_BYTES, PARQUET_ROW_BYTES, REJECT_BYTES, refuse_what_swells
from nyctaxi_etl.readers.json_text import as_json
from nyctaxi_etl.readers.layout import Block, Rows, find_layout, refuse_other_kinds
from nyctaxi_etl.staging.arrays import array as array_of
from nyctaxi_etl.staging.arrays import from_numbers, scalar
from nyctaxi_etl.staging.arrow_types import in_common_type, is_text
from nyctaxi_etl.staging.damage import parquet_damage
from nyctaxi_etl.staging.pages import open_published, rows_at_once
from nyctaxi_etl.staging.rejects import as_text, none_rejected

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from pathlib import Path

    import numpy as np

    from nyctaxi_etl.schema.columns import Column

_HEAD_BYTES = 1_000
_FETCH_AGAIN = "Fetch it again."


class ParquetFile:
    """A Parquet file: its layout and its batches."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        self.path = path
        with _opened(path) as file:
            names, kinds = file.schema_arrow.names, file.schema_arrow.types
        self.layout = find_layout(names, columns, path, width=len(names))
        # A month in which a column is empty has it without a type: airport_fee until 2020-11, ehail_fee until 2023-01.
        published = zip(names, kinds, self.layout.columns, strict=True)
        self._read = {name: column for name, kind, column in published if column and not pa.types.is_null(kind)}

    @property
    def columns(self) -> frozenset[str]:
        """The names of the declared columns that the file has values for."""
        return frozenset(column.name for column in self._read.values())

    def blocks(self) -> Generator[Block[pa.RecordBatch]]:
        """Yield the file's rows in order, only the columns that mean something.

        Raises ``CorruptFile`` for damaged bytes, and at the end if there are more or fewer rows than the footer says.
        """
        first = 1
        size = self.path.stat().st_size
        with _opened(self.path) as file:
            refuse_what_swells(self.path, size, 0, file.metadata.num_rows, PARQUET_ROW_BYTES)
            batches = file.iter_batches(rows_at_once(self.path), columns=list(self._read))
            while (batch := _next(batches, self.path)) is not None:
                for part in _slices(_in_common_types(batch), self.path):
                    yield Block(first, part)
                    first += part.num_rows
                refuse_what_swells(self.path, size, 0, first, PARQUET_ROW_BYTES)
            if first - 1 != file.metadata.num_rows:
                message = f"{self.path.name} has {first - 1:,} rows where its footer says {file.metadata.num_rows:,}."
                raise CorruptFile(message, _FETCH_AGAIN)

    def parse(self, block: Block[pa.RecordBatch]) -> Rows:
        """Sort a batch's columns by what they mean."""
        batch = block.data
        columns: dict[str, list[pa.Array]] = {}
        for name, array in zip(batch.schema.names, batch.columns, strict=True):
            columns.setdefault(self._read[name].name, []).append(array)
        return Rows(batch.num_rows, columns, [], none_rejected(), partial(_originals, batch, block.first))


def _in_common_types(batch: pa.RecordBatch) -> pa.RecordBatch:
    columns = [_cut_long_texts(in_common_type(column)) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, batch.schema.names)


def _cut_long_texts(column: pa.Array) -> pa.Array:
    """Cut texts that are too long to be a value to what is kept of a row that is set aside."""
    if not pa.types.is_dictionary(column.type) or not is_text(column.type):
        return column
    words = column.dictionary
    if not len(words) or pc.max(pc.binary_length(words)).as_py() <= REJECT_BYTES:
        return column
    texts = [None if word is None else as_text(word) for word in words.cast(pa.large_binary()).to_pylist()]
    return pa.DictionaryArray.from_arrays(column.indices, array_of(texts, pa.string()))


def _slices(batch: pa.RecordBatch, path: Path) -> Iterator[pa.RecordBatch]:
    """Cut a batch into slices of which none takes much more than ``BATCH_BYTES`` with its dictionaries written out.

    Raises ``CorruptFile`` for a value that its dictionary doesn't have: Arrow reads it unasked.
    """
    encoded = [column for column in batch.columns if pa.types.is_dictionary(column.type)]
    if any((pc.max(column.indices).as_py() or 0) >= max(len(column.dictionary), 1) for column in encoded):
        message = f"{path.name} is not a whole Parquet file: a dictionary lacks values that are used."
        raise CorruptFile(message, _FETCH_AGAIN)
    words = [column.dictionary for column in encoded]
    longest = sum(pc.max(pc.binary_length(each)).as_py() or 0 for each in words if len(each))
    rows = max(1, BATCH_BYTES // max(longest, 1))
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def _originals(batch: pa.RecordBatch, first: int, picked: np.ndarray) -> tuple[np.ndarray, pa.Array]:
    """Return the numbers of the picked rows, and each as a JSON object, cut to what is kept of a row."""
    rows = batch.take(from_numbers(picked))
    members: list[pa.Array | str] = []
    for name, column in dict(zip(batch.schema.names, rows.columns, strict=True)).items():
        members += [f"{', ' if members else '{'}{json.dumps(name)}: ", as_json(column)]
    parts = [scalar(part, pa.string()) if isinstance(part, str) else part for part in members]
    texts = pc.binary_join_element_wise(*parts, scalar("}", pa.string()), scalar("", pa.string()))
    if pc.max(pc.binary_length(texts)).as_py() > REJECT_BYTES:
        texts = array_of([as_text(text.encode()) for text in texts.to_pylist()], pa.string())
    return first + picked, texts


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    """Open the file; where it is of another kind altogether, say so rather than that it is damaged."""
    with pa.OSFile(str(path)) as source:
        try:
            # Spark's 96-bit timestamps would overflow in the year 2262 if they were read as nanoseconds.
            with parquet_damage(path.name, _FETCH_AGAIN):
                file = open_published(source, coerce_int96_timestamp_unit="us")
        except CorruptFile:
            with path.open("rb") as stream:
                refuse_other_kinds(stream.read(_HEAD_BYTES), path)
            raise
        with file:
            yield file


def _next(batches: Iterator[pa.RecordBatch], path: Path) -> pa.RecordBatch | None:
    with parquet_damage(path.name, _FETCH_AGAIN):
        return next(batches, None)
