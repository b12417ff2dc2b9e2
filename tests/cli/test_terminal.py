"""The command on a terminal: live lines, then a table that fits it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from typing import TYPE_CHECKING

import duckdb
import pytest

from support.command import COMMAND, SECONDS, environment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MONTH = ("ingest", "--color", "fhv", "--year", "2021", "--months", "1", "--direct")
FOLDER = ("--source", "source")


def on_terminal(
    arguments: Sequence[str], folder: Path, settings: dict[str, str], columns: int = 100
) -> tuple[int, str]:
    """Run the command on a terminal of so many columns; return its exit code and all that the terminal was sent."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    screen = environment(folder, {"TERM": "xterm-256color", **settings})
    screen.pop("COLUMNS", None)
    process = subprocess.Popen(
        [*COMMAND, *arguments], cwd=folder, env=screen, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    sent = b""
    while True:
        try:
            block = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not block:
            break
        sent += block
    os.close(ours)
    return process.wait(SECONDS), sent.decode()


def lines_after(sent: str, word: str) -> list[str]:
    """Return the lines that a terminal shows from the last ``word`` on."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", sent)
    return plain[plain.rindex(word) :].splitlines()


def test_live_lines_then_the_table_on_a_terminal(folder: Path) -> None:
    """On a terminal months have live lines while they are at work; then the report alone tells what became of each."""
    arguments = (*MONTH[:-3], "--months", "1-3", "--direct", *FOLDER)
    code, sent = on_terminal(arguments, folder, {})
    assert code == 1
    assert "\x1b[?25l" in sent  # the cursor is hidden while lines live
    assert "\x1b[?25h" in sent
    table = lines_after(sent, "ingest: ")
    rows = [line.split() for line in table if line.startswith("fhv/")]
    assert [row[:2] for row in rows[:3]] == [
        ["fhv/2021-01", "loaded"],
        ["fhv/2021-02", "loaded"],
        ["fhv/2021-03", "missing"],
    ]
    assert sum(line.startswith("fhv/2021-03: not in the folder") for line in table) == 1
    assert "loaded fhv/2021-01" not in sent


@pytest.mark.parametrize("columns", [40, 60, 80, 120, 200])
def test_the_report_fits_the_terminal(columns: int, tmp_path: Path) -> None:
    """At any width the month, its outcome and the rows are whole, and notes are broken between words."""
    months = ("ingest", "--color", "yellow", "--year", "2021", "--months", "1-2", "--direct")
    code, sent = on_terminal((*months, "--source", "sample"), tmp_path, {"NYCTAXI_SAMPLE_ROWS": "1500"}, columns)
    assert code == 0, sent
    report = lines_after(sent, "ingest: ")
    assert max(map(len, report)) <= columns
    rows = [line.split() for line in report if line.startswith("yellow/") and not line[:15].endswith(":")]
    with duckdb.connect(str(tmp_path / "data" / "nyctaxi.duckdb")) as connection:
        counts = connection.execute("SELECT rows_loaded FROM nyctaxi_loads ORDER BY file_month").fetchall()
    assert [row[:2] for row in rows] == [["yellow/2021-01", "loaded"], ["yellow/2021-02", "loaded"]]
    assert [f"{count:,}" in row for row, (count,) in zip(rows, counts, strict=True)] == [True, True]
    assert ("size" in report[1].split()) == (columns >= 80)
    flagged = " ".join(line.strip() for line in report[6:])
    assert flagged.count(": flagged ") == 2
    assert "zero_distance" in flagged
    assert "\N{HORIZONTAL ELLIPSIS}" not in sent


@pytest.mark.parametrize(("arguments", "settings"), [(("--verbose",), {}), ((), {"TERM": "dumb"})])
def test_plain_lines_on_a_terminal(arguments: tuple[str, ...], settings: dict[str, str], folder: Path) -> None:
    """With --verbose, and on a terminal that can't move its cursor, lines are plain."""
    code, sent = on_terminal((*MONTH, *FOLDER, *arguments), folder, settings)
    assert code == 0
    assert "\x1b[?25l" not in sent
    assert "fhv/2021-01 transform" in sent
