"""The warehouses that the contract tests hold to their promise: one row of ``PLACES`` each."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import duckdb
import psycopg

from nyctaxi_etl.schema.columns import quote
from nyctaxi_etl.warehouses.base import table_columns
from nyctaxi_etl.warehouses.opening import open_warehouse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import pytest

    from nyctaxi_etl.schema.columns import Dataset
    from nyctaxi_etl.warehouses.base import Warehouse

# SQLite has no type for time and gives back the text that it keeps.
_FROM_TEXT: Mapping[str, Callable[[str], object]] = {"time": datetime.fromisoformat, "day": date.fromisoformat}


@dataclass(frozen=True)
class Place:
    """An empty warehouse of a test's own: its address, and how a user runs a statement there by hand.

    ``comments``: tables carry a comment there, by which ours are known even without the ledger.
    """

    address: str
    data_dir: Path
    by_hand: Callable[[str], object]
    comments: bool = True

    def open(self) -> Warehouse:
        """Return the warehouse as the pipeline gets it."""
        return open_warehouse(self.address, self.data_dir)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Return a query's rows."""
        with self.open() as warehouse:
            return warehouse.query(sql)

    def rows(self, table: str, dataset: Dataset) -> list[tuple[Any, ...]]:
        """Return the table's rows with ``file_month`` last, in the order of their first column."""
        columns = table_columns(dataset)
        found = self.query(f"SELECT {', '.join(quote(column.name) for column in columns)} FROM {quote(table)}")
        typed = [
            tuple(
                _FROM_TEXT[column.type](value) if isinstance(value, str) and column.type in _FROM_TEXT else value
                for value, column in zip(row, columns, strict=True)
            )
            for row in found
        ]
        return sorted(typed, key=lambda row: (row[0] is None, row[0]))


def _duckdb(request: pytest.FixtureRequest) -> Place:
    path = request.getfixturevalue("tmp_path") / "trips.duckdb"

    def by_hand(statement: str) -> None:
        with duckdb.connect(str(path)) as connection:
            connection.execute(statement)

    return Place(f"duckdb:///{path}", path.parent, by_hand)


def _postgres(request: pytest.FixtureRequest) -> Place:
    server = request.getfixturevalue("postgres")

    def by_hand(statement: str) -> None:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute(statement.encode())

    return Place(server.url(), request.getfixturevalue("tmp_path"), by_hand)


def _sqlite(request: pytest.FixtureRequest) -> Place:
    path = request.getfixturevalue("tmp_path") / "trips.sqlite"

    def by_hand(statement: str) -> None:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(statement)

    return Place(f"sqlite:///{path}", path.parent, by_hand, comments=False)


PLACES: Mapping[str, Callable[[pytest.FixtureRequest], Place]] = {
    "duckdb": _duckdb,
    "postgres": _postgres,
    "sqlite": _sqlite,
}
