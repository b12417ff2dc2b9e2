"""A SQLite file: loads take turns at it, and say for what they wait; a failed load leaves it as large as it was."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from nyctaxi_etl.core.errors import UsageError, WarehouseError
from nyctaxi_etl.core.progress import Event, tell
from nyctaxi_etl.warehouses.sqlalchemy.errors import is_busy

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine


# Execution options of a transaction: that it only reads, and the month that goes in.
READS, SUBJECT = "nyctaxi_reads", "nyctaxi_month"
BUSY_SECONDS = 600.0
# How long SQLite itself waits at a time. Also for room in memory, while others read what it would write over.
_PAUSE_MILLISECONDS = 200


def file_of(engine: Engine) -> Path | None:
    """Return the file of a SQLite database, or nothing for one that is named by a URI.

    Raises ``UsageError`` for one in memory.
    """
    name = engine.url.database
    if not name or name == ":memory:":
        message = "sqlite:// names no file: what is loaded into memory is gone when the command ends."
        raise UsageError(message, "Name one with `to=sqlite:///path`.", about="to")
    return None if name.startswith("file:") else Path(name)


def take_turns(engine: Engine) -> None:
    """Have a transaction take its lock when it begins, not midway, and say so while it waits for another program."""

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {_PAUSE_MILLISECONDS}")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        reads = connection.get_execution_options().get(READS)
        connection.exec_driver_sql(f"PRAGMA query_only = {'ON' if reads else 'OFF'}")
        if reads:
            connection.exec_driver_sql("BEGIN")
            _run_waiting(connection, "SELECT 1 FROM sqlite_master LIMIT 1")
        else:
            _run_waiting(connection, "BEGIN IMMEDIATE")

    @event.listens_for(engine, "commit")
    def _committed(connection: Connection) -> None:
        # Readers keep a commit waiting; SQLAlchemy's own finds it done.
        if connection.connection.driver_connection.in_transaction:  # type: ignore[union-attr]
            _run_waiting(connection, "COMMIT")


def undo_failed_transaction(path: Path) -> None:
    """Have SQLite undo what a failed transaction wrote to the file: else the next one who opens it does it."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as connection:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()


def _run_waiting(connection: Connection, statement: str) -> None:
    subject: str = connection.get_execution_options().get(SUBJECT, "")
    name = connection.engine.url.database
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.exec_driver_sql(statement).close()
        except OperationalError as error:
            if not is_busy(error):
                raise
            if time.monotonic() > end:
                message = f"{name} is held by another program: waited {BUSY_SECONDS:.0f} seconds for it."
                hint = "Close what has it open, then run again: finished months are not loaded twice."
                raise WarehouseError(message, hint) from error
        else:
            return
        step = "load" if subject else "warehouse"
        tell(Event(subject, step, note=f"waiting for another program, which has {Path(name or '').name} open"))
