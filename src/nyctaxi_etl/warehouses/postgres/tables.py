"""What the tables of a Postgres database are: made, known as ours, widened; the ledger and the lookup among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nyctaxi_etl.core.errors import WarehouseError
from nyctaxi_etl.schema.columns import FILE_MONTH
from nyctaxi_etl.warehouses.base import (
    LOOKUP_MARK,
    check_columns,
    check_lookup,
    check_lookup_rows,
    check_ours,
    owner_mark,
    table_columns,
    tuples_of,
)
from nyctaxi_etl.warehouses.ledger import KEY, LEDGER, LEDGER_TABLE, LedgerRow, lacking, succeeding
from nyctaxi_etl.warehouses.postgres.locks import lock, run_waiting
from nyctaxi_etl.warehouses.postgres.sql import (
    DIALECT,
    columns_of,
    mark_of,
    partitions_of,
    run,
    schema_name_of,
)
from nyctaxi_etl.warehouses.sql import (
    add_columns,
    comment_on,
    delete_ledger,
    insert_ledger,
    is_ledger_row,
    select_ledger,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from nyctaxi_etl.schema.columns import Column, Dataset
    from nyctaxi_etl.warehouses.postgres.sql import Cursor

_LEDGER = DIALECT.quote(LEDGER_TABLE)


def make_tables(cursor: Cursor, table: str, dataset: Dataset, subject: str) -> None:
    """Make the ledger and the table if need be, and add columns that the dataset has gained.

    ``subject`` is the month that waits for others' locks meanwhile. Raises ``WarehouseError`` for a table that isn't
    ours, isn't partitioned or has a column of another type.
    """
    _make_ledger(cursor, subject)
    columns, path = table_columns(dataset), DIALECT.quote(table)
    if not schema_name_of(cursor, table):
        month = DIALECT.quote(FILE_MONTH.name)
        run(cursor, f"CREATE TABLE {path} ({DIALECT.definitions(columns)}) PARTITION BY LIST ({month})")
        for statement in comment_on(DIALECT, table, f"{owner_mark(dataset)}, one partition a month", columns):
            run(cursor, statement)
        run_waiting(cursor, delete_ledger(_LEDGER, "table_name = %s"), LEDGER_TABLE, subject, [table])
        return
    mark, kind = mark_of(cursor, table)
    check_ours(table, dataset, mark)
    if kind != "p":
        message = f"Table {table} is not partitioned by month."
        raise WarehouseError(message, "It is left as it is: choose another name with `table=`, or rename that one.")
    lacks = check_columns(table, columns_of(cursor, table), {c.name: DIALECT.type_of(c) for c in columns})
    if lacks:
        run_waiting(cursor, add_columns(DIALECT, path, (c for c in columns if c.name in lacks)), table, subject)


def _make_ledger(cursor: Cursor, subject: str) -> None:
    """Make the ledger if need be, or add what an older one lacks; others may be about to do the same."""
    if not schema_name_of(cursor, LEDGER_TABLE):
        lock(cursor, [LEDGER_TABLE], subject)
        key = ", ".join(map(DIALECT.quote, KEY))
        run(cursor, "SET LOCAL client_min_messages = warning")
        run(cursor, f"CREATE TABLE IF NOT EXISTS {_LEDGER} ({DIALECT.definitions(LEDGER)}, PRIMARY KEY ({key}))")
    lacks = lacking(columns_of(cursor, LEDGER_TABLE))
    if lacks:
        run_waiting(cursor, add_columns(DIALECT, _LEDGER, lacks), LEDGER_TABLE, subject)


def ledger_rows_of(cursor: Cursor, table: str) -> tuple[LedgerRow, ...]:
    """Return the ledger's rows of the months that ``table`` has a partition for, by month."""
    months = partitions_of(cursor, table)
    if not months or not schema_name_of(cursor, LEDGER_TABLE):
        return ()
    rows = _ledger_rows(cursor, "table_name = %s ORDER BY file_month", [table])
    return tuple(row for row in rows if row.file_month in months)


def write_ledger_row(cursor: Cursor, row: LedgerRow, subject: str) -> None:
    """Put a row into the ledger in place of the one that it replaces, waiting for those who have that.

    Raises ``WarehouseError`` after ten minutes.
    """
    where, key = is_ledger_row(DIALECT), [row.table_name, row.file_month]
    row = succeeding(row, next(iter(_ledger_rows(cursor, where, key)), None))
    run_waiting(cursor, delete_ledger(_LEDGER, where), LEDGER_TABLE, subject, key)
    run_waiting(cursor, insert_ledger(DIALECT, _LEDGER), LEDGER_TABLE, subject, row.values())


def replace_rows(cursor: Cursor, table: str, columns: Sequence[Column], rows: pa.Table) -> int:
    """Replace all rows of a lookup: see ``Warehouse.replace_table``."""
    path = DIALECT.quote(table)
    lock(cursor, [table], "")
    if not schema_name_of(cursor, table):
        # A publication of all tables wants a key of each, by which its rows are known.
        key = f"PRIMARY KEY ({DIALECT.quote(columns[0].name)})"
        run(cursor, f"CREATE TABLE {path} ({DIALECT.definitions(columns)}, {key})")
        for statement in comment_on(DIALECT, table, LOOKUP_MARK):
            run(cursor, statement)
    check_lookup(table, mark_of(cursor, table)[0])
    run_waiting(cursor, f"DELETE FROM {path}", table, "")  # noqa: S608 - names are quoted
    insert = f"INSERT INTO {path} ({DIALECT.names(columns)})".replace("%", "%%")  # a name's own
    marks = ", ".join("%s" for _ in columns)
    cursor.executemany(f"{insert} VALUES ({marks})".encode(), tuples_of(rows))
    counted = run(cursor, f"SELECT count(*) FROM {path}").fetchall()[0][0]  # noqa: S608 - names are quoted
    return check_lookup_rows(table, int(counted), rows)


def _ledger_rows(cursor: Cursor, where: str, values: Sequence[object]) -> list[LedgerRow]:
    rows = run(cursor, select_ledger(_LEDGER, where), values).fetchall()
    names = [column.name for column in cursor.description or ()]
    return [LedgerRow.read(dict(zip(names, row, strict=True))) for row in rows]
