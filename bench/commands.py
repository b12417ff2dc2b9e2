"""Run commands and measure them, and the Prefect server that some of them need."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SERVER_SECONDS = 120
STOP_SECONDS = 20
WATCH_SECONDS = 0.5
QUIET = 0.1
PREFECT = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}


@dataclass(frozen=True)
class Run:
    """One finished command: wall and CPU seconds, and the peak memory of its largest process."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    output: str = field(repr=False)
    busy_before: float = 0.0


def run(command: Sequence[str], environment: Mapping[str, str]) -> Run:
    """Run a command to its end; one that fails ends the bench.

    Linux counts the starting process in the peak memory of the started one, so this script imports nothing large.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        begin = time.monotonic()
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = [text_of(file) for file in (output, errors)]
    if process.returncode:
        message = f"{shlex.join(command)} ended with {process.returncode}:\n{texts[1]}{texts[0]}"
        raise SystemExit(message)
    unit = 1 if sys.platform == "darwin" else 1024
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 1e6, texts[0])


def text_of(file: IO[bytes]) -> str:
    """Read what a command has written into a file."""
    file.seek(0)
    return file.read().decode(errors="replace")


def settle(patience: float) -> float:
    """Wait until the machine is quiet, ``patience`` seconds at most; return which share of its CPUs is busy (Linux)."""
    end = time.monotonic() + patience
    while (busy := busy_share()) > QUIET and time.monotonic() < end:
        pass
    return busy


def busy_share() -> float:
    """Watch for a moment how much of the CPUs' time is used; 0 where the system doesn't tell this way."""
    clocks = Path("/proc/stat")
    if not clocks.exists():
        return 0.0
    before = [int(ticks) for ticks in clocks.read_text().split()[1:9]]
    time.sleep(WATCH_SECONDS)
    passed = [int(ticks) - then for ticks, then in zip(clocks.read_text().split()[1:9], before, strict=True)]
    return 1 - sum(passed[3:5]) / max(sum(passed), 1)  # the fourth and fifth are idle and waiting for a disk


@contextlib.contextmanager
def prefect_server(folder: Path, environment: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """Run a Prefect server with a home of its own in ``folder``, and lend the environment of its clients."""
    port = str(free_port())
    url = f"http://127.0.0.1:{port}/api"
    clients = {**environment, **PREFECT, "PREFECT_HOME": str(folder / "prefect"), "PREFECT_API_URL": url}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port]
    with (folder / "prefect.log").open("wb") as log:
        process = subprocess.Popen(command, env=clients, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_healthy(f"{url}/health", process)
        yield clients
    finally:
        for way_out in (signal.SIGINT, signal.SIGKILL):  # the second for what the first has left of the group
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, way_out)
                process.wait(STOP_SECONDS)


def wait_healthy(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until the server answers; its first start makes a database, which takes a while."""
    end = time.monotonic() + SERVER_SECONDS
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - always http
            return
        time.sleep(0.2)
    message = f"Prefect's server did not start within {SERVER_SECONDS} s."
    raise SystemExit(message)
