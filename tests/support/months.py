"""Months of a few given rows: staged as the pipeline stages them, or published as files of a folder."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from nyctaxi_etl.core.lineage import Lineage
from nyctaxi_etl.core.partition import Color, Month, Partition, RawFile
from nyctaxi_etl.schema.columns import Column, Dataset
from nyctaxi_etl.staging.files import StagedFile, arrow_schema, writing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Row = tuple[Any, ...]

# Small, and with a column of every kind that matters to a load but the extremes.
TRIPS = Dataset(
    Color.GREEN,
    (
        Column("trip", "total", about="Which trip it is."),
        Column("pickup_datetime", "time", about="When it began; a driver's word."),
        Column("fare_amount", "money", about="Fare, USD."),
        Column("zone", "text", about="Where."),
    ),
    (),
    Month(2013, 8),
    "Trips of a test.",
)

_FHV_HEADER = "dispatching_base_num,pickup_datetime,dropOff_datetime,PUlocationID,DOlocationID,SR_Flag"


def trips(numbers: Iterable[int]) -> list[Row]:
    """Make rows of ``TRIPS``, each different by its number, with nulls among them."""
    start = datetime(2021, 1, 1)  # noqa: DTZ001 - published without a zone
    return [
        (number, start + timedelta(seconds=number), number / 4, None if number % 3 else f"zone {number}")
        for number in numbers
    ]


def stage_rows(  # noqa: PLR0913 - each names one thing that a staged month says of itself
    folder: Path,
    month: str,
    rows: Sequence[Row],
    dataset: Dataset = TRIPS,
    *,
    batch_rows: int = 2,
    rejected: int = 0,
    lost: int = 0,
) -> StagedFile:
    """Stage ``rows`` (values in the order of the columns) as a month of ``dataset`` in ``folder``.

    ``rejected`` rows are said to have been set aside; ``lost`` more are said to be in the file than are.
    """
    kept = len(rows) + lost
    _handle, name = tempfile.mkstemp(".arrow", dir=folder)
    path, schema = Path(name), arrow_schema(dataset.columns)
    with writing(path, dataset.columns) as write:
        for start in range(0, len(rows), batch_rows):
            values = zip(*rows[start : start + batch_rows], strict=True)
            arrays = [pa.array(column, field.type) for column, field in zip(values, schema, strict=True)]
            write(pa.record_batch(arrays, schema=schema))
    partition = Partition(dataset.color, Month.parse(month))
    lineage = replace(
        Lineage.of(_raw(partition, path), dataset.version, dataset.rules_id),
        rows_read=kept + rejected,
        rows_rejected=rejected,
        rows_loaded=kept,
        unknown_columns=("left", "right"),
    )
    return StagedFile(partition, lineage, path)


def publish(folder: Path, month: str, rows: int, base: str) -> Partition:
    """Write a month of ``rows`` for-hire trips, all of one base, as a CSV file in ``folder``, in place of another."""
    partition = Partition(Color.FHV, Month.parse(month))
    line = f"{base},{month}-01 00:00:00,{month}-01 00:10:00,1,265,\n"
    folder.mkdir(exist_ok=True)
    (folder / f"{partition.stem}.csv").write_text(f"{_FHV_HEADER}\n{line * rows}")
    return partition


def _raw(partition: Partition, path: Path) -> RawFile:
    return RawFile(
        partition=partition,
        path=path,
        source="folder",
        url=f"file://{path}",
        etag='"an-etag"',
        last_modified="Sat, 01 May 2021 00:00:00 GMT",
        bytes=path.stat().st_size,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        mtime_ns=path.stat().st_mtime_ns,
    )
