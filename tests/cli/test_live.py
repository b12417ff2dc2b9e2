"""Live lines: they fit the terminal, and their clock and spinner go on through every step."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console
from rich.text import Text

from nyctaxi_etl.cli import live
from nyctaxi_etl.core.partition import Color, Month, Partition
from nyctaxi_etl.core.progress import Event, listening, tell

JANUARY, FEBRUARY = (Partition(Color.YELLOW, Month(2021, number)) for number in (1, 2))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still until a test moves it."""
    now = [100.0]
    monkeypatch.setattr("nyctaxi_etl.cli.live.time.monotonic", lambda: now[0])
    return now


def screen(width: int = 120) -> Console:
    """Return a terminal of this width that is a string."""
    return Console(file=StringIO(), force_terminal=True, width=width, color_system=None)


def sent(terminal: Console) -> str:
    """Return what the terminal was sent."""
    assert isinstance(terminal.file, StringIO)
    return terminal.file.getvalue()


def drawn(lines: live.LiveLines) -> list[str]:
    """Return what is drawn now, without the spinner."""
    group = lines._draw()
    texts = getattr(group, "renderables", ())
    assert all(isinstance(text, Text) for text in texts)
    return [str(text)[1:].strip() for text in texts]


def test_the_clock_goes_on_through_every_step(clock: list[float]) -> None:
    """A month has one clock from its first step to its last; a step that is complete stops neither it nor the rest."""
    lines = live.LiveLines(screen(), "Starting ...", 1)
    assert drawn(lines) == ["Starting ...  0:00"]
    lines.hear(Event(str(JANUARY), "extract", 0, 27_000_000, "bytes"))
    clock[0] += 10
    lines.hear(Event(str(JANUARY), "extract", 9_000_000, 27_000_000, "bytes"))
    assert drawn(lines) == [
        "yellow/2021-01 extract    ━━━━━───────────   33%  9.0 of 27.0 MB  900.0 kB/s  0:20 left  0:10"
    ]
    clock[0] += 10
    lines.hear(Event(str(JANUARY), "extract", 27_000_000, 27_000_000, "bytes"))
    clock[0] += 45
    lines.hear(Event(str(JANUARY), "transform", 0))
    clock[0] += 2
    lines.hear(Event(str(JANUARY), "transform", 200_000))
    assert drawn(lines) == ["yellow/2021-01 transform  200,000 rows  100,000 rows/s  1:07"]
    lines.hear(Event(str(JANUARY), "load", 1_000, 2_000))
    clock[0] += 3600
    assert drawn(lines)[0].endswith("1:01:07")


def test_why_a_month_waits_stands_below_it(clock: list[float]) -> None:
    """A note is broken between words; it begins the step's rate anew, and goes with the next event."""
    lines = live.LiveLines(screen(40), "", 1)
    lines.hear(Event(str(JANUARY), "extract", 5_000_000, 0, "bytes"))
    clock[0] += 5
    note = f"{JANUARY}: the connection broke. Trying again in 3 seconds."
    lines.hear(Event(str(JANUARY), "extract", 0, 0, "bytes", note))
    assert drawn(lines) == [
        "yellow/2021-01 extract    0:05",
        "the connection broke. Trying again in",
        "3 seconds.",
    ]
    lines.hear(Event(str(JANUARY), "extract", 6_000_000, 0, "bytes"))
    assert drawn(lines) == ["yellow/2021-01 extract    6.0 MB  0:05"]


@pytest.mark.parametrize("width", [30, 40, 60, 80, 120, 200])
@pytest.mark.usefixtures("clock")
def test_a_live_line_fits_and_keeps_month_step_and_clock(width: int, clock: list[float]) -> None:
    """What doesn't fit is left out, never cut: the bar first, the month, its step and its clock never."""
    lines = live.LiveLines(screen(width), "", 64)
    lines.hear(Event(str(JANUARY), "transform", 0, 12_000_000))
    clock[0] += 100
    lines.hear(Event(str(JANUARY), "transform", 4_000_000, 12_000_000))
    first = drawn(lines)[0] if width >= 40 else " ".join(drawn(lines)[:2])
    assert all(len(line) + 2 <= width for line in drawn(lines))
    assert [first.split()[0], first.split()[1], first.split()[-1]] == ["yellow/2021-01", "transform", "1:40"]
    assert ("33%" in first) == (width >= 40)
    assert ("3:20 left" in first) == (width >= 60)
    assert ("40,000 rows/s" in first) == ("━━━━━─" in first) == (width >= 120)


@pytest.mark.usefixtures("clock")
def test_what_the_run_waits_for_is_shown() -> None:
    """Before any month is at work: the ledger's file may be in use."""
    with live.LiveLines(screen(), "Looking", 4) as lines, listening(lines.hear):
        tell(Event("", "warehouse", note="waiting for another program"))
        assert drawn(lines) == ["waiting for another program  0:00"]


@pytest.mark.usefixtures("clock")
def test_a_finished_month_is_left_to_the_report() -> None:
    """Where the report follows, a finished month's line goes; how many are done, and what failed last, is shown."""
    terminal = screen()
    with live.LiveLines(terminal, "", 4) as lines, listening(lines.hear):
        tell(Event(str(JANUARY), "extract"))
        tell(Event(str(JANUARY), "loaded", 49_000, 50_000))
        tell(Event(str(FEBRUARY), "failed", note="[red] refused [Errno 13]"))
        assert drawn(lines) == [
            "2 of 4 months: 1 loaded, 1 failed  0:00",
            "failed yellow/2021-02: [red] refused [Errno 13]",
        ]
    assert "loaded yellow/2021-01 49,000 rows" not in sent(terminal)


@pytest.mark.usefixtures("clock")
def test_finished_months_stay_where_no_report_follows() -> None:
    """They stay above if the report goes elsewhere, and are told after all if the run is broken off."""
    told = ("loaded yellow/2021-01 49,000 rows", "failed yellow/2021-02: [red] refused [Errno 13]")
    for keeps in (True, False):
        terminal = screen()

        def broken_off(terminal: Console = terminal, *, keeps: bool = keeps) -> None:
            with live.LiveLines(terminal, "", 4, keeps=keeps) as lines, listening(lines.hear):
                tell(Event(str(JANUARY), "loaded", 49_000, 50_000))
                tell(Event(str(FEBRUARY), "failed", note="[red] refused [Errno 13]"))
                assert (told[0] in sent(terminal)) == keeps
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            broken_off()
        assert [line for line in told if line not in sent(terminal)] == []


def test_an_ascii_terminal_gets_ascii() -> None:
    """Where the encoding has no other signs, the bar and the spinner have none."""
    assert live.work_lines(live.Work(Event(str(JANUARY), "load", 1, 2), 0, 0, 0), 2.0, 120, is_ascii=True) == [
        "yellow/2021-01 load       ########--------   50%  1 of 2 rows  0 rows/s  0:02 left  0:02"
    ]
