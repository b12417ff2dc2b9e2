"""Live lines on a terminal: one per month at work, in the terminal's width, and one for the run."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING

from nyctaxi_etl.core.amounts import amount, clock, progress
from nyctaxi_etl.core.folding import Note, fold
from nyctaxi_etl.core.partition import Partition
from nyctaxi_etl.core.tables import wrap

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from rich.console import Console, RenderableType

    from nyctaxi_etl.core.progress import Event

OUTCOMES = {"loaded": "green", "unchanged": "cyan", "missing": "yellow", "failed": "red", "planned": "cyan"}
BAD = frozenset({"missing", "failed"})
_BAR = 16
_GAP = "  "
_LONGEST_HEAD = len("yellow/2021-01 transform")
# What a narrow terminal shows first, and what it shows even if it takes another line.
_IMPORTANCE = ("head", "clock", "share", "left", "amount", "rate", "bar")
_ALWAYS = frozenset({"head", "clock"})
# A rate of less than a second's work says nothing.
_RATED_SECONDS = 1.0


@dataclass(frozen=True)
class Work:
    """A month at work: the last that was told of it, when it and its step began, and what the step began with."""

    event: Event
    began: float
    step_began: float
    step_first: int

    def told(self, event: Event, now: float) -> Work:
        """Return the work after this event; a step that begins leaves the month's clock as it is."""
        if (event.step, event.unit) == (self.event.step, self.event.unit) and event.done >= self.event.done:
            return replace(self, event=event)
        return Work(event, self.began, now, event.done)

    def rate(self, now: float) -> float:
        """Return bytes or rows a second of this step, 0 while it isn't known."""
        seconds = now - self.step_began
        return (self.event.done - self.step_first) / seconds if seconds >= _RATED_SECONDS else 0.0


class LiveLines:
    """A line per month at work, with its step, how far it is, how fast, what is left, and the month's clock.

    A finished month's line goes, because the report tells it; it stays above if ``keeps``, or if no report follows.
    ``waiting`` is shown until something happens; ``count`` is how many months there are.
    """

    def __init__(self, screen: Console, waiting: str, count: int, *, keeps: bool = False) -> None:
        from rich.live import Live
        from rich.spinner import Spinner

        self._screen = screen
        self._waiting = waiting
        self._count = count
        self._keeps = keeps
        self._began = time.monotonic()
        self._at_work: dict[str, Work] = {}
        self._ended: list[Event] = []
        self._lock = Lock()
        self._is_ascii = screen.options.ascii_only
        self._spinner = Spinner("line" if self._is_ascii else "dots")
        self._live = Live(console=screen, get_renderable=self._draw, refresh_per_second=8, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._live.stop()
        if kind and not self._keeps:
            self._print(self._ended)

    def hear(self, event: Event) -> None:
        """Move the month's line, and take it away when the month is done; what the whole run waits for is shown."""
        if not event.subject:
            self._waiting = event.note or self._waiting
            return
        ends = event.step in OUTCOMES
        with self._lock:
            now = time.monotonic()
            work = self._at_work.pop(event.subject, None)
            if ends:
                self._ended.append(event)
            else:
                self._at_work[event.subject] = work.told(event, now) if work else Work(event, now, now, event.done)
        if ends and self._keeps:
            self._print([event])  # without our lock: who draws has the screen's, and asks for ours

    def _print(self, ended: Sequence[Event]) -> None:
        for outcome, lines in outcome_lines(ended, self._screen.width):
            for line in lines:
                self._screen.print(line, style=OUTCOMES[outcome], markup=False, highlight=False, soft_wrap=True)

    def _draw(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        now = time.monotonic()
        mark = self._spinner.render(now)
        assert isinstance(mark, Text)  # noqa: S101 - a spinner without a text beside it is one
        with self._lock:
            works, ended = list(self._at_work.values()), list(self._ended)
        width = self._screen.width - mark.cell_len - 1
        lines = [work_lines(work, now, width, is_ascii=self._is_ascii) for work in works]
        lines.append(self._run_lines(ended, now, width, is_alone=not works))
        indent = Text(" " * mark.cell_len)
        marked = ((mark if not index else indent, line) for block in lines for index, line in enumerate(block))
        return Group(*(Text.assemble(start, " ", line) for start, line in marked))

    def _run_lines(self, ended: Sequence[Event], now: float, width: int, *, is_alone: bool) -> list[str]:
        """Say how many months are done and what went wrong last; if no month is at work, what is waited for."""
        took = clock(now - self._began)
        if not ended and is_alone:
            return _fit({"head": self._waiting, "clock": took}, width)
        if self._count == 1 and not is_alone:
            return []
        outcomes = Counter(event.step for event in ended)
        sums = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
        head = f"{len(ended)} of {self._count} months{': ' if sums else ''}{sums}"
        bad = [lines for _, lines in outcome_lines([one for one in ended if one.step in BAD], width)]
        return [*_fit({"head": head, "clock": took}, width), *(bad[-1] if bad and not self._keeps else ())]


def outcome_lines(ended: Sequence[Event], width: int) -> list[tuple[str, list[str]]]:
    """Return the lines of months that are done, each with its outcome; months that share a reason share them."""
    good = [(event.step, f"{event.subject} {amount(event.done, event.unit)}") for event in ended if not event.note]
    bad: dict[str, list[Note]] = {}
    for event in ended:
        if event.note:
            bad.setdefault(event.step, []).append(Note(Partition.parse(event.subject), event.reason))
    folded = [(outcome, line) for outcome, notes in bad.items() for line, _ in fold(notes)]
    return [(outcome, wrap(f"{outcome} {line}", width)) for outcome, line in (*good, *folded)]


def work_lines(work: Work, now: float, width: int, *, is_ascii: bool = False) -> list[str]:
    """Return a month's line, of what fits the width; a note why it waits stands below it."""
    event = work.event
    rate, left = work.rate(now), event.total - event.done
    share = event.done / event.total if event.total else 0.0
    parts = {
        "head": f"{event.subject} {event.step}".ljust(_LONGEST_HEAD),
        "bar": _bar(share, is_ascii=is_ascii) if event.total else "",
        "share": f"{share:4.0%}" if event.total else "",
        "amount": progress(event.done, event.total, event.unit) if event.done else "",
        "rate": f"{amount(rate, event.unit)}/s" if rate > 0 else "",
        "left": f"{clock(left / rate)} left" if rate > 0 and left > 0 else "",
        "clock": clock(now - work.began),
    }
    return [*_fit(parts, width), *(wrap(event.reason, width) if event.note else ())]


def _fit(parts: dict[str, str], width: int) -> list[str]:
    """Join the parts that fit, the most important first; what is always shown may take more lines."""
    shown: set[str] = set()
    for name in _IMPORTANCE:
        length = sum(len(parts[one]) + len(_GAP) for one in (*shown, name) if one in parts) - len(_GAP)
        if parts.get(name) and (name in _ALWAYS or length <= width):
            shown.add(name)
    return wrap(_GAP.join(text for name, text in parts.items() if name in shown), width)


def _bar(share: float, *, is_ascii: bool) -> str:
    done, rest = ("#", "-") if is_ascii else ("\N{BOX DRAWINGS HEAVY HORIZONTAL}", "\N{BOX DRAWINGS LIGHT HORIZONTAL}")
    count = min(_BAR, int(share * _BAR))
    return done * count + rest * (_BAR - count)
