"""Months of which the same is to be said, as one line: ``green 2020-01 to 2021-03: not published (15 months)``."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nyctaxi_etl.core.partition import Month, Partition


class Note(NamedTuple):
    """What is to be said of a month, and the next move, if there is one."""

    partition: Partition
    text: str
    hint: str = ""

    @property
    def masked(self) -> tuple[str, str]:
        """The text and the hint, with any month in the place of this one."""
        return _masked(self.text, self.partition.month), _masked(self.hint, self.partition.month)


def fold(notes: Iterable[Note]) -> list[tuple[str, str]]:
    """Return a line for each note, and its hint; one for all months of a colour of which the same is said."""
    groups: dict[tuple[str, tuple[str, str]], list[Note]] = {}
    for note in notes:
        groups.setdefault((note.partition.color, note.masked), []).append(note)
    return [_line(group) for group in groups.values()]


def span(partitions: Sequence[Partition]) -> str:
    """Name months of one colour: ``yellow/2021-01``, or ``green 2020-01 to 2021-03, 2021-05``."""
    if len(partitions) == 1:
        return str(partitions[0])
    runs: list[list[Month]] = []
    for month in sorted({partition.month for partition in partitions}):
        if runs and runs[-1][-1].next == month:
            runs[-1].append(month)
        else:
            runs.append([month])
    return f"{partitions[0].color} {', '.join(_run(run) for run in runs)}"


def _run(months: Sequence[Month]) -> str:
    return f"{months[0]} to {months[-1]}" if len(months) > 1 else str(months[0])


def _line(notes: Sequence[Note]) -> tuple[str, str]:
    months = span([note.partition for note in notes])
    if len(notes) == 1:
        return f"{months}: {notes[0].text}", notes[0].hint
    text, hint = notes[0].masked
    stop = "." if text.endswith(".") else ""
    return f"{months}: {text.removesuffix('.')} ({len(notes)} months){stop}", hint


def _masked(text: str, month: Month) -> str:
    options = f"--year {month.year} --months {month.number}"
    return text.replace(str(month), "YYYY-MM").replace(options, "--year YYYY --months M")
