"""Postgres: a table partitioned by month. A month is copied into a table of its own, which takes the old one's place.

The long part, the COPY, touches no table that anyone reads. What others wait for is the exchange at the end.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from pgpq import ArrowToPostgresBinaryEncoder
from sqlalchemy.exc import DBAPIError

from nyctaxi_etl.errors import Transient, UsageError, WarehouseError
from nyctaxi_etl.ledger import KEY, LEDGER, LEDGER_TABLE, LedgerRow, entry
from nyctaxi_etl.progress import Event, tell
from nyctaxi_etl.schema import FILE_MONTH, quote
from nyctaxi_etl.stagefile import batches, schema_of
from nyctaxi_etl.warehouses import check_columns, check_ours, check_rows, now, owner_mark, table_columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import date
    from types import TracebackType
    from typing import Self

    from sqlalchemy.engine import Engine

    from nyctaxi_etl.model import Partition, Stage
    from nyctaxi_etl.schema import Column, Dataset

_Cursor = psycopg.Cursor[tuple[Any, ...]]

# What libpq says when a connection can't be made for a reason that won't pass.
_FINAL = ("authentication failed", "no password supplied", "does not exist", "no pg_hba.conf entry", "not permitted")
# How long to wait for a lock at a time, ten minutes in all. Postgres lets an autovacuum give way after one second.
_WAITS_SECONDS = (2, 4, 8, *[10] * 60)


class Postgres:
    """A Postgres database as a warehouse, reached through a SQLAlchemy engine with the psycopg driver."""

    def __init__(self, engine: Engine) -> None:
        if engine.dialect.driver != "psycopg" or engine.dialect.is_async:
            message = f"Postgres is reached with the driver {engine.dialect.driver}, which can't copy in binary."
            raise UsageError(message, "Use postgresql+psycopg in the address or block.")
        self._engine = engine

    # The COPY is into a table that no one else sees, and the server writes while the next rows are conformed.
    takes_flow = True

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
            held = _partitions(cursor, table)
            if not held or not _schema(cursor, LEDGER_TABLE):
                return ()
            statement = f"SELECT {_names(LEDGER)} FROM {quote(LEDGER_TABLE)} WHERE table_name = %s ORDER BY file_month"  # noqa: S608 - names are quoted
            rows = (LedgerRow(*row) for row in _run(cursor, statement, [table]).fetchall())
            return tuple(row for row in rows if row.file_month in held)

    def replace(self, table: str, dataset: Dataset, staged: Stage, run_id: str) -> int:
        """Replace one month of ``table``: see ``Warehouse.replace``."""
        with self._transaction() as cursor:
            _lock(cursor, table, staged.partition)
            _prepare(cursor, table, dataset, staged.partition)
        with self._transaction() as cursor:
            # One loader a month; the table's own lock is taken only for the exchange, so other months go on meanwhile.
            _lock(cursor, f"{table} {staged.partition.month}", staged.partition)
            place = quote(_schema(cursor, table))
            fresh = f"{_partition_name(table, staged.partition)}_{secrets.token_hex(3)}"
            _create(cursor, f"{place}.{quote(fresh)}", _columns(cursor, table), staged.partition)
            rows = _copy(cursor, f"{place}.{quote(fresh)}", staged)
            check_rows(staged, table, rows)
            _lock(cursor, table, staged.partition)
            _exchange(cursor, place, table, fresh, staged.partition)
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
                try:
                    with connection.transaction(), connection.cursor() as cursor:
                        yield cursor
                finally:
                    if connection.closed:
                        outer.invalidate()  # else the pool tries to roll it back, and logs a traceback
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


def _prepare(cursor: _Cursor, table: str, dataset: Dataset, partition: Partition) -> None:
    """Make the ledger and the table if need be, refuse a foreign one, add columns that the dataset has gained."""
    if not _schema(cursor, LEDGER_TABLE):
        _make_ledger(cursor, partition)
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
        _wait(cursor, f"ALTER TABLE {quote(table)} ADD COLUMN {quote(name)} {wanted[name]}", table, partition)


def _make_ledger(cursor: _Cursor, partition: Partition) -> None:
    """Make the ledger; loaders of other tables may be about to do the same."""
    _lock(cursor, LEDGER_TABLE, partition)
    key = ", ".join(quote(name) for name in KEY)
    _run(cursor, "SET LOCAL client_min_messages = warning")
    _run(cursor, f"CREATE TABLE IF NOT EXISTS {quote(LEDGER_TABLE)} ({_ddl(LEDGER)}, PRIMARY KEY ({key}))")


def _create(cursor: _Cursor, fresh: str, columns: Mapping[str, str], partition: Partition) -> None:
    """Make the month's table, free of any lock on the parent: its CHECK spares the exchange a scan."""
    ddl = ", ".join(f"{quote(name)} {kind}" for name, kind in columns.items() if name != FILE_MONTH.name)
    day, name = f"DATE '{partition.month.first_day}'", quote(FILE_MONTH.name)
    month = f"{name} date CONSTRAINT has_month NOT NULL DEFAULT {day} CONSTRAINT one_month CHECK ({name} = {day})"
    _run(cursor, f"CREATE TABLE {fresh} ({ddl}, {month})")


def _copy(cursor: _Cursor, fresh: str, staged: Stage) -> int:
    """Copy the staged rows in binary, and return how many the server says it took."""
    schema = schema_of(staged)
    encoder = ArrowToPostgresBinaryEncoder(schema)
    # FREEZE: the table is of this transaction, so its rows need no second visit by vacuum.
    statement = f"COPY {fresh} ({', '.join(map(quote, schema.names))}) FROM STDIN (FORMAT BINARY, FREEZE)"
    with cursor.copy(statement.encode()) as copy:
        copy.write(encoder.write_header())
        done = 0
        for batch in batches(staged):
            copy.write(encoder.write_batch(batch))
            done += batch.num_rows
            tell(Event(staged.partition, "load", done, staged.rows_expected))
        copy.write(encoder.finish())
    return cursor.rowcount


def _exchange(cursor: _Cursor, place: str, table: str, fresh: str, partition: Partition) -> None:
    """Put the new month in the old one's place, under the old one's name if nobody else has taken that."""
    parent, day, name = f"{place}.{quote(table)}", partition.month.first_day, _partition_name(table, partition)
    old = _partitions(cursor, table).get(day)
    if old:
        _wait(cursor, f"LOCK TABLE ONLY {parent}, ONLY {old} IN ACCESS EXCLUSIVE MODE", table, partition)
        _run(cursor, f"ALTER TABLE {parent} DETACH PARTITION {old}")
        _run(cursor, f"DROP TABLE {old}")
    if not _run(cursor, "SELECT to_regclass(%s)", [f"{place}.{quote(name)}"]).fetchall()[0][0]:
        _run(cursor, f"ALTER TABLE {place}.{quote(fresh)} RENAME TO {quote(name)}")
        fresh = name
    statement = f"ALTER TABLE {parent} ATTACH PARTITION {place}.{quote(fresh)} FOR VALUES IN ('{day}')"
    _wait(cursor, statement, table, partition)


def _partitions(cursor: _Cursor, table: str) -> dict[date, str]:
    """Return the months that ``table`` has partitions for, and their full names, quoted; none if it isn't there."""
    statement = (
        "SELECT substring(pg_get_expr(relpartbound, oid) FROM $$IN \\('(\\d+-\\d+-\\d+)'\\)$$)::date, "
        "oid::regclass::text FROM pg_inherits JOIN pg_class ON oid = inhrelid "
        "WHERE inhparent = to_regclass(%s)"
    )
    _run(cursor, "SET LOCAL datestyle = 'ISO'")
    return {day: str(name) for day, name in _run(cursor, statement, [quote(table)]).fetchall() if day}


def _record(cursor: _Cursor, row: LedgerRow) -> None:
    where = " AND ".join(f"{quote(name)} = %s" for name in KEY)
    _run(cursor, f"DELETE FROM {quote(LEDGER_TABLE)} WHERE {where}", [row.table_name, row.file_month])  # noqa: S608 - names are quoted
    marks = ", ".join("%s" for _ in LEDGER)
    _run(cursor, f"INSERT INTO {quote(LEDGER_TABLE)} ({_names(LEDGER)}) VALUES ({marks})", row.values())  # noqa: S608 - names are quoted


def _lock(cursor: _Cursor, name: str, partition: Partition) -> None:
    """Wait for a lock on a name, held to the end of the transaction."""
    _wait(cursor, "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", name, partition, [f"nyctaxi {name}"])


def _wait(
    cursor: _Cursor, statement: str, name: str, partition: Partition, values: Sequence[object] | None = None
) -> None:
    """Run a statement that locks; look up now and then, so that others get their turn and Ctrl-C its way."""
    for seconds in _WAITS_SECONDS:
        try:
            with cursor.connection.transaction():
                _run(cursor, f"SET LOCAL lock_timeout = '{seconds * 1000:.0f}ms'")
                _run(cursor, statement, values)
                _run(cursor, "SET LOCAL lock_timeout = DEFAULT")
        except psycopg.errors.LockNotAvailable:
            tell(Event(partition, "load", note=f"waiting for those who use {name}"))
        else:
            return
    message = f"{partition}: others have been using {name} for {sum(_WAITS_SECONDS) / 60:.0f} minutes."
    raise WarehouseError(message, "Look for them in pg_stat_activity, and run again; the month is what it was before.")


def _schema(cursor: _Cursor, table: str) -> str:
    """Return the schema in which the search path finds ``table``, or nothing."""
    statement = (
        "SELECT nspname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE c.oid = to_regclass(%s)"
    )
    rows = _run(cursor, statement, [quote(table)]).fetchall()
    return str(rows[0][0]) if rows else ""


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
