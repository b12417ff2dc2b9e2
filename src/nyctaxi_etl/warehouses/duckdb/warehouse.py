"""The embedded warehouse: one DuckDB file. It is open only while a month goes in, so processes take turns."""

from __future__ import annotations

from contextvars import copy_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from nyctaxi_etl.core.errors import UsageError
from nyctaxi_etl.core.progress import Event, tell
from nyctaxi_etl.schema.columns import FILE_MONTH, quote
from nyctaxi_etl.staging.files import batches, schema_of
from nyctaxi_etl.warehouses.base import (
    Capabilities,
    both,
    check_cleaned,
    check_columns,
    check_ours,
    check_rows,
    cleaned,
    drops,
    is_ours,
    now,
    owner_mark,
    table_columns,
)
from nyctaxi_etl.warehouses.duckdb.file import check_folder, opened
from nyctaxi_etl.warehouses.ledger import KEY, LEDGER, LEDGER_TABLE, LedgerRow, entry, lacking, succeeding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from contextvars import Context
    from datetime import date
    from types import TracebackType
    from typing import Self

    from nyctaxi_etl.core.partition import Stage
    from nyctaxi_etl.schema.columns import Column, Dataset

LOCK_SECONDS = 120.0
_MONTH = quote(FILE_MONTH.name)
# No table can be named so, see ``schema.table_name``.
_STAGED = "staged rows"


class DuckDB:
    """A DuckDB file as a warehouse; the file is made when the first month goes in."""

    def __init__(self, path: str, lock_seconds: float = LOCK_SECONDS) -> None:
        if path in {"", ":memory:"}:
            message = "duckdb:/// names no file: what is loaded into memory is gone when the command ends."
            raise UsageError(message, "Name one with `to=duckdb:///path`.", about="to")
        self.path = Path(path)
        self._lock_seconds = lock_seconds

    # The file is held while a month goes in, so other months and processes wait for it.
    capabilities = Capabilities(streams=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hold nothing open between the calls."""

    def loaded(self, table: str) -> tuple[LedgerRow, ...]:
        """Return the ledger's rows of ``table``, by month; none if the table isn't there."""
        if not self.path.exists():
            check_folder(self.path)
            return ()
        with self._open() as connection:
            tables = _tables(connection)
            if LEDGER_TABLE not in tables or not is_ours(tables.get(table)):
                return ()
            return _ledger_rows(connection, "table_name = ? ORDER BY file_month", [table])

    def replace(self, table: str, dataset: Dataset, staged: Stage, run_id: str, raw_table: str | None = None) -> int:
        """Replace one month of ``table``: see ``Warehouse.replace``."""
        names, dropped = both(table, raw_table), drops(dataset, staged.partition.month) if raw_table else ""
        with self._open(str(staged.partition)) as connection:
            for name in names:
                _prepare(connection, name, dataset)
            rows = _move(connection, names[0], staged)
            check_rows(staged, names[0], rows)
            row = entry(names[0], staged, run_id, now())
            _record(connection, row)
            if not raw_table:
                return rows
            tell(Event(str(staged.partition), "load", rows, rows, note=f"making {table} of {raw_table}"))
            return _clean(connection, row, table, dataset, dropped)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement that only reads, and return its rows."""
        with self._open() as connection:
            return connection.execute(sql).fetchall()

    def _open(self, subject: str = "") -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        return opened(self.path, self._lock_seconds, subject)


def _prepare(connection: duckdb.DuckDBPyConnection, table: str, dataset: Dataset) -> None:
    """Make the ledger and the table if need be, refuse a foreign one, add columns that the dataset has gained."""
    connection.execute(f"CREATE TABLE IF NOT EXISTS {quote(LEDGER_TABLE)} ({_ddl(LEDGER)})")
    for column in lacking(_columns(connection, LEDGER_TABLE)):
        connection.execute(f"ALTER TABLE {quote(LEDGER_TABLE)} ADD COLUMN {_ddl([column])}")
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
    wanted = {column.name: column.types.duckdb for column in columns}
    for name in check_columns(table, _columns(connection, table), wanted):
        connection.execute(f"ALTER TABLE {quote(table)} ADD COLUMN {quote(name)} {wanted[name]}")


def _move(connection: duckdb.DuckDBPyConnection, table: str, staged: Stage) -> int:
    """Delete the month, insert the staged rows, and return how many rows the table counts for it."""
    month = [staged.partition.month.first_day]
    _delete(connection, table, month)
    schema, faults = schema_of(staged), list[BaseException]()
    names = ", ".join(map(quote, schema.names))
    told = _told(staged, faults, copy_context())
    reader = pa.RecordBatchReader.from_batches(schema, told)
    connection.register(_STAGED, reader)
    statement = f"INSERT INTO {quote(table)} ({names}, {_MONTH}) SELECT {names}, ? FROM {quote(_STAGED)}"  # noqa: S608 - names are quoted
    try:
        connection.execute(statement, month)
    except duckdb.Error:
        _raise_first(faults)
        raise
    connection.unregister(_STAGED)
    return _count(connection, table, month)


def _clean(connection: duckdb.DuckDBPyConnection, raw: LedgerRow, table: str, dataset: Dataset, dropped: str) -> int:
    """Make the month of ``table`` anew of the raw table's rows but the ``dropped``, and return how many they are."""
    month, names = [raw.file_month], _names(table_columns(dataset))
    row = cleaned(raw, table, dataset, _count(connection, raw.table_name, month, dropped))
    _delete(connection, table, month)
    rows = f"SELECT {names} FROM {quote(raw.table_name)} WHERE {_MONTH} = ? AND NOT {dropped}"  # noqa: S608 - names are quoted
    connection.execute(f"INSERT INTO {quote(table)} ({names}) {rows}", month)
    check_cleaned(row, _count(connection, table, month))
    _record(connection, row)
    return row.rows_loaded


def _delete(connection: duckdb.DuckDBPyConnection, table: str, month: list[date]) -> None:
    connection.execute(f"DELETE FROM {quote(table)} WHERE {_MONTH} = ?", month)  # noqa: S608 - names are quoted


def _count(connection: duckdb.DuckDBPyConnection, table: str, month: list[date], where: str = "true") -> int:
    sql = f"SELECT count(*) FROM {quote(table)} WHERE {_MONTH} = ? AND {where}"  # noqa: S608 - names are quoted
    return int(connection.execute(sql, month).fetchall()[0][0])


def _told(staged: Stage, faults: list[BaseException], context: Context) -> Iterator[pa.RecordBatch]:
    """Yield the staged batches, telling how far they are in ``context``: a thread of DuckDB's may ask for them.

    What goes wrong is kept in ``faults``, as DuckDB makes a text of it.
    """
    done = 0
    try:
        for batch in batches(staged):
            yield batch
            done += batch.num_rows
            context.run(tell, Event(str(staged.partition), "load", done, staged.rows_expected))
    except (Exception, KeyboardInterrupt) as fault:
        faults.append(fault)
        raise


def _raise_first(faults: Sequence[BaseException]) -> None:
    for fault in faults:
        raise fault from None


def _record(connection: duckdb.DuckDBPyConnection, row: LedgerRow) -> None:
    where, month = " AND ".join(f"{quote(name)} = ?" for name in KEY), [row.table_name, row.file_month]
    row = succeeding(row, next(iter(_ledger_rows(connection, where, month)), None))
    connection.execute(f"DELETE FROM {quote(LEDGER_TABLE)} WHERE {where}", month)  # noqa: S608 - names are quoted
    marks = ", ".join("?" for _ in LEDGER)
    connection.execute(f"INSERT INTO {quote(LEDGER_TABLE)} ({_names(LEDGER)}) VALUES ({marks})", row.values())  # noqa: S608 - names are quoted


def _ledger_rows(connection: duckdb.DuckDBPyConnection, where: str, values: list[Any]) -> tuple[LedgerRow, ...]:
    found = connection.execute(f"SELECT * FROM {quote(LEDGER_TABLE)} WHERE {where}", values)  # noqa: S608 - names are quoted
    names = [name for name, *_ in found.description]
    return tuple(LedgerRow.read(dict(zip(names, row, strict=True))) for row in found.fetchall())


def _tables(connection: duckdb.DuckDBPyConnection) -> dict[str, str | None]:
    """Return the comments of the tables and views in the current schema, by name."""
    sql = (
        "SELECT table_name, comment FROM duckdb_tables() WHERE schema_name = current_schema() UNION ALL "
        "SELECT view_name, NULL FROM duckdb_views() WHERE schema_name = current_schema()"
    )
    return dict(connection.execute(sql).fetchall())


def _columns(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    """Return the types of a table's columns, by name."""
    sql = "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ? AND schema_name = current_schema()"
    return dict(connection.execute(sql, [table]).fetchall())


def _ddl(columns: Iterable[Column]) -> str:
    return ", ".join(f"{quote(c.name)} {c.types.duckdb}{' NOT NULL' if c is FILE_MONTH else ''}" for c in columns)


def _names(columns: Iterable[Column]) -> str:
    return ", ".join(quote(column.name) for column in columns)
