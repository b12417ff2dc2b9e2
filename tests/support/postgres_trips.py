"""Trips in a Postgres of a test's own: months that are loaded, and what a user asks of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg

from nyctaxi_etl.warehouses.opening import open_warehouse
from support.months import TRIPS, stage_rows, trips

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date
    from pathlib import Path

    from support.postgres import PostgresServer


def put(server: PostgresServer, folder: Path, month: str, numbers: Iterable[int], table: str = "trips") -> int:
    """Replace a month of ``table`` by trips of these numbers."""
    with open_warehouse(server.url(), folder) as warehouse:
        return warehouse.replace(table, TRIPS, stage_rows(folder, month, trips(numbers)), "run")


def ask(server: PostgresServer, statement: str) -> list[Any]:
    """Run a statement as a user, and return the first value of each row."""
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return [row[0] for row in cursor] if cursor.description else []


def loaded(server: PostgresServer, folder: Path, table: str = "trips") -> list[date]:
    """Return the months that count as loaded."""
    with open_warehouse(server.url(), folder) as warehouse:
        return [row.file_month for row in warehouse.loaded(table)]


def numbers_of(server: PostgresServer, table: str = "trips") -> list[int]:
    """Return the numbers of all trips in ``table``."""
    return ask(server, f"SELECT trip FROM {table} ORDER BY 1")


def tables(server: PostgresServer) -> list[str]:
    """Return the names of all tables that a user sees, the ledger aside."""
    found = ask(server, "SELECT tablename FROM pg_tables WHERE schemaname !~ '^(pg_|information)' ORDER BY 1")
    return [name for name in found if name != "nyctaxi_loads"]
