"""What a run leaves to read in Prefect: its report as a table, each month as a page, and lines for the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nyctaxi_etl.core.amounts import size
from nyctaxi_etl.core.report import COLUMNS

if TYPE_CHECKING:
    from nyctaxi_etl.core.report import LoadReport, PartitionResult


def report_table(report: LoadReport) -> list[dict[str, str]]:
    """Return the report as a table, a row a month, its numbers as people read them."""
    return [{**dict(zip(COLUMNS, result.as_row(), strict=True)), "note": _notes(result)} for result in report.results]


def report_description(report: LoadReport) -> str:
    """Return what the table is about: from where to where, and how it went."""
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in report.totals["outcomes"].items())
    rows, seconds = report.totals["rows_loaded"], report.totals["wall_seconds"]
    return (
        f"{report.command} from {report.source} to {report.destination}: {outcomes}; {rows:,} rows in {seconds:.1f} s."
    )


def month_page(result: PartitionResult, report: LoadReport) -> str:
    """Return what became of a month, in Markdown: where from, where to, and its numbers."""
    facts = {
        "source": result.source or report.source,
        "URL": result.url,
        "SHA-256": result.sha256,
        "destination": f"{result.table} in {report.destination}",
        **dict(zip(COLUMNS[2:], result.as_row()[2:], strict=True)),
        "flagged": ", ".join(f"{count:,} {rule}" for rule, count in result.flags.items()),
        "unknown columns": ", ".join(result.unknown_columns),
        "replaced": result.replaced and f"{result.replaced.rows_loaded:,} rows of {result.replaced.source}",
        "error": result.failure and f"{result.failure.message} {result.failure.hint}".rstrip(),
    }
    rows = (f"| {name} | {_cell(text)} |" for name, text in facts.items() if text)
    return "\n".join([f"# {result.partition}: {result.outcome}", "", "| | |", "|---|---|", *rows])


def month_line(result: PartitionResult, report: LoadReport) -> str:
    """Return what became of a month as a line for the log."""
    if result.failure:
        return f"{result.partition} {result.outcome}: {result.failure.message}"
    counts = f"{result.rows_read:,} rows read, {result.rows_rejected:,} rejected, {result.rows_loaded:,} loaded"
    came = f"from {result.url or report.source} ({size(result.bytes)}, SHA-256 {result.sha256 or 'not known'})"
    where = f"to {result.table} in {report.destination}"
    return f"{result.partition} {result.outcome}: {counts} in {result.seconds:.1f} s, {came} {where}"


def _notes(result: PartitionResult) -> str:
    return " ".join(f"{note.text} {note.hint}".rstrip() for note in result.notes())


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
