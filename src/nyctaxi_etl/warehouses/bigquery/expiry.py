"""Datasets and tables whose rows BigQuery would delete by itself, which are refused.

"The storage in a partition will have an expiration time of its partition time plus this value" (BigQuery's API,
``defaultPartitionExpirationMs``): a month of 2021 is deleted as it arrives, while its load says that all went well. A
table takes the dataset's default when it is made and keeps it. In a project without billing, the sandbox, every
dataset has such defaults, of 60 days.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from nyctaxi_etl.core.errors import UsageError

if TYPE_CHECKING:
    from google.cloud import bigquery

_REMOVE_DEFAULTS = (
    "Take that back: bq update --default_table_expiration 0 --default_partition_expiration 0 {project}:{dataset}; "
    "a project without billing can't. Tables that are there keep theirs."
)
_REMOVE = (
    "Take that back in SQL: ALTER TABLE `{project}.{dataset}.{table}` SET OPTIONS ({options}); "
    "then load with `force=True` what has gone already."
)


def refuse_expiring_dataset(dataset: bigquery.Dataset) -> None:
    """Raise ``UsageError`` if tables that are made in ``dataset``, or their partitions, are deleted after a time."""
    table, partition = dataset.default_table_expiration_ms, dataset.default_partition_expiration_ms
    names = {"project": dataset.project, "dataset": dataset.dataset_id}
    if table is None and partition is None:
        return
    what = f"partitions {_days(partition)} after their month" if partition is not None else f"tables {_days(table)} old"
    message = f"BigQuery {dataset.project}.{dataset.dataset_id} deletes {what}, by its default expiration."
    raise UsageError(message, _REMOVE_DEFAULTS.format(**names))


def refuse_expiring_table(table: bigquery.Table) -> None:
    """Raise ``UsageError`` if ``table`` or its partitions are deleted after a time."""
    parts = table.time_partitioning
    partition = parts.expiration_ms if parts else None
    if table.expires is None and partition is None:
        return
    options = {"expiration_timestamp": table.expires, "partition_expiration_days": partition}
    removed = ", ".join(f"{name} = NULL" for name, value in options.items() if value is not None)
    names = {"project": table.project, "dataset": table.dataset_id, "table": table.table_id}
    when = f"at {table.expires:%Y-%m-%d %H:%M} UTC" if table.expires else f"{_days(partition)} after each month"
    message = f"BigQuery deletes the rows of {table.dataset_id}.{table.table_id} {when}: the table has an expiration."
    raise UsageError(message, _REMOVE.format(**names, options=removed))


def _days(milliseconds: int | None) -> str:
    return f"{timedelta(milliseconds=milliseconds or 0) / timedelta(days=1):g} days"
