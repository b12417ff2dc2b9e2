"""How Postgres is spoken to, and what its catalogue says of tables and partitions. Names are always quoted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg

from nyctaxi_etl.schema.columns import FILE_MONTH, quote
from nyctaxi_etl.warehouses.sql import Dialect

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from nyctaxi_etl.core.partition import Month

DIALECT = Dialect("postgres", placeholder="%s")
Cursor = psycopg.Cursor[tuple[Any, ...]]


def partitions_of(cursor: Cursor, table: str) -> dict[date, str]:
    """Return the months that ``table`` has partitions for, and their full names, quoted; none if it isn't there."""
    statement = (
        "SELECT substring(pg_get_expr(relpartbound, oid) FROM $$IN \\('(\\d+-\\d+-\\d+)'\\)$$)::date, "
        "oid::regclass::text FROM pg_inherits JOIN pg_class ON oid = inhrelid "
        "WHERE inhparent = to_regclass(%s)"
    )
    return {day: str(name) for day, name in run(cursor, statement, [quote(table)]).fetchall() if day}


def schema_name_of(cursor: Cursor, table: str) -> str:
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


def definition_of(cursor: Cursor, table: str, month: date) -> str:
    """Return the definition of a table that can become the month's part of ``table``, without locking that.

    ``CREATE TABLE ... LIKE`` says the same, but keeps a lock on the table until the commit, for which the exchange of
    every other month would wait. Columns, defaults, collations and checks are those of the table; the month is checked,
    too, which spares the exchange a scan. Indexes, foreign keys and triggers come with the exchange.
    """
    rows = run(cursor, _COLUMNS, [quote(table)]).fetchall()
    columns = [f"{quote(name)} {definition}" for name, definition in rows if name != FILE_MONTH.name]
    day, name = f"DATE '{month}'", quote(FILE_MONTH.name)
    file_month = f"{name} date CONSTRAINT has_month NOT NULL DEFAULT {day} CONSTRAINT one_month CHECK ({name} = {day})"
    checks = [
        f"CONSTRAINT {quote(name)} {check.removesuffix(' NOT VALID')}"
        for name, check in run(cursor, _CHECKS, [quote(table)]).fetchall()
    ]
    return ", ".join([*columns, file_month, *checks])


_COLUMNS = (
    "SELECT attname, concat_ws(' ', format_type(atttypid, atttypmod), "
    "'COLLATE ' || nullif(attcollation, typcollation)::regcollation::text, "
    "CASE attgenerated WHEN 's' THEN 'GENERATED ALWAYS AS (' || value || ') STORED' "
    "WHEN 'v' THEN 'GENERATED ALWAYS AS (' || value || ') VIRTUAL' ELSE 'DEFAULT ' || coalesce(value, "
    # An identity, which a partition may not have of its own (since Postgres 17 it shares the table's).
    "CASE WHEN attidentity <> '' THEN "
    "format('nextval(%%L)', pg_get_serial_sequence(attrelid::regclass::text, attname)) END) END, "
    "CASE WHEN attnotnull THEN 'NOT NULL' END) "
    "FROM pg_attribute JOIN pg_type t ON t.oid = atttypid "
    "LEFT JOIN (SELECT adrelid, adnum, pg_get_expr(adbin, adrelid) AS value FROM pg_attrdef) d "
    "ON adrelid = attrelid AND adnum = attnum "
    "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
)
_CHECKS = (
    "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint "
    "WHERE conrelid = to_regclass(%s) AND contype = 'c' ORDER BY conname"
)


def default_partition_of(cursor: Cursor, table: str) -> str:
    """Return the full name, quoted, of the part of ``table`` that takes every other month; nothing if there is none."""
    statement = "SELECT partdefid::regclass::text FROM pg_partitioned_table WHERE partrelid = to_regclass(%s)"
    rows = run(cursor, statement, [quote(table)]).fetchall()
    return "" if not rows or rows[0][0] == "-" else str(rows[0][0])


def mark_of(cursor: Cursor, table: str) -> tuple[str | None, str]:
    """Return the comment of a table that is there, and its kind as the catalogue has it: ``p`` is partitioned."""
    statement = "SELECT obj_description(oid, 'pg_class'), relkind::text FROM pg_class WHERE oid = to_regclass(%s)"
    mark, kind = run(cursor, statement, [quote(table)]).fetchall()[0]
    return mark, kind


def partition_name(table: str, month: Month) -> str:
    """Return the name of the month's part of ``table``."""
    return f"{table}_{month.year:04d}_{month.number:02d}"


# How the server writes names and dates, so that what it says of them can be read.
SETTINGS = "SET LOCAL quote_all_identifiers = off; SET LOCAL datestyle = 'ISO'"


def run(cursor: Cursor, statement: str, values: Sequence[object] | None = None) -> Cursor:
    """Run a statement; without ``values`` a percent sign in it is its own."""
    return cursor.execute(statement.encode(), values)
