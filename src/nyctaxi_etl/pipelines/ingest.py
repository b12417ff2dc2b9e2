"""From a source to a warehouse: what the month's steps are on this way."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from nyctaxi_etl.core.errors import UsageError
from nyctaxi_etl.core.lineage import Lineage
from nyctaxi_etl.core.progress import Event, tell
from nyctaxi_etl.pipelines.destination import loaded_months, refuse_made_up, replace_month
from nyctaxi_etl.pipelines.job import Origin, Plan, Steps
from nyctaxi_etl.pipelines.month import with_retries
from nyctaxi_etl.pipelines.workspace import disk_errors, keep_rejects

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nyctaxi_etl.core.partition import Partition, RawFile
    from nyctaxi_etl.pipelines.destination import OpenWarehouse
    from nyctaxi_etl.pipelines.job import Job
    from nyctaxi_etl.staging.files import StagedFile
    from nyctaxi_etl.staging.stage import Stage
    from nyctaxi_etl.warehouses.base import Capabilities


def plan_ingest(job: Job, partitions: Sequence[Partition], steps: Steps[Any], open_warehouse: OpenWarehouse) -> Plan:
    """Ask the warehouse what it holds, and plan what brings these months into it.

    Raises ``UsageError`` for a warehouse that loads from the lake alone, and for made-up months over real ones.
    """
    existing, capabilities = loaded_months(job, partitions, open_warehouse)
    if capabilities.loads_from_uri:
        message = f"{job.to}: BigQuery loads from the lake, not from a source."
        hint = "Run `nyctaxi upload --lake gs://bucket/prefix`, then `nyctaxi warehouse` with the same `lake=`."
        raise UsageError(message, hint, about="to")
    olds = ((partition, old) for partition, of_tables in existing.items() for old in of_tables if old)
    refuse_made_up(job, ((partition, job.source.name, old.source) for partition, old in olds))
    return Plan(job, steps, capabilities, existing)


def ingest_steps(open_warehouse: OpenWarehouse) -> Steps[Stage]:
    """Return the steps as plain functions; a load that failed for a passing reason is tried again."""
    load = partial(with_retries, "load", partial(replace_month, open_warehouse=open_warehouse))
    return Steps(extract, stage, load)


def extract(job: Job, partition: Partition) -> Origin:
    """Have the month's file here, whole and checked, and tell what it is to be made into."""
    return origin_of(job, fetch_file(job, partition))


def fetch_file(job: Job, partition: Partition) -> RawFile:
    """Have the month's file here, whole and checked: see ``sources.fetch.fetch``."""
    from nyctaxi_etl.sources.fetch import fetch

    return fetch(job.source, partition, job.data_dir / "raw", sample_rows=job.sample_rows, floor=job.min_speed)


def origin_of(job: Job, raw: RawFile) -> Origin:
    """Return what a published file is to be made into."""
    dataset = job.dataset_of(raw.partition.color)
    return Origin(raw.partition, Lineage.of(raw, dataset.version, dataset.rules_id), raw)


def stage(job: Job, origin: Origin, folder: Path, capabilities: Capabilities) -> Stage:
    """Conform and clean the file: into ``folder``, or while it is loaded where the warehouse takes it so."""
    stage_as = stage_live if capabilities.streams else stage_file
    return stage_as(job, origin.file, folder)


def stage_file(job: Job, raw: RawFile, folder: Path) -> StagedFile:
    """Conform and clean the file into ``folder``, and put its rejects where they stay: see ``transform.stream``."""
    from nyctaxi_etl.transform.stream import Limits
    from nyctaxi_etl.transform.stream import stage as stage_into

    limits = Limits(job.max_unparsable, job.max_outside_month)
    with disk_errors(raw.partition, folder):
        staged = stage_into(raw, job.dataset_of(raw.partition.color), folder, limits)
        keep_rejects(staged, job.data_dir / "rejects")
    return staged


def stage_live(job: Job, raw: RawFile, folder: Path) -> Stage:
    """Open the file, to be conformed and cleaned while it is loaded: see ``transform.stream.LiveStage``."""
    from nyctaxi_etl.transform.stream import Limits, LiveStage

    tell(Event(str(raw.partition), "transform"))
    limits = Limits(job.max_unparsable, job.max_outside_month)
    at_end = partial(keep_rejects, rejects=job.data_dir / "rejects")
    return LiveStage(raw, job.dataset_of(raw.partition.color), folder, limits, at_end)
