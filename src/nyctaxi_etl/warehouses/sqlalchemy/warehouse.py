"""Any other database of SQLAlchemy's: delete the month, insert it by pandas, write the ledger, in one transaction."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from nyctaxi_etl.core.progress import Event, tell
from nyctaxi_etl.schema.columns import FILE_MONTH
from nyctaxi_etl.warehouses.base import (
    Capabilities,
    check_lookup_rows,
    check_rows,
    refused_write,
    target_tables,
)
from nyctaxi_etl.warehouses.ledger import LedgerRow, clean_ledger_row, entry
from nyctaxi_etl.warehouses.sql import Dialect, drop_condition
from nyctaxi_etl.warehouses.sqlalchemy.errors import error_of, is_refused_write
from nyctaxi_etl.warehouses.sqlalchemy.sqlite_file import READS, SUBJECT, file_of, take_turns, undo_failed_transaction
from nyctaxi_etl.warehouses.sqlalchemy.tables import (
    check_is_lookup,
    ledger_rows_of,
    make_lookup,
    make_tables,
    trips_table,
    write_ledger_row,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    import pyarrow as pa
    from sqlalchemy.engine import Connection, Engine

    from nyctaxi_etl.schema.columns import Column, Dataset
    from nyctaxi_etl.staging.stage import Stage

_CHUNK_ROWS = 10_000
# What makes the next transaction one that only reads; SQLite has a switch of its own, others are rolled back.
_READ_ONLY = dict.fromkeys(("mysql", "mariadb", "oracle"), "SET TRANSACTION READ ONLY")


class AnyDatabase:
    """A database behind a SQLAlchemy engine as a warehouse; months go in as fast as ``DataFrame.to_sql`` can."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._file: Path | None = None
        if engine.dialect.name == "sqlite":
            self._file = file_of(engine)
            take_turns(engine)
        # SQLite has no literal for a time: it keeps the text, which sorts as the times do.
        time_literal = "" if engine.dialect.name == "sqlite" else "TIMESTAMP"
        self._dialect = Dialect(
            "sqlalchemy", engine.dialect.identifier_preparer.initial_quote, time_literal=time_literal
        )

    # Rows are locked, or the whole file, while a month goes in.
    capabilities = Capabilities(streams=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the engine's connections."""
        self._engine.dispose()

    def loaded(self, table: str) -> tuple[LedgerRow, ...]:
        """Return the ledger's rows of ``table``, by month; none if the table isn't there."""
        if self._file and not self._file.exists():
            return ()
        with self._transaction(reads=True) as connection:
            return ledger_rows_of(connection, table)

    def replace(self, table: str, dataset: Dataset, staged: Stage, run_id: str, raw_table: str | None = None) -> int:
        """Replace one month of ``table``: see ``Warehouse.replace``."""
        names, partition = target_tables(table, raw_table), staged.partition
        dropped = drop_condition(self._dialect, dataset, partition.month) if raw_table else None
        # Definitions first and by themselves: many databases commit when a table is made.
        with self._transaction(str(partition)) as connection:
            for name in names:
                make_tables(connection, name, dataset)
        row = entry(names[0], staged, run_id)
        with self._transaction(str(partition)) as connection:
            # The ledger first: its key makes a second loader of the same month wait here, before any row is written.
            write_ledger_row(connection, row)
            trips = trips_table(names[0], dataset)
            connection.execute(trips.delete().where(trips.c.file_month == row.file_month))
            _insert_staged(connection, trips, staged)
            rows = _count(connection, trips, row)
            check_rows(row, rows)
            if dropped is None:
                return rows
            tell(Event(str(partition), "load", rows, rows, note=f"making {table} of {raw_table}"))
            row = clean_ledger_row(row, table, dataset, _count(connection, trips, row, dropped))
            write_ledger_row(connection, row)
            clean = trips_table(table, dataset)
            connection.execute(clean.delete().where(clean.c.file_month == row.file_month))
            _insert_clean(connection, trips, clean, row, dropped)
            check_rows(row, _count(connection, clean, row))
            return row.lineage.rows_loaded

    def replace_table(self, table: str, columns: Sequence[Column], rows: pa.Table) -> int:
        """Replace all rows of a lookup: see ``Warehouse.replace_table``."""
        with self._transaction() as connection:
            lookup = make_lookup(connection, table, columns)
        with self._transaction() as connection:
            check_is_lookup(connection, lookup)
            connection.execute(lookup.delete())
            connection.execute(lookup.insert(), rows.to_pylist())
            counted = connection.execute(sa.select(sa.func.count()).select_from(lookup)).scalar_one()
            return check_lookup_rows(table, int(counted), rows)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement that only reads: see ``Warehouse.query``."""
        with self._transaction(reads=True) as connection:
            plain = connection.execution_options(no_parameters=True)
            if self._engine.dialect.name in _READ_ONLY:
                plain.exec_driver_sql(_READ_ONLY[self._engine.dialect.name])
            try:
                result = plain.exec_driver_sql(sql)
            except DBAPIError as error:
                if is_refused_write(error):
                    raise refused_write(str(error.orig).partition("\n")[0]) from error
                raise
            if not result.returns_rows:
                text = "this statement returns no rows."
                raise refused_write(text)
            return [tuple(row) for row in result]

    @contextmanager
    def _transaction(self, subject: str = "", *, reads: bool = False) -> Iterator[Connection]:
        """Give a connection; commit at the end, or roll back: always, if it ``reads`` only."""
        engine = self._engine.execution_options(**{READS: reads, SUBJECT: subject})
        try:
            with engine.connect() if reads else engine.begin() as connection:
                yield connection
        except BaseException as error:
            if subject and self._file:
                undo_failed_transaction(self._file)
            # pandas wraps what SQLAlchemy says, which tells more.
            cause = error.__cause__ if isinstance(error, pd.errors.DatabaseError) else error
            if isinstance(cause, SQLAlchemyError):
                raise error_of(cause, self._engine) from error
            raise


def _insert_staged(connection: Connection, trips: sa.Table, staged: Stage) -> None:
    done = 0
    for batch in staged.batches():
        frame = batch.to_pandas(types_mapper=pd.ArrowDtype)
        frame[FILE_MONTH.name] = staged.partition.month.first_day
        kinds = {column.name: column.type for column in trips.columns}
        frame.to_sql(trips.name, connection, if_exists="append", index=False, chunksize=_CHUNK_ROWS, dtype=kinds)
        done += batch.num_rows
        tell(Event(str(staged.partition), "load", done, staged.rows_expected))


def _insert_clean(connection: Connection, raw: sa.Table, clean: sa.Table, row: LedgerRow, dropped: str) -> None:
    """Insert the month's rows of the raw table, but the ``dropped``, into the clean one."""
    kept = sa.select(raw).where(raw.c.file_month == row.file_month, sa.literal_column(f"NOT {dropped}"))
    connection.execute(clean.insert().from_select([column.name for column in clean.columns], kept))


def _count(connection: Connection, trips: sa.Table, row: LedgerRow, where: str = "1 = 1") -> int:
    count = sa.select(sa.func.count()).select_from(trips)
    month = count.where(trips.c.file_month == row.file_month, sa.literal_column(where))
    return int(connection.execute(month).scalar_one())
