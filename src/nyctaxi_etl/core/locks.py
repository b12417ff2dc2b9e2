"""Locks that the system itself gives back when their holder dies, however that dies, so that none is ever stale.

A lock is an SQLite transaction on an empty file beside what it is for: it works the same on every system, between
processes and between threads. Nothing is ever written to it.
"""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack, closing, contextmanager, suppress
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LOCK = ".lock"


class Attempt(Enum):
    """What came of trying to lock a file."""

    LOCKED = auto()
    BUSY = auto()
    UNSUPPORTED = auto()  # a file system without locks, or a folder that can't be written to


def lock_path(path: Path) -> Path:
    """Return the lock of ``path``: ``.{name}.lock`` beside it."""
    return path.with_name(f".{path.name}{LOCK}")


@contextmanager
def try_lock(lock: Path) -> Iterator[Attempt]:
    """Lock the file, made if need be, while the block lasts; say what came of it, without waiting."""
    with ExitStack() as stack:
        attempt = Attempt.UNSUPPORTED
        with suppress(sqlite3.OperationalError, OSError):
            database = stack.enter_context(closing(_opened(lock, 0)))
            attempt = Attempt.LOCKED if _begin(database) else Attempt.BUSY
        yield attempt


@contextmanager
def wait_for_lock(lock: Path, every_seconds: float, say: Callable[[], object]) -> Iterator[None]:
    """Lock the file, made if need be, while the block lasts; ``say`` is called each time that it is still another's.

    Raises ``sqlite3.Error`` where it can't be locked.
    """
    with closing(_opened(lock, every_seconds)) as database:
        while not _begin(database):
            say()
        yield


def _opened(lock: Path, timeout_seconds: float) -> sqlite3.Connection:
    # One that has something in it is damaged, and nobody holds a lock that is no database: it is made anew.
    with suppress(FileNotFoundError):
        if lock.is_file() and lock.stat().st_size:
            lock.unlink()
    return sqlite3.connect(lock, timeout=timeout_seconds, isolation_level=None, check_same_thread=False)


def _begin(database: sqlite3.Connection) -> bool:
    """Begin the transaction that is the lock; false: another has it. Raises ``sqlite3.Error`` for anything else."""
    try:
        database.execute("PRAGMA journal_mode=MEMORY")  # no journal file: nothing is ever written
        database.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            return False
        raise
    return True
