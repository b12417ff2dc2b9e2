"""The same steps as Prefect tasks, and the flows. What Prefect adds is all here: retries, cache, names, artifacts."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from prefect import flow, get_run_logger, runtime, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State  # noqa: TC002 - Prefect reads the flow's annotations
from prefect.states import Completed, Failed
from prefect.tasks import exponential_backoff
from pydantic import Field

from nyctaxi_etl import pipeline
from nyctaxi_etl.blocks import warehouse_of
from nyctaxi_etl.config import settings
from nyctaxi_etl.datasets import FIRST_MONTHS
from nyctaxi_etl.errors import Transient
from nyctaxi_etl.model import Color, Partition, RawFile, Stage, Staged, select
from nyctaxi_etl.pipeline import Job, Steps
from nyctaxi_etl.report import LoadReport  # noqa: TC001 - as above
from nyctaxi_etl.schema import table_name
from nyctaxi_etl.sources import resolve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect.client.schemas.objects import TaskRun
    from prefect.context import TaskRunContext

    from nyctaxi_etl.report import PartitionResult

MonthNumber = Annotated[int, Field(ge=1, le=12)]
Year = Annotated[int, Field(ge=2009, le=2100)]

_SOME = Field(min_length=1)
_RETRIES = 3
_CACHE = timedelta(days=1)


def _is_transient(_task: object, _run: TaskRun, state: State[Any]) -> bool:
    """Retry what may pass by itself, nothing else."""
    return isinstance(state.data, Transient)


@contextmanager
def _telling_retry(step: str, partition: Partition) -> Iterator[None]:
    """Say that a step will be tried again: the pause before may be long."""
    try:
        yield
    except Transient as error:
        if runtime.task_run.run_count <= _RETRIES:
            pipeline.tell_retry(partition, step, error)
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
        return pipeline.extract(job, partition)


@task(name="transform", task_run_name="transform {raw.partition}", cache_policy=NO_CACHE, persist_result=False)
def transform(job: Job, raw: RawFile, folder: Path) -> Staged:
    """Conform and clean the file into a staging folder."""
    return pipeline.transform(job, raw, folder)


@task(
    name="load",
    task_run_name="load {staged.partition}",
    retries=_RETRIES,
    retry_delay_seconds=exponential_backoff(backoff_factor=2),
    retry_jitter_factor=0.5,
    retry_condition_fn=_is_transient,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def load(job: Job, staged: Stage) -> int:
    """Replace the month in the warehouse; safe to repeat, because the month is wholly the old or wholly the new one."""
    with _telling_retry("load", staged.partition):
        return pipeline.load(job, staged, warehouse_of)


def _extract_current(job: Job, partition: Partition) -> RawFile:
    """Extract, but never take the cache's word for a file that is gone or changed."""
    raw = extract.with_options(refresh_cache=job.force)(job, partition)
    return raw if raw.is_current() else extract.with_options(refresh_cache=True)(job, partition)


_STEPS = Steps(_extract_current, transform, load)


@flow(name="log-plan", flow_run_name="plan {table}")
def log_plan(table: str, months: list[str]) -> None:
    """Log which months go into which table, before anything moves."""
    get_run_logger().info("%s: %s", table, ", ".join(months))


def _run_name() -> str:
    given = runtime.flow_run.parameters
    colors = "+".join(str(getattr(color, "value", color)) for color in given["color"])
    return f"ingest {colors} {_span(given['year'])} {_span(given['months'])} to {given['to'].partition('://')[0]}"


def _span(numbers: list[int]) -> str:
    return f"{min(numbers)}-{max(numbers)}" if len(set(numbers)) > 1 else str(numbers[0])


@flow(name="ingest", flow_run_name=_run_name, validate_parameters=True, persist_result=False)
def ingest(  # noqa: PLR0913 - a flow's parameters are its form in Prefect's UI
    color: Annotated[list[Color], _SOME],
    year: Annotated[list[Year], _SOME],
    months: Annotated[list[MonthNumber], _SOME],
    *,
    source: str = "tlc",
    to: str = "duckdb",
    table: str | None = None,
    jobs: Annotated[int, Field(ge=1, le=64)] = 2,
    force: bool = False,
    data_dir: Path = Path("data"),
) -> State[LoadReport]:
    """Bring months of trips from a source into a warehouse, each atomically.

    Args:
        color: Colours to load.
        year: Years to load.
        months: Months of each year, 1 to 12.
        source: tlc, datatalks, sample, a folder or an http(s) base URL.
        to: duckdb, duckdb:///path, block:NAME or a SQLAlchemy URL without a password.
        table: Table to load into, instead of {color}_taxi_data.
        jobs: Months that run side by side.
        force: Load months again that are loaded and unchanged.
        data_dir: Folder for fetched files, rejects and the DuckDB file.

    Returns:
        A completed state with the load report, or a failed one if a month failed or is missing.
    """
    given = settings()
    job = Job(
        source=resolve(source, given.tlc_url, given.datatalks_url),
        to=to,
        data_dir=data_dir.expanduser(),
        run_id=str(runtime.flow_run.id),
        table=table and table_name(table),
        force=force,
        sample_rows=given.sample_rows,
        max_unparsable=given.max_unparsable,
    )
    partitions = _plan(job, color, year, sorted(set(months)))
    pipeline.prepare(job)
    ledger = pipeline.held(job, partitions, warehouse_of)

    def month(partition: Partition) -> PartitionResult:
        return pipeline.ingest_month(job, partition, _STEPS, ledger.get(partition))

    results = pipeline.run_months(partitions, month, jobs)
    return _finished(pipeline.report("ingest", job, results))


def _plan(job: Job, color: list[Color], year: list[int], months: list[int]) -> tuple[Partition, ...]:
    """Lay out the months, and log them and those that are left out."""
    partitions, notes = select(color, year, months, FIRST_MONTHS, datetime.now(UTC).date())
    for note in notes:
        get_run_logger().info(note)
    tables = dict.fromkeys(job.table_of(partition) for partition in partitions)
    log_plan(table=", ".join(tables), months=[str(partition) for partition in partitions])
    return partitions


def _finished(report: LoadReport) -> State[LoadReport]:
    """Leave the artifacts, and end the run as the report says."""
    create_table_artifact(
        key="load-report", table=[_cells(result) for result in report.results], description=report.as_text()
    )
    for result in report.results:
        create_markdown_artifact(
            key=f"month-{str(result.partition).replace('/', '-')}", markdown=_month_markdown(result)
        )
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in report.totals["outcomes"].items())
    finish = Failed if report.exit_code else Completed
    return finish(message=outcomes, data=report)


def _cells(result: PartitionResult) -> dict[str, Any]:
    cells = result.as_dict()
    error = cells.pop("error")
    return {
        **cells,
        "flags": str(cells["flags"]),
        "unknown_columns": ", ".join(cells["unknown_columns"]),
        "error": error and error["message"],
    }


def _month_markdown(result: PartitionResult) -> str:
    lines = [f"- {name}: {value}" for name, value in result.as_dict().items() if value not in (None, {}, [])]
    return "\n".join([f"# {result.partition}", "", *lines])
