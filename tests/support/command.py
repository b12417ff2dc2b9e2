"""The command as users run it: a process of its own, in a folder of its own, with an environment of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

import nyctaxi_etl

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SECONDS = 120
# A command that is stopped ends within some five seconds; what it would wait for otherwise takes 30 and more.
END_SECONDS = 20
COMMAND = [sys.executable, "-m", "nyctaxi_etl"]


@dataclass(frozen=True)
class Done:
    """What a finished command left: exit code, both outputs, and how long it took."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object that stdout is."""
        document: dict[str, Any] = json.loads(self.out)
        return document

    @property
    def error(self) -> str:
        """The line that says what is wrong."""
        lines = [line for line in self.err.splitlines() if line.startswith("Error: ")]
        assert len(lines) == 1, self.err
        return lines[0]


def environment(folder: Path, settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process' environment without anyone's settings, Prefect's home in ``folder``, and ``settings``."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("NYCTAXI_", "PREFECT_"))}
    # The folder that this process has the package from, in case it is not installed.
    ours = {"PYTHONPATH": str(Path(nyctaxi_etl.__file__).parents[1]), "PREFECT_HOME": str(folder / "prefect")}
    return {**clean, **ours, **(settings or {})}


def nyctaxi(*arguments: str, folder: Path, settings: Mapping[str, str] | None = None) -> Done:
    """Run the command in ``folder``, with ``settings`` in its environment."""
    started = time.monotonic()
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env=environment(folder, settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr, time.monotonic() - started)


@contextmanager
def running(
    *arguments: str, folder: Path, settings: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run Python with these arguments in ``folder`` beside the test, its output in ``running.log``; then kill it."""
    with (folder / "running.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env=environment(folder, settings),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # and what it may have started meanwhile
        process.wait()


def python(code: str, seconds: float = SECONDS) -> str:
    """Run Python code in a process of its own that finds the package and the tests, and return what it prints."""
    tests = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([tests, *filter(None, sys.path)])},
    )
    return done.stdout.strip()


def start(*arguments: str, folder: Path, settings: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start the command as a terminal does, in a process group of its own."""
    return subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=folder,
        env=environment(folder, settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def stopped(process: subprocess.Popen[str], word: str, *numbers: int, group: bool = False) -> Done:
    """Send the signals once stderr says ``word``, to the whole group as a terminal does, and return how it ended."""
    assert process.stderr is not None
    heard = ""
    while word not in heard:
        line = process.stderr.readline()
        assert line, heard
        heard += line
    started = time.monotonic()
    for number in numbers:
        (os.killpg if group else os.kill)(process.pid, number)
        time.sleep(0.1)
    out, err = process.communicate(timeout=SECONDS)
    return Done(process.returncode, out, heard + err, time.monotonic() - started)


def assert_clean_end(done: Done, folder: Path) -> None:
    """Assert that an interrupted command said so once, ended soon, and left nothing half written."""
    assert done.code == 130, done.err
    assert done.seconds < END_SECONDS
    assert done.err.count("Interrupted.") == 1
    assert "Traceback" not in done.err
    assert "Error" not in done.err
    assert done.out == ""
    assert list((folder / "data" / "staging").iterdir()) == []


def rows_of(folder: Path, table: str = "fhv_taxi_data") -> list[tuple[Any, ...]]:
    """Return the months that the embedded warehouse holds, and the rows of each."""
    with duckdb.connect(str(folder / "data" / "nyctaxi.duckdb")) as connection:
        tables = [str(row[0]) for row in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        if table not in tables:
            return []
        sql = f"SELECT CAST(file_month AS VARCHAR), count(*) FROM {table} GROUP BY 1 ORDER BY 1"
        return connection.execute(sql).fetchall()
