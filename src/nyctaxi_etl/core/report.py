"""What a run did, month by month: as text for people, as a dictionary for machines, as an exit code for scripts."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from nyctaxi_etl.core.amounts import size
from nyctaxi_etl.core.errors import Bug
from nyctaxi_etl.core.folding import Note, fold
from nyctaxi_etl.core.tables import HARD_BLANK, Column, lay_out, wrap

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nyctaxi_etl.core.errors import NycTaxiError
    from nyctaxi_etl.core.lineage import Lineage
    from nyctaxi_etl.core.partition import Partition

Outcome = Literal["planned", "loaded", "unchanged", "missing", "failed"]

EXIT_OK = 0
EXIT_INCOMPLETE = 1
EXIT_USAGE = 2
EXIT_UNWRITTEN = 74  # as EX_IOERR of sysexits.h
# 128 and the number of the signal that ended it, as shells count.
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
EXIT_CODES: Mapping[int, str] = {
    EXIT_OK: "all good: every month is loaded, unchanged or planned",
    EXIT_INCOMPLETE: "some months failed or are missing; the others are in",
    EXIT_USAGE: "usage or configuration: nothing was moved",
    EXIT_UNWRITTEN: "all good, but the report could not be written to the standard output",
    EXIT_INTERRUPTED: "interrupted (Ctrl-C); finished months are in, the others are what they were",
    EXIT_TERMINATED: "terminated (SIGTERM: `kill`, a container's stop); likewise",
}

COLUMNS = ("month", "outcome", "rows read", "rejected", "loaded", "size", "seconds")
# What a narrow screen does without, first to last. The month, its outcome and the rows loaded are always shown.
LEFT_OUT = ("size", "seconds", "rejected", "rows read")
# No table's row is folded where nobody looks at a screen.
PAPER_WIDTH = 200
_WRAPPING = frozenset({"month", "outcome"})
_TABLE = tuple(Column(name, wraps=name in _WRAPPING, is_number=name not in _WRAPPING) for name in COLUMNS)
# A missing month's hint may list every name that was looked for.
_LONGEST_NOTE = 240


@dataclass(frozen=True)
class Failure:
    """Why a month failed or is missing: the error's name, what happened, the next move; a bug's traceback."""

    type: str
    message: str
    hint: str
    trace: str = ""

    @classmethod
    def of(cls, error: NycTaxiError) -> Failure:
        """Take what a report needs from an error."""
        return cls(type(error).__name__, error.message, error.hint, error.trace if isinstance(error, Bug) else "")


@dataclass(frozen=True)
class Replaced:
    """What was there of a month before it was loaded: where it came from, and its counts."""

    source: str
    rows_read: int
    rows_rejected: int
    rows_loaded: int

    @classmethod
    def of(cls, old: Lineage | None) -> Replaced | None:
        """Take what a report needs of what the ledger, or the lake, said before."""
        return cls(old.source, old.rows_read, old.rows_rejected, old.rows_loaded) if old else None


@dataclass(frozen=True)
class PartitionResult:
    """What became of one month.

    ``bytes`` is the size of the published file, ``started`` when its work began, in seconds since 1970, and ``seconds``
    how long it took. ``source`` is where it came from, ``replaced`` what was there before; both of a month loaded.
    ``url`` and ``sha256`` are of the published file.
    """

    partition: Partition
    outcome: Outcome
    table: str
    rows_read: int = 0
    rows_rejected: int = 0
    rows_loaded: int = 0
    flags: Mapping[str, int] = field(default_factory=dict)
    unknown_columns: tuple[str, ...] = ()
    bytes: int = 0
    seconds: float = 0.0
    failure: Failure | None = None
    started: float = 0.0
    source: str = ""
    replaced: Replaced | None = None
    url: str = ""
    sha256: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the result as the contract's JSON object."""
        failure = self.failure
        return {
            "partition": str(self.partition),
            "color": str(self.partition.color),
            "month": str(self.partition.month),
            "outcome": self.outcome,
            "table": self.table,
            "rows_read": self.rows_read,
            "rows_rejected": self.rows_rejected,
            "rows_loaded": self.rows_loaded,
            "flags": dict(self.flags),
            "unknown_columns": list(self.unknown_columns),
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "error": failure and {"type": failure.type, "message": failure.message, "hint": failure.hint},
            "replaced": self.replaced and asdict(self.replaced),
        }

    def as_row(self) -> tuple[str, ...]:
        """Return the result as cells of the report's table, in the order of ``COLUMNS``."""
        counts = (f"{n:,}" for n in (self.rows_read, self.rows_rejected, self.rows_loaded))
        numbers = ("", "", "") if self.outcome in {"planned", "missing"} else counts
        return (str(self.partition), self.outcome, *numbers, *_size_and_seconds(self.bytes, self.seconds))

    def notes(self) -> tuple[Note, ...]:
        """Return what a reader should know beside the numbers: why it failed, what was flagged, unknown columns."""
        notes = [self._reason(self.failure)] if self.failure else []
        old = self.replaced
        if old and (old.source != self.source or old.rows_loaded != self.rows_loaded):
            counts = f"{self.rows_loaded:,} rows, {old.rows_loaded:,} before ({self.rows_loaded - old.rows_loaded:+,})"
            text = f"the month of {old.source} was replaced by that of {self.source}: {counts}"
            notes.append(Note(self.partition, text))
        if self.flags:
            notes.append(
                Note(
                    self.partition, "flagged " + ", ".join(f"{n:,}{HARD_BLANK}{flag}" for flag, n in self.flags.items())
                )
            )
        if self.unknown_columns:
            notes.append(Note(self.partition, f"unknown columns, not loaded: {', '.join(self.unknown_columns)}"))
        return tuple(notes)

    def _reason(self, failure: Failure) -> Note:
        hint = _cut(failure.hint, _LONGEST_NOTE - len(failure.message)) if self.outcome == "missing" else failure.hint
        return Note(self.partition, failure.message, hint)

    def continues(self, other: PartitionResult) -> bool:
        """Tell whether this is the month after ``other``, and nothing else is to be said of it: no rows were read."""
        if self.outcome != other.outcome or self.outcome not in {"planned", "missing", "failed"}:
            return False
        said = [[note.masked for note in result.notes()] for result in (self, other)]
        follows = (self.partition.color, self.partition.month) == (other.partition.color, other.partition.month.next)
        return follows and not self.rows_read and not other.rows_read and said[0] == said[1]


@dataclass(frozen=True)
class LoadReport:
    """What a command did: its results in the order of its partitions; ``notes`` are of the run as a whole."""

    command: str
    source: str
    destination: str
    results: tuple[PartitionResult, ...]
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 if every month is in (or planned), 1 if one failed or is missing."""
        bad = any(result.outcome in {"failed", "missing"} for result in self.results)
        return EXIT_INCOMPLETE if bad else EXIT_OK

    @property
    def traces(self) -> dict[Partition, str]:
        """The tracebacks of the months that a bug ended: for ``--debug`` and the log, never for the report."""
        failures = ((result.partition, result.failure) for result in self.results)
        return {partition: failure.trace for partition, failure in failures if failure and failure.trace}

    @property
    def wall_seconds(self) -> float:
        """The time from the first month's start to the last one's end: less than their sum where they overlap."""
        worked = [result for result in self.results if result.seconds]
        ends = [result.started + result.seconds for result in worked]
        return max(ends) - min(result.started for result in worked) if worked else 0.0

    @property
    def totals(self) -> dict[str, Any]:
        """Months by outcome, the sums of rows, bytes and seconds, and the time that passed."""
        numbers = ("rows_read", "rows_rejected", "rows_loaded", "bytes")
        sums = {name: sum(getattr(result, name) for result in self.results) for name in numbers}
        seconds = {
            "seconds": round(sum(result.seconds for result in self.results), 3),
            "wall_seconds": round(self.wall_seconds, 3),
        }
        outcomes = Counter(result.outcome for result in self.results)
        return {"months": len(self.results), **sums, **seconds, "outcomes": dict(sorted(outcomes.items()))}

    def as_dict(self) -> dict[str, Any]:
        """Return the report as the contract's JSON object."""
        return {
            "command": self.command,
            "source": self.source,
            "destination": self.destination,
            "results": [result.as_dict() for result in self.results],
            "totals": self.totals,
            "notes": list(self.notes),
            "exit_code": self.exit_code,
        }

    def as_rows(self) -> list[tuple[str, ...]]:
        """Return the cells of the report's table: a row a month, or one for several of which the same is said.

        The totals come last.
        """
        totals = self.totals
        counts = tuple(f"{totals[name]:,}" for name in ("rows_read", "rows_rejected", "rows_loaded"))
        outcomes = ", ".join(f"{count}{HARD_BLANK}{outcome}" for outcome, count in totals["outcomes"].items())
        last = ("total", outcomes, *counts, *_size_and_seconds(totals["bytes"], totals["wall_seconds"]))
        return [*(_row(run) for run in _runs(self.results)), last]

    def as_table(self, width: int = PAPER_WIDTH) -> list[list[str]]:
        """Return the lines of the report's head, of each row and of the totals, in ``width`` characters."""
        return lay_out(_TABLE, self.as_rows(), width, LEFT_OUT)

    def as_notes(self, width: int | None = None) -> list[str]:
        """Return what stands below the table, in lines of ``width``: a note, or one for all months that share it."""
        notes = (f"{text} {hint}".rstrip() for text, hint in fold(note for one in self.results for note in one.notes()))
        return [
            line
            for note in (*notes, *self.notes)
            for line in (wrap(note, width) if width else [note.replace(HARD_BLANK, " ")])
        ]

    def as_text(self) -> str:
        """Return the report as plain aligned text, notes below."""
        lines = [line.rstrip() for row in self.as_table() for line in row]
        return "\n".join([*lines, *self.as_notes()])

    def as_markdown(self) -> str:
        """Return the report's table in Markdown."""
        rule = "|".join("---" for _ in COLUMNS)
        rows = (" | ".join(row).replace(HARD_BLANK, " ") for row in self.as_rows())
        return "\n".join([f"| {' | '.join(COLUMNS)} |", f"|{rule}|", *(f"| {row} |" for row in rows)])


def _runs(results: Sequence[PartitionResult]) -> list[list[PartitionResult]]:
    runs: list[list[PartitionResult]] = []
    for result in results:
        if runs and result.continues(runs[-1][-1]):
            runs[-1].append(result)
        else:
            runs.append([result])
    return runs


def _row(run: Sequence[PartitionResult]) -> tuple[str, ...]:
    first, *others = (result.as_row() for result in run)
    if not others:
        return first
    month = f"{first[0]} to{HARD_BLANK}{run[-1].partition.month}"
    seconds = sum(result.seconds for result in run)
    return (month, *first[1:-2], *_size_and_seconds(0, seconds))


def _size_and_seconds(count: int, seconds: float) -> tuple[str, str]:
    return size(count) if count else "", f"{seconds:,.1f}" if seconds else ""


def _cut(text: str, length: int) -> str:
    """Keep the beginning of a long text."""
    return text if len(text) <= length else f"{text[:length].rpartition(' ')[0].rstrip(',')} ..."
