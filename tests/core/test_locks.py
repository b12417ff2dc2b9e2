"""A lock is one holder's at a time, also between threads of a process, and nothing is ever written to it."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from nyctaxi_etl.core.locks import Attempt, lock_path, try_lock, wait_for_lock

if TYPE_CHECKING:
    from pathlib import Path


def test_one_at_a_time(tmp_path: Path) -> None:
    """While it is locked it is busy for everybody else; afterwards it is free. Its file stays empty."""
    lock = lock_path(tmp_path / "a.csv")
    assert lock.name == ".a.csv.lock"
    with try_lock(lock) as first, try_lock(lock) as second:
        assert (first, second) == (Attempt.LOCKED, Attempt.BUSY)
    with try_lock(lock) as third:
        assert third is Attempt.LOCKED
    assert lock.stat().st_size == 0
    assert list(tmp_path.iterdir()) == [lock]


def test_who_waits_says_so_and_gets_it(tmp_path: Path) -> None:
    """Another thread that has it is waited for, and ``say`` is called meanwhile."""
    lock, freed = tmp_path / "lock", threading.Event()
    with ExitStack() as stack:
        stack.enter_context(try_lock(lock))
        waiting = threading.Event()

        def wait() -> None:
            with wait_for_lock(lock, 0.05, waiting.set):
                freed.set()

        thread = threading.Thread(target=wait)
        thread.start()
        assert waiting.wait(10)
        assert not freed.is_set()
        stack.close()
        thread.join(10)
    assert freed.is_set()


def test_a_damaged_lock_is_made_anew(tmp_path: Path) -> None:
    """One with something in it is nobody's."""
    lock = tmp_path / "lock"
    lock.write_bytes(b"rubbish" * 1000)
    with try_lock(lock) as attempt:
        assert attempt is Attempt.LOCKED


def test_where_nothing_can_be_locked(tmp_path: Path) -> None:
    """Trying says so; waiting would have no end, so it is an error."""
    lock = tmp_path / "no folder" / "lock"
    with try_lock(lock) as attempt:
        assert attempt is Attempt.UNSUPPORTED
    with pytest.raises(sqlite3.Error), wait_for_lock(lock, 0.05, list):
        pass
