"""What people see: a live line per month on a terminal, plain lines elsewhere, a table at the end."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

from nyctaxi_etl.cli.live import OUTCOMES, LiveLines
from nyctaxi_etl.core.amounts import progress
from nyctaxi_etl.core.folding import Note, fold
from nyctaxi_etl.core.partition import Partition
from nyctaxi_etl.core.progress import listening
from nyctaxi_etl.core.tables import wrap

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from nyctaxi_etl.core.progress import Event
    from nyctaxi_etl.core.report import LoadReport
    from nyctaxi_etl.orchestration.blocks import BlockStatus

_EVERY_SECONDS = 10.0
# How long months that are missing for one reason are held back, to be said in one line.
_FOLDED_SECONDS = 1.0


def say(text: str) -> None:
    """Write a line for people, never to stdout."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def say_note(text: str) -> None:
    """Write a note for people, broken between words where a terminal shows it."""
    from rich.console import Console

    screen = Console(stderr=True)
    for line in wrap(text, screen.width) if screen.is_terminal else (text,):
        say(line)


@contextmanager
def showing(partitions: tuple[Partition, ...], waiting: str = "", *, live: bool) -> Iterator[None]:
    """Show the progress of these months: live lines if wanted and stderr is a terminal that can, else plain ones.

    ``waiting`` is said until something happens.
    """
    from rich.console import Console

    screen = Console(stderr=True)
    if live and screen.is_terminal and not screen.is_dumb_terminal:
        keeps = not sys.stdout.isatty()  # whoever looks here doesn't see the report
        with (
            LiveLines(screen, waiting or "Looking at what is there", len(partitions), keeps=keeps) as lines,
            listening(lines.hear),
        ):
            yield
        return
    if waiting:
        say(waiting)
    with Lines() as plain, listening(plain.hear):
        yield


class Lines:
    """One plain line per month and step, and one every ten seconds of a long one.

    Months that are missing one after the other, for the same reason, share a line.
    """

    def __init__(self) -> None:
        self._said: dict[str, tuple[str, str, float]] = {}
        self._missing: list[Event] = []
        self._missing_since = 0.0
        self._lock = Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._say_missing()

    def hear(self, event: Event) -> None:
        """Say what is new."""
        with self._lock:
            now = time.monotonic()
            if event.step == "missing":
                self._missing_since = self._missing_since if self._missing else now
                self._missing.append(event)
            if event.step != "missing" or now - self._missing_since >= _FOLDED_SECONDS:
                self._say_missing()
            if event.step != "missing":
                self._say(event, now)

    def _say(self, event: Event, now: float) -> None:
        step, note, when = self._said.get(event.subject, ("", "", 0.0))
        is_new = event.step != step or event.note not in {"", note}
        if not is_new and now - when < _EVERY_SECONDS:
            return
        self._said[event.subject] = (event.step, event.note, now)
        shown = event.done and (not is_new or event.step in OUTCOMES)
        # The two counts of an outcome are no share: rows loaded, and rows read.
        total = 0 if event.step in OUTCOMES else event.total
        words = (event.subject, event.step, progress(event.done, total, event.unit) if shown else "")
        say(f"{' '.join(filter(None, words))}{': ' if event.note else ''}{event.reason}")

    def _say_missing(self) -> None:
        for line, _ in fold(Note(Partition.parse(event.subject), event.reason) for event in self._missing):
            months, _, reason = line.partition(": ")
            say(f"{months} missing: {reason}")
        self._missing = []


def show_report(report: LoadReport) -> None:
    """Print the report to stdout: a table, and below it what a reader should know beside the numbers.

    On a terminal both fit its width; nothing is broken where nobody looks at a screen.
    """
    from rich.console import Console
    from rich.text import Text

    screen = Console(file=sys.stdout)
    if not screen.is_terminal:
        lines = [line for row in report.as_table() for line in row]
        sys.stdout.write("".join(f"{line}\n" for line in (*lines, *report.as_notes())))
        return
    for line in wrap(f"{report.command}: {report.source} to {report.destination}", screen.width):
        screen.print(Text(line, "italic"), soft_wrap=True)
    head, *rows, totals = report.as_table(screen.width)
    rule = ("-" if screen.options.ascii_only else "\N{BOX DRAWINGS LIGHT HORIZONTAL}") * len(head[0])
    parts = [("bold", [*head, rule]), *((_style(row), row) for row in rows), ("", [rule, *totals])]
    for style, lines in parts:
        for line in lines:
            screen.print(Text(line, style), soft_wrap=True)
    for note in report.as_notes(screen.width):
        screen.print(Text(note), soft_wrap=True)


def _style(row: list[str]) -> str:
    words = " ".join(row).split()
    return next((OUTCOMES[outcome] for outcome in ("missing", "failed") if outcome in words), "")


def show_blocks(statuses: tuple[BlockStatus, ...]) -> None:
    """Print what became of each block to stdout."""
    for status in statuses:
        sys.stdout.write(f"{status.name:<22} {status.kind:<20} {status.status:<11} {status.note}\n")


def show_lookup(report: dict[str, Any]) -> None:
    """Print what became of the zone lookup to stdout."""
    (result,) = report["results"]
    where = f"{result['key']} in {report['lake']}, table {result['table']} in {report['destination']}"
    sys.stdout.write(f"{result['outcome']}: {result['rows_loaded']} zones of {report['source']}, {where}\n")
