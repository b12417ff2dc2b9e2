"""The command line: parse, call, print. Nothing heavier than Typer is imported until a command runs."""

from __future__ import annotations

import sys
import uuid
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn

import typer
from typer.exceptions import TyperException

from nyctaxi_etl import console, options
from nyctaxi_etl.door import door, print_json, reaching_prefect, refuse
from nyctaxi_etl.errors import UsageError
from nyctaxi_etl.model import Color, parse_colors, parse_months, parse_years, select
from nyctaxi_etl.report import EXIT_INCOMPLETE, EXIT_INTERRUPTED, EXIT_OK, PartitionResult

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from nyctaxi_etl.config import Settings
    from nyctaxi_etl.model import Partition
    from nyctaxi_etl.pipeline import Job
    from nyctaxi_etl.report import LoadReport

_INTERRUPTED = "Interrupted. Finished months are in, the others are what they were; the same command goes on."

app = typer.Typer(
    help="Months of New York City taxi trips, from their source into a warehouse: fast, atomic and provable.",
    epilog="Exit codes: 0 all good; 1 some months failed or are missing; 2 usage or configuration; 130 interrupted.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # one plain column is easier to read at 80 characters than panels
)


class Request(NamedTuple):
    """What a command is to do: the months, the job for each, and how to say so."""

    settings: Settings
    partitions: tuple[Partition, ...]
    years: tuple[int, ...]
    months: tuple[int, ...]
    job: Job


def _version(*, value: bool) -> None:
    if value:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"nyctaxi {version('nyctaxi-etl')}")
        except PackageNotFoundError:
            typer.echo("nyctaxi, not installed")
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


@app.command(short_help="Bring months into a warehouse.")
def ingest(  # noqa: PLR0913 - a command's parameters are its options
    *,
    color: options.ColorOption = None,
    year: options.YearOption = None,
    months: options.MonthsOption = None,
    source: options.SourceOption = None,
    to: options.ToOption = None,
    table: options.TableOption = None,
    jobs: options.JobsOption = None,
    force: options.ForceOption = None,
    dry_run: options.DryRunOption = None,
    json_: options.JsonOption = None,
    direct: options.DirectOption = None,
    data_dir: options.DataDirOption = None,
    verbose: options.VerboseOption = None,
    debug: options.DebugOption = None,
) -> None:
    """Bring months from a source into a warehouse; each month is wholly the old or wholly the new one.

    Every option has a setting NYCTAXI_<OPTION>, in the environment or in .env.
    """
    given = _given(locals())
    with door("ingest", given) as settings:
        request = _request(settings)
        if settings.dry_run:
            _finish(_planned(request), settings)
        run = _run_direct if settings.direct else _run_flow
        _finish(run(request), settings)


@app.command(name="blocks-init", short_help="Register Prefect blocks.")
def blocks_init(
    *,
    check: options.CheckOption = None,
    json_: options.JsonOption = None,
    verbose: options.VerboseOption = None,
    debug: options.DebugOption = None,
) -> None:
    """Register credentials from the settings as Prefect blocks; those already there are replaced.

    Every option has a setting NYCTAXI_<OPTION>, in the environment or in .env.
    """
    given = _given(locals())
    with door("blocks-init", given) as settings:
        from nyctaxi_etl import blocks

        wanted = blocks.is_configured(settings)
        if wanted:
            console.say(_waiting())
        with _prefect(settings) if wanted else nullcontext():
            statuses = blocks.register(settings)
            statuses = blocks.check(statuses) if settings.check else statuses
        code = EXIT_INCOMPLETE if any(status.is_failed for status in statuses) else EXIT_OK
        if settings.json_:
            print_json({"command": "blocks-init", "results": [vars(status) for status in statuses], "exit_code": code})
        else:
            console.show_blocks(statuses)
        raise typer.Exit(code)


@app.command(short_help="Print the columns of a colour.")
def schema(color: Annotated[Color, typer.Argument(help="yellow, green, fhv or fhvhv.")]) -> None:
    """Print the columns and rules of a colour, in Markdown."""
    from nyctaxi_etl.dictionary import describe

    typer.echo(describe(color))


def run() -> NoReturn:
    """Run the command line of this process."""
    sys.exit(main(sys.argv[1:]))


def main(argv: list[str]) -> int:
    """Run the command line ``argv`` and return the exit code."""
    try:
        result = app(argv or ["--help"], prog_name="nyctaxi", standalone_mode=False)
    except TyperException as error:
        return _refuse_line(error, argv)
    except (typer.Abort, KeyboardInterrupt):
        result = EXIT_INTERRUPTED
    if result == EXIT_INTERRUPTED:  # Typer returns it for Ctrl-C, without a word
        console.say(_INTERRUPTED)
    return result if isinstance(result, int) else EXIT_OK


def _refuse_line(error: TyperException, argv: list[str]) -> int:
    """Refuse a command line that Typer could not read."""
    from nyctaxi_etl import config

    context = getattr(error, "ctx", None)
    as_json = "--json" in argv or ("--no-json" not in argv and config.manner().json_)
    program, command = (context.command_path, context.info_name) if context and context.parent else ("nyctaxi", "")
    return refuse(UsageError(error.format_message(), f"See `{program} --help`."), command, as_json=as_json)


def _given(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given, by their setting's name."""
    given = {name: value for name, value in arguments.items() if value is not None}
    return given | ({"color": ",".join(given["color"])} if "color" in given else {})


def _request(settings: Settings) -> Request:
    """Check everything that can be checked before anything moves."""
    from nyctaxi_etl.datasets import FIRST_MONTHS

    if not settings.color or not settings.year:
        message = f"{'--color' if not settings.color else '--year'} is missing."
        raise UsageError(message, "For example: nyctaxi ingest --color yellow --year 2021 --months 1-3.")
    colors, years, months = parse_colors([settings.color]), parse_years(settings.year), parse_months(settings.months)
    partitions, notes = select(colors, years, months, FIRST_MONTHS, datetime.now(UTC).date())
    job = _job(settings, len(colors))
    for note in notes:
        console.say(note)
    if job.source.name == "sample":
        console.say("The source sample is synthetic: generated here, shaped like the real thing.")
    return Request(settings, partitions, years, months, job)


def _job(settings: Settings, colors: int) -> Job:
    from nyctaxi_etl import pipeline
    from nyctaxi_etl.blocks import PREFIX
    from nyctaxi_etl.schema import table_name
    from nyctaxi_etl.sources import resolve
    from nyctaxi_etl.warehouses import open_warehouse

    table = table_name(settings.table) if settings.table else None
    if table and colors > 1:
        message = f"--table {table} names one table for {colors} colours."
        raise UsageError(message, "A table holds one colour: run once for each, or leave --table out.")
    job = pipeline.Job(
        source=resolve(settings.source, settings.tlc_url, settings.datatalks_url),
        to=settings.to,
        data_dir=settings.data_dir.expanduser(),
        run_id=uuid.uuid4().hex,
        table=table,
        force=settings.force,
        sample_rows=settings.sample_rows,
        max_unparsable=settings.max_unparsable,
    )
    if not job.to.startswith(PREFIX):
        open_warehouse(job.to, job.data_dir)
    return job


def _planned(request: Request) -> LoadReport:
    from nyctaxi_etl import pipeline

    results = [PartitionResult(p, "planned", request.job.table_of(p)) for p in request.partitions]
    return pipeline.report("ingest", request.job, results)


def _run_direct(request: Request) -> LoadReport:
    from nyctaxi_etl import blocks, pipeline

    settings, job = request.settings, request.job
    pipeline.prepare(job)
    by_block = job.to.startswith(blocks.PREFIX)
    steps = pipeline.direct_steps(blocks.warehouse_of)
    with _shown(request, _waiting() if by_block else ""), _prefect(settings) if by_block else nullcontext():
        ledger = pipeline.held(job, request.partitions, blocks.warehouse_of)
        results = pipeline.run_months(
            request.partitions, lambda p: pipeline.ingest_month(job, p, steps, ledger.get(p)), settings.jobs
        )
    return pipeline.report("ingest", job, results)


def _run_flow(request: Request) -> LoadReport:
    from nyctaxi_etl import pipeline

    settings, job = request.settings, request.job
    pipeline.prepare(job)
    with _shown(request, _waiting()), _prefect(settings, "or use --direct"):
        from nyctaxi_etl import flows

        state = flows.ingest(
            color=list(dict.fromkeys(p.color for p in request.partitions)),
            year=list(request.years),
            months=list(request.months),
            source=settings.source,
            to=settings.to,
            table=job.table,
            jobs=settings.jobs,
            force=settings.force,
            data_dir=settings.data_dir,
            return_state=True,
        )
        outcome: Any = state.result(raise_on_failure=False)
    if isinstance(outcome, BaseException):
        raise outcome
    report: LoadReport = outcome
    return report


def _shown(request: Request, waiting: str) -> AbstractContextManager[None]:
    from stamina.instrumentation import set_on_retry_hooks

    set_on_retry_hooks(())  # a line of the progress says it
    return console.showing(request.partitions, waiting, live=not request.settings.verbose)


def _waiting() -> str:
    """Say what takes long before the first month does: Prefect's import, and its server's start."""
    from nyctaxi_etl import config

    return "Asking Prefect's server ..." if config.has_prefect_server() else "Starting Prefect (some 10 seconds) ..."


@contextmanager
def _prefect(settings: Settings, instead: str = "") -> Iterator[None]:
    """Have Prefect set up and its server there; ``instead`` is what a user can do without it."""
    from nyctaxi_etl import config

    config.prepare_prefect(console=settings.verbose)
    with reaching_prefect(instead):
        from nyctaxi_etl import blocks

        blocks.start_server()
        yield


def _finish(report: LoadReport, settings: Settings) -> NoReturn:
    if settings.json_:
        print_json(report.as_dict())
    else:
        console.show_report(report)
    raise typer.Exit(report.exit_code)
