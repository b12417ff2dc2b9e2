"""What a dead process has left is removed at once; what a living one works on, here or elsewhere, is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from nyctaxi_etl.core.claims import claimed, sweep
from support.command import environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CLAIM = """
import sys
from pathlib import Path
from nyctaxi_etl.core.claims import claimed
with claimed(Path(sys.argv[1]), "a.csv.", ".part") as path:
    path.mkdir() if sys.argv[2] == "folder" else path.touch()
    print("claimed", flush=True)
    sys.stdin.read()
"""
DAY_AGO = 25 * 3600


@contextmanager
def claiming(parent: Path, kind: str = "file") -> Iterator[subprocess.Popen[bytes]]:
    """Have another process claim a file or folder in ``parent``, and kill it in the end."""
    command = [sys.executable, "-c", CLAIM, str(parent), kind]
    with subprocess.Popen(command, env=environment(parent), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"claimed\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_dead_process_leaves_nothing_for_long(tmp_path: Path, kind: str) -> None:
    """While its process lives, what it works on is left alone; once that is killed, the next sweep removes it."""
    with claiming(tmp_path, kind) as process:
        before = sorted(tmp_path.iterdir())
        assert len(before) == 2
        sweep(tmp_path, "a.csv.", ".part")
        assert sorted(tmp_path.iterdir()) == before
        process.send_signal(signal.SIGKILL)
        process.wait()
        sweep(tmp_path, "b.csv.", ".part")
        assert sorted(tmp_path.iterdir()) == before
        sweep(tmp_path, "a.csv.", ".part")
        assert list(tmp_path.iterdir()) == []


def test_another_thread_of_this_process_is_alive(tmp_path: Path) -> None:
    """Months side by side don't sweep each other, however old they are; in the end nothing is left of them."""
    with claimed(tmp_path) as one, claimed(tmp_path) as other:
        assert one != other
        one.mkdir()
        os.utime(one, (time.time() - DAY_AGO,) * 2)
        sweep(tmp_path)
        assert one.exists()
        assert len(list(tmp_path.iterdir())) == 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["elsewhere~0badb007~123456", "tmp12ab34"], ids=["another machine", "no lock"])
def test_what_nobody_can_tell_is_left_for_a_day(tmp_path: Path, name: str) -> None:
    """Another machine's locks may not be seen here, and earlier versions made none."""
    folder = tmp_path / name
    folder.mkdir()
    if "~" in name:
        (tmp_path / f".{name}.lock").touch()
    sweep(tmp_path)
    assert folder.exists()
    os.utime(folder, (time.time() - DAY_AGO,) * 2)
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_lock_alone_is_removed(tmp_path: Path) -> None:
    """A process may be killed between its lock and its file."""
    with claimed(tmp_path) as path:
        lock = tmp_path / f".{path.name}.lock"
    lock.touch()
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_locked_work_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks: the name is given all the same, and a sweep touches nothing that is young."""
    monkeypatch.setattr("nyctaxi_etl.core.claims.lock_path", lambda path: path.parent / "no folder" / path.name)
    with claimed(tmp_path) as path:
        path.mkdir()
        sweep(tmp_path)
        assert path.exists()
    assert list(tmp_path.iterdir()) == []
