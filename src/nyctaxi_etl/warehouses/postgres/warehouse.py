"""Postgres: a table partitioned by month. A month is copied into a table of its own, which takes the old one's place.

The long part, the COPY, touches no table that anyone reads. What others wait for is the exchange at the end.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from pgpq import ArrowToPostgresBinaryEncoder
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from nyctaxi_etl.core.errors import UsageError, WarehouseError
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
    now,
    owner_mark,
    table_columns,
)
from nyctaxi_etl.warehouses.ledger import KEY, LEDGER, LEDGER_TABLE, LedgerRow, entry, lacking, succeeding
from nyctaxi_etl.warehouses.postgres.errors import understood
from nyctaxi_etl.warehouses.postgres.locks import lock, wait
from nyctaxi_etl.warehouses.postgres.sql import (
    SETTINGS,
    columns_of,
    comment,
    ddl,
    default_partition_of,
    definition_of,
    listed,
    partition_name,
    partitions_of,
    place_of,
    run,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from sqlalchemy.engine import Engine

    from nyctaxi_etl.core.partition import Partition, Stage
    from nyctaxi_etl.schema.columns import Dataset
    from nyctaxi_etl.warehouses.postgres.sql import Cursor


class Fresh(NamedTuple):
    """The table ``name`` that a month of ``table`` comes in with, until it takes the old one's place.

    ``place`` is their schema, quoted.
    """

    place: str
    table: str
    name: str

    @property
    def path(self) -> str:
        """Its full name, quoted."""
        return f"{self.place}.{quote(self.name)}"

    @property
    def parent(self) -> str:
        """The full name of the table that it is to be a part of, quoted."""
        return f"{self.place}.{quote(self.table)}"


class Postgres:
    """A Postgres database as a warehouse, reached through a SQLAlchemy engine with the psycopg driver."""

    def __init__(self, engine: Engine) -> None:
        if engine.dialect.driver != "psycopg" or engine.dialect.is_async:
            message = f"Postgres is reached with the driver {engine.dialect.driver}, which can't copy in binary."
            raise UsageError(message, "Use postgresql+psycopg in the address or block.")
        self._engine = engine
        _speak_utf8(engine)

    # The COPY is into a table that no one else sees, and the server writes while the next rows are conformed.
    capabilities = Capabilities(streams=True)

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
            held = partitions_of(cursor, table)
            if not held or not place_of(cursor, LEDGER_TABLE):
                return ()
            rows = _ledger_rows(cursor, "table_name = %s ORDER BY file_month", [table])
            return tuple(row for row in rows if row.file_month in held)

    def replace(self, table: str, dataset: Dataset, staged: Stage, run_id: str, raw_table: str | None = None) -> int:
        """Replace one month of ``table``: see ``Warehouse.replace``."""
        names, partition = both(table, raw_table), staged.partition
        subject = str(partition)
        dropped = drops(dataset, partition.month) if raw_table else ""
        with self._transaction() as cursor:
            lock(cursor, names, subject)
            for name in names:
                _prepare(cursor, name, dataset, subject)
        with self._transaction() as cursor:
            # One loader a month; the table's own lock is taken only for the exchange, so other months go on meanwhile.
            lock(cursor, [f"{name} {partition.month}" for name in names], subject)
            fresh = [_create(cursor, name, partition) for name in names]
            rows = _copy(cursor, fresh[0].path, staged)
            check_rows(staged, names[0], rows)
            ledger = [entry(names[0], staged, run_id, now())]
            if raw_table:
                tell(Event(subject, "load", rows, rows, note=f"making {table} of {raw_table}"))
                ledger.append(_clean(cursor, ledger[0], fresh, dataset, dropped))
            lock(cursor, names, subject)
            # Before the exchange, from which on readers wait: somebody may have the ledger's row.
            for row in ledger:
                _record(cursor, row, subject)
            _exchange(cursor, fresh, partition)
        return ledger[-1].rows_loaded

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement that only reads, and return its rows."""
        with self._transaction() as cursor:
            return run(cursor, sql).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[Cursor]:
        """Give a cursor of a connection of its own; commit at the end, or roll back."""
        try:
            with self._engine.connect() as outer:
                connection = outer.connection.driver_connection
                assert isinstance(connection, psycopg.Connection)  # noqa: S101 - the driver was checked
                try:
                    # Whoever has waited for a lock sees what was committed meanwhile.
                    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
                    with connection.transaction(), connection.cursor() as cursor:
                        run(cursor, SETTINGS)
                        yield cursor
                finally:
                    if connection.closed:
                        outer.invalidate()  # else the pool tries to roll it back, and logs a traceback
        except (psycopg.Error, DBAPIError) as error:
            raise understood(error, self._engine) from error


def _speak_utf8(engine: Engine) -> None:
    """Have every connection send and take UTF-8, whatever the database or PGCLIENTENCODING say: the rows are UTF-8."""

    @event.listens_for(engine, "do_connect")
    def _connecting(_dialect: object, _record: object, _arguments: object, parameters: dict[str, Any]) -> None:
        parameters["client_encoding"] = "utf8"


def _prepare(cursor: Cursor, table: str, dataset: Dataset, subject: str) -> None:
    """Make the ledger and the table if need be, refuse a foreign one, add columns that the dataset has gained."""
    if not place_of(cursor, LEDGER_TABLE):
        _make_ledger(cursor, subject)
    for column in lacking(columns_of(cursor, LEDGER_TABLE)):
        statement = f"ALTER TABLE {quote(LEDGER_TABLE)} ADD COLUMN IF NOT EXISTS {ddl([column])}"
        wait(cursor, statement, LEDGER_TABLE, subject)
    columns = table_columns(dataset)
    if not place_of(cursor, table):
        run(cursor, f"CREATE TABLE {quote(table)} ({ddl(columns)}) PARTITION BY LIST ({quote(FILE_MONTH.name)})")
        comment(cursor, f"TABLE {quote(table)}", f"{owner_mark(dataset)}, one partition a month")
        for column in columns:
            comment(cursor, f"COLUMN {quote(table)}.{quote(column.name)}", column.about)
        delete = f"DELETE FROM {quote(LEDGER_TABLE)} WHERE table_name = %s"  # noqa: S608 - names are quoted
        wait(cursor, delete, LEDGER_TABLE, subject, [table])
        return
    statement = "SELECT obj_description(oid, 'pg_class'), relkind::text FROM pg_class WHERE oid = to_regclass(%s)"
    mark, kind = run(cursor, statement, [quote(table)]).fetchall()[0]
    check_ours(table, dataset, mark)
    if kind != "p":
        message = f"Table {table} is not partitioned by month."
        raise WarehouseError(message, "It is left as it is: choose another name with `table=`, or rename that one.")
    wanted = {column.name: column.types.postgres for column in columns}
    for name in check_columns(table, columns_of(cursor, table), wanted):
        wait(cursor, f"ALTER TABLE {quote(table)} ADD COLUMN {quote(name)} {wanted[name]}", table, subject)


def _make_ledger(cursor: Cursor, subject: str) -> None:
    """Make the ledger; loaders of other tables may be about to do the same."""
    lock(cursor, [LEDGER_TABLE], subject)
    key = ", ".join(quote(name) for name in KEY)
    run(cursor, "SET LOCAL client_min_messages = warning")
    run(cursor, f"CREATE TABLE IF NOT EXISTS {quote(LEDGER_TABLE)} ({ddl(LEDGER)}, PRIMARY KEY ({key}))")


def _create(cursor: Cursor, table: str, partition: Partition) -> Fresh:
    """Make the month's table, free of any lock on the parent."""
    name = f"{partition_name(table, partition)}_{secrets.token_hex(3)}"
    fresh = Fresh(quote(place_of(cursor, table)), table, name)
    run(cursor, f"CREATE TABLE {fresh.path} ({definition_of(cursor, table, partition.month.first_day)})")
    return fresh


def _copy(cursor: Cursor, fresh: str, staged: Stage) -> int:
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
            tell(Event(str(staged.partition), "load", done, staged.rows_expected))
        copy.write(encoder.finish())
    return cursor.rowcount


def _clean(cursor: Cursor, row: LedgerRow, fresh: Sequence[Fresh], dataset: Dataset, dropped: str) -> LedgerRow:
    """Fill the second table with the first one's rows but the ``dropped``, and return what the ledger says of them."""
    raw, clean = fresh
    count = run(cursor, f"SELECT count(*) FROM {raw.path} WHERE {dropped}").fetchall()[0][0]  # noqa: S608 - names are quoted
    row, names = cleaned(row, clean.table, dataset, count), listed(dataset.columns)
    rows = f"SELECT {names} FROM {raw.path} WHERE NOT {dropped}"  # noqa: S608 - names are quoted
    check_cleaned(row, run(cursor, f"INSERT INTO {clean.path} ({names}) {rows}").rowcount)
    return row


def _exchange(cursor: Cursor, fresh: Sequence[Fresh], partition: Partition) -> None:
    """Put the new months in the old ones' place; no reader sees one without the other."""
    olds = [partitions_of(cursor, one.table).get(partition.month.first_day) for one in fresh]
    # All in one statement: while it waits for the readers of one table, those of the other get their turn.
    held = [
        ", ".join(f"ONLY {name}" for name in (one.parent, old, default_partition_of(cursor, one.table)) if name)
        for one, old in zip(fresh, olds, strict=True)
        if old
    ]
    if held:
        statement = f"LOCK TABLE {', '.join(held)} IN ACCESS EXCLUSIVE MODE"
        wait(cursor, statement, " and ".join(one.table for one in fresh), str(partition))
    for one, old in zip(fresh, olds, strict=True):
        _attach(cursor, one, old, partition)


def _attach(cursor: Cursor, fresh: Fresh, old: str | None, partition: Partition) -> None:
    """Put the new month in the old one's place, under the old one's name if nobody else has taken that."""
    day, name = partition.month.first_day, partition_name(fresh.table, partition)
    if old:
        run(cursor, f"ALTER TABLE {fresh.parent} DETACH PARTITION {old}")
        run(cursor, f"DROP TABLE {old}")
    if not run(cursor, "SELECT to_regclass(%s)", [fresh._replace(name=name).path]).fetchall()[0][0]:
        run(cursor, f"ALTER TABLE {fresh.path} RENAME TO {quote(name)}")
        fresh = fresh._replace(name=name)
    statement = f"ALTER TABLE {fresh.parent} ATTACH PARTITION {fresh.path} FOR VALUES IN ('{day}')"
    wait(cursor, statement, fresh.table, str(partition))


def _record(cursor: Cursor, row: LedgerRow, subject: str) -> None:
    where, month = " AND ".join(f"{quote(name)} = %s" for name in KEY), [row.table_name, row.file_month]
    row = succeeding(row, next(iter(_ledger_rows(cursor, where, month)), None))
    marks = ", ".join("%s" for _ in LEDGER)
    delete = f"DELETE FROM {quote(LEDGER_TABLE)} WHERE {where}"  # noqa: S608 - names are quoted
    insert = f"INSERT INTO {quote(LEDGER_TABLE)} ({listed(LEDGER)}) VALUES ({marks})"  # noqa: S608 - names are quoted
    wait(cursor, delete, LEDGER_TABLE, subject, month)
    wait(cursor, insert, LEDGER_TABLE, subject, row.values())


def _ledger_rows(cursor: Cursor, where: str, values: Sequence[object]) -> list[LedgerRow]:
    rows = run(cursor, f"SELECT * FROM {quote(LEDGER_TABLE)} WHERE {where}", values).fetchall()  # noqa: S608 - names are quoted
    names = [column.name for column in cursor.description or ()]
    return [LedgerRow.read(dict(zip(names, row, strict=True))) for row in rows]
