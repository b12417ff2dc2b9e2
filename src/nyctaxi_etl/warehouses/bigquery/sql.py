"""What is said to BigQuery when a month goes in: one transaction, of which every statement touches one month.

Text only; nothing here speaks to anyone. Names are quoted, values are literals: of the month, so that BigQuery reads no
other partition; of the ledger's, because the emulators that people have take no query parameters in a script.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

from nyctaxi_etl.core.partition import Month
from nyctaxi_etl.warehouses.ledger import KEY, LEDGER, LedgerRow, succeeding
from nyctaxi_etl.warehouses.sql import (
    Dialect,
    delete_ledger,
    delete_month,
    drop_condition,
    insert_ledger,
    insert_month,
    is_ledger_row,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from nyctaxi_etl.schema.columns import Dataset

DIALECT = Dialect("bigquery", mark="`", time_literal="DATETIME", options=True)
# What a check says when it ends the transaction; BigQuery puts words of its own before and after.
_COUNTED = re.compile(r"nyctaxi counted (\d{1,18}) rows in table ([01]) of the transaction", re.ASCII)
# The server's clock, so that it can be compared with the table's time of creation. UTC.
_NOW = "DATETIME(CURRENT_TIMESTAMP())"


class Share(NamedTuple):
    """One table's share of the transaction: its month is replaced by the rows of ``source`` for which ``where`` holds.

    ``row`` is what the ledger is to say of it: how many rows are to be there in the end. ``path`` and ``source`` are
    quoted names, ``created`` is when the table was made (server's time, UTC without a zone): what the ledger says of a
    table that stood here before counts for nothing. ``old`` is what the ledger said of the month so far.
    """

    row: LedgerRow
    path: str
    source: str
    where: str
    created: datetime
    old: LedgerRow | None = None

    @property
    def month(self) -> Month:
        """The month that is replaced."""
        return Month.of(self.row.file_month)


class Counted(NamedTuple):
    """So many rows are in the table of that share (its position) when the transaction is about to end."""

    share: int
    rows: int


def literal(value: object, kind: str) -> str:
    """Return a value of a BigQuery type as SQL has it. JSON writes texts as BigQuery does."""
    text = "NULL" if value is None else json.dumps(str(value), ensure_ascii=False)
    return text if kind == "STRING" and value is not None else f"CAST({text} AS {kind})"


def count_dropped(dataset: Dataset, month: Month, source: str) -> str:
    """Return the query for how many rows of ``source`` the rules drop. Raises what ``drop_condition`` does."""
    return f"SELECT COUNTIF({drop_condition(DIALECT, dataset, month)}) FROM {source}"  # noqa: S608 - names are quoted


def month_statements(dataset: Dataset, share: Share) -> tuple[str, str]:
    """Return the two statements that replace the table's month."""
    names = [column.name for column in dataset.columns]
    insert = insert_month(DIALECT, share.path, names, share.source, share.month, share.where)
    return delete_month(DIALECT, share.path, share.month), insert


def transaction(dataset: Dataset, shares: Sequence[Share], ledger: str) -> str:
    """Return the script that replaces the month in every table of ``shares`` and their rows in ``ledger``.

    An error in it ends the script before the commit, which rolls everything back; wrong counts are such an error. The
    ledger, which every month changes, comes first: a conflict about it ends the script before the rows are paid for.
    """
    deleted, inserted = [], []
    for index, share in enumerate(shares):
        delete, insert = _ledger_statements(ledger, share)
        deleted.append(delete)
        inserted += [*month_statements(dataset, share), _count_check(share, index), insert]
    statements = ("BEGIN TRANSACTION", *deleted, *inserted, "COMMIT TRANSACTION")
    return ";\n".join(statements) + ";"


def counted(text: str) -> Counted | None:
    """Return what was counted, if ``text`` is what a check said when it ended the script."""
    found = _COUNTED.search(text)
    return Counted(int(found[2]), int(found[1])) if found else None


def _count_check(share: Share, index: int) -> str:
    words = f"FORMAT('nyctaxi counted %d rows in table {index} of the transaction', COUNT(*))"
    expected = share.row.lineage.rows_read - share.row.lineage.rows_rejected
    return (
        f"SELECT IF(COUNT(*) = {expected}, COUNT(*), ERROR({words})) "  # noqa: S608 - names are quoted
        f"FROM {share.path} WHERE {DIALECT.month_is(share.month)}"
    )


def _ledger_statements(ledger: str, share: Share) -> tuple[str, str]:
    """Return the statements that delete the month's row, and those of an older table of that name, and insert it."""
    texts = {
        column.name: _NOW if column.name == "loaded_at" else literal(value, DIALECT.type_of(column))
        for column, value in zip(LEDGER, succeeding(share.row, share.old).values(), strict=True)
    }
    month = is_ledger_row(DIALECT, [texts[name] for name in KEY])
    table = f"{DIALECT.quote('table_name')} = {texts['table_name']}"
    older = f"{DIALECT.quote('loaded_at')} < {literal(share.created, 'DATETIME')}"
    delete = delete_ledger(ledger, f"({month}) OR ({table} AND {older})")
    return delete, insert_ledger(DIALECT, ledger, texts.values())
