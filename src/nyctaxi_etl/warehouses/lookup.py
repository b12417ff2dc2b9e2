"""A small table that trips refer to, replaced as a whole in one transaction: every warehouse's own way of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from nyctaxi_etl.core.errors import QualityError, WarehouseError
from nyctaxi_etl.core.progress import Event
from nyctaxi_etl.schema.columns import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import pyarrow as pa

    from nyctaxi_etl.schema.columns import Column
    from nyctaxi_etl.warehouses.base import Warehouse
    from nyctaxi_etl.warehouses.bigquery.warehouse import BigQuery
    from nyctaxi_etl.warehouses.duckdb.warehouse import DuckDB
    from nyctaxi_etl.warehouses.postgres.warehouse import Postgres
    from nyctaxi_etl.warehouses.sqlalchemy.warehouse import AnyDatabase

MARK = "nyctaxi lookup: what the ids of trips mean"
_ROWS = "lookup rows"  # no table can be named so


def replace_lookup(warehouse: Warehouse, table: str, columns: Sequence[Column], rows: pa.Table) -> int:
    """Replace all rows of ``table`` by ``rows`` in one transaction, and return how many there are now.

    Makes the table if need be. Raises ``WarehouseError`` for a table that isn't ours, ``QualityError`` if the rows
    that are counted aren't those that were given; then the table is what it was.
    """
    return _WAYS[type(warehouse).__name__](warehouse, table, columns, rows)


def _in_duckdb(warehouse: DuckDB, table: str, columns: Sequence[Column], rows: pa.Table) -> int:
    find = (
        "SELECT comment FROM duckdb_tables() WHERE table_name = ? AND schema_name = current_schema() UNION ALL "
        "SELECT 'a view' FROM duckdb_views() WHERE view_name = ? AND schema_name = current_schema()"
    )
    with warehouse._open() as connection:  # noqa: SLF001 - of the same package
        found = connection.execute(find, [table, table]).fetchone()
        if found is None:
            connection.execute(f"CREATE TABLE {quote(table)} ({_ddl(columns, 'duckdb')})")
            connection.execute(f"COMMENT ON TABLE {quote(table)} IS '{MARK}'")
        _check_ours(table, MARK if found is None else found[0])
        connection.execute(f"DELETE FROM {quote(table)}")  # noqa: S608 - names are quoted
        connection.register(_ROWS, rows)
        names = _names(columns)
        connection.execute(f"INSERT INTO {quote(table)} ({names}) SELECT {names} FROM {quote(_ROWS)}")  # noqa: S608 - names are quoted
        connection.unregister(_ROWS)
        counted = connection.execute(f"SELECT count(*) FROM {quote(table)}").fetchall()[0][0]  # noqa: S608 - names are quoted
        return _check_rows(table, int(counted), rows)


def _in_postgres(warehouse: Postgres, table: str, columns: Sequence[Column], rows: pa.Table) -> int:
    from nyctaxi_etl.warehouses.postgres.locks import lock, wait

    find = "SELECT coalesce(obj_description(oid, 'pg_class'), '') FROM pg_class WHERE oid = to_regclass(%s)"
    with warehouse._transaction() as cursor:  # noqa: SLF001 - of the same package
        lock(cursor, [table], "")
        found = cursor.execute(find, [quote(table)]).fetchone()
        if found is None:
            # A publication of all tables wants a key of each, by which its rows are known.
            key = f"PRIMARY KEY ({quote(columns[0].name)})"
            cursor.execute(f"CREATE TABLE {quote(table)} ({_ddl(columns, 'postgres')}, {key})".encode())
            cursor.execute(f"COMMENT ON TABLE {quote(table)} IS '{MARK}'".encode())
        _check_ours(table, MARK if found is None else found[0])
        wait(cursor, f"DELETE FROM {quote(table)}", table, "")  # noqa: S608 - names are quoted
        marks = ", ".join("%s" for _ in columns)
        cursor.executemany(f"INSERT INTO {quote(table)} ({_names(columns)}) VALUES ({marks})".encode(), _tuples(rows))  # noqa: S608 - names are quoted
        counted = cursor.execute(f"SELECT count(*) FROM {quote(table)}".encode()).fetchall()[0][0]  # noqa: S608 - names are quoted
        return _check_rows(table, int(counted), rows)


def _in_any_database(warehouse: AnyDatabase, table: str, columns: Sequence[Column], rows: pa.Table) -> int:
    """Know the table by its columns: many databases keep no comment."""
    import sqlalchemy as sa

    made = (sa.Column(column.name, getattr(sa, column.types.sqlalchemy)()) for column in columns)
    lookup = sa.Table(table, sa.MetaData(), *made, comment=MARK)
    with warehouse._transaction() as connection:  # noqa: SLF001 - of the same package
        if not sa.inspect(connection).has_table(table):
            lookup.create(connection)
    with warehouse._transaction() as connection:  # noqa: SLF001 - as above
        inspector = sa.inspect(connection)
        there = [column["name"] for column in inspector.get_columns(table)]
        is_ours = table in inspector.get_table_names() and there == [column.name for column in columns]
        _check_ours(table, MARK if is_ours else None)
        connection.execute(lookup.delete())
        connection.execute(lookup.insert(), rows.to_pylist())
        counted = connection.execute(sa.select(sa.func.count()).select_from(lookup)).scalar_one()
        return _check_rows(table, int(counted), rows)


def _in_bigquery(warehouse: BigQuery, table: str, columns: Sequence[Column], rows: pa.Table) -> int:
    from google.cloud import bigquery

    from nyctaxi_etl.warehouses.bigquery.commit import commit
    from nyctaxi_etl.warehouses.bigquery.expiry import refuse_expiring_table
    from nyctaxi_etl.warehouses.bigquery.jobs import fields

    jobs, path = warehouse._jobs, warehouse._path(table)  # noqa: SLF001 - of the same package
    with jobs.speaking():
        jobs.locate(*warehouse._locations)  # noqa: SLF001 - as above
        jobs.refuse_expiring()
        found = jobs.table(table)
        if found is None:
            fresh = bigquery.Table(jobs.dataset.table(table), schema=fields(columns))
            fresh.description = MARK
            found = jobs.create(fresh)
        _check_ours(table, found.description)
        refuse_expiring_table(found)
        # JSON writes numbers and texts as BigQuery does.
        values = ", ".join(f"({json.dumps(row, ensure_ascii=False)[1:-1]})" for row in _tuples(rows))
        count = f"SELECT IF(COUNT(*) = {rows.num_rows}, COUNT(*), ERROR('rows are missing')) FROM {path}"  # noqa: S608 - names are quoted
        insert = f"INSERT INTO {path} ({_names(columns, '`')}) VALUES {values}"  # noqa: S608 - names are quoted
        script = ("BEGIN TRANSACTION", f"DELETE FROM {path} WHERE TRUE", insert, count, "COMMIT TRANSACTION")  # noqa: S608 - names are quoted
        commit(jobs, ";\n".join(script) + ";", Event(table, "load", 0, rows.num_rows))
        return _check_rows(table, int(jobs.query(f"SELECT COUNT(*) FROM {path}")[0][0]), rows)  # noqa: S608 - names are quoted


_WAYS: Mapping[str, Callable[[Any, str, Sequence[Column], pa.Table], int]] = {
    "DuckDB": _in_duckdb,
    "Postgres": _in_postgres,
    "AnyDatabase": _in_any_database,
    "BigQuery": _in_bigquery,
}


def _check_ours(table: str, mark: str | None) -> None:
    if mark != MARK:
        message = f"There is a table {table} that is not nyctaxi's lookup."
        raise WarehouseError(message, "It is left as it is: rename it, or load into another database.")


def _check_rows(table: str, counted: int, rows: pa.Table) -> int:
    if counted != rows.num_rows:
        message = f"{table} counts {counted} rows where {rows.num_rows} were read."
        raise QualityError(message, "Nothing was committed. Run it again; if it persists, report it.")
    return counted


def _tuples(rows: pa.Table) -> Iterable[tuple[Any, ...]]:
    return zip(*(column.to_pylist() for column in rows.columns), strict=True)


def _ddl(columns: Sequence[Column], dialect: str) -> str:
    return ", ".join(f"{quote(column.name)} {getattr(column.types, dialect)}" for column in columns)


def _names(columns: Sequence[Column], mark: str = '"') -> str:
    return ", ".join(quote(column.name, mark) for column in columns)
