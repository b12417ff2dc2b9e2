"""Months as a pandas frame, or as record batches: of the lake or the embedded warehouse, only what is asked for."""

from __future__ import annotations

from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nyctaxi_etl import settings as config
from nyctaxi_etl.core.addresses import folder_of
from nyctaxi_etl.core.errors import CorruptFile, NotPublished, NycTaxiError, UsageError, WarehouseError
from nyctaxi_etl.core.partition import Month, Partition, parse_colors, parse_months, parse_years, select
from nyctaxi_etl.lakes.keys import trips_key
from nyctaxi_etl.lakes.opening import open_lake
from nyctaxi_etl.pipelines.ingest import BLOCK, Google
from nyctaxi_etl.schema.columns import FILE_MONTH, quote
from nyctaxi_etl.schema.datasets import DATASETS, FIRST_MONTHS
from nyctaxi_etl.warehouses.ledger import LEDGER_TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import BinaryIO

    import duckdb
    import pandas as pd
    import pyarrow as pa
    import pyarrow.dataset as ds

    from nyctaxi_etl.core.partition import Color
    from nyctaxi_etl.lakes.base import Lake
    from nyctaxi_etl.schema.columns import Column

BATCH_ROWS = 100_000
_WAREHOUSE = "duckdb"
_ATTACHED = "warehouse"
# Enough for the row groups in flight, however large the months are.
_SETTINGS = {"memory_limit": "512MB", "threads": "2"}
Parameters = dict[str, Any]


class _Request(NamedTuple):
    """Which months, which of their columns, and of which rows."""

    partitions: tuple[Partition, ...]
    columns: tuple[Column, ...]
    where: str | None
    parameters: Parameters


class _Place(NamedTuple):
    """Where months are: an open DuckDB, what it is to read a month from (None: it isn't there), what puts one there."""

    name: str
    connection: duckdb.DuckDBPyConnection
    source: Callable[[Partition], _Rows | None]
    command: str
    option: str


class _Rows(NamedTuple):
    """What DuckDB is to read a month from: a relation in SQL, and the file that it opens for it, if it is one."""

    sql: str
    file: str | None = None


def read_trips(  # noqa: PLR0913 - each narrows what is read
    color: str,
    year: int | str,
    months: int | str | Iterable[int] = "1-12",
    columns: Sequence[str] | None = None,
    where: str | None = None,
    *,
    parameters: Parameters | None = None,
    lake: str = _WAREHOUSE,
    data_dir: str | Path | None = None,
) -> pd.DataFrame:
    """Return months of trips as a pandas frame of Arrow-backed types, month by month.

    ``year`` and ``months`` are as on the command line (``2021``, ``"2019-2021"``; ``3``, ``"1-3"``, ``[1, 3]``).
    ``columns`` are canonical names, ``file_month`` among them; all if left out. ``where`` is a condition in DuckDB's
    SQL; values for its ``$name`` come from ``parameters``. ``lake`` is where to read: ``duckdb``, the embedded
    warehouse in ``data_dir`` (by default NYCTAXI_DATA_DIR's), ``duckdb:///path``, or a lake: ``lake``, a folder,
    ``gs://bucket/prefix`` or ``block:NAME``. Raises ``UsageError`` for an unknown column and a condition that can't be
    read, ``NotPublished`` naming the months that aren't there.
    """
    import pandas as pd
    import pyarrow as pa

    request = _request(color, year, months, columns, where, parameters)
    schema = _schema(request.columns)
    table = pa.Table.from_batches(_batches(request, lake, data_dir, BATCH_ROWS), schema)
    frame: pd.DataFrame = table.to_pandas(types_mapper=pd.ArrowDtype)
    return frame


def iter_trips(  # noqa: PLR0913 - as above
    color: str,
    year: int | str,
    months: int | str | Iterable[int] = "1-12",
    columns: Sequence[str] | None = None,
    where: str | None = None,
    *,
    parameters: Parameters | None = None,
    lake: str = _WAREHOUSE,
    data_dir: str | Path | None = None,
    batch_rows: int = BATCH_ROWS,
) -> Iterator[pa.RecordBatch]:
    """Yield what ``read_trips`` returns as record batches of at most ``batch_rows`` rows, in bounded memory."""
    request = _request(color, year, months, columns, where, parameters)
    if batch_rows < 1:
        message = f"batch_rows={batch_rows} is no number of rows."
        raise UsageError(message, "Ask for at least one.")
    return _batches(request, lake, data_dir, batch_rows)


def _request(  # noqa: PLR0913, PLR0917 - what a caller narrows it by
    color: str,
    year: int | str,
    months: int | str | Iterable[int],
    columns: Sequence[str] | None,
    where: str | None,
    parameters: Parameters | None,
) -> _Request:
    return _Request(_months(color, year, months), _columns(color, columns), _condition(where), parameters or {})


def _condition(where: str | None) -> str | None:
    """Return the condition if it is one, ``None`` for an empty one.

    What follows an expression (another statement, a FROM, a UNION, a bracket too many) would be run as well.
    """
    import duckdb

    if where is None or not where.strip():
        return None
    try:
        where.encode()
        duckdb.SQLExpression(where)
    except (duckdb.Error, UnicodeError) as error:
        raise _no_condition(where, error) from None
    return where


def _no_condition(where: str, error: Exception) -> UsageError:
    message = f"where={where!r} is no condition on trips: {_line(error)}"
    return UsageError(message, "Write one expression in SQL, with the columns' canonical names (`nyctaxi schema`).")


def _months(color: str, year: int | str, months: int | str | Iterable[int]) -> tuple[Partition, ...]:
    numbers = months if isinstance(months, (int, str)) else ",".join(map(str, months))
    today = datetime.now(UTC).date()
    return select([_color(color)], parse_years(str(year)), parse_months(str(numbers)), FIRST_MONTHS, today)[0]


def _color(text: str) -> Color:
    found = parse_colors([text])
    if len(found) > 1:
        message = f"{text} are {len(found)} colours, whose columns differ."
        raise UsageError(message, "Read one at a time.")
    return found[0]


def _columns(color: str, names: Sequence[str] | None) -> tuple[Column, ...]:
    known = {column.name: column for column in (*DATASETS[_color(color)].columns, FILE_MONTH)}
    wanted = tuple(known) if names is None else tuple(names)
    wrong = [name for name in wanted if name not in known]
    if wrong or not wanted:
        message = f"{color} trips have no column {wrong[0]!r}." if wrong else "No column is asked for."
        raise UsageError(message, f"They have {', '.join(known)}.")
    return tuple(known[name] for name in wanted)


def _batches(request: _Request, lake: str, data_dir: str | Path | None, rows: int) -> Iterator[pa.RecordBatch]:
    with ExitStack() as stack:
        place = _open(lake, _data_dir(data_dir), request.partitions[0], stack)
        sources = {partition: place.source(partition) for partition in request.partitions}
        missing = [partition for partition, source in sources.items() if source is None]
        if missing:
            message = f"{place.name} doesn't have {', '.join(map(str, missing))}."
            color, month = missing[0].color, missing[0].month
            what = f"{place.command} --color {color} --year {month.year} --months {month.number} {place.option}"
            raise NotPublished(message, f"Put it there first: nyctaxi {what}")
        there = {partition: source for partition, source in sources.items() if source}
        _shut(place.connection, [source.file for source in there.values() if source.file])
        for partition, source in there.items():
            with _readable(partition, place):
                yield from _reader(_relation(place, request, partition, source.sql), rows)


def _shut(connection: duckdb.DuckDBPyConnection, files: Sequence[str]) -> None:
    """Leave a connection nothing but what it has and these files: a condition can't read, write or change more."""
    allowed = ", ".join(_text(file) for file in files)
    connection.execute("SET python_enable_replacements = false")
    connection.execute(f"SET allowed_paths = [{allowed}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


@contextmanager
def _readable(partition: Partition, place: _Place) -> Iterator[None]:
    import duckdb
    import pyarrow as pa

    try:
        yield
    except (duckdb.Error, pa.ArrowException) as error:  # Arrow's: what DuckDB says in the middle of a month
        message = f"{partition} can't be read from {place.name}: {_line(error)}"
        kind = UsageError if isinstance(error, duckdb.DataError) else NycTaxiError
        raise kind(message, "Does the condition suit the rows, and is the month whole?") from error


def _relation(place: _Place, request: _Request, partition: Partition, source: str) -> duckdb.DuckDBPyRelation:
    """Return the month's rows as asked for. Columns that were declared after it was written are null."""
    import duckdb

    there = set(place.connection.sql(f"SELECT * FROM {source} LIMIT 0").columns)  # noqa: S608 - quoted
    every = ", ".join(_value(column, there) for column in DATASETS[partition.color].columns)
    month = f"DATE '{partition.month.first_day}' AS {quote(FILE_MONTH.name)}"
    only = f" WHERE {quote(FILE_MONTH.name)} = DATE '{partition.month.first_day}'" if FILE_MONTH.name in there else ""
    names = ", ".join(quote(column.name) for column in request.columns)
    sql = f"SELECT {names} FROM (SELECT {every}, {month} FROM {source}{only})"  # noqa: S608 - quoted
    if request.where is None:
        return place.connection.sql(sql)
    try:
        # On lines of its own, or a comment in it would hide the bracket.
        return place.connection.sql(f"{sql} WHERE (\n{request.where}\n)", params=request.parameters)
    except (duckdb.Error, TypeError, ValueError) as error:  # Python's: a parameter that DuckDB has no type for
        raise _no_condition(request.where, error) from error


def _value(column: Column, there: set[str]) -> str:
    name = quote(column.name)
    return name if column.name in there else f"NULL::{column.types.duckdb} AS {name}"


def _reader(relation: duckdb.DuckDBPyRelation, rows: int) -> pa.RecordBatchReader:
    # Renamed in DuckDB 1.5.
    read = getattr(relation, "to_arrow_reader", None) or relation.fetch_arrow_reader
    reader: pa.RecordBatchReader = read(rows)
    return reader


def _open(lake: str, data_dir: Path, first: Partition, stack: ExitStack) -> _Place:
    import duckdb

    if lake == _WAREHOUSE or lake.startswith("duckdb:///"):
        path = data_dir / "nyctaxi.duckdb" if lake == _WAREHOUSE else Path(lake.removeprefix("duckdb:///"))
        held, connection = _held(path, first, stack)
        rows = _Rows(quote(DATASETS[first.color].table))
        return _Place(str(path), connection, lambda p: rows if p in held else None, "ingest", f"--to {lake}")
    place = _lake(lake, data_dir)
    connection = stack.enter_context(closing(duckdb.connect(":memory:", config=dict(_SETTINGS))))
    return _Place(
        place.address, connection, lambda p: _in_lake(place, p, connection, stack), "upload", f"--lake {lake}"
    )


def _held(path: Path, first: Partition, stack: ExitStack) -> tuple[set[Partition], duckdb.DuckDBPyConnection]:
    """Return the colour's months that a DuckDB file holds, and the file, open to be read."""
    import duckdb

    connection = stack.enter_context(closing(duckdb.connect(":memory:", config=dict(_SETTINGS))))
    if not path.is_file():
        return set(), connection
    try:
        # Attached, it is read with settings of this connection alone, also where this process reads it elsewhere.
        connection.execute(f"ATTACH {_text(str(path))} AS {_ATTACHED} (TYPE duckdb, READ_ONLY)")
        connection.execute(f"USE {_ATTACHED}")
        sql = f"SELECT file_month FROM {quote(LEDGER_TABLE)} WHERE table_name = ?"  # noqa: S608 - quoted
        found = connection.execute(sql, [DATASETS[first.color].table]).fetchall()
    except duckdb.CatalogException:  # a DuckDB file without a ledger
        return set(), connection
    except duckdb.Error as error:
        message = f"{path} can't be opened: {_line(error)}"
        raise WarehouseError(message, "Close what has it open, or name another with lake='duckdb:///path'.") from error
    return {Partition(first.color, Month.of(day)) for (day,) in found}, connection


def _lake(address: str, data_dir: Path) -> Lake:
    if not address.startswith(BLOCK):
        return open_lake(address, data_dir, emulator=config.storage_emulator() or None)
    config.prepare_prefect(console=False)
    from nyctaxi_etl.orchestration import blocks

    blocks.start_server()
    return blocks.lake_behind(address.removeprefix(BLOCK), Google(storage_emulator=config.storage_emulator()))


def _in_lake(lake: Lake, partition: Partition, connection: duckdb.DuckDBPyConnection, stack: ExitStack) -> _Rows | None:
    """Return what DuckDB is to read a month of the lake from, if it is there: its file, or a bucket's object."""
    key = trips_key(partition)
    path = Path(lake.uri(key))
    if path.is_file() and not set("*?[") & set(str(path)):  # DuckDB takes these for patterns
        return _Rows(f"read_parquet({_text(str(path))})", str(path))
    if lake.facts(key) is None:
        return None
    connection.register(partition.stem, _dataset(stack.enter_context(lake.open(key)), partition, lake.uri(key)))
    return _Rows(quote(partition.stem))


def _dataset(file: BinaryIO, partition: Partition, uri: str) -> ds.Dataset:
    """Return an open Parquet file as what DuckDB asks for the columns and row groups that it needs."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    # Buffered ahead, the bytes of all row groups would be held until the end.
    parquet = ds.ParquetFileFormat(default_fragment_scan_options=ds.ParquetFragmentScanOptions(pre_buffer=False))
    fragment = parquet.make_fragment(file)
    try:
        schema = fragment.physical_schema
    except (pa.ArrowException, OSError) as error:
        message = f"{partition} can't be read from {uri}: {_line(error)}"
        raise CorruptFile(message, "Put it into the lake again with `nyctaxi upload --force`.") from error
    return ds.FileSystemDataset([fragment], schema, parquet)


def _schema(columns: Sequence[Column]) -> pa.Schema:
    from nyctaxi_etl.staging.files import arrow_schema

    return arrow_schema(columns)


def _data_dir(given: str | Path | None) -> Path:
    return folder_of(str(config.settings().data_dir if given is None else given), "--data-dir")


def _text(value: str) -> str:
    """Return a text as SQL's literal."""
    escaped = value.replace("'", "''")
    return f"'{escaped}'"


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
