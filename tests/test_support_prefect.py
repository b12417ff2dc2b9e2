"""The tests' Prefect server ends with them, however they end; another program stands in for it here."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from support.command import END_SECONDS
from support.prefect import _KEEPER

if TYPE_CHECKING:
    from pathlib import Path

# Starts the program as the server is started, says its id, and waits.
SESSION = """
import subprocess, sys, time
program = subprocess.Popen(["sh", "-c", sys.argv[1], "keeper", "sleep", "600"], stdin=subprocess.PIPE)
print(program.pid, flush=True)
time.sleep(600)
"""


def test_the_server_ends_with_a_killed_session(tmp_path: Path) -> None:
    """SIGKILL to the session leaves no server behind."""
    session = subprocess.Popen(
        [sys.executable, "-c", SESSION, _KEEPER], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    assert session.stdout is not None
    with session:
        server = int(session.stdout.readline())
        until(server, "sleep")  # the shell has become the program
        session.kill()
    until(server, "")


def test_a_halted_server_ends() -> None:
    """When its input is closed, though a test that failed has left it halted."""
    with subprocess.Popen(["sh", "-c", _KEEPER, "keeper", "sleep", "600"], stdin=subprocess.PIPE) as server:
        until(server.pid, "sleep")
        server.send_signal(signal.SIGSTOP)
        assert server.stdin is not None
        server.stdin.close()
        try:
            assert server.wait(END_SECONDS) == -signal.SIGTERM
        finally:
            server.kill()


def until(pid: int, name: str) -> None:
    """Wait until a process has this name; none, once it is gone."""
    end = time.monotonic() + END_SECONDS
    command = ["ps", "-o", "comm=", "-p", str(pid)]
    while subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() != name:
        assert time.monotonic() < end
        time.sleep(0.05)
