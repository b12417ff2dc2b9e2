"""Waiting for locks in Postgres: for a bounded time, told, so that others get their turn and Ctrl-C its way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from nyctaxi_etl.core.errors import WarehouseError
from nyctaxi_etl.core.progress import Event, tell
from nyctaxi_etl.warehouses.postgres.sql import run

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nyctaxi_etl.warehouses.postgres.sql import Cursor

# How long to wait for a lock at a time, ten minutes in all. Postgres lets an autovacuum give way after one second.
_WAITS_SECONDS = (2, 4, 8, *[10] * 60)


def lock(cursor: Cursor, names: Iterable[str], subject: str) -> None:
    """Wait for locks on names, held to the end of the transaction; always in one order, so that nobody is stuck.

    Raises ``WarehouseError`` after ten minutes.
    """
    for name in sorted(names):
        statement = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
        run_waiting(cursor, statement, name, subject, [f"nyctaxi {name}"])


def run_waiting(
    cursor: Cursor, statement: str, name: str, subject: str, values: Sequence[object] | None = None
) -> None:
    """Run a statement that locks; look up now and then, so that others get their turn and Ctrl-C its way.

    ``name`` is what is waited for, ``subject`` the month that waits. Raises ``WarehouseError`` after ten minutes.
    """
    for seconds in _WAITS_SECONDS:
        try:
            with cursor.connection.transaction():
                run(cursor, f"SET LOCAL lock_timeout = '{seconds * 1000:.0f}ms'")
                run(cursor, statement, values)
                run(cursor, "SET LOCAL lock_timeout = DEFAULT")
        except psycopg.errors.LockNotAvailable:
            tell(Event(subject, "load" if subject else "warehouse", note=f"waiting for those who use {name}"))
        else:
            return
    month = f"{subject}: " if subject else ""
    message = f"{month}others have been using {name} for {sum(_WAITS_SECONDS) / 60:.0f} minutes."
    raise WarehouseError(message, "Look for them in pg_stat_activity, and run again; the month is what it was before.")
