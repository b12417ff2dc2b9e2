"""The embedded warehouse: one DuckDB file. It is open only while a month goes in, so processes take turns."""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from nyctaxi_etl.errors import Transient, UsageError, WarehouseError
from nyctaxi_etl.ledger import KEY, LEDGER, LEDGER_TABLE, LedgerRow, entry
from nyctaxi_etl.progress import Event, tell
from nyctaxi_etl.schema import FILE_MONTH, quote
from nyctaxi_etl.stagefile import arrow_schema, batches
from nyctaxi_etl.warehouses import check_columns, check_ours, check_rows, now, owner_mark, table_columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import Self

    from nyctaxi_etl.model import Partition, Staged
    from nyctaxi_etl.schema import Column, Dataset

LOCK_SECONDS = 120.0
_PAUSE_SECONDS = 0.1
# Enough for the row groups in flight; a transaction of any size spills to the file itself.
_SETTINGS = {"memory_limit": "512MB", "threads": "2", "preserve_insertion_order": "false"}
_MONTH = quote(FILE_MONTH.name)


class DuckDB:
    """A DuckDB file as a warehouse; the file is made when the first month goes in."""

    def __init__(self, path: str, lock_seconds: float = LOCK_SECONDS) -> None:
        self.path = Path(path)
        self._lock_seconds = lock_seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hold nothing open between the calls."""

    def loaded(self, table: str) -> tuple[LedgerRow, ...]:
        """Return the ledger's rows of ``table``, by month; none if the table isn't there."""
        if not self.path.exists():
            return ()
        with self._open() as connection:
            if not {table, LEDGER_TABLE} <= _tables(connection).keys():
                return ()
            sql = f"SELECT {_names(LEDGER)} FROM {quote(LEDGER_TABLE)} WHERE table_name = ? ORDER BY file_month"  # noqa: S608 - names are quoted
            return tuple(LedgerRow(*row) for row in connection.execute(sql, [table]).fetchall())

    def replace(self, table: str, dataset: Dataset, staged: Staged, run_id: str) -> int:
        """Replace one month of ``table``: see ``Warehouse.replace``."""
        with self._open(staged.partition) as connection, _transaction(connection):
            _prepare(connection, table, dataset)
            rows = _move(connection, table, dataset, staged)
            check_rows(staged, table, rows)
            row = entry(table, staged, run_id, now())
            _forget(connection, table, row)
            marks = ", ".join("?" for _ in LEDGER)
            connection.execute(f"INSERT INTO {quote(LEDGER_TABLE)} ({_names(LEDGER)}) VALUES ({marks})", row.values())  # noqa: S608 - names are quoted
        return rows

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement that only reads, and return its rows."""
        with self._open() as connection:
            return connection.execute(sql).fetchall()

    @contextmanager
    def _open(self, partition: Partition | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the file, waiting while another process holds it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + self._lock_seconds
        while True:
            try:
                connection = duckdb.connect(str(self.path), config=dict(_SETTINGS))
                break
            except duckdb.Error as error:
                _wait_for_lock(self.path, error, deadline, partition)
        with connection:
            yield connection


def _wait_for_lock(path: Path, error: duckdb.Error, deadline: float, partition: Partition | None) -> None:
    text = str(error).splitlines()[0]
    if "lock" not in text:
        message = f"{path} can't be opened as a DuckDB file: {text}"
        raise (UsageError if isinstance(error, duckdb.IOException) else WarehouseError)(
            message, "Name another file with --to duckdb:///path."
        ) from error
    if time.monotonic() > deadline:
        message = f"{path} is held by another program: {text}"
        raise WarehouseError(
            message, "Close what has it open, then run again: finished months are not loaded twice."
        ) from error
    if partition:
        tell(Event(partition, "load", note=f"waiting for another program that holds {path.name}"))
    time.sleep(_PAUSE_SECONDS)


@contextmanager
def _transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Commit at the end, or roll back. A conflict with another thread's month is ``Transient``."""
    try:
        connection.begin()
        yield
        connection.commit()
    except duckdb.TransactionException as error:
        message = f"DuckDB: {str(error).splitlines()[0]}"
        raise Transient(message, "Another month was committed at the same moment.") from error
    except duckdb.Error as error:
        message = f"DuckDB refused: {str(error).splitlines()[0]}"
        raise WarehouseError(message, "The month is what it was before.") from error


def _prepare(connection: duckdb.DuckDBPyConnection, table: str, dataset: Dataset) -> None:
    """Make the ledger and the table if need be, refuse a foreign one, add columns that the dataset has gained."""
    connection.execute(f"CREATE TABLE IF NOT EXISTS {quote(LEDGER_TABLE)} ({_ddl(LEDGER)})")
    columns = table_columns(dataset)
    comment = _tables(connection).get(table, "absent")
    if comment == "absent":
        connection.execute(f"CREATE TABLE {quote(table)} ({_ddl(columns)})")
        connection.execute(f"COMMENT ON TABLE {quote(table)} IS '{owner_mark(dataset)}'")
        for column in columns:
            about = column.about.replace("'", "''")
            connection.execute(f"COMMENT ON COLUMN {quote(table)}.{quote(column.name)} IS '{about}'")
        connection.execute(f"DELETE FROM {quote(LEDGER_TABLE)} WHERE table_name = ?", [table])  # noqa: S608 - names are quoted
        return
    check_ours(table, dataset, comment)
    sql = "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ? AND schema_name = current_schema()"
    found = dict(connection.execute(sql, [table]).fetchall())
    wanted = {column.name: column.types.duckdb for column in columns}
    for name in check_columns(table, found, wanted):
        connection.execute(f"ALTER TABLE {quote(table)} ADD COLUMN {quote(name)} {wanted[name]}")


def _move(connection: duckdb.DuckDBPyConnection, table: str, dataset: Dataset, staged: Staged) -> int:
    """Delete the month, insert the staged rows, and return how many rows the table counts for it."""
    month = [staged.partition.month.first_day]
    connection.execute(f"DELETE FROM {quote(table)} WHERE {_MONTH} = ?", month)  # noqa: S608 - names are quoted
    reader = pa.RecordBatchReader.from_batches(arrow_schema(dataset.columns), _told(staged))
    connection.register("staged", reader)
    names = _names(dataset.columns)
    connection.execute(f"INSERT INTO {quote(table)} ({names}, {_MONTH}) SELECT {names}, ? FROM staged", month)  # noqa: S608 - names are quoted
    connection.unregister("staged")
    counted = connection.execute(f"SELECT count(*) FROM {quote(table)} WHERE {_MONTH} = ?", month).fetchone()  # noqa: S608 - names are quoted
    return int(counted[0]) if counted else 0


def _told(staged: Staged) -> Iterator[pa.RecordBatch]:
    """Yield the staged batches, telling how far they are."""
    done = 0
    for batch in batches(staged):
        yield batch
        done += batch.num_rows
        tell(Event(staged.partition, "load", done, staged.rows_loaded))


def _forget(connection: duckdb.DuckDBPyConnection, table: str, row: LedgerRow) -> None:
    where = " AND ".join(f"{quote(name)} = ?" for name in KEY)
    connection.execute(f"DELETE FROM {quote(LEDGER_TABLE)} WHERE {where}", [table, row.file_month])  # noqa: S608 - names are quoted


def _tables(connection: duckdb.DuckDBPyConnection) -> dict[str, str | None]:
    """Return the comments of the tables and views in the current schema, by name."""
    sql = (
        "SELECT table_name, comment FROM duckdb_tables() WHERE schema_name = current_schema() UNION ALL "
        "SELECT view_name, NULL FROM duckdb_views() WHERE schema_name = current_schema()"
    )
    return dict(connection.execute(sql).fetchall())


def _ddl(columns: Iterable[Column]) -> str:
    return ", ".join(f"{quote(c.name)} {c.types.duckdb}{' NOT NULL' if c is FILE_MONTH else ''}" for c in columns)


def _names(columns: Iterable[Column]) -> str:
    return ", ".join(quote(column.name) for column in columns)
