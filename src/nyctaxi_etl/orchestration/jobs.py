"""What each command does with its settings: the job that they make, and the run of it without Prefect."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from nyctaxi_etl import settings as config
from nyctaxi_etl.core.addresses import folder_of, refuse_secret
from nyctaxi_etl.core.errors import UsageError
from nyctaxi_etl.core.report import PartitionResult
from nyctaxi_etl.core.selection import select
from nyctaxi_etl.lakes.opening import FOLDER
from nyctaxi_etl.orchestration.connections import BIGQUERY, lake_of, warehouse_of
from nyctaxi_etl.orchestration.runners import run_months
from nyctaxi_etl.pipelines.ingest import ingest_steps, plan_ingest
from nyctaxi_etl.pipelines.job import BLOCK, Google, Job, Plan, Steps
from nyctaxi_etl.pipelines.load import load_steps, plan_load
from nyctaxi_etl.pipelines.month import report_of, run_month
from nyctaxi_etl.pipelines.upload import plan_upload, upload_steps
from nyctaxi_etl.schema.columns import table_name
from nyctaxi_etl.schema.datasets import FIRST_MONTHS
from nyctaxi_etl.settings.commands import INGEST, ON_MONTHS, UPLOAD, WAREHOUSE
from nyctaxi_etl.sources.registry import Source, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from nyctaxi_etl.core.partition import Color, Partition
    from nyctaxi_etl.core.report import LoadReport
    from nyctaxi_etl.settings import Settings
    from nyctaxi_etl.settings.commands import Command

_BUCKET = "gs://"


def job_of(command: Command, settings: Settings, run_id: str) -> Job:
    """Return what a command is to do under these settings; those that it does not take are as if left out.

    Raises:
        UsageError: For what can be seen to be wrong before anything is asked for.
    """
    for name in ("source", "to", "lake"):
        refuse_secret(name, getattr(settings, name))
    taken = settings.taken_by(command)
    data_dir = folder_of(str(taken.data_dir), "data_dir")
    lake = _lake_address(taken.lake, data_dir) if command.takes("lake") else ""
    to = taken.to if command.takes("to") else ""
    if to == BIGQUERY and command in ON_MONTHS:
        _refuse_what_bigquery_cannot_load(lake)
    return Job(
        source=resolve(taken.source, taken.source_urls) if command.takes("source") else Source("lake", lake, ()),
        to=to,
        data_dir=data_dir,
        run_id=run_id,
        table=table_name(taken.table) if taken.table else None,
        force=taken.force,
        sample_rows=taken.sample_rows,
        max_unparsable=taken.max_unparsable,
        min_speed=taken.min_speed,
        max_outside_month=taken.max_outside_month,
        lake=lake,
        mode=taken.mode,
        raw=taken.raw,
        google=google_of(taken),
    )


def partitions_of(
    source: Source, colors: Iterable[Color], years: Iterable[int], months: Iterable[int]
) -> tuple[tuple[Partition, ...], tuple[str, ...]]:
    """Return the months that are asked for and that the source can have, and notes on those left out: see ``select``.

    Raises ``UsageError`` if none remains.
    """
    first = {**FIRST_MONTHS, **{color: begin for color, (begin, _) in source.published.items()}}
    last = {color: end for color, (_, end) in source.published.items() if end}
    return select(colors, years, months, first, datetime.now(UTC).date(), last=last)


def google_of(settings: Settings) -> Google:
    """Return what is set of Google Cloud."""
    return Google(
        project=settings.bigquery_project or settings.gcp_project,
        dataset=settings.bigquery_dataset,
        location=settings.bigquery_location,
        max_bytes=settings.bigquery_max_bytes or None,
        chunk_bytes=settings.gcs_chunk_mb << 20,
        bucket_location=settings.gcs_location,
        storage_emulator=config.storage_emulator(),
        bigquery_emulator=config.bigquery_emulator(),
    )


def check(job: Job) -> None:
    """Open what takes no connection, no credentials and no Prefect to be opened. Raises ``UsageError``."""
    if job.to and job.to != BIGQUERY and not job.to.startswith(BLOCK):
        warehouse_of(job)
    if job.lake and not job.lake.startswith((BLOCK, _BUCKET)):
        lake_of(job)


def planned(command: Command, job: Job, partitions: Sequence[Partition]) -> LoadReport:
    """Return the report of a run that does nothing."""
    results = [PartitionResult(partition, "planned", job.end_of(partition)) for partition in partitions]
    return report_of(command.name, job, results)


class Route(NamedTuple):
    """The way of a command's months: what plans it, and its steps without Prefect."""

    plan: Callable[[Job, Sequence[Partition], Steps[Any]], Plan]
    steps: Steps[Any]


ROUTES: Mapping[Command, Route] = {
    INGEST: Route(partial(plan_ingest, open_warehouse=warehouse_of), ingest_steps(warehouse_of)),
    UPLOAD: Route(partial(plan_upload, open_lake=lake_of), upload_steps(lake_of)),
    WAREHOUSE: Route(
        partial(plan_load, open_lake=lake_of, open_warehouse=warehouse_of), load_steps(lake_of, warehouse_of)
    ),
}


def run(command: Command, job: Job, partitions: Sequence[Partition], jobs: int) -> LoadReport:
    """Do it without Prefect, ``jobs`` months side by side."""
    route = ROUTES[command]
    plan = route.plan(job, partitions, route.steps)
    return report_of(command.name, job, run_months(partitions, partial(run_month, plan), jobs))


def _lake_address(text: str, data_dir: Path) -> str:
    """Return the lake's address, without a slash at its end; left out, it is a folder in the data folder."""
    if text in {"", FOLDER}:
        return str(data_dir / FOLDER)
    return text.rstrip("/") if text.startswith(_BUCKET) else text


def _refuse_what_bigquery_cannot_load(lake: str) -> None:
    if not lake:
        message = f"{BIGQUERY}: BigQuery loads from the lake, not from a source."
        hint = "Run `nyctaxi upload --lake gs://bucket/prefix`, then `nyctaxi warehouse --to bigquery` with this lake."
        raise UsageError(message, hint, about="to")
    if not lake.startswith((_BUCKET, BLOCK)):
        message = f"{lake}: BigQuery loads from a bucket only."
        hint = "Name one with `lake=gs://bucket/prefix`, for `nyctaxi upload` as well."
        raise UsageError(message, hint, about="lake")
