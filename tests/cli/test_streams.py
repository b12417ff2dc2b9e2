"""stdout and stderr that are closed, full or without a reader: never the reason that a month is not loaded."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from nyctaxi_etl.cli.streams import ProtectedStream
from support.command import COMMAND, SECONDS, environment
from support.months import publish

MONTH = ("ingest", "--color", "fhv", "--year", "2021", "--months", "1", "--source", "source")
NO_REPORT = 74
FULL = Path("/dev/full")


def shell(redirection: str, folder: Path, *options: str, command: tuple[str, ...] = MONTH) -> tuple[int, str, str]:
    """Run the command with a shell's redirection; return its exit code, and what came out of both ends."""
    if "/dev/full" in redirection and not FULL.exists():
        pytest.skip(f"no {FULL} on this system")
    line = f'"$@" {redirection}'
    done = subprocess.run(
        ["sh", "-c", line, "sh", *COMMAND, *command, *options],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def rows(folder: Path) -> int:
    """Return the rows that the warehouse has."""
    with duckdb.connect(str(folder / "data" / "nyctaxi.duckdb"), read_only=True) as connection:
        ((count,),) = connection.execute("SELECT count(*) FROM fhv_taxi_data").fetchall()
    return int(count)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a command runs, with the folder ``source``."""
    publish(tmp_path / "source", "2021-01", 20, "B00001")
    return tmp_path


@pytest.mark.parametrize("redirection", ["2>/dev/full", "<&- 2>&-"])
def test_without_stderr_the_month_loads_and_the_report_is_printed(redirection: str, folder: Path) -> None:
    """A script needs nothing of stderr: closed or full, all is as it was."""
    code, out, err = shell(redirection, folder, "--direct", "--json")
    assert (code, err) == (0, "")
    assert '"outcome": "loaded"' in out
    assert rows(folder) == 20


@pytest.mark.parametrize(
    ("redirection", "reason", "options"),
    [
        (">&-", os.strerror(errno.EBADF), ()),
        (">/dev/full", os.strerror(errno.ENOSPC), ("--json",)),
        ("<&- >&- 2>&-", "", ()),
    ],
)
def test_without_stdout_the_month_loads(redirection: str, reason: str, options: tuple[str, ...], folder: Path) -> None:
    """The month is in; the exit code and a line say that the report could not be written."""
    code, out, err = shell(redirection, folder, "--direct", *options)
    assert (code, out) == (NO_REPORT, "")
    assert err.count("Error: ") == bool(reason)
    assert f"Error: stdout can't be written to: {reason}." in err or not reason
    assert "Traceback" not in err
    assert rows(folder) == 20


def test_a_reader_that_went_away(folder: Path) -> None:
    """Nor does a pipe whose other end is closed keep a month from being loaded, on stdout or stderr."""
    ours, theirs = os.pipe()
    os.close(ours)
    environ = environment(folder)
    command = [*COMMAND, *MONTH, "--direct"]
    done = subprocess.run(command, cwd=folder, env=environ, stdout=theirs, stderr=subprocess.PIPE, check=False)
    assert done.returncode == NO_REPORT
    assert os.strerror(errno.EPIPE).encode() in done.stderr
    assert rows(folder) == 20
    command.append("--force")
    done = subprocess.run(command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=theirs, check=False)
    os.close(theirs)
    assert done.returncode == 0
    assert b"fhv/2021-01  loaded" in done.stdout


def test_another_exit_code_counts_more(folder: Path) -> None:
    """Months that are missing, and a usage error, keep their exit codes."""
    assert shell(">&-", folder, "--direct", "--months", "2")[0] == 1
    assert shell(">&-", folder, "--direct", "--months", "13")[0] == 2


@pytest.mark.parametrize("command", [("ingest", "--help"), ("schema", "fhv")])
def test_what_only_prints(command: tuple[str, ...], folder: Path) -> None:
    """Help, version and dictionary end with the same words and exit code, not with a traceback."""
    code, _, err = shell(">/dev/full", folder, command=command)
    assert code == NO_REPORT
    assert err.startswith("Error: stdout can't be written to: ")


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    """What a library writes to stderr doesn't end up in the first file that is opened after it was closed."""
    script = (
        "import os; from nyctaxi_etl.cli import streams; streams.protect_standard_streams()\n"
        f"file = open({str(tmp_path / 'database')!r}, 'wb', 0)\n"
        "os.write(2, b'terminate called'); assert file.fileno() > 2"
    )
    environ = environment(tmp_path)
    subprocess.run(["sh", "-c", '"$@" 2>&- >&-', "sh", sys.executable, "-c", script], env=environ, check=True)
    assert (tmp_path / "database").read_bytes() == b""


def test_a_slow_reader_of_a_stream_that_does_not_block() -> None:
    """A stream that another program made non-blocking is waited for, and nothing is lost."""

    class Slow(io.RawIOBase):
        taken = b""
        busy = 3

        def write(self, block: object) -> int | None:
            self.busy -= 1
            if self.busy >= 0:
                return None
            assert isinstance(block, bytes)
            self.taken += block
            return len(block)

    slow = Slow()
    stream = ProtectedStream(slow)
    assert stream.write(b"a line\n") == 7
    assert (slow.taken, stream.error) == (b"a line\n", None)


def test_signs_that_the_encoding_has_not(folder: Path) -> None:
    """A name that stdout's encoding can't write is written with codes."""
    (folder / "é").mkdir()
    environ = {**environment(folder), "PYTHONIOENCODING": "ascii"}
    command = [*COMMAND, *MONTH[:-1], "é", "--direct"]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, check=False)
    assert done.returncode == 1
    assert rb"\xe9" in done.stdout
