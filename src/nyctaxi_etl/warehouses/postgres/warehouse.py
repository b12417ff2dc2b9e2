"""Postgres: a table partitioned by month. A month is copied into a table that takes the old one's place."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from nyctaxi_etl.core.errors import UsageError
from nyctaxi_etl.core.progress import Event, tell
from nyctaxi_etl.warehouses.base import Capabilities, check_rows, refused_write, target_tables
from nyctaxi_etl.warehouses.ledger import LedgerRow, entry
from nyctaxi_etl.warehouses.postgres.errors import error_of
from nyctaxi_etl.warehouses.postgres.locks import lock
from nyctaxi_etl.warehouses.postgres.partitions import copy_staged, create_partition, exchange, insert_clean
from nyctaxi_etl.warehouses.postgres.sql import DIALECT, SETTINGS, run
from nyctaxi_etl.warehouses.postgres.tables import ledger_rows_of, make_tables, replace_rows, write_ledger_row
from nyctaxi_etl.warehouses.sql import drop_condition

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType
    from typing import Self

    import pyarrow as pa
    from sqlalchemy.engine import Engine

    from nyctaxi_etl.schema.columns import Column, Dataset
    from nyctaxi_etl.staging.stage import Stage
    from nyctaxi_etl.warehouses.postgres.sql import Cursor


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
            return ledger_rows_of(cursor, table)

    def replace(self, table: str, dataset: Dataset, staged: Stage, run_id: str, raw_table: str | None = None) -> int:
        """Replace one month of ``table``: see ``Warehouse.replace``."""
        names, partition = target_tables(table, raw_table), staged.partition
        month, subject = partition.month, str(partition)
        dropped = drop_condition(DIALECT, dataset, month) if raw_table else ""
        with self._transaction() as cursor:
            lock(cursor, names, subject)
            for name in names:
                make_tables(cursor, name, dataset, subject)
        with self._transaction() as cursor:
            # One loader a month; the table's own lock is taken only for the exchange, so other months go on meanwhile.
            lock(cursor, [f"{name} {month}" for name in names], subject)
            partitions = [create_partition(cursor, name, month) for name in names]
            rows = copy_staged(cursor, partitions[0], staged)
            ledger = [entry(names[0], staged, run_id)]
            check_rows(ledger[0], rows)
            if raw_table:
                tell(Event(subject, "load", rows, rows, note=f"making {table} of {raw_table}"))
                ledger.append(insert_clean(cursor, partitions, ledger[0], dataset, dropped))
            lock(cursor, names, subject)
            # Before the exchange, from which on readers wait: somebody may have the ledger's row.
            for row in ledger:
                write_ledger_row(cursor, row, subject)
            exchange(cursor, partitions, partition)
        return ledger[-1].lineage.rows_loaded

    def replace_table(self, table: str, columns: Sequence[Column], rows: pa.Table) -> int:
        """Replace all rows of a lookup: see ``Warehouse.replace_table``."""
        with self._transaction() as cursor:
            return replace_rows(cursor, table, columns, rows)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement that only reads: see ``Warehouse.query``."""
        with self._transaction() as cursor:
            run(cursor, "SET TRANSACTION READ ONLY")
            try:
                # Prepared, it is one statement and can't end this transaction to begin another.
                return cursor.execute(sql.encode(), prepare=True).fetchall()
            except psycopg.errors.ReadOnlySqlTransaction as error:
                raise refused_write(str(error).strip().partition("\n")[0]) from error

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
            raise error_of(error, self._engine) from error


def _speak_utf8(engine: Engine) -> None:
    """Have every connection send and take UTF-8, whatever the database or PGCLIENTENCODING say: the rows are UTF-8."""

    @event.listens_for(engine, "do_connect")
    def _connecting(_dialect: object, _record: object, _arguments: object, parameters: dict[str, Any]) -> None:
        parameters["client_encoding"] = "utf8"
