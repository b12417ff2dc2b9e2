"""What the Postgres warehouse asks the catalogue, and the pieces of its statements. Names are always quoted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg

from nyctaxi_etl.schema import FILE_MONTH, quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date

    from nyctaxi_etl.model import Partition
    from nyctaxi_etl.schema import Column

Cursor = psycopg.Cursor[tuple[Any, ...]]


def partitions_of(cursor: Cursor, table: str) -> dict[date, str]:
    """Return the months that ``table`` has partitions for, and their full names, quoted; none if it isn't there."""
    statement = (
        "SELECT substring(pg_get_expr(relpartbound, oid) FROM $$IN \\('(\\d+-\\d+-\\d+)'\\)$$)::date, "
        "oid::regclass::text FROM pg_inherits JOIN pg_class ON oid = inhrelid "
        "WHERE inhparent = to_regclass(%s)"
    )
    run(cursor, "SET LOCAL datestyle = 'ISO'")
    return {day: str(name) for day, name in run(cursor, statement, [quote(table)]).fetchall() if day}


def place_of(cursor: Cursor, table: str) -> str:
    """Return the schema in which the search path finds ``table``, or nothing."""
    statement = (
        "SELECT nspname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE c.oid = to_regclass(%s)"
    )
    rows = run(cursor, statement, [quote(table)]).fetchall()
    return str(rows[0][0]) if rows else ""


def columns_of(cursor: Cursor, table: str) -> dict[str, str]:
    """Return the table's columns and their types, in order, without locking it."""
    statement = (
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
    )
    short = {"timestamp without time zone": "timestamp"}
    return {str(name): short.get(kind, str(kind)) for name, kind in run(cursor, statement, [quote(table)]).fetchall()}


def comment(cursor: Cursor, thing: str, text: str) -> None:
    """Say of a thing what it is."""
    escaped = text.replace("'", "''")
    run(cursor, f"COMMENT ON {thing} IS '{escaped}'")


def partition_name(table: str, partition: Partition) -> str:
    """Return the name of the month's part of ``table``."""
    return f"{table}_{partition.month.year:04d}_{partition.month.number:02d}"


def run(cursor: Cursor, statement: str, values: Sequence[object] | None = None) -> Cursor:
    """Run a statement; without ``values`` a percent sign in it is its own."""
    return cursor.execute(statement.encode(), values)


def ddl(columns: Iterable[Column]) -> str:
    """Return the columns' definitions."""
    return ", ".join(f"{quote(c.name)} {c.types.postgres}{' NOT NULL' if c is FILE_MONTH else ''}" for c in columns)


def listed(columns: Iterable[Column]) -> str:
    """Return the columns' names, quoted, with commas between."""
    return ", ".join(quote(column.name) for column in columns)
