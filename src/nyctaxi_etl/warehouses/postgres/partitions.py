"""A month comes in as a table of its own, and takes the old month's place when it is whole.

The long part, the COPY, touches no table that anyone reads. What others wait for is the exchange at the end.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, NamedTuple

from pgpq import ArrowToPostgresBinaryEncoder

from nyctaxi_etl.core.partition import Month
from nyctaxi_etl.core.progress import Event, tell
from nyctaxi_etl.schema.columns import quote
from nyctaxi_etl.warehouses.base import check_rows
from nyctaxi_etl.warehouses.ledger import LedgerRow, clean_ledger_row
from nyctaxi_etl.warehouses.postgres.locks import run_waiting
from nyctaxi_etl.warehouses.postgres.sql import (
    DIALECT,
    default_partition_of,
    definition_of,
    partition_name,
    partitions_of,
    run,
    schema_name_of,
)
from nyctaxi_etl.warehouses.sql import insert_month

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nyctaxi_etl.core.partition import Partition
    from nyctaxi_etl.schema.columns import Dataset
    from nyctaxi_etl.staging.stage import Stage
    from nyctaxi_etl.warehouses.postgres.sql import Cursor


class NewPartition(NamedTuple):
    """The table ``name`` that a month of ``table`` comes in with, until it takes the old one's place.

    ``schema`` is where both are, quoted.
    """

    schema: str
    table: str
    name: str

    @property
    def path(self) -> str:
        """Its full name, quoted."""
        return f"{self.schema}.{quote(self.name)}"

    @property
    def parent(self) -> str:
        """The full name of the table that it is to be a part of, quoted."""
        return f"{self.schema}.{quote(self.table)}"


def create_partition(cursor: Cursor, table: str, month: Month) -> NewPartition:
    """Make the month's table, free of any lock on the parent."""
    name = f"{partition_name(table, month)}_{secrets.token_hex(3)}"
    new = NewPartition(quote(schema_name_of(cursor, table)), table, name)
    run(cursor, f"CREATE TABLE {new.path} ({definition_of(cursor, table, month.first_day)})")
    return new


def copy_staged(cursor: Cursor, new: NewPartition, staged: Stage) -> int:
    """Copy the staged rows in binary, and return how many the server says it took."""
    schema = staged.schema
    encoder = ArrowToPostgresBinaryEncoder(schema)
    # FREEZE: the table is of this transaction, so its rows need no second visit by vacuum.
    statement = f"COPY {new.path} ({', '.join(map(quote, schema.names))}) FROM STDIN (FORMAT BINARY, FREEZE)"
    with cursor.copy(statement.encode()) as copy:
        copy.write(encoder.write_header())
        done = 0
        for batch in staged.batches():
            copy.write(encoder.write_batch(batch))
            done += batch.num_rows
            tell(Event(str(staged.partition), "load", done, staged.rows_expected))
        copy.write(encoder.finish())
    return cursor.rowcount


def insert_clean(
    cursor: Cursor, partitions: Sequence[NewPartition], row: LedgerRow, dataset: Dataset, dropped: str
) -> LedgerRow:
    """Fill the second table with the first one's rows but the ``dropped``, and return its ledger row.

    ``row`` is the first one's. Raises ``QualityError`` if the rows don't add up.
    """
    (raw, clean), names = partitions, [column.name for column in dataset.columns]
    count = run(cursor, f"SELECT count(*) FROM {raw.path} WHERE {dropped}").fetchall()[0][0]  # noqa: S608 - names are quoted
    row = clean_ledger_row(row, clean.table, dataset, count)
    statement = insert_month(DIALECT, clean.path, names, raw.path, Month.of(row.file_month), f"NOT {dropped}")
    check_rows(row, run(cursor, statement).rowcount)
    return row


def exchange(cursor: Cursor, partitions: Sequence[NewPartition], partition: Partition) -> None:
    """Put the new months in the old ones' place; no reader sees one without the other.

    Raises ``WarehouseError`` if somebody reads the tables for ten minutes.
    """
    day = partition.month.first_day
    olds = [partitions_of(cursor, new.table).get(day) for new in partitions]
    # All in one statement: while it waits for the readers of one table, those of the other get their turn.
    locked = [
        ", ".join(f"ONLY {name}" for name in (new.parent, old, default_partition_of(cursor, new.table)) if name)
        for new, old in zip(partitions, olds, strict=True)
        if old
    ]
    if locked:
        statement = f"LOCK TABLE {', '.join(locked)} IN ACCESS EXCLUSIVE MODE"
        run_waiting(cursor, statement, " and ".join(new.table for new in partitions), str(partition))
    for new, old in zip(partitions, olds, strict=True):
        _attach(cursor, new, old, partition)


def _attach(cursor: Cursor, new: NewPartition, old: str | None, partition: Partition) -> None:
    """Put the new month in the old one's place, under the old one's name if nobody else has taken that."""
    name = partition_name(new.table, partition.month)
    if old:
        run(cursor, f"ALTER TABLE {new.parent} DETACH PARTITION {old}")
        run(cursor, f"DROP TABLE {old}")
    if not run(cursor, "SELECT to_regclass(%s)", [new._replace(name=name).path]).fetchall()[0][0]:
        run(cursor, f"ALTER TABLE {new.path} RENAME TO {quote(name)}")
        new = new._replace(name=name)
    statement = f"ALTER TABLE {new.parent} ATTACH PARTITION {new.path} FOR VALUES IN ('{partition.month.first_day}')"
    run_waiting(cursor, statement, new.table, str(partition))
