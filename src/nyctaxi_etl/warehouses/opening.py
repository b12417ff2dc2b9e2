"""From an address to a warehouse: which one speaks to it, and what to do about an address that none has."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nyctaxi_etl.core.addresses import folder_of, refuse_secret
from nyctaxi_etl.core.errors import UsageError
from nyctaxi_etl.core.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.engine import Engine

    from nyctaxi_etl.warehouses.base import Warehouse

_DUCKDB = "duckdb:///"
# Whose databases are files; and the packages that bring a driver, where they are not called as it is.
_FILES = frozenset({"duckdb", "sqlite"})
_PACKAGES: Mapping[str, str] = {"MySQLdb": "mysqlclient", "psycopg2": "psycopg2-binary", "pymysql": "pymysql"}
_OTHER_DRIVERS: Mapping[str, str] = {
    "mysql": "Or name another: mysql+pymysql:// needs pip install pymysql.",
    "mariadb": "Or name another: mariadb+pymysql:// needs pip install pymysql.",
}
_WORDS = ("duckdb", "bigquery", "postgresql", "mysql", "mariadb", "sqlite", "oracle", "mssql", "block")


def open_warehouse(address: str, data_dir: Path) -> Warehouse:
    """Return the warehouse at ``address``: ``duckdb``, ``duckdb:///path``, or a SQLAlchemy URL without a password.

    Nothing is connected to yet. Raises ``UsageError`` for an address that can't be one or holds a password.
    """
    refuse_secret("to", address)
    file = duckdb_file(address, data_dir)
    if file is not None:
        from nyctaxi_etl.warehouses.duckdb.warehouse import DuckDB

        folder_of(str(Path(file).absolute()), "to")  # DuckDB opens no path that isn't UTF-8
        return DuckDB(file)
    return from_engine(_engine_of(address))


def duckdb_file(address: str, data_dir: Path) -> str | None:
    """Return the file that ``duckdb`` or ``duckdb:///path`` names, ``None`` for another address."""
    if address == "duckdb":
        return str(data_dir / "nyctaxi.duckdb")
    return address.removeprefix(_DUCKDB) if address.startswith(_DUCKDB) else None


def from_engine(engine: Engine) -> Warehouse:
    """Return the warehouse behind a SQLAlchemy engine, as a Prefect block gives it.

    Raises ``UsageError`` for an engine that can't load months: another driver of Postgres's, a SQLite in memory.
    """
    if engine.dialect.name == "postgresql":
        from nyctaxi_etl.warehouses.postgres.warehouse import Postgres

        return Postgres(engine)
    from nyctaxi_etl.warehouses.sqlalchemy.warehouse import AnyDatabase

    return AnyDatabase(engine)


def _engine_of(address: str) -> Engine:
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
