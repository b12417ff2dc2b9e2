"""Where months are loaded. Every warehouse makes the same promise, and one contract test suite holds all to it.

After ``replace`` the month is wholly the new one or wholly the old one, other months are untouched, and twice is the
same as once. The ledger row is committed together with the rows. With ELT all of it is said of two tables at once.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from nyctaxi_etl.core.addresses import folder_of, refuse_secret
from nyctaxi_etl.core.errors import QualityError, UsageError, WarehouseError
from nyctaxi_etl.core.partition import Month
from nyctaxi_etl.core.suggest import did_you_mean
from nyctaxi_etl.schema.columns import FILE_MONTH, condition

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

    from sqlalchemy.engine import Engine

    from nyctaxi_etl.core.partition import Stage
    from nyctaxi_etl.schema.columns import Column, Dataset, Predicate
    from nyctaxi_etl.warehouses.ledger import LedgerRow

# The scheme of an address, and the module that speaks to it. Any other scheme is SQLAlchemy's.
_MODULES: Mapping[str, str] = {"duckdb": "duckdb", "postgresql": "postgres", "postgres": "postgres"}
_OWNER = "nyctaxi "
# What values of a type word are to a rule; all others are numbers.
_KINDS: Mapping[str, str] = {"time": "time", "day": "day", "text": "text", "flag": "text"}


# Whose databases are files; and the packages that bring a driver, where they are not called as it is.
_FILES = frozenset({"duckdb", "sqlite"})
_PACKAGES: Mapping[str, str] = {"MySQLdb": "mysqlclient", "psycopg2": "psycopg2-binary", "pymysql": "pymysql"}
_OTHER_DRIVERS: Mapping[str, str] = {
    "mysql": "Or name another: mysql+pymysql:// needs pip install pymysql.",
    "mariadb": "Or name another: mariadb+pymysql:// needs pip install pymysql.",
}
_WORDS = ("duckdb", "bigquery", "postgresql", "mysql", "mariadb", "sqlite", "oracle", "mssql", "block")


@dataclass(frozen=True)
class Capabilities:
    """What a warehouse can do that not every one can: declared, so that nobody has to ask what it is.

    ``streams``: it takes a month while that is still being conformed; its transaction lasts longer, but no one waits.
    ``loads_from_uri``: it fetches months from the lake by itself, by their ``uri``, and takes them from nowhere else.
    """

    streams: bool = False
    loads_from_uri: bool = False


class Warehouse(Protocol):
    """What holds tables of trips and their ledger. Open it with ``with``; it is used by one thread at a time."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do that not every warehouse can."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def loaded(self, table: str) -> tuple[LedgerRow, ...]:
        """Return the ledger's rows of ``table``, by month; none if the table isn't there."""

    def replace(self, table: str, dataset: Dataset, staged: Stage, run_id: str, raw_table: str | None = None) -> int:
        """Replace one month of ``table`` by the staged rows in one transaction, and return how many there are now.

        With ``raw_table`` the staged rows, all that could be parsed, go into that, and the month of ``table`` is made
        of it by the dataset's drop rules, in the same transaction and with a ledger row for each.

        Makes the tables and the ledger if need be, and adds columns that the dataset has gained. Raises
        ``WarehouseError`` for a table that isn't ours, ``QualityError`` if the rows don't add up, ``UsageError`` for
        a rule that can't be applied in SQL, ``Transient`` if trying again may help; then the month is what it was.
        """

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement that only reads, and return its rows."""


def open_warehouse(address: str, data_dir: Path) -> Warehouse:
    """Return the warehouse at ``address``: ``duckdb``, ``duckdb:///path``, or a SQLAlchemy URL without a password.

    Nothing is connected to yet. Raises ``UsageError`` for an address that can't be one or holds a password.
    """
    refuse_secret("to", address)
    if address == "duckdb":
        address = f"duckdb:///{data_dir / 'nyctaxi.duckdb'}"
    scheme = address.partition(":")[0].partition("+")[0]
    if scheme == "duckdb" and address.startswith("duckdb:///"):
        module = importlib.import_module("nyctaxi_etl.warehouses.duckdb.warehouse")
        file = address.removeprefix("duckdb:///")
        folder_of(str(Path(file).absolute()), "to")  # DuckDB opens no path that isn't UTF-8
        return module.DuckDB(file)  # type: ignore[no-any-return]
    return from_engine(_engine(address))


def from_engine(engine: Engine) -> Warehouse:
    """Return the warehouse behind a SQLAlchemy engine, as a Prefect block gives it."""
    if engine.dialect.name == "postgresql":
        module = importlib.import_module("nyctaxi_etl.warehouses.postgres.warehouse")
        return module.Postgres(engine)  # type: ignore[no-any-return]
    module = importlib.import_module("nyctaxi_etl.warehouses.sqlalchemy.warehouse")
    return module.AnyDatabase(engine)  # type: ignore[no-any-return]


def check_ours(table: str, dataset: Dataset, mark: str | None) -> None:
    """Refuse a table that carries another's mark, or none."""
    if mark is None or not mark.startswith(owner_mark(dataset)):
        raise foreign(table, dataset)


def foreign(table: str, dataset: Dataset) -> WarehouseError:
    """Return the error for a table that isn't ours, or not of this colour."""
    message = f"There is a table {table} that does not hold {dataset.color} trips of nyctaxi."
    return WarehouseError(message, "It is left as it is: choose another name with `table=`, or rename that one.")


def is_ours(mark: str | None) -> bool:
    """Tell whether a table's comment is of our making, whatever its colour."""
    return mark is not None and mark.startswith(_OWNER)


def check_columns(table: str, found: Mapping[str, str], wanted: Mapping[str, str]) -> tuple[str, ...]:
    """Return the columns that ``table`` lacks, by name. Raises ``WarehouseError`` if one is there with another type."""
    for name, kind in wanted.items():
        if name in found and found[name] != kind:
            message = f"Column {name} of table {table} is {found[name]}, where {kind} is declared."
            raise WarehouseError(message, "Load into a new table with `table=`, or change the column's type.")
    return tuple(name for name in wanted if name not in found)


def check_rows(staged: Stage, table: str, counted: int) -> None:
    """Refuse to commit unless the warehouse counts exactly the rows that were read and not rejected."""
    _check_count(staged.partition, table, counted, staged.rows_read - staged.rows_rejected)


def check_cleaned(row: LedgerRow, counted: int) -> None:
    """Refuse to commit unless the clean table counts exactly the raw one's rows but those that the rules drop."""
    partition = f"{row.color}/{Month.of(row.file_month)}"
    _check_count(partition, row.table_name, counted, row.rows_read - row.rows_rejected)


def both(table: str, raw_table: str | None) -> tuple[str, ...]:
    """Return the tables that a month goes into, in that order. Raises ``UsageError`` if the two are one."""
    if not raw_table:
        return (table,)
    if raw_table.lower() == table.lower():
        message = f"{table} can't hold the rows as they came and the clean ones."
        raise UsageError(message, "Name another table with `table=`.")
    return raw_table, table


def drops(dataset: Dataset, month: Month, *, time_literal: str = "TIMESTAMP", mark: str = '"') -> str:
    """Return the SQL condition under which a rule drops a row: true or false, never null. See ``condition``.

    Raises ``UsageError`` for a rule that databases may judge otherwise than the transform step.
    """
    rules = [rule for rule in dataset.rules if rule.action == "drop"]
    for rule in rules:
        if not _is_plain(rule.predicate, dataset):
            message = f"The rule {rule.name} of {dataset.color} can't be applied within a warehouse."
            raise UsageError(message, "Use `mode=etl`, or declare the rule by numbers or times: texts sort by place.")
    terms = (condition(rule.predicate, month, time_literal=time_literal, mark=mark) for rule in rules)
    return f"({' OR '.join(terms) or '1 = 0'})"


def cleaned(raw: LedgerRow, table: str, dataset: Dataset, dropped: int) -> LedgerRow:
    """Return the ledger row of the clean ``table``: the raw one's, less the rows that the rules drop."""
    rejected, loaded = raw.rows_rejected + dropped, raw.rows_loaded - dropped
    return replace(raw, table_name=table, rules=dataset.rules_id, rows_rejected=rejected, rows_loaded=loaded)


def now() -> datetime:
    """Return the time as the ledger keeps it: UTC without a zone."""
    return datetime.now(UTC).replace(tzinfo=None)


def owner_mark(dataset: Dataset) -> str:
    """Return the beginning of the comment by which a table is known as ours."""
    return f"{_OWNER}{dataset.color} trips"


def table_columns(dataset: Dataset) -> tuple[Column, ...]:
    """Return the columns of a table of trips: the dataset's and ``file_month``."""
    return (*dataset.columns, FILE_MONTH)


def _check_count(partition: object, table: str, counted: int, expected: int) -> None:
    if counted != expected:
        message = f"{partition}: {table} counts {counted} rows where {expected} were read and kept."
        raise QualityError(
            message, "Nothing was committed; the month is what it was. Run it again; if it persists, report it."
        )


def _is_plain(predicate: Predicate, dataset: Dataset) -> bool:
    """Tell whether a predicate compares numbers or times: texts are compared by a collation that differs by place."""
    kinds = {column.name: _KINDS.get(column.type, "number") for column in dataset.columns}
    value, kind = predicate.value, kinds.get(predicate.column)
    if predicate.operator == "outside month":
        return kind == "time"
    if isinstance(value, str):
        return kind == kinds.get(value) and kind in {"number", "time"}
    return kind == "number" and value is not None and math.isfinite(value)


def _engine(address: str) -> Engine:
    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        url = make_url(address)
        if url.drivername in {"postgres", "postgresql"}:
            url = url.set(drivername="postgresql+psycopg")
        return create_engine(url)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError, ValueError) as error:
        message = f"{address.partition(':')[0]}...: not a warehouse that can be opened ({type(error).__name__})."
        raise UsageError(message, _next_move(address, error), about="to") from None


def _next_move(address: str, error: Exception) -> str:
    """Return what to do about an address that no warehouse has: install a driver, or write it otherwise."""
    scheme = address.partition(":")[0]
    dialect = scheme.partition("+")[0].lower()
    if dialect in _FILES and ":" in address:
        return f"A file's address has three slashes: {dialect}:///path; four, if the path begins with one itself."
    if isinstance(error, ModuleNotFoundError) and error.name:
        package, others = _PACKAGES.get(error.name, error.name), _OTHER_DRIVERS.get(dialect, "")
        return f"Its driver {error.name} is not installed: pip install {package}. {others}".rstrip()
    meant = did_you_mean(scheme, _WORDS)
    driver = f" A dialect {dialect} of SQLAlchemy's may come with a package of its own." if "://" in address else ""
    return f"{meant}Name duckdb, duckdb:///path, block:NAME or a SQLAlchemy URL; its driver must be installed.{driver}"
