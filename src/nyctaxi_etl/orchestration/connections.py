"""Where a job's months lie: addresses become lakes and warehouses; those of blocks are opened by Prefect's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nyctaxi_etl.lakes.opening import open_lake
from nyctaxi_etl.pipelines.job import BLOCK
from nyctaxi_etl.warehouses.opening import open_warehouse

if TYPE_CHECKING:
    from pathlib import Path

    from nyctaxi_etl.lakes.base import Lake
    from nyctaxi_etl.pipelines.job import Google, Job
    from nyctaxi_etl.warehouses.base import Warehouse

BIGQUERY = "bigquery"


def needs_prefect(job: Job) -> bool:
    """Tell whether one of a job's addresses is a block of Prefect's."""
    return any(address.startswith(BLOCK) for address in (job.to, job.lake))


def lake_of(job: Job) -> Lake:
    """Return the lake that a job names: see ``lake_at``."""
    return lake_at(job.lake, job.data_dir, job.google)


def lake_at(address: str, data_dir: Path, google: Google) -> Lake:
    """Return the lake at ``address``, which may be a block of Prefect's. Nothing is connected to yet.

    Raises ``UsageError`` for one that can't be opened.
    """
    if address.startswith(BLOCK):
        from nyctaxi_etl.orchestration import blocks

        return blocks.lake_behind(address.removeprefix(BLOCK), google)
    return open_lake(
        address,
        data_dir,
        emulator=google.storage_emulator or None,
        project=google.project or None,
        chunk_bytes=google.chunk_bytes,
    )


def warehouse_of(job: Job) -> Warehouse:
    """Return the warehouse that a job names: a block of Prefect's, or an address. Nothing is connected to yet.

    Raises ``UsageError`` for one that can't be opened.
    """
    if job.to.startswith(BLOCK):
        from nyctaxi_etl.orchestration import blocks

        return blocks.warehouse_of(job)
    return _bigquery(job.google) if job.to == BIGQUERY else open_warehouse(job.to, job.data_dir)


def _bigquery(google: Google) -> Warehouse:
    from nyctaxi_etl.warehouses.bigquery.client import bigquery_client
    from nyctaxi_etl.warehouses.bigquery.warehouse import BigQuery

    client = bigquery_client(google.project, google.bigquery_emulator or None)
    return BigQuery(
        client,
        google.dataset,
        google.location or None,
        google.max_bytes,
        bucket_location=google.bucket_location or None,
    )
