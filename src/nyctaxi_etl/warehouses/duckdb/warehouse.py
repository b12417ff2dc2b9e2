"""The embedded warehouse: one DuckDB file. It is open only while a month goes in, so processes take turns."""

from __future__ import annotations

from contextvars import copy_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from nyctaxi_etl.core.errors import UsageError
from nyctaxi_etl.core.progress import Event, tell
from nyctaxi_etl.warehouses.base import (
    Capabilities,
    check_rows,
    target_tables,
)
from nyctaxi_etl.warehouses.duckdb.file import check_folder, opened, opened_to_read
from nyctaxi_etl.warehouses.duckdb.tables import DIALECT, ledger_rows_of, make_tables, replace_rows, write_ledger_row
from nyctaxi_etl.warehouses.ledger import LedgerRow, clean_ledger_row, entry
from nyctaxi_etl.warehouses.sql import count_month, delete_month, drop_condition, insert_month

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from contextvars import Context
    from types import TracebackType
    from typing import Self

    from nyctaxi_etl.core.partition import Month
    from nyctaxi_etl.schema.columns import Column, Dataset
    from nyctaxi_etl.staging.stage import Stage

LOCK_SECONDS = 120.0
# No table can be named so, see ``schema.columns.table_name``.
_STAGED = "staged rows"


class DuckDB:
    """A DuckDB file as a warehouse; the file is made when the first month goes in."""

    def __init__(self, path: str, lock_seconds: float = LOCK_SECONDS) -> None:
        if path in {"", ":memory:"}:
            message = "duckdb:/// names no file: what is loaded into memory is gone when the command ends."
            raise UsageError(message, "Name one with `to=duckdb:///path`.", about="to")
        self.path = Path(path)
        self._lock_seconds = lock_seconds

    # The file is held while a month is conformed, too, and others wait for it so much longer: both cores are at work
    # all the time, and a month is in sooner than it would be staged.
    capabilities = Capabilities(streams=True)

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
            return ledger_rows_of(connection, table)

    def replace(self, table: str, dataset: Dataset, staged: Stage, run_id: str, raw_table: str | None = None) -> int:
        """Replace one month of ``table``: see ``Warehouse.replace``."""
        names, month = target_tables(table, raw_table), staged.partition.month
        dropped = drop_condition(DIALECT, dataset, month) if raw_table else ""
        with self._open(str(staged.partition)) as connection:
            for name in names:
                make_tables(connection, name, dataset)
            rows = _insert_staged(connection, names[0], staged)
            row = entry(names[0], staged, run_id)
            check_rows(row, rows)
            write_ledger_row(connection, row)
            if not raw_table:
                return rows
            tell(Event(str(staged.partition), "load", rows, rows, note=f"making {table} of {raw_table}"))
            row = clean_ledger_row(row, table, dataset, _count(connection, raw_table, month, dropped))
            _insert_clean(connection, raw_table, table, dataset, month, dropped)
            check_rows(row, _count(connection, table, month))
            write_ledger_row(connection, row)
            return row.lineage.rows_loaded

    def replace_table(self, table: str, columns: Sequence[Column], rows: pa.Table) -> int:
        """Replace all rows of a lookup: see ``Warehouse.replace_table``."""
        with self._open() as connection:
            return replace_rows(connection, table, columns, rows)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement that only reads: see ``Warehouse.query``."""
        with opened_to_read(self.path, self._lock_seconds) as connection:
            if any(one.type != duckdb.StatementType.SELECT for one in connection.extract_statements(sql)):
                # COPY and ATTACH make files beside the one that is read; a SELECT may look at any.
                connection.execute("SET enable_external_access = false")
            return connection.execute(sql).fetchall()

    def _open(self, subject: str = "") -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        return opened(self.path, self._lock_seconds, subject)


def _insert_staged(connection: duckdb.DuckDBPyConnection, table: str, staged: Stage) -> int:
    """Replace the month by the staged rows, and return how many rows the table counts for it."""
    month, path = staged.partition.month, DIALECT.quote(table)
    connection.execute(delete_month(DIALECT, path, month))
    schema, errors = staged.schema, list[BaseException]()
    reader = pa.RecordBatchReader.from_batches(schema, _batches(staged, errors, copy_context()))
    connection.register(_STAGED, reader)
    try:
        connection.execute(insert_month(DIALECT, path, schema.names, DIALECT.quote(_STAGED), month))
    except duckdb.Error:
        for error in errors:
            raise error from None
        raise
    connection.unregister(_STAGED)
    return _count(connection, table, month)


def _insert_clean(  # noqa: PLR0913, PLR0917 - what goes from where to where
    connection: duckdb.DuckDBPyConnection, raw_table: str, table: str, dataset: Dataset, month: Month, dropped: str
) -> None:
    """Replace the month of ``table`` by the raw table's rows but the ``dropped``."""
    path, names = DIALECT.quote(table), [column.name for column in dataset.columns]
    connection.execute(delete_month(DIALECT, path, month))
    where = f"{DIALECT.month_is(month)} AND NOT {dropped}"
    connection.execute(insert_month(DIALECT, path, names, DIALECT.quote(raw_table), month, where))


def _count(connection: duckdb.DuckDBPyConnection, table: str, month: Month, where: str = "TRUE") -> int:
    sql = count_month(DIALECT, DIALECT.quote(table), month, where)
    return int(connection.execute(sql).fetchall()[0][0])


def _batches(staged: Stage, errors: list[BaseException], context: Context) -> Iterator[pa.RecordBatch]:
    """Yield the staged batches, telling how far they are in ``context``: a thread of DuckDB's may ask for them.

    What goes wrong is kept in ``errors``, as DuckDB makes a text of it.
    """
    done = 0
    try:
        for batch in staged.batches():
            yield batch
            done += batch.num_rows
            context.run(tell, Event(str(staged.partition), "load", done, staged.rows_expected))
    except (Exception, KeyboardInterrupt) as error:
        errors.append(error)
        raise
