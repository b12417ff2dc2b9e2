"""The three commands on months: check what was asked, run it with Prefect or without, show the report."""

from __future__ import annotations

import uuid
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import typer

from nyctaxi_etl.cli import console
from nyctaxi_etl.cli.errors import error_boundary, print_json
from nyctaxi_etl.cli.prefect_server import prefect_ready, waiting_note
from nyctaxi_etl.cli.spelling import report_with_options
from nyctaxi_etl.core.errors import Bug, IncompleteRun, UsageError
from nyctaxi_etl.core.selection import parse_colors, parse_months, parse_years
from nyctaxi_etl.orchestration.runners import Run, RunAbandoned, fetch_ahead

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from nyctaxi_etl.core.partition import Partition
    from nyctaxi_etl.core.report import LoadReport
    from nyctaxi_etl.pipelines.job import Job
    from nyctaxi_etl.settings import Settings
    from nyctaxi_etl.settings.commands import Command

_LOST = "Prefect's server was lost in this run: it lacks its end and artifacts. The months are what the report says."


class Request(NamedTuple):
    """What a command is to do: the months, the job for each, and how to say so."""

    command: Command
    settings: Settings
    partitions: tuple[Partition, ...]
    years: tuple[int, ...]
    months: tuple[int, ...]
    job: Job


def run_on_months(command: Command, given: dict[str, Any]) -> None:
    """Run one of the three commands on months with the options that were ``given``, and end with its report.

    Raises:
        typer.Exit: Always, with the exit code.
    """
    with error_boundary(command, given) as settings:
        request = _checked_request(command, settings)
        if settings.dry_run:
            from nyctaxi_etl.orchestration import jobs

            report = jobs.planned(command, request.job, request.partitions)
        else:
            report = _run_direct(request) if settings.direct else _run_flow(request)
        _end_with(report, settings)


def _checked_request(command: Command, settings: Settings) -> Request:
    """Return what is asked for. Raises ``UsageError`` for all that can be seen to be wrong before anything moves."""
    from nyctaxi_etl.orchestration import jobs

    if not settings.color or not settings.year:
        message = f"{'--color' if not settings.color else '--year'} is missing."
        raise UsageError(message, f"For example: nyctaxi {command} --color yellow --year 2021 --months 1-3.")
    colors, years, months = parse_colors([settings.color]), parse_years(settings.year), parse_months(settings.months)
    job = jobs.job_of(command, settings, uuid.uuid4().hex)
    partitions, notes = jobs.partitions_of(job.source, colors, years, months)
    if job.table and len(colors) > 1:
        message = f"{job.table} names one table for {len(colors)} colours."
        raise UsageError(message, "A table holds one colour: run once for each, or leave --table out.", about="table")
    jobs.check(job)
    for note in notes:
        console.say_note(note)
    if job.source.name == "sample":
        console.say_note("The source sample is synthetic: generated here, shaped like the real thing.")
    return Request(command, settings, partitions, years, months, job)


def _run_direct(request: Request) -> LoadReport:
    from nyctaxi_etl.orchestration import connections, jobs
    from nyctaxi_etl.pipelines.workspace import check_data_dir

    settings, job = request.settings, request.job
    check_data_dir(job)
    by_block = connections.needs_prefect(job)
    with (
        _progress_of(request, waiting_note() if by_block else ""),
        prefect_ready(settings) if by_block else nullcontext(),
    ):
        return jobs.run(request.command, job, request.partitions, settings.jobs)


def _run_flow(request: Request) -> LoadReport:
    from nyctaxi_etl.pipelines.workspace import check_data_dir

    settings = request.settings
    check_data_dir(request.job)
    with _progress_of(request, waiting_note()):
        # Prefect's import and its server take seconds: the first months come meanwhile.
        fetch_ahead(request.job, request.partitions[: settings.jobs])
        return _run_with_prefect(request)


def _run_with_prefect(request: Request) -> LoadReport:
    settings = request.settings
    with prefect_ready(settings, "or use --direct"):
        from nyctaxi_etl.orchestration import flows

        flow: Any = flows.FLOWS[request.command.name]
        asked = {
            "color": list(dict.fromkeys(partition.color for partition in request.partitions)),
            "year": list(request.years),
            "months": list(request.months),
        }
        taken = flow.parameters.properties.keys() - asked.keys()
        given = {name: getattr(settings, name) for name in taken}
        return _report_of(request, lambda: flow(**asked, **given, return_state=True).result(raise_on_failure=False))


def _report_of(request: Request, flow: Callable[[], Any]) -> LoadReport:
    """Return the report that the flow ends with, or that of its months if its server is lost when they are done."""
    from nyctaxi_etl.orchestration import blocks
    from nyctaxi_etl.pipelines.month import report_of

    run = Run()
    try:
        outcome = run.in_thread(flow, blocks.server_pulse().is_lost)
    except Exception as error:  # noqa: BLE001 - Prefect makes all kinds of them of a server that is gone
        outcome = error
    if isinstance(outcome, IncompleteRun):
        return outcome.report
    if isinstance(outcome, BaseException) and run.results is not None:
        why = "it does not answer" if isinstance(outcome, RunAbandoned) else Bug.of(outcome).message
        report = report_of(request.command.name, request.job, run.results)
        return replace(report, notes=(f"{_LOST} ({why})",))
    if isinstance(outcome, BaseException):
        raise outcome
    made: LoadReport = outcome
    return made


def _progress_of(request: Request, note: str) -> AbstractContextManager[None]:
    from stamina.instrumentation import set_on_retry_hooks

    set_on_retry_hooks(())  # a line of the progress says it
    return console.showing(request.partitions, note, live=not request.settings.verbose)


def _end_with(report: LoadReport, settings: Settings) -> NoReturn:
    """Print the report, and the tracebacks of bugs if asked for; end with its exit code."""
    shown = report_with_options(report)
    for partition, trace in report.traces.items() if settings.debug else ():
        console.say(f"{partition}: {trace}")
    if settings.json:
        print_json(shown.as_dict())
    else:
        console.show_report(shown)
    raise typer.Exit(report.exit_code)
