"""What the tables of a DuckDB file are: made, found, known as ours; the ledger and the lookup among them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nyctaxi_etl.warehouses.base import (
    LOOKUP_MARK,
    check_columns,
    check_lookup,
    check_lookup_rows,
    check_ours,
    is_ours,
    owner_mark,
    table_columns,
)
from nyctaxi_etl.warehouses.ledger import LEDGER, LEDGER_TABLE, LedgerRow, lacking, succeeding
from nyctaxi_etl.warehouses.sql import (
    Dialect,
    add_columns,
    comment_on,
    delete_ledger,
    insert_ledger,
    is_ledger_row,
    select_ledger,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb
    import pyarrow as pa

    from nyctaxi_etl.schema.columns import Column, Dataset

DIALECT = Dialect("duckdb")
_LEDGER = DIALECT.quote(LEDGER_TABLE)
# No table can be named so, see ``schema.columns.table_name``.
_ROWS = "lookup rows"


def make_tables(connection: duckdb.DuckDBPyConnection, table: str, dataset: Dataset) -> None:
    """Make the ledger and the table if need be, and add columns that the dataset has gained.

    Raises ``WarehouseError`` for a table that isn't ours or has a column of another type.
    """
    connection.execute(f"CREATE TABLE IF NOT EXISTS {_LEDGER} ({DIALECT.definitions(LEDGER)})")
    for column in lacking(_column_types(connection, LEDGER_TABLE)):
        connection.execute(add_columns(DIALECT, _LEDGER, [column]))
    columns, comments = table_columns(dataset), _table_comments(connection)
    if table not in comments:
        connection.execute(f"CREATE TABLE {DIALECT.quote(table)} ({DIALECT.definitions(columns)})")
        for statement in comment_on(DIALECT, table, owner_mark(dataset), columns):
            connection.execute(statement)
        connection.execute(delete_ledger(_LEDGER, "table_name = ?"), [table])
        return
    check_ours(table, dataset, comments[table])
    lacks = check_columns(table, _column_types(connection, table), {c.name: DIALECT.type_of(c) for c in columns})
    for column in columns:
        if column.name in lacks:
            connection.execute(add_columns(DIALECT, DIALECT.quote(table), [column]))


def ledger_rows_of(connection: duckdb.DuckDBPyConnection, table: str) -> tuple[LedgerRow, ...]:
    """Return the ledger's rows of ``table``, by month; none if the table or the ledger isn't there or isn't ours."""
    comments = _table_comments(connection)
    if LEDGER_TABLE not in comments or not is_ours(comments.get(table)):
        return ()
    return _ledger_rows(connection, "table_name = ? ORDER BY file_month", [table])


def write_ledger_row(connection: duckdb.DuckDBPyConnection, row: LedgerRow) -> None:
    """Put a row into the ledger in place of the one that it replaces."""
    where, key = is_ledger_row(DIALECT), [row.table_name, row.file_month]
    row = succeeding(row, next(iter(_ledger_rows(connection, where, key)), None))
    connection.execute(delete_ledger(_LEDGER, where), key)
    connection.execute(insert_ledger(DIALECT, _LEDGER), row.values())


def replace_rows(connection: duckdb.DuckDBPyConnection, table: str, columns: Sequence[Column], rows: pa.Table) -> int:
    """Replace all rows of a lookup: see ``Warehouse.replace_table``."""
    path, names, comments = DIALECT.quote(table), DIALECT.names(columns), _table_comments(connection)
    if table not in comments:
        connection.execute(f"CREATE TABLE {path} ({DIALECT.definitions(columns)})")
        for statement in comment_on(DIALECT, table, LOOKUP_MARK):
            connection.execute(statement)
    check_lookup(table, comments.get(table, LOOKUP_MARK))
    connection.execute(f"DELETE FROM {path}")  # noqa: S608 - names are quoted
    connection.register(_ROWS, rows)
    connection.execute(f"INSERT INTO {path} ({names}) SELECT {names} FROM {DIALECT.quote(_ROWS)}")  # noqa: S608 - names are quoted
    connection.unregister(_ROWS)
    counted = connection.execute(f"SELECT count(*) FROM {path}").fetchall()[0][0]  # noqa: S608 - names are quoted
    return check_lookup_rows(table, int(counted), rows)


def _ledger_rows(connection: duckdb.DuckDBPyConnection, where: str, values: list[Any]) -> tuple[LedgerRow, ...]:
    result = connection.execute(select_ledger(_LEDGER, where), values)
    names = [name for name, *_ in result.description]
    return tuple(LedgerRow.read(dict(zip(names, row, strict=True))) for row in result.fetchall())


def _table_comments(connection: duckdb.DuckDBPyConnection) -> dict[str, str | None]:
    """Return the comments of the tables and views in the current schema, by name."""
    sql = (
        "SELECT table_name, comment FROM duckdb_tables() WHERE schema_name = current_schema() UNION ALL "
        "SELECT view_name, NULL FROM duckdb_views() WHERE schema_name = current_schema()"
    )
    return dict(connection.execute(sql).fetchall())


def _column_types(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    """Return the types of a table's columns, by name."""
    sql = "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ? AND schema_name = current_schema()"
    return dict(connection.execute(sql, [table]).fetchall())
