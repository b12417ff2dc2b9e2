"""Where months are loaded. Every warehouse makes the same promise, and one contract test suite holds all to it.

After ``replace`` the month is wholly the new one or wholly the old one, other months are untouched, and twice is the
same as once. The ledger row is committed together with the rows.
"""

from __future__ import annotations

import importlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from nyctaxi_etl.errors import QualityError, UsageError, WarehouseError
from nyctaxi_etl.schema import FILE_MONTH

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from sqlalchemy.engine import Engine

    from nyctaxi_etl.ledger import LedgerRow
    from nyctaxi_etl.model import Stage
    from nyctaxi_etl.schema import Column, Dataset

# The scheme of an address, and the module that speaks to it. Any other scheme is SQLAlchemy's.
_MODULES: Mapping[str, str] = {"duckdb": "duckdb", "postgresql": "postgres", "postgres": "postgres"}
_OWNER = "nyctaxi "
_SECRET_KEYS = frozenset({"password", "passwd", "pwd", "sslpassword", "token", "secret"})


class Warehouse(Protocol):
    """What holds tables of trips and their ledger. Open it with ``with``; it is used by one thread at a time."""

    @property
    def takes_flow(self) -> bool:
        """Tell whether a month may be conformed while it goes in: the transaction lasts longer, but no one waits."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def loaded(self, table: str) -> tuple[LedgerRow, ...]:
        """Return the ledger's rows of ``table``, by month; none if the table isn't there."""

    def replace(self, table: str, dataset: Dataset, staged: Stage, run_id: str) -> int:
        """Replace one month of ``table`` by the staged rows in one transaction, and return how many there are now.

        Makes the table and the ledger if need be, and adds columns that the dataset has gained. Raises
        ``WarehouseError`` for a table that isn't ours, ``QualityError`` if the rows don't add up, ``Transient`` if
        trying again may help; then the month is what it was.
        """

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement that only reads, and return its rows."""


def open_warehouse(address: str, data_dir: Path) -> Warehouse:
    """Return the warehouse at ``address``: ``duckdb``, ``duckdb:///path``, or a SQLAlchemy URL without a password.

    Nothing is connected to yet. Raises ``UsageError`` for an address that can't be one or holds a password.
    """
    if address == "duckdb":
        address = f"duckdb:///{data_dir / 'nyctaxi.duckdb'}"
    scheme = address.partition(":")[0].partition("+")[0]
    if scheme == "duckdb" and address.startswith("duckdb:///"):
        module = importlib.import_module("nyctaxi_etl.warehouses.duckdb")
        return module.DuckDB(address.removeprefix("duckdb:///"))  # type: ignore[no-any-return]
    return from_engine(_engine(address))


def from_engine(engine: Engine) -> Warehouse:
    """Return the warehouse behind a SQLAlchemy engine, as a Prefect block gives it."""
    if engine.dialect.name == "postgresql":
        module = importlib.import_module("nyctaxi_etl.warehouses.postgres")
        return module.Postgres(engine)  # type: ignore[no-any-return]
    module = importlib.import_module("nyctaxi_etl.warehouses.sqlalchemy")
    return module.AnyDatabase(engine)  # type: ignore[no-any-return]


def check_ours(table: str, dataset: Dataset, mark: str | None) -> None:
    """Refuse a table that carries another's mark, or none."""
    if mark is None or not mark.startswith(owner_mark(dataset)):
        raise foreign(table, dataset)


def foreign(table: str, dataset: Dataset) -> WarehouseError:
    """Return the error for a table that isn't ours, or not of this colour."""
    message = f"There is a table {table} that does not hold {dataset.color} trips of nyctaxi."
    return WarehouseError(message, "It is left as it is: choose another name with --table, or rename that one.")


def is_ours(mark: str | None) -> bool:
    """Tell whether a table's comment is of our making, whatever its colour."""
    return mark is not None and mark.startswith(_OWNER)


def check_columns(table: str, found: Mapping[str, str], wanted: Mapping[str, str]) -> tuple[str, ...]:
    """Return the columns that ``table`` lacks, by name. Raises ``WarehouseError`` if one is there with another type."""
    for name, kind in wanted.items():
        if name in found and found[name] != kind:
            message = f"Column {name} of table {table} is {found[name]}, where {kind} is declared."
            raise WarehouseError(message, "Load into a new table with --table, or change the column's type.")
    return tuple(name for name in wanted if name not in found)


def check_rows(staged: Stage, table: str, counted: int) -> None:
    """Refuse to commit unless the warehouse counts exactly the rows that were read and not rejected."""
    expected = staged.rows_read - staged.rows_rejected
    if counted != expected:
        message = f"{staged.partition}: {table} counts {counted} rows where {expected} were read and kept."
        raise QualityError(
            message, "Nothing was committed; the month is what it was. Run it again; if it persists, report it."
        )


def now() -> datetime:
    """Return the time as the ledger keeps it: UTC without a zone."""
    return datetime.now(UTC).replace(tzinfo=None)


def owner_mark(dataset: Dataset) -> str:
    """Return the beginning of the comment by which a table is known as ours."""
    return f"{_OWNER}{dataset.color} trips"


def table_columns(dataset: Dataset) -> tuple[Column, ...]:
    """Return the columns of a table of trips: the dataset's and ``file_month``."""
    return (*dataset.columns, FILE_MONTH)


def _engine(address: str) -> Engine:
    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        url = make_url(address)
        if url.password or _SECRET_KEYS & {name.lower() for name in url.query}:
            message = f"--to {url.drivername}://...: the address holds a password."
            raise UsageError(
                message, "Leave it out: set PGPASSWORD, use a password file, or register a block (blocks-init)."
            )
        if url.drivername in {"postgres", "postgresql"}:
            url = url.set(drivername="postgresql+psycopg")
        return create_engine(url)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError, ValueError) as error:
        message = f"--to {address.partition(':')[0]}...: not a warehouse that can be opened ({type(error).__name__})."
        raise UsageError(
            message, "Name duckdb, duckdb:///path, block:NAME or a SQLAlchemy URL; its driver must be installed."
        ) from None
