"""The command line: parse, call, print. Nothing heavier than Typer is imported until a command runs."""

from __future__ import annotations

import json
import sys
import traceback
import uuid
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn

import typer
from typer.exceptions import TyperException

from nyctaxi_etl import console
from nyctaxi_etl.errors import NycTaxiError, UsageError
from nyctaxi_etl.model import Color, parse_colors, parse_months, parse_years, select
from nyctaxi_etl.report import EXIT_INCOMPLETE, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, PartitionResult

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nyctaxi_etl.config import Settings
    from nyctaxi_etl.model import Partition
    from nyctaxi_etl.pipeline import Job
    from nyctaxi_etl.report import LoadReport

app = typer.Typer(
    help="Months of New York City taxi trips, from their source into a warehouse: fast, atomic and provable.",
    epilog="Exit codes: 0 all good; 1 some months failed or are missing; 2 usage or configuration; 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _colors(incomplete: str) -> list[str]:
    return [color for color in Color if color.startswith(incomplete)]


def _sources(incomplete: str) -> list[str]:
    return [name for name in ("tlc", "datatalks", "sample") if name.startswith(incomplete)]


# Each option once: a command lists those that it takes. None means: not given, so the setting counts.
ColorOption = Annotated[
    list[str] | None,
    typer.Option(
        "--color", help="yellow, green, fhv or fhvhv; repeat it or put commas between.", autocompletion=_colors
    ),
]
YearOption = Annotated[str | None, typer.Option("--year", help="2021, 2019-2021 or 2019,2021.")]
MonthsOption = Annotated[str | None, typer.Option("--months", help="1-3 or 1,3,5-7; all twelve if left out.")]
SourceOption = Annotated[
    str | None,
    typer.Option(
        "--source",
        help="tlc, datatalks, sample, a folder or an http(s) base URL. [default: tlc]",
        autocompletion=_sources,
    ),
]
ToOption = Annotated[
    str | None,
    typer.Option(
        "--to", help="duckdb, duckdb:///path, block:NAME or a SQLAlchemy URL without a password. [default: duckdb]"
    ),
]
TableOption = Annotated[str | None, typer.Option("--table", help="Table to load into. [default: {color}_taxi_data]")]
JobsOption = Annotated[int | None, typer.Option("--jobs", min=1, max=64, help="Months side by side. [default: 2]")]
ForceOption = Annotated[
    bool | None, typer.Option("--force", help="Load again what is loaded and unchanged.", show_default=False)
]
DryRunOption = Annotated[
    bool | None, typer.Option("--dry-run", help="Say what would be loaded; load nothing.", show_default=False)
]
JsonOption = Annotated[bool | None, typer.Option("--json", help="One JSON object on stdout.", show_default=False)]
DirectOption = Annotated[bool | None, typer.Option("--direct", help="Run without Prefect.", show_default=False)]
DataDirOption = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Folder for fetched files, rejects and the DuckDB file. [default: data]"),
]
VerboseOption = Annotated[
    bool | None, typer.Option("--verbose", help="A line per step, and Prefect's own log.", show_default=False)
]
DebugOption = Annotated[
    bool | None, typer.Option("--debug", help="A traceback when something fails.", show_default=False)
]


class Request(NamedTuple):
    """What a command is to do: the months, the job for each, and how to say so."""

    settings: Settings
    partitions: tuple[Partition, ...]
    years: tuple[int, ...]
    months: tuple[int, ...]
    job: Job


def _version(*, value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"nyctaxi {version('nyctaxi-etl')}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


@app.command()
def ingest(  # noqa: PLR0913 - a command's parameters are its options
    *,
    color: ColorOption = None,
    year: YearOption = None,
    months: MonthsOption = None,
    source: SourceOption = None,
    to: ToOption = None,
    table: TableOption = None,
    jobs: JobsOption = None,
    force: ForceOption = None,
    dry_run: DryRunOption = None,
    json_: JsonOption = None,
    direct: DirectOption = None,
    data_dir: DataDirOption = None,
    verbose: VerboseOption = None,
    debug: DebugOption = None,
) -> None:
    """Bring months from a source into a warehouse; each month is wholly the old or wholly the new one.

    Every option has a setting NYCTAXI_<OPTION>, in the environment or in .env.
    """
    given = {name: value for name, value in locals().items() if value is not None}
    with _door("ingest", given) as settings:
        request = _request(settings)
        if settings.dry_run:
            _finish(_planned(request), settings)
        run = _run_direct if settings.direct else _run_flow
        _finish(run(request), settings)


@app.command(name="blocks-init")
def blocks_init(
    *,
    check: Annotated[bool, typer.Option("--check", help="Open each block that was registered.")] = False,
    json_: JsonOption = None,
    debug: DebugOption = None,
) -> None:
    """Register credentials from the settings as Prefect blocks; those already there are replaced."""
    given = {name: value for name, value in (("json_", json_), ("debug", debug)) if value is not None}
    with _door("blocks-init", given) as settings:
        from nyctaxi_etl import config

        config.prepare_prefect(console=False)
        console.say(
            "Asking Prefect's server ..."
            if config.has_prefect_server()
            else "Starting Prefect's server (some 10 seconds) ..."
        )
        with _prefect_reached():
            from nyctaxi_etl import blocks

            statuses = blocks.register(settings)
            statuses = blocks.check(statuses) if check else statuses
        code = EXIT_INCOMPLETE if any(status.is_failed for status in statuses) else EXIT_OK
        if settings.json_:
            _print_json({"command": "blocks-init", "results": [vars(status) for status in statuses], "exit_code": code})
        else:
            console.show_blocks(statuses)
        raise typer.Exit(code)


@app.command()
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
        result = app(argv, prog_name="nyctaxi", standalone_mode=False)
    except TyperException as error:
        context = getattr(error, "ctx", None)
        program = context.command_path if context else "nyctaxi"
        return _refuse(UsageError(error.format_message(), f"`{program} --help` lists the options."), "--json" in argv)
    except (typer.Abort, KeyboardInterrupt):
        console.say("Interrupted. Finished months are in, others are what they were: the same command goes on.")
        return EXIT_INTERRUPTED
    return result if isinstance(result, int) else EXIT_OK


@contextmanager
def _door(command: str, given: dict[str, Any]) -> Iterator[Settings]:
    """Give the settings with the options put over them; turn any error into a message, a hint and an exit code."""
    try:
        from nyctaxi_etl import config

        texts = given | ({"color": ",".join(given["color"])} if "color" in given else {})
        yield config.settings().model_copy(update=texts)
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        if given.get("debug"):
            traceback.print_exc()
        known = error if isinstance(error, NycTaxiError) else _bug(error)
        raise typer.Exit(_refuse(known, bool(given.get("json_")), command)) from error


def _bug(error: Exception) -> NycTaxiError:
    return NycTaxiError(
        f"{type(error).__name__}: {error}",
        "This is a bug in nyctaxi: run again with --debug and report what it prints.",
    )


def _refuse(error: NycTaxiError, as_json: bool, command: str = "") -> int:  # noqa: FBT001 - private, and clear at both calls
    code = EXIT_USAGE if isinstance(error, UsageError) else EXIT_INCOMPLETE
    console.say(f"Error: {error.message}")
    if error.hint:
        console.say(f"Hint: {error.hint}")
    if as_json:
        failure = {"type": type(error).__name__, "message": error.message, "hint": error.hint}
        _print_json({"command": command, "results": [], "error": failure, "exit_code": code})
    return code


def _request(settings: Settings) -> Request:
    """Check everything that can be checked before anything moves."""
    from nyctaxi_etl import pipeline
    from nyctaxi_etl.datasets import FIRST_MONTHS
    from nyctaxi_etl.schema import table_name
    from nyctaxi_etl.sources import resolve

    if not settings.color or not settings.year:
        message = f"{'--color' if not settings.color else '--year'} is missing."
        raise UsageError(message, "For example: nyctaxi ingest --color yellow --year 2021 --months 1-3.")
    colors, years, months = parse_colors([settings.color]), parse_years(settings.year), parse_months(settings.months)
    partitions, notes = select(colors, years, months, FIRST_MONTHS, datetime.now(UTC).date())
    table = table_name(settings.table) if settings.table else None
    if table and len(colors) > 1:
        message = f"--table {table} names one table for {len(colors)} colours."
        raise UsageError(message, "A table holds one colour: run once for each, or leave --table out.")
    job = pipeline.Job(
        source=resolve(settings.source, settings.tlc_url, settings.datatalks_url),
        to=settings.to,
        data_dir=settings.data_dir,
        run_id=uuid.uuid4().hex,
        table=table,
        force=settings.force,
        sample_rows=settings.sample_rows,
        max_unparsable=settings.max_unparsable,
    )
    if not job.to.startswith("block:"):
        from nyctaxi_etl.warehouses import open_warehouse

        open_warehouse(job.to, job.data_dir)
    for note in notes:
        console.say(note)
    if job.source.name == "sample":
        console.say("The source sample is synthetic: generated here, shaped like the real thing.")
    return Request(settings, partitions, years, months, job)


def _planned(request: Request) -> LoadReport:
    from nyctaxi_etl import pipeline

    results = [PartitionResult(p, "planned", request.job.table_of(p)) for p in request.partitions]
    return pipeline.report("ingest", request.job, results)


def _run_direct(request: Request) -> LoadReport:
    from nyctaxi_etl import blocks, config, pipeline

    job = request.job
    if job.to.startswith(blocks.PREFIX):
        config.prepare_prefect(console=request.settings.verbose)
    pipeline.prepare(job)
    steps = pipeline.direct_steps(blocks.warehouse_of)
    with _shown(request):
        ledger = pipeline.held(job, request.partitions, blocks.warehouse_of)
        results = pipeline.run_months(
            request.partitions, lambda p: pipeline.ingest_month(job, p, steps, ledger.get(p)), request.settings.jobs
        )
    return pipeline.report("ingest", job, results)


def _run_flow(request: Request) -> LoadReport:
    from nyctaxi_etl import config, pipeline

    settings, job = request.settings, request.job
    pipeline.prepare(job)
    config.prepare_prefect(console=settings.verbose)
    waiting = (
        "Asking Prefect's server" if config.has_prefect_server() else "Starting Prefect's server (some 10 seconds)"
    )
    with _shown(request, waiting), _prefect_reached():
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


def _shown(request: Request, waiting: str = "") -> Any:
    live = sys.stderr.isatty() and not request.settings.verbose
    return console.showing(request.partitions, live=live, waiting=waiting)


@contextmanager
def _prefect_reached() -> Iterator[None]:
    """Say plainly that Prefect's server is not there, instead of Prefect's own exceptions."""
    import httpx

    try:
        yield
    except (httpx.TransportError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "API" not in str(error):
            raise
        message = f"Prefect's server can't be reached: {str(error).splitlines()[0]}"
        raise UsageError(
            message, "Start it (`prefect server start`), unset PREFECT_API_URL, or use --direct."
        ) from error


def _finish(report: LoadReport, settings: Settings) -> NoReturn:
    if settings.json_:
        _print_json(report.as_dict())
    else:
        console.show_report(report)
    raise typer.Exit(report.exit_code)


def _print_json(document: dict[str, Any]) -> None:
    typer.echo(json.dumps(document, indent=2, default=str))
