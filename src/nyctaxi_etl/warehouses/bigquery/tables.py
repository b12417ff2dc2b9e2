"""What the tables of a dataset are: made by the API, known as ours by their description, widened by SQL."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from google.cloud import bigquery

from nyctaxi_etl.core.errors import WarehouseError
from nyctaxi_etl.core.progress import Event
from nyctaxi_etl.schema.columns import FILE_MONTH
from nyctaxi_etl.warehouses.base import (
    LOOKUP_MARK,
    check_columns,
    check_lookup,
    check_lookup_rows,
    check_ours,
    owner_mark,
    table_columns,
    tuples_of,
)
from nyctaxi_etl.warehouses.bigquery.commit import commit
from nyctaxi_etl.warehouses.bigquery.expiry import refuse_expiring_table
from nyctaxi_etl.warehouses.bigquery.jobs import fields
from nyctaxi_etl.warehouses.bigquery.sql import DIALECT
from nyctaxi_etl.warehouses.ledger import LEDGER, LEDGER_TABLE, LedgerRow, lacking
from nyctaxi_etl.warehouses.sql import add_columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import pyarrow as pa

    from nyctaxi_etl.schema.columns import Column, Dataset
    from nyctaxi_etl.warehouses.bigquery.jobs import Jobs

_LEDGER_MARK = "nyctaxi ledger: one row for every month that a table of this dataset holds"
_CLUSTERED_BY = "pickup_location_id"
_MONTHLY = (bigquery.TimePartitioningType.MONTH, FILE_MONTH.name)
# The API gives what was declared by SQL's names those of legacy SQL.
_LEGACY = {"INTEGER": "INT64", "FLOAT": "FLOAT64"}


def make_table(jobs: Jobs, name: str, dataset: Dataset) -> datetime:
    """Make a table of trips if need be, add columns that the dataset has gained, and return when it was made.

    Raises ``WarehouseError`` for a table that isn't ours, isn't partitioned or has a column of another type,
    ``UsageError`` for one whose rows expire.
    """
    columns = table_columns(dataset)
    table = jobs.find_table(name)
    if table is None:
        new = bigquery.Table(jobs.dataset.table(name), schema=fields(columns))
        new.description = f"{owner_mark(dataset)}, one partition a month"
        new.time_partitioning = bigquery.TimePartitioning(*_MONTHLY)
        if any(column.name == _CLUSTERED_BY for column in columns):
            new.clustering_fields = [_CLUSTERED_BY]
        table = jobs.create(new)
    check_ours(name, dataset, table.description)
    refuse_expiring_table(table)
    parts = table.time_partitioning
    if parts is None or (parts.type_, parts.field) != _MONTHLY:
        message = f"Table {name} is not partitioned by month of {FILE_MONTH.name}."
        raise WarehouseError(message, "It is left as it is: choose another name with `table=`, or rename that one.")
    types = {field.name: _LEGACY.get(field.field_type, field.field_type) for field in table.schema}
    lacks = check_columns(name, types, {column.name: DIALECT.type_of(column) for column in columns})
    if lacks:
        jobs.query(add_columns(DIALECT, jobs.path(name), (c for c in columns if c.name in lacks)))
    return created_at(table)


def make_ledger(jobs: Jobs) -> bigquery.Table:
    """Make the ledger if need be, add what an older one lacks, and return it.

    Raises ``WarehouseError`` for a table of its name that isn't ours, ``UsageError`` if its rows expire.
    """
    table = jobs.find_table(LEDGER_TABLE)
    if table is None:
        new = bigquery.Table(jobs.dataset.table(LEDGER_TABLE), schema=fields(LEDGER))
        new.description = _LEDGER_MARK
        table = jobs.create(new)
    if table.description != _LEDGER_MARK:
        message = f"There is a table {LEDGER_TABLE} that is not nyctaxi's ledger."
        raise WarehouseError(message, "It is left as it is: rename it, or load into another dataset.")
    refuse_expiring_table(table)
    lacks = lacking({field.name for field in table.schema})
    if lacks:
        jobs.query(add_columns(DIALECT, jobs.path(LEDGER_TABLE), lacks))
    return table


def ledger_rows_of(jobs: Jobs, table: str) -> tuple[LedgerRow, ...]:
    """Return the ledger's rows of ``table``, by month; none if the table or the ledger isn't there.

    Raises ``UsageError`` if the rows of either expire.
    """
    trips, ledger = jobs.find_table(table), jobs.find_table(LEDGER_TABLE)
    if trips is None or ledger is None:
        return ()
    for one in (trips, ledger):
        refuse_expiring_table(one)
    rows = ledger_rows(jobs, ledger, {table: created_at(trips)})
    return tuple(sorted(rows, key=lambda row: row.file_month))


def ledger_rows(jobs: Jobs, ledger: bigquery.Table, created: Mapping[str, datetime]) -> list[LedgerRow]:
    """Return what the ledger says of tables that were made at these times; older rows are of others of their name.

    The ledger is listed, which is free.
    """
    names = [field.name for field in ledger.schema]
    rows = [LedgerRow.read({name: row[name] for name in names}) for row in jobs.rows(ledger)]
    return [row for row in rows if row.table_name in created and row.loaded_at >= created[row.table_name]]


def created_at(table: bigquery.Table) -> datetime:
    """Return when a table was made, UTC without a zone as the ledger's times are."""
    created: datetime = table.created
    return created.replace(tzinfo=None)


def replace_rows(jobs: Jobs, table: str, columns: Sequence[Column], rows: pa.Table) -> int:
    """Replace all rows of a lookup: see ``Warehouse.replace_table``. Raises ``UsageError`` if they would expire."""
    path, lookup = jobs.path(table), jobs.find_table(table)
    if lookup is None:
        new = bigquery.Table(jobs.dataset.table(table), schema=fields(columns))
        new.description = LOOKUP_MARK
        lookup = jobs.create(new)
    check_lookup(table, lookup.description)
    refuse_expiring_table(lookup)
    # JSON writes numbers and texts as BigQuery does.
    values = ", ".join(f"({json.dumps(row, ensure_ascii=False)[1:-1]})" for row in tuples_of(rows))
    count = f"SELECT IF(COUNT(*) = {rows.num_rows}, COUNT(*), ERROR('rows are missing')) FROM {path}"  # noqa: S608 - names are quoted
    insert = f"INSERT INTO {path} ({DIALECT.names(columns)}) VALUES {values}"  # noqa: S608 - names are quoted
    script = ("BEGIN TRANSACTION", f"DELETE FROM {path} WHERE TRUE", insert, count, "COMMIT TRANSACTION")  # noqa: S608 - names are quoted
    commit(jobs, ";\n".join(script) + ";", Event(table, "load", 0, rows.num_rows))
    return check_lookup_rows(table, int(jobs.query(f"SELECT COUNT(*) FROM {path}")[0][0]), rows)  # noqa: S608 - names are quoted
