"""What a flow does in its run: a plan in the log, the months, artifacts, and a state that tells the outcome."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from uuid import UUID

from prefect import get_client, get_run_logger, runtime, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect.states import Completed, Failed

from nyctaxi_etl.core.addresses import shown
from nyctaxi_etl.core.errors import IncompleteRun, NycTaxiError
from nyctaxi_etl.orchestration.artifacts import month_line, month_page, report_description, report_table
from nyctaxi_etl.orchestration.jobs import ROUTES, job_of, partitions_of
from nyctaxi_etl.orchestration.runners import run_months
from nyctaxi_etl.orchestration.server.runs import record_run
from nyctaxi_etl.orchestration.tasks import STEPS
from nyctaxi_etl.pipelines.month import report_of, run_month
from nyctaxi_etl.pipelines.workspace import check_data_dir
from nyctaxi_etl.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prefect.client.schemas.objects import State

    from nyctaxi_etl.core.partition import Color, Partition
    from nyctaxi_etl.core.report import LoadReport, PartitionResult
    from nyctaxi_etl.pipelines.job import Job, Plan
    from nyctaxi_etl.settings.commands import Command

# Where Prefect logs what belongs to a flow run.
_RUN_LOGS = "prefect.flow_runs"


class Selection(NamedTuple):
    """Which months, and how many of them side by side."""

    colors: list[Color]
    years: list[int]
    months: list[int]
    jobs: int


# A subflow would take a second longer: Prefect waits at the end of each flow run.
@task(name="log-plan", task_run_name="plan {table}", cache_policy=NO_CACHE, persist_result=False)
def log_plan(table: str, months: list[str]) -> None:
    """Log which months go where, before anything moves."""
    get_run_logger().info("%s: %s", table, ", ".join(months))


def flow_run_name() -> str:
    """Return what a run is called in Prefect's lists: the flow, its months, and where they go."""
    given = runtime.flow_run.parameters
    colors = "+".join(str(getattr(color, "value", color)) for color in given["color"])
    to = shown(given["to"]).partition("://")[0] if "to" in given else shown(given["lake"]) or "lake"
    return f"{runtime.flow_run.flow_name} {colors} {_span(given['year'])} {_span(given['months'])} to {to}"


def _span(numbers: list[int]) -> str:
    return f"{min(numbers)}-{max(numbers)}" if len(set(numbers)) > 1 else str(numbers[0])


def run_flow(command: Command, selection: Selection, given: dict[str, Any]) -> LoadReport:
    """Run a command's months with the settings in ``given`` put over the environment's, and end the flow's run.

    What a user can mend is told in a line or two, without a traceback.
    """
    logging.getLogger(_RUN_LOGS).addFilter(_without_traceback)
    record_run(UUID(str(runtime.flow_run.id)))
    try:
        job = job_of(command, settings().overruled_by(given), str(runtime.flow_run.id))
        partitions = _select_months(job, selection)
        plan = ROUTES[command].plan(job, partitions, STEPS[command])
        _tag(command, job, partitions)
        report = report_of(command.name, job, run_months(partitions, _logged(plan, command), selection.jobs))
    except NycTaxiError as error:
        return _end_with_error(error)
    return _end_with_report(report)


def _logged(plan: Plan, command: Command) -> Callable[[Partition], PartitionResult]:
    """Return what runs a month, with a line in the log at its end, and as a chain of its own in Prefect's graph.

    Prefect takes a step for one that needs another's result if both were given the same small value, a text say: what
    it remembers of results is each month's own.
    """
    run = FlowRunContext.get()

    def run_logged(partition: Partition) -> PartitionResult:
        own = run.model_copy(update={"run_results": {}}) if run else nullcontext()
        with own:
            result = run_month(plan, partition)
            level = logging.ERROR if result.failure else logging.INFO
            get_run_logger().log(level, month_line(result, report_of(command.name, plan.job, [result])))
        return result

    return run_logged


def _tag(command: Command, job: Job, partitions: Sequence[Partition]) -> None:
    """Tag the flow run with what people look for, and it alone.

    A task with tags asks the server for leave to run (tags may have limits): no month would outlive the server.
    """
    colors = dict.fromkeys(str(partition.color) for partition in partitions)
    places = [job.source.name, (job.to or job.lake).partition(":")[0]]
    mine = ["nyctaxi", command.name, *colors, *places]
    with get_client(sync_client=True) as client:
        client.update_flow_run(UUID(str(runtime.flow_run.id)), tags=sorted({*runtime.flow_run.tags, *mine}))


def _select_months(job: Job, selection: Selection) -> tuple[Partition, ...]:
    """Lay out the months, log them and those that are left out, and see that there is a place to work."""
    partitions, notes = partitions_of(job.source, selection.colors, selection.years, sorted(set(selection.months)))
    for note in notes:
        get_run_logger().info(note)
    places = dict.fromkeys(job.end_of(partition) if job.to else job.lake for partition in partitions)
    log_plan(table=", ".join(places), months=[str(partition) for partition in partitions])
    check_data_dir(job)
    return partitions


def _end_with_report(report: LoadReport) -> LoadReport:
    """Leave the artifacts, log what was a bug, and end the run as the report says."""
    for partition, trace in report.traces.items():
        get_run_logger().error("%s: %s", partition, trace)
    create_table_artifact(key="load-report", table=report_table(report), description=report_description(report))
    for result in report.results:
        key = f"month-{str(result.partition).replace('/', '-')}"
        create_markdown_artifact(key=key, markdown=month_page(result, report), description=month_line(result, report))
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in report.totals["outcomes"].items())
    if not report.exit_code:
        return _as_returned(Completed(message=outcomes, data=report))
    return _end_with_error(IncompleteRun(outcomes, _first_reason(report), report))


def _end_with_error(error: NycTaxiError) -> LoadReport:
    """End the run by an error that concerns all of it."""
    get_run_logger().error(str(error))
    if error.hint:
        get_run_logger().error("Hint: %s", error.hint)
    return _as_returned(Failed(message=str(error), data=error))


def _as_returned(state: State[Any]) -> LoadReport:
    """Return a state as a flow returns it: Prefect gives the caller what is in it, or raises that."""
    return cast("LoadReport", state)


def _first_reason(report: LoadReport) -> str:
    """Return why the first month is not in, and how many others aren't."""
    first, *others = [result for result in report.results if result.failure]
    reason = f"{first.failure.message} {first.failure.hint}".rstrip() if first.failure else ""
    more = f" {len(others)} more: see the report." if others else ""
    return f"{first.partition}: {reason}{more}"


def _without_traceback(record: logging.LogRecord) -> bool:
    """Say in a line what Prefect logs with a traceback, if it is an error of ours: its words tell what to do."""
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    if isinstance(error, NycTaxiError):
        record.exc_info, record.exc_text = None, None
        record.msg, record.args = f"{record.getMessage()}: {type(error).__name__}: {error}", ()
    return True
