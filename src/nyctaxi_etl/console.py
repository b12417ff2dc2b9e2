"""What people see: a live line per month on a terminal, plain lines elsewhere, a table at the end."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

from nyctaxi_etl.progress import listening
from nyctaxi_etl.report import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from rich.console import Console
    from rich.progress import TaskID

    from nyctaxi_etl.blocks import BlockStatus
    from nyctaxi_etl.model import Partition
    from nyctaxi_etl.progress import Event
    from nyctaxi_etl.report import LoadReport

_OUTCOMES = {"loaded": "green", "unchanged": "cyan", "missing": "yellow", "failed": "red", "planned": "cyan"}
_BAD = {"missing", "failed"}
_EVERY_SECONDS = 10.0
_LONGEST_NOTE = 240
# No table's row is folded where nobody looks at a screen.
_PAPER_WIDTH = 200
_RIGHT = {"rows read", "rejected", "loaded", "size", "seconds"}


def say(text: str) -> None:
    """Write a line for people, never to stdout."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


@contextmanager
def showing(partitions: tuple[Partition, ...], waiting: str = "", *, live: bool) -> Iterator[None]:
    """Show the progress of these months: live lines if wanted and stderr is a terminal that can, else plain ones.

    ``waiting`` is said until something happens.
    """
    from rich.console import Console

    screen = Console(stderr=True)
    if live and screen.is_terminal and not screen.is_dumb_terminal:
        with LiveLines(screen, waiting or f"{len(partitions)} to do") as lines, listening(lines.hear):
            yield
        return
    if waiting:
        say(waiting)
    with listening(Lines().hear):
        yield


class Lines:
    """One plain line per month and step, and one every ten seconds of a long one."""

    def __init__(self) -> None:
        self._said: dict[Partition, tuple[str, str, float]] = {}
        self._lock = Lock()

    def hear(self, event: Event) -> None:
        """Say what is new."""
        with self._lock:
            step, note, when = self._said.get(event.partition, ("", "", 0.0))
            now = time.monotonic()
            is_new = event.step != step or event.note not in {"", note}
            if not is_new and now - when < _EVERY_SECONDS:
                return
            self._said[event.partition] = (event.step, event.note, now)
            amount = "" if is_new and event.step not in _OUTCOMES else _amount(event)
            say(_line(f"{event.partition} {event.step} {amount}".rstrip(), event))


class LiveLines:
    """A line per month at work, with a bar where the end is known; a finished month's line stays above."""

    def __init__(self, screen: Console, waiting: str) -> None:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[amount]}", markup=False),
            TimeElapsedColumn(),
        )
        self._progress = Progress(*columns, console=screen, transient=True)
        self._lines: dict[Partition, TaskID] = {}
        self._waiting = self._progress.add_task(waiting, total=None, amount="")
        self._lock = Lock()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def hear(self, event: Event) -> None:
        """Move the month's line, and put it away when the month is done."""
        with self._lock:
            self._progress.update(self._waiting, visible=False)
            if event.step in _OUTCOMES:
                self._put_away(event)
                return
            if event.partition not in self._lines:
                self._lines[event.partition] = self._progress.add_task(str(event.partition), total=None, amount="")
            words = _line(f"{event.partition} {event.step}", event)
            self._progress.update(
                self._lines[event.partition],
                description=words,
                completed=event.done,
                total=event.total or None,
                amount=_amount(event),
            )

    def _put_away(self, event: Event) -> None:
        from rich.text import Text

        if event.partition in self._lines:
            self._progress.remove_task(self._lines.pop(event.partition))
        words = _line(f" {event.partition} {_amount(event)}".rstrip(), event)
        self._progress.console.print(Text(f"{event.step:>9}", _OUTCOMES[event.step]).append(words, ""), soft_wrap=True)


def show_report(report: LoadReport) -> None:
    """Print the report to stdout: a table, and below it what a reader should know beside the numbers."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    screen = Console(file=sys.stdout)
    if not screen.is_terminal:
        screen = Console(file=sys.stdout, width=_PAPER_WIDTH, color_system=None)
    title = Text(f"{report.command}: {report.source} to {report.destination}") if screen.is_terminal else None
    table = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD if screen.is_terminal else None, pad_edge=False
    )
    for name in COLUMNS:
        table.add_column(name, justify="right" if name in _RIGHT else "left", no_wrap=True)
    *rows, totals = report.as_rows()
    for row in rows:
        table.add_row(*row, style=_OUTCOMES[row[1]] if row[1] in _BAD else None)
    table.add_section()
    table.add_row(*totals)
    screen.print(table)
    for result in report.results:
        for note in result.notes():
            words = _cut(note) if result.outcome == "missing" else note
            screen.print(words, markup=False, highlight=False, soft_wrap=True)


def show_blocks(statuses: tuple[BlockStatus, ...]) -> None:
    """Print what became of each block to stdout."""
    for status in statuses:
        sys.stdout.write(f"{status.name:<22} {status.kind:<20} {status.status:<11} {status.note}\n")


def show_lookup(report: dict[str, Any]) -> None:
    """Print what became of the zone lookup to stdout."""
    (result,) = report["results"]
    where = f"{result['key']} in {report['lake']}, table {result['table']} in {report['destination']}"
    sys.stdout.write(f"{result['outcome']}: {result['rows_loaded']} zones of {report['source']}, {where}\n")


def _line(words: str, event: Event) -> str:
    """Put the note behind the words, without the month that it begins with: they have named it."""
    return f"{words}: {event.note.removeprefix(f'{event.partition}: ')}" if event.note else words


def _cut(note: str) -> str:
    """Keep the beginning of a long note: a missing month's may list every name that was looked for."""
    return note if len(note) <= _LONGEST_NOTE else f"{note[:_LONGEST_NOTE].rpartition(' ')[0].rstrip(',')} ..."


def _amount(event: Event) -> str:
    if not event.done:
        return ""
    if event.unit == "bytes":
        of = f" of {event.total / 1e6:,.1f}" if event.total else ""
        return f"{event.done / 1e6:,.1f}{of} MB"
    return f"{event.done:,} rows"
