"""What is said to BigQuery when a month goes in: one transaction, of which every statement touches one month.

Text only; nothing here speaks to anyone. Names are quoted, values are literals: of the month, so that BigQuery reads no
other partition; of the ledger's, because the emulators that people have take no query parameters in a script.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

from nyctaxi_etl.schema.columns import FILE_MONTH, condition, quote
from nyctaxi_etl.warehouses.base import now
from nyctaxi_etl.warehouses.ledger import KEY, LEDGER, entry, succeeding

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from nyctaxi_etl.core.partition import Month, Staged
    from nyctaxi_etl.schema.columns import Column, Dataset
    from nyctaxi_etl.warehouses.ledger import LedgerRow

# What a check says when it ends the transaction; BigQuery puts words of its own before and after.
_COUNTED = re.compile(r"nyctaxi counted (\d{1,18}) rows in table ([01]) of the transaction", re.ASCII)
# The server's clock, so that it can be compared with the table's time of creation. UTC.
_NOW = "DATETIME(CURRENT_TIMESTAMP())"


class Share(NamedTuple):
    """One table's share of the transaction: its month is replaced by the rows of ``source`` for which ``where`` holds.

    ``path`` and ``source`` are quoted names, ``created`` is when the table was made (server's time, UTC without a
    zone): what the ledger says of a table that stood here before counts for nothing. ``staged`` says how many rows
    are to be there in the end, ``old`` what the ledger said of the month so far.
    """

    table: str
    path: str
    source: str
    where: str
    staged: Staged
    created: datetime
    old: LedgerRow | None = None


class Counted(NamedTuple):
    """So many rows are in the table of that share (its position) when the transaction is about to end."""

    share: int
    rows: int


def literal(value: object, kind: str) -> str:
    """Return a value of a BigQuery type as SQL has it. JSON writes texts as BigQuery does."""
    text = "NULL" if value is None else json.dumps(str(value), ensure_ascii=False)
    return text if kind == "STRING" and value is not None else f"CAST({text} AS {kind})"


def tick(name: str) -> str:
    """Quote an identifier as BigQuery does."""
    return quote(name, "`")


def path_of(project: str, dataset: str, table: str) -> str:
    """Return a table's quoted full name."""
    return ".".join(map(tick, (project, dataset, table)))


def month_is(month: Month) -> str:
    """Return the condition that keeps a statement within one month's partition."""
    return f"{tick(FILE_MONTH.name)} = {_day(month)}"


def drops(dataset: Dataset, month: Month) -> str:
    """Return the condition under which a rule drops a row: true or false, never null."""
    conditions = (
        condition(rule.predicate, month, time_literal="DATETIME", mark="`")
        for rule in dataset.rules
        if rule.action == "drop"
    )
    return " OR ".join(conditions) or "FALSE"


def count_dropped(dataset: Dataset, month: Month, source: str) -> str:
    """Return the query for how many rows of ``source`` the rules drop."""
    return f"SELECT COUNTIF({drops(dataset, month)}) FROM {source}"  # noqa: S608 - names are quoted


def moves(dataset: Dataset, share: Share) -> tuple[str, str]:
    """Return the two statements that replace the table's month."""
    month, names = share.staged.partition.month, _names(dataset.columns)
    delete = f"DELETE FROM {share.path} WHERE {month_is(month)}"  # noqa: S608 - names are quoted
    rows = f"SELECT {names}, {_day(month)} FROM {share.source} WHERE {share.where}"  # noqa: S608 - names are quoted
    return delete, f"INSERT INTO {share.path} ({names}, {tick(FILE_MONTH.name)}) {rows}"


def transaction(dataset: Dataset, shares: Sequence[Share], ledger: str, run_id: str) -> str:
    """Return the script that replaces the month in every table of ``shares`` and their rows in ``ledger``.

    An error in it ends the script before the commit, which rolls everything back; wrong counts are such an error. The
    ledger, which every month changes, comes first: a conflict about it ends the script before the rows are paid for.
    """
    forgotten, moved = [], []
    for index, share in enumerate(shares):
        forget, record = _record(ledger, share, run_id)
        forgotten.append(forget)
        moved += [*moves(dataset, share), _check(share, index), record]
    statements = ("BEGIN TRANSACTION", *forgotten, *moved, "COMMIT TRANSACTION")
    return ";\n".join(statements) + ";"


def counted(text: str) -> Counted | None:
    """Return what was counted, if ``text`` is what a check said when it ended the script."""
    found = _COUNTED.search(text)
    return Counted(int(found[2]), int(found[1])) if found else None


def add_columns(path: str, columns: Iterable[Column]) -> str:
    """Return the statement that adds columns, all in one: a table's definition may change only so often a minute."""
    added = ", ".join(
        f"ADD COLUMN IF NOT EXISTS {tick(column.name)} {column.types.bigquery} "
        f"OPTIONS(description={json.dumps(column.about, ensure_ascii=False)})"
        for column in columns
    )
    return f"ALTER TABLE {path} {added}"


def _check(share: Share, index: int) -> str:
    words = f"FORMAT('nyctaxi counted %d rows in table {index} of the transaction', COUNT(*))"
    expected = share.staged.rows_read - share.staged.rows_rejected
    return (
        f"SELECT IF(COUNT(*) = {expected}, COUNT(*), ERROR({words})) "  # noqa: S608 - names are quoted
        f"FROM {share.path} WHERE {month_is(share.staged.partition.month)}"
    )


def _record(ledger: str, share: Share, run_id: str) -> tuple[str, str]:
    row = succeeding(entry(share.table, share.staged, run_id, now()), share.old)
    texts = {
        column.name: _NOW if column.name == "loaded_at" else literal(value, column.types.bigquery)
        for column, value in zip(LEDGER, row.values(), strict=True)
    }
    table, month = (f"{tick(name)} = {texts[name]}" for name in KEY)
    before = f"{tick('loaded_at')} < {literal(share.created, 'DATETIME')}"
    return (
        f"DELETE FROM {ledger} WHERE {table} AND ({month} OR {before})",  # noqa: S608 - names are quoted
        f"INSERT INTO {ledger} ({_names(LEDGER)}) VALUES ({', '.join(texts.values())})",  # noqa: S608 - names are quoted
    )


def _names(columns: Iterable[Column]) -> str:
    return ", ".join(tick(column.name) for column in columns)


def _day(month: Month) -> str:
    return f"DATE '{month.first_day}'"
