"""Run a command and measure it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WATCH_SECONDS = 0.5
QUIET = 0.1


class CommandFailed(SystemExit):
    """A command ended with another code than 0; who doesn't catch it ends with the command's own words."""


@dataclass(frozen=True)
class Run:
    """One finished command: wall and CPU seconds, and the peak memory of its largest process."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    output: str = field(repr=False)
    busy_before: float = 0.0


def run(command: Sequence[str], environment: Mapping[str, str]) -> Run:
    """Run a command to its end and return what it took.

    Linux counts the starting process in the peak memory of the started one, so the bench imports nothing large.

    Raises:
        CommandFailed: It ended with another code than 0.
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
        raise CommandFailed(message)
    return Run(seconds, usage.ru_utime + usage.ru_stime, megabytes(usage.ru_maxrss), texts[0])


def megabytes(peak: int) -> float:
    """Return a peak memory as the system counts it, bytes on macOS and KiB elsewhere, in MB."""
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


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


def expect(what: str, counted: int, wanted: int) -> None:
    """End the bench if a number is wrong."""
    if counted != wanted:
        message = f"{what}: {counted:,}, expected {wanted:,}"
        raise SystemExit(message)


def say(text: str) -> None:
    """Tell what is going on."""
    print(text, file=sys.stderr, flush=True)
