"""Postgres: a table partitioned by month. A month is copied into a table of its own, which takes the old one's place.

The long part, the COPY, touches no table that anyone reads. What others wait for is the exchange at the end.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from pgpq import ArrowToPostgresBinaryEncoder
from sqlalchemy.exc import DBAPIError

from nyctaxi_etl.errors import Transient, WarehouseError
from nyctaxi_etl.ledger import KEY, LEDGER, LEDGER_TABLE, LedgerRow, entry
from nyctaxi_etl.progress import Event, tell
from nyctaxi_etl.schema import FILE_MONTH, quote
from nyctaxi_etl.stagefile import arrow_schema, batches
from nyctaxi_etl.warehouses import check_columns, check_ours, check_rows, now, owner_mark, table_columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from sqlalchemy.engine import Engine

    from nyctaxi_etl.model import Partition, Staged
    from nyctaxi_etl.schema import Column, Dataset

_Cursor = psycopg.Cursor[tuple[Any, ...]]

# What libpq says when a connection can't be made for a reason that won't pass.
_FINAL = ("authentication failed", "no password supplied", "does not exist", "no pg_hba.conf entry", "not permitted")


class Postgres:
    """A Postgres database as a warehouse, reached through a SQLAlchemy engine with the psycopg driver."""

    def __init__(self, engine: Engine) -> None:
        if engine.dialect.driver != "psycopg":
            message = f"Postgres is reached with the driver {engine.dialect.driver}, which can't copy in binary."
            raise WarehouseError(message, "Use postgresql+psycopg in the address or block.")
        self._engine = engine

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the engine's connections."""
        self._engine.dispose()

    def loaded(self, table: str) -> tuple[LedgerRow, ...]:
        """Return the ledger's rows of ``table``, by month; none if the table isn't there."""
        with self._transaction() as cursor:
            if not (_schema(cursor, table) and _schema(cursor, LEDGER_TABLE)):
                return ()
            statement = f"SELECT {_names(LEDGER)} FROM {quote(LEDGER_TABLE)} WHERE table_name = %s ORDER BY file_month"  # noqa: S608 - names are quoted
            return tuple(LedgerRow(*row) for row in _run(cursor, statement, [table]).fetchall())

    def replace(self, table: str, dataset: Dataset, staged: Staged, run_id: str) -> int:
        """Replace one month of ``table``: see ``Warehouse.replace``."""
        with self._transaction() as cursor:
            _lock(cursor, table)
            _prepare(cursor, table, dataset)
        with self._transaction() as cursor:
            # One loader a month; the table's own lock is taken only for the exchange, so other months go on meanwhile.
            _lock(cursor, f"{table} {staged.partition.month}")
            schema = _schema(cursor, table)
            fresh = f"{quote(schema)}.{quote(_partition_name(table, staged.partition) + '_new')}"
            _create(cursor, fresh, _columns(cursor, table), staged.partition)
            rows = _copy(cursor, fresh, dataset, staged)
            check_rows(staged, table, rows)
            _lock(cursor, table)
            _exchange(cursor, schema, table, staged.partition)
            _record(cursor, entry(table, staged, run_id, now()))
        return rows

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement that only reads, and return its rows."""
        with self._transaction() as cursor:
            return _run(cursor, sql).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[_Cursor]:
        """Give a cursor of a connection of its own; commit at the end, or roll back."""
        try:
            with self._engine.connect() as outer:
                connection = outer.connection.driver_connection
                assert isinstance(connection, psycopg.Connection)  # noqa: S101 - the driver was checked
                with connection.transaction(), connection.cursor() as cursor:
                    yield cursor
        except (psycopg.Error, DBAPIError) as error:
            raise _understood(error, self._engine) from error


def _understood(error: Exception, engine: Engine) -> Transient | WarehouseError:
    cause = error.orig if isinstance(error, DBAPIError) else error
    text = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
    place = f"Postgres at {engine.url.host or 'the local socket'}"
    if isinstance(cause, psycopg.OperationalError) and not any(word in str(cause) for word in _FINAL):
        return Transient(f"{place}: {text}", "Is the server up? The month is what it was; run again.")
    if isinstance(cause, psycopg.OperationalError):
        return WarehouseError(f"{place}: {text}", "Set PGPASSWORD or the password file, or check the block's settings.")
    if isinstance(cause, psycopg.errors.InsufficientPrivilege):
        return WarehouseError(f"{place}: {text}", "The user needs CREATE on the schema and owns the tables it loads.")
    return WarehouseError(f"{place} refused: {text}", "The month is what it was before.")


def _prepare(cursor: _Cursor, table: str, dataset: Dataset) -> None:
    """Make the ledger and the table if need be, refuse a foreign one, add columns that the dataset has gained."""
    key = ", ".join(quote(name) for name in KEY)
    _run(cursor, "SET LOCAL client_min_messages = warning")
    _run(cursor, f"CREATE TABLE IF NOT EXISTS {quote(LEDGER_TABLE)} ({_ddl(LEDGER)}, PRIMARY KEY ({key}))")
    columns = table_columns(dataset)
    if not _schema(cursor, table):
        _run(cursor, f"CREATE TABLE {quote(table)} ({_ddl(columns)}) PARTITION BY LIST ({quote(FILE_MONTH.name)})")
        _comment(cursor, f"TABLE {quote(table)}", f"{owner_mark(dataset)}, one partition a month")
        for column in columns:
            _comment(cursor, f"COLUMN {quote(table)}.{quote(column.name)}", column.about)
        _run(cursor, f"DELETE FROM {quote(LEDGER_TABLE)} WHERE table_name = %s", [table])  # noqa: S608 - names are quoted
        return
    statement = "SELECT obj_description(oid, 'pg_class'), relkind::text FROM pg_class WHERE oid = to_regclass(%s)"
    mark, kind = _run(cursor, statement, [quote(table)]).fetchall()[0]
    check_ours(table, dataset, mark)
    if kind != "p":
        message = f"Table {table} is not partitioned by month."
        raise WarehouseError(message, "It is left as it is: choose another name with --table, or rename that one.")
    wanted = {column.name: column.types.postgres for column in columns}
    for name in check_columns(table, _columns(cursor, table), wanted):
        _run(cursor, f"ALTER TABLE {quote(table)} ADD COLUMN {quote(name)} {wanted[name]}")


def _create(cursor: _Cursor, fresh: str, columns: Mapping[str, str], partition: Partition) -> None:
    """Make the month's table, free of any lock on the parent: its CHECK spares the exchange a scan."""
    ddl = ", ".join(f"{quote(name)} {kind}" for name, kind in columns.items() if name != FILE_MONTH.name)
    day, name = f"DATE '{partition.month.first_day}'", quote(FILE_MONTH.name)
    _run(cursor, f"CREATE TABLE {fresh} ({ddl}, {name} date NOT NULL DEFAULT {day} CHECK ({name} = {day}))")


def _copy(cursor: _Cursor, fresh: str, dataset: Dataset, staged: Staged) -> int:
    """Copy the staged rows in binary, and return how many the server says it took."""
    encoder = ArrowToPostgresBinaryEncoder(arrow_schema(dataset.columns))
    # FREEZE: the table is of this transaction, so its rows need no second visit by vacuum.
    statement = f"COPY {fresh} ({_names(dataset.columns)}) FROM STDIN (FORMAT BINARY, FREEZE)"
    with cursor.copy(statement.encode()) as copy:
        copy.write(encoder.write_header())
        done = 0
        for batch in batches(staged):
            copy.write(encoder.write_batch(batch))
            done += batch.num_rows
            tell(Event(staged.partition, "load", done, staged.rows_loaded))
        copy.write(encoder.finish())
    return cursor.rowcount


def _exchange(cursor: _Cursor, schema: str, table: str, partition: Partition) -> None:
    """Put the new month in the old one's place."""
    parent, name = f"{quote(schema)}.{quote(table)}", _partition_name(table, partition)
    old, fresh = f"{quote(schema)}.{quote(name)}", f"{quote(schema)}.{quote(name + '_new')}"
    statement = "SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass(%s) AND inhrelid = to_regclass(%s)"
    if _run(cursor, statement, [parent, old]).fetchall():
        _run(cursor, f"ALTER TABLE {parent} DETACH PARTITION {old}")
        _run(cursor, f"DROP TABLE {old}")
    _run(cursor, f"ALTER TABLE {fresh} RENAME TO {quote(name)}")
    _run(cursor, f"ALTER TABLE {parent} ATTACH PARTITION {old} FOR VALUES IN ('{partition.month.first_day}')")


def _record(cursor: _Cursor, row: LedgerRow) -> None:
    where = " AND ".join(f"{quote(name)} = %s" for name in KEY)
    _run(cursor, f"DELETE FROM {quote(LEDGER_TABLE)} WHERE {where}", [row.table_name, row.file_month])  # noqa: S608 - names are quoted
    marks = ", ".join("%s" for _ in LEDGER)
    _run(cursor, f"INSERT INTO {quote(LEDGER_TABLE)} ({_names(LEDGER)}) VALUES ({marks})", row.values())  # noqa: S608 - names are quoted


def _lock(cursor: _Cursor, name: str) -> None:
    """Wait for a lock on a name, held to the end of the transaction."""
    _run(cursor, "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"nyctaxi {name}"])


def _schema(cursor: _Cursor, table: str) -> str:
    """Return the schema in which the search path finds ``table``, or nothing."""
    statement = "SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass(%s)"
    rows = _run(cursor, statement, [quote(table)]).fetchall()
    return str(rows[0][0]).strip('"') if rows else ""


def _columns(cursor: _Cursor, table: str) -> dict[str, str]:
    """Return the table's columns and their types, in order, without locking it."""
    statement = (
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
    )
    short = {"timestamp without time zone": "timestamp"}
    return {str(name): short.get(kind, str(kind)) for name, kind in _run(cursor, statement, [quote(table)]).fetchall()}


def _comment(cursor: _Cursor, thing: str, text: str) -> None:
    escaped = text.replace("'", "''")
    _run(cursor, f"COMMENT ON {thing} IS '{escaped}'")


def _partition_name(table: str, partition: Partition) -> str:
    return f"{table}_{partition.month.year:04d}_{partition.month.number:02d}"


def _run(cursor: _Cursor, statement: str, values: Sequence[object] | None = None) -> _Cursor:
    return cursor.execute(statement.encode(), values)


def _ddl(columns: Iterable[Column]) -> str:
    return ", ".join(f"{quote(c.name)} {c.types.postgres}{' NOT NULL' if c is FILE_MONTH else ''}" for c in columns)


def _names(columns: Iterable[Column]) -> str:
    return ", ".join(quote(column.name) for column in columns)
