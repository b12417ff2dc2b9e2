"""The ledger: one row for every month that a warehouse holds, committed together with the month's rows."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from nyctaxi_etl.core.errors import WarehouseError
from nyctaxi_etl.core.lineage import Lineage
from nyctaxi_etl.schema.columns import Column

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import date

    from nyctaxi_etl.schema.columns import Dataset
    from nyctaxi_etl.staging.stage import Stage

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
    Column("run_id", "text", about="The Prefect flow run, or a random id without Prefect."),
    Column("replaced_source", "text", about="Source of the month that this load replaced, empty if there was none."),
    Column("replaced_rows", "total", about="Rows that the table had of the month that this load replaced."),
    Column("flags", "text", about="Rows that a rule marks but keeps, by rule, as JSON; empty if there are none."),
)
KEY = ("table_name", "file_month")
# Ledgers made before 2026-12 lack these: they get them with the next load, and are read without them.
_LATER = frozenset({"replaced_source", "replaced_rows", "flags"})


_OF_LINEAGE = frozenset(field.name for field in fields(Lineage))


@dataclass(frozen=True)
class LedgerRow:
    """What the warehouse says of a month that it holds: its lineage, where it was loaded, when, and by which run.

    ``loaded_at`` is UTC without a zone; ``run_id`` names the run. ``replaced_source`` and ``replaced_rows`` say what
    this load replaced, empty and 0 if the table had nothing of the month.
    """

    table_name: str
    color: str
    file_month: date
    lineage: Lineage
    loaded_at: datetime
    run_id: str
    replaced_source: str = ""
    replaced_rows: int = 0

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> LedgerRow:
        """Make a row of what a ledger has, by column. Raises ``WarehouseError`` as ``lacking`` does."""
        lacking(values)
        # Null where an older version of nyctaxi loaded the month.
        given = {name: value for name, value in values.items() if value is not None or name not in _LATER}
        lineage = {name: given[name] for name in _OF_LINEAGE & given.keys()}
        lineage["flags"] = _flags(given.get("flags", ""))
        lineage["unknown_columns"] = tuple(filter(None, (given["unknown_columns"] or "").split(",")))
        rest = {field.name: given[field.name] for field in fields(cls) if field.name in given}
        return cls(**rest, lineage=Lineage(**lineage))

    def values(self) -> tuple[object, ...]:
        """Return the row's values in the order of the ledger's columns."""
        lineage = self.lineage
        texts = {
            "unknown_columns": ",".join(lineage.unknown_columns),
            "flags": json.dumps(dict(lineage.flags)) if lineage.flags else "",
        }
        given = vars(lineage) | vars(self) | texts
        return tuple(given[column.name] for column in LEDGER)


def _flags(text: str) -> dict[str, int]:
    """Return the rows that a rule marks but keeps, by rule; none where an older version loaded the month."""
    try:
        flags = json.loads(text or "{}")
    except ValueError:  # somebody else's hand
        return {}
    return flags if isinstance(flags, dict) else {}


def lacking(names: Collection[str]) -> tuple[Column, ...]:
    """Return the columns that a ledger made by an older version lacks.

    Raises ``WarehouseError`` for a table of this name that is no ledger of nyctaxi's.
    """
    missing = tuple(column for column in LEDGER if column.name not in names)
    if any(column.name not in _LATER for column in missing):
        message = f"There is a table {LEDGER_TABLE} that is not nyctaxi's ledger."
        raise WarehouseError(message, "It is left as it is: rename it, or load into another database.")
    return missing


def succeeding(row: LedgerRow, old: LedgerRow | None) -> LedgerRow:
    """Return the row with what it replaces; a second attempt of one run replaces what the first one did."""
    if old is None:
        return row
    if old.run_id == row.run_id:
        return replace(row, replaced_source=old.replaced_source, replaced_rows=old.replaced_rows)
    return replace(row, replaced_source=old.lineage.source, replaced_rows=old.lineage.rows_loaded)


def entry(table: str, staged: Stage, run_id: str) -> LedgerRow:
    """Make the ledger row of a staged month that is loaded now."""
    partition, loaded_at = staged.partition, datetime.now(UTC).replace(tzinfo=None)
    return LedgerRow(table, str(partition.color), partition.month.first_day, staged.lineage, loaded_at, run_id)


def clean_ledger_row(raw: LedgerRow, table: str, dataset: Dataset, dropped: int) -> LedgerRow:
    """Return the ledger row of the clean ``table``: the raw one's, less the rows that the rules drop."""
    lineage = replace(raw.lineage.loading(raw.lineage.rows_loaded - dropped), rules=dataset.rules_id)
    return replace(raw, table_name=table, lineage=lineage)
