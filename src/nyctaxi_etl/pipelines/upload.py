"""From a source to the lake: what the month's steps are on this way.

The rows are put last: while they are the old ones, so is what the lake says of the month, and a run does it all again.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from nyctaxi_etl.core.lineage import Lineage
from nyctaxi_etl.core.partition import Mode
from nyctaxi_etl.lakes.keys import raw_key, rejects_key
from nyctaxi_etl.lakes.metadata import file_metadata, month_metadata, read_lineage
from nyctaxi_etl.pipelines.destination import refuse_made_up
from nyctaxi_etl.pipelines.ingest import extract
from nyctaxi_etl.pipelines.job import Plan, Steps
from nyctaxi_etl.pipelines.month import with_retries
from nyctaxi_etl.pipelines.workspace import disk_errors
from nyctaxi_etl.staging.files import StagedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from nyctaxi_etl.core.partition import Partition, RawFile
    from nyctaxi_etl.lakes.base import Lake
    from nyctaxi_etl.pipelines.job import Job, Origin
    from nyctaxi_etl.warehouses.base import Capabilities

    OpenLake = Callable[[Job], Lake]


def plan_upload(job: Job, partitions: Sequence[Partition], steps: Steps[Any], open_lake: OpenLake) -> Plan:
    """Ask the lake what it holds, and plan what brings these months into it.

    Asked first, it shows a lake out of reach. Raises ``UsageError`` for made-up months over real ones.
    """
    lake = open_lake(job)
    existing = {partition: read_lineage(lake.metadata(job.key_of(partition))) for partition in partitions}
    refuse_made_up(job, ((month, job.source.name, old.source) for month, old in existing.items() if old))
    return Plan(job, steps, existing={partition: (old,) for partition, old in existing.items()})


def upload_steps(open_lake: OpenLake) -> Steps[StagedFile]:
    """Return the steps as plain functions; a put that failed for a passing reason is tried again."""
    put = partial(with_retries, "put", partial(put_month, open_lake=open_lake))
    return Steps(partial(extract_and_put, open_lake=open_lake), stage, put)


def extract_and_put(job: Job, partition: Partition, open_lake: OpenLake) -> Origin:
    """Have the month's file here, and in the lake as it is if that was asked for."""
    origin = extract(job, partition)
    if job.raw:
        with_retries("put", put_file, job, origin.file, open_lake)
    return origin


def stage(job: Job, origin: Origin, folder: Path, _capabilities: Capabilities) -> StagedFile:
    """Conform and clean the file into ``folder``, as the lake will hold it."""
    return stage_file(job, origin.file, folder)


def stage_file(job: Job, raw: RawFile, folder: Path) -> StagedFile:
    """Conform and clean the file into ``folder``, as Parquet with its lineage; its rejects lie beside it."""
    from nyctaxi_etl.lakes.parquet import staged_parquet
    from nyctaxi_etl.transform.stream import Limits, LiveStage

    path, limits = folder / f"{raw.partition.stem}.parquet", Limits(job.max_unparsable, job.max_outside_month)
    with disk_errors(raw.partition, folder):
        live = LiveStage(raw, job.dataset_of(raw.partition.color), folder, limits)
        staged_parquet(live, path)
    return StagedFile(raw.partition, live.lineage, path, live.rejects)


def put_file(job: Job, raw: RawFile, open_lake: OpenLake) -> None:
    """Put the published file into the lake as it is, unless it is there."""
    lake, key = open_lake(job), raw_key(raw.source, raw.path.name)
    existing = lake.metadata(key) or {}
    if job.force or existing.get("source_sha256") != raw.sha256:
        lake.put(key, raw.path, file_metadata(Lineage.of(raw, "", "")), str(raw.partition))


def put_month(job: Job, staged: StagedFile, open_lake: OpenLake) -> int:
    """Put the month into the lake, after its rejects, and return how many rows it has."""
    partition, metadata, lake = staged.partition, month_metadata(staged.lineage), open_lake(job)
    if not _has_more_rejects(job, lake, staged):
        if staged.rejects:
            lake.put(rejects_key(partition), staged.rejects, metadata, str(partition))
        else:
            lake.remove(rejects_key(partition))
    lake.put(job.key_of(partition), staged.path, metadata, str(partition))
    return staged.lineage.rows_loaded


def _has_more_rejects(job: Job, lake: Lake, staged: StagedFile) -> bool:
    """Tell whether an ETL upload of the same bytes has put rejects: those that can't be parsed are among them."""
    if job.mode == Mode.ETL:
        return False
    old, new = read_lineage(lake.metadata(rejects_key(staged.partition))), staged.lineage
    if old is None or old.rows_rejected <= new.rows_rejected:
        return False
    return old.fingerprint == new.fingerprint._replace(rules=old.rules)
