"""Published files made by a test, and what staging makes of them."""

from __future__ import annotations

import gzip
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from nyctaxi_etl.core.partition import Month, Partition, RawFile
from nyctaxi_etl.readers.layout import Reject
from nyctaxi_etl.staging.files import StagedFile, arrow_schema
from nyctaxi_etl.transform.stream import Limits, stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nyctaxi_etl.schema.columns import Dataset

JANUARY = Month(2019, 1)


@dataclass(frozen=True)
class Outcome:
    """A staged month, its rows and its rejects."""

    staged: StagedFile
    table: pa.Table
    rejects: list[Reject]

    def values(self, *names: str) -> list[Any]:
        """Return the rows' values of a column, or tuples of several."""
        columns = [self.table.column(name).to_pylist() for name in names]
        return columns[0] if len(names) == 1 else list(zip(*columns, strict=True))


def raw_file(path: Path, partition: Partition) -> RawFile:
    """Describe a file as a source describes it."""
    found = path.stat()
    return RawFile(partition, path, "folder", str(path), "", "", found.st_size, "0" * 64, found.st_mtime_ns)


def stage_file(
    path: Path, dataset: Dataset, month: Month = JANUARY, *, max_unparsable: float = 1.0, max_outside: float = 1.0
) -> Outcome:
    """Stage a file and read back what came of it; by default any share may be unparsable, or outside the month."""
    with tempfile.TemporaryDirectory() as name:
        staged = stage(
            raw_file(path, Partition(dataset.color, month)), dataset, Path(name), Limits(max_unparsable, max_outside)
        )
        table = _complete(pa.Table.from_batches(staged.batches(), schema=staged.schema), dataset)
        return Outcome(staged, table, rejects_in(staged.rejects))


def _complete(table: pa.Table, dataset: Dataset) -> pa.Table:
    """Add the columns that the file didn't have, null."""
    schema = arrow_schema(dataset.columns)
    held = set(table.column_names)
    columns = [table[f.name] if f.name in held else pa.nulls(table.num_rows, f.type) for f in schema]
    return pa.table(columns, schema=schema)


def rejects_in(path: Path | None) -> list[Reject]:
    """Read a rejects file."""
    if path is None:
        return []
    return [Reject(row["line"], row["reason"], row["raw"]) for row in pq.read_table(path).to_pylist()]


def stage_csv(
    content: bytes | str,
    dataset: Dataset,
    month: Month = JANUARY,
    *,
    max_unparsable: float = 1.0,
    max_outside: float = 1.0,
) -> Outcome:
    """Stage a CSV file of this content."""
    with tempfile.TemporaryDirectory() as folder:
        path = csv_file(Path(folder), content, dataset, month)
        return stage_file(path, dataset, month, max_unparsable=max_unparsable, max_outside=max_outside)


def csv_file(
    folder: Path, content: bytes | str, dataset: Dataset, month: Month = JANUARY, *, zipped: bool = False
) -> Path:
    """Write a CSV file of this content."""
    data = content.encode() if isinstance(content, str) else content
    path = folder / f"{Partition(dataset.color, month).stem}.csv{'.gz' if zipped else ''}"
    path.write_bytes(gzip.compress(data, 1) if zipped else data)
    return path


def stage_parquet(columns: dict[str, pa.Array | Sequence[Any]] | pa.Table, dataset: Dataset, **options: Any) -> Outcome:
    """Stage a Parquet file of these columns, written with these options."""
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{Partition(dataset.color, JANUARY).stem}.parquet"
        pq.write_table(table, path, **options)
        return stage_file(path, dataset)
