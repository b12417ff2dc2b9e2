"""A run that starts Prefect's server for itself: it says so, is stopped as any other, and leaves no server behind."""

from __future__ import annotations

import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from support.command import (
    COMMAND,
    END_SECONDS,
    SECONDS,
    assert_clean_end,
    environment,
    nyctaxi,
    rows_of,
    start,
    stopped,
)
from support.months import publish

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.server

# A month large enough to be stopped in, and the settings that make it so.
LARGE = ("ingest", "--color", "green", "--year", "2021", "--months", "1", "--source", "sample")
ROWS = "600000"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Prefect's folder for runs that come to their end there: its database is made once."""
    return str(tmp_path_factory.mktemp("home"))


def begun(process: subprocess.Popen[str]) -> list[int]:
    """Return the servers that a run has started, as soon as there is one."""
    command = ["ps", "-A", "-ww", "-o", "pid=,ppid=,args="]  # -ww: COLUMNS may be set here
    while process.poll() is None:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        lines = [line.split(maxsplit=2) for line in listed.splitlines() if "keeper.py" in line]
        if servers := [int(pid) for pid, of, _ in lines if int(of) == process.pid]:
            return servers
        time.sleep(0.1)
    raise AssertionError(process.communicate())


def assert_gone(servers: list[int]) -> None:
    """Assert that the servers end soon."""
    end = time.monotonic() + END_SECONDS
    while any(map(is_alive, servers)):
        assert time.monotonic() < end
        time.sleep(0.1)


def is_alive(pid: int) -> bool:
    """Tell whether there is such a process, other than as a name that nobody has asked for yet."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


def test_ctrl_c_in_a_prefect_run(home: str, tmp_path: Path) -> None:
    """Ctrl-C in a terminal reaches Prefect's own server too: the run still ends soon, and can be repeated.

    Also: a run says first that Prefect takes a while.
    """
    settings = {"NYCTAXI_SAMPLE_ROWS": ROWS, "PREFECT_HOME": home}
    done = stopped(start(*LARGE, folder=tmp_path, settings=settings), "transform", signal.SIGINT, group=True)
    assert_clean_end(done, tmp_path)
    assert done.err.splitlines()[1] == "Starting Prefect (some 10 seconds) ..."
    before = rows_of(tmp_path, "green_taxi_data")
    again = nyctaxi(*LARGE, "--json", folder=tmp_path, settings=settings)
    assert again.code == 0, again.err
    assert before in ([], [("2021-01-01", again.json["totals"]["rows_loaded"])])
    assert rows_of(tmp_path, "green_taxi_data") == [("2021-01-01", again.json["totals"]["rows_loaded"])]
    assert "prefect" not in again.err.replace("Starting Prefect", "")


def test_sigterm_in_a_prefect_run(home: str, tmp_path: Path) -> None:
    """The server ends with the run that started it, and nobody's pipe is held open."""
    process = start(*LARGE, folder=tmp_path, settings={"NYCTAXI_SAMPLE_ROWS": ROWS, "PREFECT_HOME": home})
    servers = begun(process)
    done = stopped(process, "extract", signal.SIGTERM)
    assert (done.code, done.seconds < END_SECONDS) == (143, True)
    assert_gone(servers)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_a_signal_while_prefect_starts(number: int, code: int, tmp_path: Path) -> None:
    """A run that is killed, or stopped by Ctrl-C, while its server starts ends at once, and so does the server."""
    process = start(*LARGE, folder=tmp_path)
    servers = begun(process)
    done = stopped(process, "Starting Prefect", number)
    assert (done.code, done.out, done.seconds < END_SECONDS) == (code, "", True)
    assert done.err.count("Interrupted.") == (number == signal.SIGINT)
    assert "Traceback" not in done.err
    assert_gone(servers)


def test_a_run_without_stderr(home: str, tmp_path: Path) -> None:
    """Prefect and its server do without it as well."""
    publish(tmp_path / "source", "2021-01", 20, "B00001")
    month = ("ingest", "--color", "fhv", "--year", "2021", "--months", "1", "--source", "source")
    done = subprocess.run(
        ["sh", "-c", '"$@" 2>&-', "sh", *COMMAND, *month],
        cwd=tmp_path,
        env=environment(tmp_path, {"PREFECT_HOME": home}),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0
    assert "fhv/2021-01  loaded" in done.stdout
    assert rows_of(tmp_path) == [("2021-01-01", 20)]
