"""How a month lies in the lake: zstd Parquet, written in bounded memory, with what is known of it in its own footer.

Measured on 1,370,000 yellow rows: level 3 costs a twentieth of a second more than level 1 and saves 8 % of the bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from nyctaxi_etl.core.disk import disk_errors_as
from nyctaxi_etl.core.errors import LakeError
from nyctaxi_etl.core.progress import Event, tell
from nyctaxi_etl.lakes.base import DISK_HINT
from nyctaxi_etl.lakes.metadata import month_metadata
from nyctaxi_etl.schema.datasets import DATASETS
from nyctaxi_etl.staging.damage import parquet_damage
from nyctaxi_etl.staging.files import arrow_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from nyctaxi_etl.staging.stage import Stage

ROW_GROUP_ROWS = 1 << 20
# pyarrow writes a row group from a table that is in memory as a whole. 80 MiB of Arrow are 790,000 yellow rows, or
# 20 MiB of encoded pages; BigQuery asks for row groups of 16 MiB or more. A million rows would be 160 MiB.
ROW_GROUP_BYTES = 80 << 20
LEVEL = 3
_PREFIX = b"nyctaxi."


def write_parquet(rows: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path, metadata: Mapping[str, str]) -> None:
    """Write batches of ``schema`` to ``path``, and ``metadata`` into its footer under ``nyctaxi.<name>``.

    Holds at most ``ROW_GROUP_BYTES`` of rows, and writes at most ``ROW_GROUP_ROWS`` to a row group. Raises
    ``LakeError`` where the file can't be written.
    """
    _write(rows, schema, path, lambda: metadata)


def staged_parquet(staged: Stage, path: Path) -> None:
    """Write a month to ``path`` as the lake holds it, with its lineage: see ``write_parquet``.

    Every month has all columns of its dataset; those that its published file doesn't have are null.
    """
    columns = DATASETS[staged.partition.color].columns
    _write(_with_progress(staged), arrow_schema(columns), path, lambda: month_metadata(staged.lineage))


def _write(
    rows: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path, metadata: Callable[[], Mapping[str, str]]
) -> None:
    """Write as ``write_parquet`` does; ``metadata`` is asked for after the last batch, when all has been counted."""
    # Without Arrow's own copy of the schema, whose metadata would hide what is added last; Parquet's types say it all.
    options = {"compression": "zstd", "compression_level": LEVEL, "store_schema": False}
    with disk_errors_as(LakeError, path, DISK_HINT), pq.ParquetWriter(path, schema, **options) as writer:
        for group in _groups(rows, schema):
            writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
            del group  # or two are held while the next one is gathered
        writer.add_key_value_metadata({_PREFIX + name.encode(): text.encode() for name, text in metadata().items()})


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata in a Parquet file's footer, none if another program wrote it.

    Raises ``CorruptFile`` if it isn't a whole Parquet file, or its metadata is no text.
    """
    with parquet_damage(path, "Put it again with `nyctaxi upload --force`."):
        footer = pq.read_metadata(path).metadata or {}
        marked = {name: value for name, value in footer.items() if name.startswith(_PREFIX)}
        return {name.removeprefix(_PREFIX).decode(): value.decode() for name, value in marked.items()}


def _groups(rows: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Gather batches to row groups."""
    group: list[pa.RecordBatch] = []
    count = size = 0
    blanks: dict[pa.DataType, pa.Array] = {}
    for whole in rows:
        batch, weight = _with_shared_nulls(whole, schema, blanks)
        if group and (count + batch.num_rows > ROW_GROUP_ROWS or size + weight > ROW_GROUP_BYTES):
            yield pa.Table.from_batches(group)
            group, count, size = [], 0, 0
        group.append(batch)
        count, size = count + batch.num_rows, size + weight
    if group:
        yield pa.Table.from_batches(group)


def _with_shared_nulls(
    batch: pa.RecordBatch, schema: pa.Schema, blanks: dict[pa.DataType, pa.Array]
) -> tuple[pa.RecordBatch, int]:
    """Return the batch as ``schema`` wants it, and the bytes that it holds.

    Columns that it doesn't have, or of nulls alone, share one array of each type: a month has up to ten columns that
    its era didn't know, at eight bytes a row.
    """
    columns, weight, rows, names = [], 0, batch.num_rows, set(batch.schema.names)
    for wanted in schema:
        column = batch.column(wanted.name) if wanted.name in names else None
        if column is not None and column.null_count < rows:
            columns.append(column)
            weight += column.nbytes
            continue
        if wanted.type not in blanks or len(blanks[wanted.type]) < rows:
            blanks[wanted.type] = pa.nulls(rows, wanted.type)
        columns.append(blanks[wanted.type].slice(0, rows))
    return pa.RecordBatch.from_arrays(columns, schema=schema), weight


def _with_progress(staged: Stage) -> Iterator[pa.RecordBatch]:
    done = 0
    for batch in staged.batches():
        yield batch
        done += batch.num_rows
        tell(Event(str(staged.partition), "transform", done, staged.rows_expected))
