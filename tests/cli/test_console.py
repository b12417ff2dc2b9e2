"""What people see of a run's progress, and of its report, where stdout is no terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nyctaxi_etl.cli import console
from nyctaxi_etl.core.partition import Color, Month, Partition
from nyctaxi_etl.core.progress import Event, tell
from nyctaxi_etl.core.report import Failure, LoadReport, PartitionResult

if TYPE_CHECKING:
    from collections.abc import Iterable

JANUARY, FEBRUARY = (Partition(Color.YELLOW, Month(2021, number)) for number in (1, 2))
SLOW = console._EVERY_SECONDS + 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still until a test moves it."""
    now = [100.0]
    monkeypatch.setattr("nyctaxi_etl.cli.console.time.monotonic", lambda: now[0])
    return now


def said(events: Iterable[Event], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the plain lines that these events make."""
    lines = console.Lines()
    for event in events:
        lines.hear(event)
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


@pytest.mark.usefixtures("clock")
def test_a_line_per_month_and_step(capsys: pytest.CaptureFixture[str]) -> None:
    """A step is said once, however many blocks it has; an outcome with its rows; a failure with its reason."""
    events = [
        Event(str(JANUARY), "extract", note="generating 50,000 rows"),
        Event(str(JANUARY), "extract", 32_000, 50_000),
        Event(str(FEBRUARY), "extract", 1_000_000, 27_000_000, "bytes"),
        Event(str(JANUARY), "transform", 11_000),
        Event(str(JANUARY), "transform", 22_000),
        Event(str(FEBRUARY), "extract", 2_000_000, 27_000_000, "bytes", "yellow/2021-02: broken. Trying again in 3 s."),
        Event(str(FEBRUARY), "extract", 2_000_000, 27_000_000, "bytes"),
        Event(str(JANUARY), "load", 11_000, 49_000),
        Event(str(JANUARY), "loaded", 49_000, 50_000),
        Event(str(FEBRUARY), "failed", note="the connection broke."),
    ]
    assert said(events, capsys) == [
        "yellow/2021-01 extract: generating 50,000 rows",
        "yellow/2021-02 extract",
        "yellow/2021-01 transform",
        "yellow/2021-02 extract: broken. Trying again in 3 s.",
        "yellow/2021-01 load",
        "yellow/2021-01 loaded 49,000 rows",
        "yellow/2021-02 failed: the connection broke.",
    ]


def test_a_long_step_says_how_far_it_is(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    """Every ten seconds a long step says how far it is, in megabytes or rows."""
    lines = console.Lines()
    for step, unit, total in (("extract", "bytes", 27_000_000), ("extract", "bytes", 0), ("transform", "rows", 0)):
        lines.hear(Event(str(JANUARY), step, 1, total, unit))
        clock[0] += SLOW
        lines.hear(Event(str(JANUARY), step, 12_300_000, total, unit))
        lines.hear(Event(str(JANUARY), step, 12_400_000, total, unit))
    assert capsys.readouterr().err.splitlines() == [
        "yellow/2021-01 extract",
        "yellow/2021-01 extract 12.3 of 27.0 MB",
        "yellow/2021-01 extract 12.3 MB",
        "yellow/2021-01 transform",
        "yellow/2021-01 transform 12,300,000 rows",
    ]


@pytest.mark.usefixtures("clock")
def test_what_the_run_waits_for_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Before any month is at work: the ledger's file may be in use."""
    events = [Event("", "warehouse", note="waiting for another program")] * 3
    assert said(events, capsys) == ["warehouse: waiting for another program"]


def test_what_takes_long_is_said_first(capsys: pytest.CaptureFixture[str]) -> None:
    """What a run waits for is said before anything else; the listener is gone afterwards."""
    with console.showing((JANUARY,), "Starting ...", live=True):
        tell(Event(str(JANUARY), "load"))
    tell(Event(str(JANUARY), "loaded"))
    assert capsys.readouterr().err.splitlines() == ["Starting ...", "yellow/2021-01 load"]


def test_months_missing_for_one_reason_share_a_line(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    """Months that are missing one after the other are said in one line, within a second of the first."""
    months = [Partition(Color.GREEN, Month(2020 + number // 12, number % 12 + 1)) for number in range(15)]
    missing = [Event(str(month), "missing", note=f"{month}: not in the folder.") for month in months]
    with console.Lines() as lines:
        for event in missing[:12]:
            lines.hear(event)
        lines.hear(Event(str(JANUARY), "extract"))
        lines.hear(missing[12])
        clock[0] += 1.5
        lines.hear(missing[13])
        lines.hear(missing[14])
    assert capsys.readouterr().err.splitlines() == [
        "green 2020-01 to 2020-12 missing: not in the folder (12 months).",
        "yellow/2021-01 extract",
        "green 2021-01 to 2021-02 missing: not in the folder (2 months).",
        "green/2021-03 missing: not in the folder.",
    ]


def report(*results: PartitionResult) -> LoadReport:
    """Return the report of these results."""
    return LoadReport("ingest", "a [source]", "duckdb", results)


def test_report_is_aligned_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers stand under each other, nothing is folded or cut, notes stand below."""
    failure = Failure("NotPublished", f"not in the folder {'x' * 120}.", f"Looked for {'a_long_name.parquet, ' * 20}")
    console.show_report(
        report(
            PartitionResult(JANUARY, "loaded", "t", 1_369_769, 26_726, 1_343_043, {"negative_fare": 7}, ("extra",)),
            PartitionResult(FEBRUARY, "missing", "t", failure=failure),
        )
    )
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert len({len(line) for line in lines[:4]}) == 1
    ends = [lines[number].index(text) + len(text) for number, text in ((0, "rows read"), (1, "1,369,769"))]
    assert len(set(ends)) == 1
    assert lines[4:6] == [
        "yellow/2021-01: flagged 7 negative_fare",
        "yellow/2021-01: unknown columns, not loaded: extra",
    ]
    assert lines[6].startswith(f"yellow/2021-02: not in the folder {'x' * 120}. Looked for a_long_name.parquet, ")
    assert lines[6].endswith("a_long_name.parquet ...")
    assert len(lines[6]) < 260
    assert "\x1b" not in out


def test_a_failed_months_note_is_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    """What went wrong is printed to its end."""
    failure = Failure("SchemaDrift", "word " * 100, "The end.")
    console.show_report(report(PartitionResult(JANUARY, "failed", "t", failure=failure)))
    assert capsys.readouterr().out.rstrip().endswith("The end.")
