"""The ledger: one row for every month that a warehouse holds, committed together with the month's rows."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from nyctaxi_etl.schema import Column

if TYPE_CHECKING:
    from datetime import date, datetime

    from nyctaxi_etl.model import RawFile, Stage
    from nyctaxi_etl.schema import Dataset

LEDGER_TABLE = "nyctaxi_loads"
LEDGER = (
    Column("table_name", "text", about="The table that the month was loaded into."),
    Column("color", "text", about="yellow, green, fhv or fhvhv."),
    Column("file_month", "day", about="First day of the month; the same as in the rows."),
    Column("source", "text", about="tlc, datatalks, sample, folder, or the host that the file came from."),
    Column("source_url", "text", about="Where exactly the file came from."),
    Column("source_etag", "text", about="The server's ETag, empty if it gave none."),
    Column("source_last_modified", "text", about="The server's Last-Modified, or the local file's time of change."),
    Column("source_bytes", "total", about="Size of the file as published."),
    Column("source_sha256", "text", about="SHA-256 of the file as published."),
    Column("dataset_version", "text", about="Digest of the declared columns that the rows were conformed to."),
    Column("rules", "text", about="Names of the rules that drop rows, and a digest of all rules."),
    Column("rows_read", "total", about="Rows in the file."),
    Column("rows_rejected", "total", about="Rows set aside: dropped by a rule or unparsable."),
    Column("rows_loaded", "total", about="Rows in the table; rows_read = rows_loaded + rows_rejected."),
    Column("unknown_columns", "text", about="Published columns that nothing is declared for, with commas between."),
    Column("loaded_at", "time", about="When the month was loaded, UTC."),
    Column("run_id", "text", about="The Prefect flow run, or a random id with --direct."),
)
KEY = ("table_name", "file_month")


@dataclass(frozen=True)
class LedgerRow:
    """What the warehouse knows of a month that it holds; the fields are the ledger's columns, in order."""

    table_name: str
    color: str
    file_month: date
    source: str
    source_url: str
    source_etag: str
    source_last_modified: str
    source_bytes: int
    source_sha256: str
    dataset_version: str
    rules: str
    rows_read: int
    rows_rejected: int
    rows_loaded: int
    unknown_columns: str
    loaded_at: datetime
    run_id: str

    def values(self) -> tuple[object, ...]:
        """Return the fields' values in the order of the ledger's columns."""
        return tuple(getattr(self, field.name) for field in fields(self))

    def holds(self, raw: RawFile, dataset: Dataset) -> bool:
        """Tell whether the same bytes were loaded under the same declaration and rules."""
        known = (self.source_sha256, self.dataset_version, self.rules)
        return known == (raw.sha256, dataset.version, dataset.rules_id)


def entry(table: str, staged: Stage, run_id: str, loaded_at: datetime) -> LedgerRow:
    """Make the ledger row of a staged month; ``loaded_at`` is UTC without a zone."""
    raw = staged.raw
    return LedgerRow(
        table_name=table,
        color=str(staged.partition.color),
        file_month=staged.partition.month.first_day,
        source=raw.source,
        source_url=raw.url,
        source_etag=raw.etag,
        source_last_modified=raw.last_modified,
        source_bytes=raw.bytes,
        source_sha256=raw.sha256,
        dataset_version=staged.dataset_version,
        rules=staged.rules,
        rows_read=staged.rows_read,
        rows_rejected=staged.rows_rejected,
        rows_loaded=staged.rows_loaded,
        unknown_columns=",".join(staged.unknown_columns),
        loaded_at=loaded_at,
        run_id=run_id,
    )
