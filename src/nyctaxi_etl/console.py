"""What people see: a live line per month on a terminal, plain lines elsewhere, a table at the end."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from nyctaxi_etl.progress import listening
from nyctaxi_etl.report import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from rich.progress import TaskID

    from nyctaxi_etl.blocks import BlockStatus
    from nyctaxi_etl.model import Partition
    from nyctaxi_etl.progress import Event
    from nyctaxi_etl.report import LoadReport

_OUTCOMES = {"loaded": "green", "unchanged": "cyan", "missing": "yellow", "failed": "red", "planned": "cyan"}
_EVERY_SECONDS = 10.0
_RIGHT = {"rows read", "rejected", "loaded", "size", "seconds"}


def say(text: str) -> None:
    """Write a line for people, never to stdout."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


@contextmanager
def showing(partitions: tuple[Partition, ...], *, live: bool, waiting: str = "") -> Iterator[None]:
    """Show the progress of these months: live lines, or plain ones. ``waiting`` is said until something happens."""
    if not live:
        if waiting:
            say(waiting)
        with listening(Lines().hear):
            yield
        return
    with LiveLines(partitions, waiting) as lines, listening(lines.hear):
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
            if (event.step, event.note) == (step, note) and now - when < _EVERY_SECONDS:
                return
            self._said[event.partition] = (event.step, event.note, now)
        say(f"{event.partition} {event.step} {_amount(event)} {event.note}".rstrip())


class LiveLines:
    """A line per month at work, with a bar where the end is known."""

    def __init__(self, partitions: tuple[Partition, ...], waiting: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[amount]}"),
            TimeElapsedColumn(),
        )
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._lines: dict[Partition, TaskID] = {}
        self._left = len(partitions)
        self._waiting = self._progress.add_task(waiting or "Starting", total=None, amount="")
        self._lock = Lock()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def hear(self, event: Event) -> None:
        """Move the month's line, and take it away when the month is done."""
        with self._lock:
            self._progress.update(self._waiting, visible=False)
            if event.partition not in self._lines:
                self._lines[event.partition] = self._progress.add_task(str(event.partition), total=None, amount="")
            line = self._lines[event.partition]
            total = event.total or None
            words = f"{event.partition} {event.note or event.step}"
            self._progress.update(line, description=words, completed=event.done, total=total, amount=_amount(event))
            if event.step in _OUTCOMES:
                self._progress.update(line, visible=False)
                self._progress.console.print(
                    f"[{_OUTCOMES[event.step]}]{event.step:>9}[/] {event.partition} {_amount(event)}"
                )


def show_report(report: LoadReport) -> None:
    """Print the report to stdout: a table on a terminal, aligned text elsewhere."""
    if not sys.stdout.isatty():
        sys.stdout.write(report.as_text() + "\n")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{report.command}: {report.source} to {report.destination}", title_justify="left")
    for name in COLUMNS:
        table.add_column(name, justify="right" if name in _RIGHT else "left")
    *rows, totals = report.as_rows()
    for row in rows:
        table.add_row(*row, style=None if row[1] in {"loaded", "unchanged", "planned"} else _OUTCOMES[row[1]])
    table.add_section()
    table.add_row(*totals)
    console = Console()
    console.print(table)
    for result in report.results:
        for note in result.notes():
            console.print(note, markup=False, highlight=False)


def show_blocks(statuses: tuple[BlockStatus, ...]) -> None:
    """Print what became of each block to stdout."""
    for status in statuses:
        sys.stdout.write(f"{status.name:<22} {status.kind:<20} {status.status:<11} {status.note}\n")


def _amount(event: Event) -> str:
    if not event.done:
        return ""
    if event.unit == "bytes":
        of = f" of {event.total / 1e6:,.1f}" if event.total else ""
        return f"{event.done / 1e6:,.1f}{of} MB"
    return f"{event.done:,} rows"
