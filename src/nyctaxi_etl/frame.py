"""Months as a pandas frame, or as record batches: of a lake or of a DuckDB file, only what is asked for."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds

from nyctaxi_etl import settings as config
from nyctaxi_etl.core.addresses import folder_of
from nyctaxi_etl.core.errors import CorruptFile, NotPublished, UsageError
from nyctaxi_etl.core.selection import parse_colors, parse_months, parse_years, select
from nyctaxi_etl.lakes.keys import trips_key
from nyctaxi_etl.orchestration.connections import lake_at
from nyctaxi_etl.orchestration.jobs import google_of
from nyctaxi_etl.pipelines.job import BLOCK
from nyctaxi_etl.schema.columns import FILE_MONTH, quote
from nyctaxi_etl.schema.datasets import DATASETS, FIRST_MONTHS
from nyctaxi_etl.staging.files import arrow_schema
from nyctaxi_etl.warehouses.duckdb import reading
from nyctaxi_etl.warehouses.duckdb.reading import Rows, Wanted
from nyctaxi_etl.warehouses.opening import duckdb_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import BinaryIO

    from duckdb import DuckDBPyConnection

    from nyctaxi_etl.core.partition import Color, Partition
    from nyctaxi_etl.lakes.base import Lake
    from nyctaxi_etl.schema.columns import Column

BATCH_ROWS = 100_000
DUCKDB = "duckdb"


class _Request(NamedTuple):
    """Which months, what of them, and where they are read."""

    color: Color
    partitions: tuple[Partition, ...]
    wanted: Wanted
    at: str
    data_dir: Path


class _Origin(NamedTuple):
    """Where months are: its name, what reads a month of it (``None``: it lacks it), and what brings one into it."""

    name: str
    rows_of: Callable[[Partition], Rows | None]
    command: str


def read_trips(  # noqa: PLR0913 - each narrows what is read
    color: str,
    year: int | str,
    months: int | str | Iterable[int] = "1-12",
    columns: Sequence[str] | None = None,
    where: str | None = None,
    *,
    parameters: Mapping[str, Any] | None = None,
    at: str = DUCKDB,
    data_dir: str | Path | None = None,
    lake: None = None,
) -> pd.DataFrame:
    """Return months of trips as a pandas frame of Arrow-backed types: a row a trip, month by month.

    ``year`` and ``months`` are as on the command line (``2021``, ``"2019-2021"``; ``3``, ``"1-3"``, ``[1, 3]``).
    ``columns`` are canonical names, ``file_month`` among them; all if left out. ``where`` is a condition in DuckDB's
    SQL; values for its ``$name`` come from ``parameters``. ``at`` is where to read: ``duckdb``, the embedded warehouse
    in ``data_dir`` (by default NYCTAXI_DATA_DIR's), ``duckdb:///path``, or a lake: ``lake`` (the data folder's), a
    folder, ``gs://bucket/prefix`` or ``block:NAME``. ``lake`` is what ``at`` was called before.

    Raises:
        UsageError: an unknown column, a condition that can't be read or does not suit the rows, a wrong address.
        NotPublished: months that are not in what is read; each is named.
        CorruptFile: a month of the lake is damaged.
        NycTaxiError: whatever else keeps a month from being read.
    """
    request = _request(color, year, months, columns, where, parameters, at, data_dir, lake)
    table = pa.Table.from_batches(_batches(request, BATCH_ROWS), arrow_schema(request.wanted.columns))
    frame: pd.DataFrame = table.to_pandas(types_mapper=pd.ArrowDtype)
    return frame


def iter_trips(  # noqa: PLR0913 - as above
    color: str,
    year: int | str,
    months: int | str | Iterable[int] = "1-12",
    columns: Sequence[str] | None = None,
    where: str | None = None,
    *,
    parameters: Mapping[str, Any] | None = None,
    at: str = DUCKDB,
    data_dir: str | Path | None = None,
    batch_rows: int = BATCH_ROWS,
    lake: None = None,
) -> Iterator[pa.RecordBatch]:
    """Yield what ``read_trips`` returns as record batches of at most ``batch_rows`` rows, in bounded memory.

    Raises:
        UsageError: at once, for what is asked wrongly; the other errors of ``read_trips`` when the batches come.
    """
    if batch_rows < 1:
        message = f"{batch_rows} is no number of rows."
        raise UsageError(message, "Ask for at least one.", about="batch_rows")
    return _batches(_request(color, year, months, columns, where, parameters, at, data_dir, lake), batch_rows)


def _request(  # noqa: PLR0913, PLR0917 - what a caller narrows it by
    color: str,
    year: int | str,
    months: int | str | Iterable[int],
    columns: Sequence[str] | None,
    where: str | None,
    parameters: Mapping[str, Any] | None,
    at: str,
    data_dir: str | Path | None,
    lake: object,
) -> _Request:
    if lake is not None:
        message = f"{lake!r}: where to read is said by at= now."
        raise UsageError(message, f"Write at={lake!r}.", about="lake")
    colors = parse_colors([color])
    if len(colors) > 1:
        message = f"{color} are {len(colors)} colours, whose columns differ."
        raise UsageError(message, "Read one at a time.")
    numbers = months if isinstance(months, (int, str)) else ",".join(map(str, months))
    today = datetime.now(UTC).date()
    partitions, _ = select(colors, parse_years(str(year)), parse_months(str(numbers)), FIRST_MONTHS, today)
    wanted = Wanted(_columns(colors[0], columns), reading.check_condition(where), parameters or {})
    folder = folder_of(str(config.settings().data_dir if data_dir is None else data_dir), "data_dir")
    return _Request(colors[0], partitions, wanted, at, folder)


def _columns(color: Color, names: Sequence[str] | None) -> tuple[Column, ...]:
    declared = {column.name: column for column in (*DATASETS[color].columns, FILE_MONTH)}
    wanted = tuple(declared) if names is None else tuple(names)
    wrong = [name for name in wanted if name not in declared]
    if wrong or not wanted:
        message = f"{color} trips have no column {wrong[0]!r}." if wrong else "No column is asked for."
        raise UsageError(message, f"They have {', '.join(declared)}.")
    return tuple(declared[name] for name in wanted)


def _batches(request: _Request, batch_rows: int) -> Iterator[pa.RecordBatch]:
    with reading.connect() as connection, ExitStack() as stack:
        file = duckdb_file(request.at, request.data_dir)
        origin = _lake(request, connection, stack) if file is None else _warehouse(request, Path(file), connection)
        rows = {partition: origin.rows_of(partition) for partition in request.partitions}
        _refuse_missing(origin, [partition for partition, one in rows.items() if one is None])
        present = {partition: one for partition, one in rows.items() if one}
        reading.restrict(connection, tuple(present.values()))
        for partition, one in present.items():
            yield from reading.read_batches(connection, partition, one, request.wanted, batch_rows)


def _refuse_missing(origin: _Origin, missing: Sequence[Partition]) -> None:
    if missing:
        color, month = missing[0].color, missing[0].month
        message = f"{origin.name} doesn't have {', '.join(map(str, missing))}."
        what = origin.command.format(months=f"--color {color} --year {month.year} --months {month.number}")
        raise NotPublished(message, f"Put it there first: nyctaxi {what}")


def _warehouse(request: _Request, file: Path, connection: DuckDBPyConnection) -> _Origin:
    """Return the months of a DuckDB file, by its ledger; of one that isn't there, none."""
    table = DATASETS[request.color].table
    months, rows = reading.loaded_months(connection, file, table), Rows(quote(table), str(file))
    return _Origin(str(file), lambda p: rows if p.month in months else None, f"ingest {{months}} --to {request.at}")


def _lake(request: _Request, connection: DuckDBPyConnection, stack: ExitStack) -> _Origin:
    """Return the months of a lake."""
    if request.at.startswith(BLOCK):
        config.prepare_prefect(console=False)
        from nyctaxi_etl.orchestration.blocks import start_server

        start_server()
    try:
        lake = lake_at(request.at, request.data_dir, google_of(config.settings()))
    except UsageError as error:
        if error.about != "lake":
            raise
        raise UsageError(error.message, error.hint.replace("`lake=`", "`at=`"), about="at") from error

    def rows_of(partition: Partition) -> Rows | None:
        return _rows_of(lake, partition, connection, stack)

    return _Origin(lake.address, rows_of, f"upload {{months}} --lake {request.at}")


def _rows_of(lake: Lake, partition: Partition, connection: DuckDBPyConnection, stack: ExitStack) -> Rows | None:
    """Return what reads a month of a lake, if it is there: its file, or as much of an object as is asked for."""
    key = trips_key(partition)
    path = Path(lake.uri(key))
    if path.is_file() and (rows := reading.parquet_rows(path)):
        return rows
    if lake.metadata(key) is None:
        return None
    connection.register(partition.stem, _dataset(stack.enter_context(lake.open(key)), partition, lake.uri(key)))
    return Rows(quote(partition.stem), lake.uri(key))


def _dataset(file: BinaryIO, partition: Partition, uri: str) -> ds.Dataset:
    """Return an open Parquet file as what DuckDB asks for the columns and row groups that it needs."""
    # Buffered ahead, the bytes of all row groups would be kept until the end.
    parquet = ds.ParquetFileFormat(default_fragment_scan_options=ds.ParquetFragmentScanOptions(pre_buffer=False))
    fragment = parquet.make_fragment(file)
    try:
        schema = fragment.physical_schema
    except (pa.ArrowException, OSError) as error:
        message = f"{partition} can't be read from {uri}: {reading.first_line(error)}"
        raise CorruptFile(message, "Put it into the lake again with `nyctaxi upload --force`.") from error
    return ds.FileSystemDataset([fragment], schema, parquet)
