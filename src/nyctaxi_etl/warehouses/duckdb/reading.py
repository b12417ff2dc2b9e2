"""DuckDB reads months for others: of a file of its own, or of Parquet; only the columns and rows that are asked for.

A condition is one expression in SQL, written by anybody: it can't read another file, write one, or run a statement.
"""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb
import pyarrow as pa

from nyctaxi_etl.core.errors import NycTaxiError, UsageError, WarehouseError
from nyctaxi_etl.core.partition import Month
from nyctaxi_etl.schema.columns import FILE_MONTH, quote
from nyctaxi_etl.schema.datasets import DATASETS
from nyctaxi_etl.warehouses.duckdb.tables import ledger_rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from nyctaxi_etl.core.partition import Partition
    from nyctaxi_etl.schema.columns import Column

_ATTACHED = "warehouse"
# Enough for the row groups in flight, however large the months are.
_SETTINGS = {"memory_limit": "512MB", "threads": "2"}


class Rows(NamedTuple):
    """What DuckDB reads a month from: a relation in SQL, where that is, and the file that it opens itself, if any."""

    sql: str
    origin: str
    file: str | None = None


class Wanted(NamedTuple):
    """Which columns of a month, and which rows: ``parameters`` are the values of the condition's ``$name``."""

    columns: Sequence[Column]
    where: str | None
    parameters: Mapping[str, Any]


def connect() -> AbstractContextManager[duckdb.DuckDBPyConnection]:
    """Open a DuckDB in memory, with settings of its own."""
    return closing(duckdb.connect(":memory:", config=dict(_SETTINGS)))


def loaded_months(connection: duckdb.DuckDBPyConnection, path: Path, table: str) -> frozenset[Month]:
    """Open a DuckDB file to be read, as the connection's own, and return which months of a table it has.

    None, where there is no such file. This process may read it elsewhere, too, with other settings. Raises
    ``WarehouseError`` for a file that can't be read, or that somebody writes to.
    """
    if not path.is_file():
        return frozenset()
    try:
        connection.execute(f"ATTACH {_literal(str(path))} AS {_ATTACHED} (TYPE duckdb, READ_ONLY)")
        connection.execute(f"USE {_ATTACHED}")
        return frozenset(Month.of(row.file_month) for row in ledger_rows_of(connection, table))
    except duckdb.Error as error:
        message = f"{path} can't be opened: {first_line(error)}"
        raise WarehouseError(message, "Close what has it open, or name another with at='duckdb:///path'.") from error


def parquet_rows(path: Path) -> Rows | None:
    """Return what reads a Parquet file; ``None`` for one whose name DuckDB would take for a pattern."""
    is_pattern = bool(set("*?[") & set(str(path)))
    return None if is_pattern else Rows(f"read_parquet({_literal(str(path))})", str(path), str(path))


def restrict(connection: duckdb.DuckDBPyConnection, rows: Sequence[Rows]) -> None:
    """Leave a connection nothing but what it has and the files of these rows, for good."""
    files = ", ".join(_literal(one.file) for one in rows if one.file)
    connection.execute("SET python_enable_replacements = false")
    connection.execute(f"SET allowed_paths = [{files}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def check_condition(where: str | None) -> str | None:
    """Return the condition if it is one, ``None`` for an empty one. Raises ``UsageError`` for what is none.

    What follows an expression (another statement, a FROM, a UNION, a bracket too many) would be run as well.
    """
    if where is None or not where.strip():
        return None
    try:
        where.encode()
        duckdb.SQLExpression(where)
    except (duckdb.Error, UnicodeError) as error:
        raise _no_condition(where, error) from None
    return where


def read_batches(
    connection: duckdb.DuckDBPyConnection, partition: Partition, rows: Rows, wanted: Wanted, batch_rows: int
) -> Iterator[pa.RecordBatch]:
    """Yield what is wanted of a month, in batches of at most ``batch_rows`` rows, in the order of the month.

    Columns that were declared after the month was written are null. Raises ``UsageError`` for a condition that does
    not suit the rows, ``NycTaxiError`` for a month that can't be read.
    """
    with _named(partition, rows.origin):
        relation = _relation(connection, partition, rows, wanted)
        # Renamed in DuckDB 1.5.
        read = getattr(relation, "to_arrow_reader", None) or relation.fetch_arrow_reader
        yield from read(batch_rows)


def first_line(error: Exception) -> str:
    """Return the first line of what an error says, or else its name."""
    return (str(error).splitlines() or [type(error).__name__])[0]


@contextmanager
def _named(partition: Partition, origin: str) -> Iterator[None]:
    """Name the month in what DuckDB says, or Arrow in the middle of it."""
    try:
        yield
    except (duckdb.Error, pa.ArrowException) as error:
        kind = UsageError if isinstance(error, duckdb.DataError) else NycTaxiError
        message = f"{partition} can't be read from {origin}: {first_line(error)}"
        raise kind(message, "Does the condition suit the rows, and is the month whole?") from error


def _relation(
    connection: duckdb.DuckDBPyConnection, partition: Partition, rows: Rows, wanted: Wanted
) -> duckdb.DuckDBPyRelation:
    written = set(connection.sql(f"SELECT * FROM {rows.sql} LIMIT 0").columns)  # noqa: S608 - quoted
    declared = ", ".join(_expression(column, written) for column in DATASETS[partition.color].columns)
    month, day = quote(FILE_MONTH.name), f"DATE '{partition.month.first_day}'"
    only = f" WHERE {month} = {day}" if FILE_MONTH.name in written else ""
    names = ", ".join(quote(column.name) for column in wanted.columns)
    sql = f"SELECT {names} FROM (SELECT {declared}, {day} AS {month} FROM {rows.sql}{only})"  # noqa: S608 - quoted
    if wanted.where is None:
        return connection.sql(sql)
    try:
        # On lines of its own, or a comment in it would hide the bracket.
        return connection.sql(f"{sql} WHERE (\n{wanted.where}\n)", params=dict(wanted.parameters))
    except (duckdb.Error, TypeError, ValueError) as error:  # Python's: a parameter that DuckDB has no type for
        raise _no_condition(wanted.where, error) from error


def _expression(column: Column, written: set[str]) -> str:
    name = quote(column.name)
    return name if column.name in written else f"NULL::{column.types.duckdb} AS {name}"


def _no_condition(where: str, error: Exception) -> UsageError:
    message = f"{where!r} is no condition on trips: {first_line(error)}"
    hint = "Write one expression in SQL, with the columns' canonical names (`nyctaxi schema`)."
    return UsageError(message, hint, about="where")


def _literal(text: str) -> str:
    escaped = text.replace("'", "''")
    return f"'{escaped}'"
