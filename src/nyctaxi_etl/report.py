"""What a run did, month by month: as text for people, as a dictionary for machines, as an exit code for scripts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from nyctaxi_etl.errors import Bug

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nyctaxi_etl.errors import NycTaxiError
    from nyctaxi_etl.model import Partition

Outcome = Literal["planned", "loaded", "unchanged", "missing", "failed"]

EXIT_OK = 0
EXIT_INCOMPLETE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

COLUMNS = ("month", "outcome", "rows read", "rejected", "loaded", "size", "seconds")


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
class PartitionResult:
    """What became of one month. ``bytes`` is the size of the published file, ``seconds`` the time from start to end."""

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
        }

    def as_row(self) -> tuple[str, ...]:
        """Return the result as cells of the report's table, in the order of ``COLUMNS``."""
        counts = (f"{n:,}" for n in (self.rows_read, self.rows_rejected, self.rows_loaded))
        known = ("", "", "") if self.outcome in {"planned", "missing"} else counts
        size = f"{self.bytes / 1e6:,.1f} MB" if self.bytes else ""
        return (str(self.partition), self.outcome, *known, size, f"{self.seconds:.1f}" if self.seconds else "")

    def notes(self) -> tuple[str, ...]:
        """Return what a reader should know beside the numbers: why it failed, what was flagged, unknown columns."""
        lines = [f"{self.partition}: {self.failure.message} {self.failure.hint}".rstrip()] if self.failure else []
        if self.flags:
            lines.append(f"{self.partition}: flagged " + ", ".join(f"{n:,} {flag}" for flag, n in self.flags.items()))
        if self.unknown_columns:
            lines.append(f"{self.partition}: unknown columns, not loaded: {', '.join(self.unknown_columns)}")
        return tuple(lines)


@dataclass(frozen=True)
class LoadReport:
    """What a command did: its results in the order of its partitions."""

    command: str
    source: str
    destination: str
    results: tuple[PartitionResult, ...]

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
    def totals(self) -> dict[str, Any]:
        """Months by outcome, and the sums of rows, bytes and seconds."""
        numbers = ("rows_read", "rows_rejected", "rows_loaded", "bytes")
        sums = {name: sum(getattr(result, name) for result in self.results) for name in numbers}
        seconds = round(sum(result.seconds for result in self.results), 3)
        outcomes = Counter(result.outcome for result in self.results)
        return {"months": len(self.results), **sums, "seconds": seconds, "outcomes": dict(sorted(outcomes.items()))}

    def as_dict(self) -> dict[str, Any]:
        """Return the report as the contract's JSON object."""
        return {
            "command": self.command,
            "source": self.source,
            "destination": self.destination,
            "results": [result.as_dict() for result in self.results],
            "totals": self.totals,
            "exit_code": self.exit_code,
        }

    def as_rows(self) -> list[tuple[str, ...]]:
        """Return the cells of the report's table, the totals last."""
        totals = self.totals
        counts = tuple(f"{totals[name]:,}" for name in ("rows_read", "rows_rejected", "rows_loaded"))
        outcomes = ", ".join(f"{count} {outcome}" for outcome, count in totals["outcomes"].items())
        last = ("total", outcomes, *counts, f"{totals['bytes'] / 1e6:,.1f} MB", f"{totals['seconds']:.1f}")
        return [*(result.as_row() for result in self.results), last]

    def as_text(self) -> str:
        """Return the report as plain aligned text, notes below."""
        rows = [COLUMNS, *self.as_rows()]
        widths = [max(len(row[index]) for row in rows) for index in range(len(COLUMNS))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, *(note for result in self.results for note in result.notes())])

    def as_markdown(self) -> str:
        """Return the report's table in Markdown."""
        rule = "|".join("---" for _ in COLUMNS)
        rows = (" | ".join(row) for row in self.as_rows())
        return "\n".join([f"| {' | '.join(COLUMNS)} |", f"|{rule}|", *(f"| {row} |" for row in rows)])
