"""The steps as Prefect tasks: what Prefect adds to each, its retries, its cache and its name."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path  # noqa: TC003 - Prefect reads the tasks' annotations
from typing import TYPE_CHECKING, Any

from prefect import get_run_logger, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.tasks import exponential_backoff

from nyctaxi_etl.core.amounts import size
from nyctaxi_etl.core.errors import Transient
from nyctaxi_etl.core.partition import Partition, RawFile  # noqa: TC001 - as above
from nyctaxi_etl.core.progress import Event, tell
from nyctaxi_etl.core.retry import may_pass
from nyctaxi_etl.orchestration.connections import lake_of, warehouse_of
from nyctaxi_etl.pipelines import ingest, load, upload
from nyctaxi_etl.pipelines.destination import replace_month
from nyctaxi_etl.pipelines.job import Job, Origin, Steps
from nyctaxi_etl.settings.commands import INGEST, UPLOAD, WAREHOUSE, Command
from nyctaxi_etl.staging.files import StagedFile  # noqa: TC001 - as above
from nyctaxi_etl.warehouses.base import Capabilities  # noqa: TC001 - as above

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect.client.schemas.objects import State, TaskRun
    from prefect.context import TaskRunContext

_RETRIES = 3
_CACHE = timedelta(days=1)


def _is_transient(_task: object, _run: TaskRun, state: State[Any]) -> bool:
    """Retry what may pass by itself and has not been waited for as the server asked, nothing else."""
    return may_pass(state.data)


@contextmanager
def _telling_retry(step: str, partition: Partition) -> Iterator[None]:
    """Say that a step will be tried again: the pause before may be long."""
    try:
        yield
    except Transient as error:
        if runtime.task_run.run_count <= _RETRIES and may_pass(error):
            tell(Event(str(partition), step, note=f"{error.message} Trying again."))
        raise


def _extract_key(_context: TaskRunContext, parameters: dict[str, Any]) -> str:
    """Name a fetched file by what decides it: the source, the month, the folder and, for the sample, its size."""
    job: Job = parameters["job"]
    parts = (job.source, str(parameters["partition"]), str(job.data_dir.resolve()), job.sample_rows)
    return f"nyctaxi-extract-{hashlib.sha256(repr(parts).encode()).hexdigest()}"


@task(
    name="extract",
    task_run_name="extract {partition}",
    retries=_RETRIES,
    retry_delay_seconds=exponential_backoff(backoff_factor=5),
    retry_jitter_factor=0.5,
    retry_condition_fn=_is_transient,
    cache_key_fn=_extract_key,
    cache_expiration=_CACHE,
    persist_result=True,
)
def extract(job: Job, partition: Partition) -> RawFile:
    """Have the month's file here, whole and checked."""
    with _telling_retry("extract", partition):
        raw = ingest.fetch_file(job, partition)
    get_run_logger().info("%s from %s, SHA-256 %s", size(raw.bytes), raw.url, raw.sha256)
    return raw


@task(name="transform", task_run_name="transform {raw.partition}", cache_policy=NO_CACHE, persist_result=False)
def transform(job: Job, raw: RawFile, folder: Path) -> StagedFile:
    """Conform and clean the file into a staging folder."""
    stage_file = ingest.stage_file if job.to else upload.stage_file
    staged = stage_file(job, raw, folder)
    counts = staged.lineage
    get_run_logger().info("%s rows read, %s rejected", f"{counts.rows_read:,}", f"{counts.rows_rejected:,}")
    return staged


_SAFE_TO_REPEAT: dict[str, Any] = {
    "retries": _RETRIES,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": _is_transient,
    "cache_policy": NO_CACHE,
    "persist_result": False,
}


@task(name="load", task_run_name="load {staged.partition}", **_SAFE_TO_REPEAT)
def load_month(job: Job, staged: StagedFile) -> int:
    """Replace the month in the warehouse; safe to repeat, because the month is wholly the old or wholly the new one."""
    with _telling_retry("load", staged.partition):
        rows = replace_month(job, staged, warehouse_of)
    get_run_logger().info("%s rows in %s of %s", f"{rows:,}", job.end_of(staged.partition), job.to)
    return rows


@task(name="put", task_run_name="put {staged.partition}", **_SAFE_TO_REPEAT)
def put(job: Job, staged: StagedFile) -> int:
    """Put the month into the lake, its rejects before it."""
    with _telling_retry("put", staged.partition):
        rows = upload.put_month(job, staged, lake_of)
    get_run_logger().info("%s rows in %s of %s", f"{rows:,}", job.end_of(staged.partition), job.lake)
    return rows


@task(name="put-raw", task_run_name="put raw {raw.partition}", **_SAFE_TO_REPEAT)
def put_raw(job: Job, raw: RawFile) -> None:
    """Put the published file into the lake as it is, unless it is there."""
    with _telling_retry("put", raw.partition):
        upload.put_file(job, raw, lake_of)


@task(name="get", task_run_name="get {origin.partition}", **_SAFE_TO_REPEAT)
def get(job: Job, origin: Origin, folder: Path, capabilities: Capabilities) -> StagedFile:
    """Have the month's file here, or its address in the lake if the warehouse wants that."""
    with _telling_retry("get", origin.partition):
        return load.get_month(job, origin, folder, capabilities, lake_of)


def _extract_current(job: Job, partition: Partition) -> Origin:
    """Extract, but never take the cache's word for a file that is gone or changed."""
    raw = extract.with_options(refresh_cache=job.force)(job, partition)
    current = raw if raw.is_current() else extract.with_options(refresh_cache=True)(job, partition)
    return ingest.origin_of(job, current)


def _extract_and_put(job: Job, partition: Partition) -> Origin:
    origin = _extract_current(job, partition)
    if job.raw:
        put_raw(job, origin.file)
    return origin


def _transform(job: Job, origin: Origin, folder: Path, _capabilities: Capabilities) -> StagedFile:
    """Stage into a file whatever the warehouse can do: what passes between tasks is small."""
    return transform(job, origin.file, folder)


# What each command's steps are in Prefect.
STEPS: dict[Command, Steps[StagedFile]] = {
    INGEST: Steps(_extract_current, _transform, load_month),
    UPLOAD: Steps(_extract_and_put, _transform, put),
    WAREHOUSE: Steps(partial(load.find_month, open_lake=lake_of), get, load_month),
}
