"""The command line: parse, call, print. Nothing heavier than Typer is imported until a command runs."""

from __future__ import annotations

import re
import sys
from contextlib import nullcontext
from dataclasses import replace
from typing import Annotated, Any, NoReturn

import typer
from typer.exceptions import TyperException

from nyctaxi_etl.cli import console, options, streams
from nyctaxi_etl.cli.errors import door, print_json, refuse
from nyctaxi_etl.cli.run import do, prefect_ready, waiting
from nyctaxi_etl.cli.stopping import Stop
from nyctaxi_etl.core.errors import UsageError
from nyctaxi_etl.core.partition import Color  # noqa: TC001 - Typer reads the annotations
from nyctaxi_etl.core.report import EXIT_INCOMPLETE, EXIT_INTERRUPTED, EXIT_OK, EXIT_UNWRITTEN
from nyctaxi_etl.core.suggest import did_you_mean

_INTERRUPTED = "Interrupted. Finished months are in, the others are what they were; the same command goes on."

app = typer.Typer(
    help="Months of New York City taxi trips, from their source into lake and warehouse: fast, atomic and provable.",
    epilog=(
        "Exit codes: 0 all good; 1 some months failed or are missing; 2 usage or configuration; "
        "74 all good, but stdout can't be written to; 130 interrupted; 143 terminated."
    ),
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # one plain column is easier to read at 80 characters than panels
)


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
    do("ingest", _given(locals()))


@app.command(short_help="Bring months into the lake.")
def upload(  # noqa: PLR0913 - as above
    *,
    color: options.ColorOption = None,
    year: options.YearOption = None,
    months: options.MonthsOption = None,
    source: options.SourceOption = None,
    lake: options.LakeOption = None,
    mode: options.ModeOption = None,
    raw: options.RawOption = None,
    jobs: options.JobsOption = None,
    force: options.ForceOption = None,
    dry_run: options.DryRunOption = None,
    json_: options.JsonOption = None,
    direct: options.DirectOption = None,
    data_dir: options.DataDirOption = None,
    verbose: options.VerboseOption = None,
    debug: options.DebugOption = None,
) -> None:
    """Bring months from a source into the lake, as Parquet, with what is known of them.

    Every option has a setting NYCTAXI_<OPTION>, in the environment or in .env.
    """
    do("upload", _given(locals()))


@app.command(short_help="Bring months from the lake into a warehouse.")
def warehouse(  # noqa: PLR0913 - as above
    *,
    color: options.ColorOption = None,
    year: options.YearOption = None,
    months: options.MonthsOption = None,
    lake: options.LakeOption = None,
    to: options.IntoOption = None,
    table: options.TableOption = None,
    mode: options.ModeOption = None,
    jobs: options.JobsOption = None,
    force: options.ForceOption = None,
    dry_run: options.DryRunOption = None,
    json_: options.JsonOption = None,
    direct: options.DirectOption = None,
    data_dir: options.DataDirOption = None,
    verbose: options.VerboseOption = None,
    debug: options.DebugOption = None,
) -> None:
    """Bring months from the lake into a warehouse; each month is wholly the old or wholly the new one.

    Every option has a setting NYCTAXI_<OPTION>, in the environment or in .env.
    """
    do("warehouse", _given(locals()))


@app.command(short_help="Bring the names of zones into the lake and a warehouse.")
def zones(  # noqa: PLR0913 - as above
    *,
    source: options.SourceOption = None,
    lake: options.LakeOption = None,
    to: options.IntoOption = None,
    dry_run: options.DryRunOption = None,
    json_: options.JsonOption = None,
    data_dir: options.DataDirOption = None,
    verbose: options.VerboseOption = None,
    debug: options.DebugOption = None,
) -> None:
    """Bring the lookup of zones, which trips refer to, from a source into the lake and a warehouse, as a whole.

    Every option has a setting NYCTAXI_<OPTION>, in the environment or in .env.
    """
    with door("zones", _given(locals())) as settings:
        from nyctaxi_etl.orchestration import connections as places
        from nyctaxi_etl.orchestration import jobs as commands
        from nyctaxi_etl.orchestration import zones as lookup
        from nyctaxi_etl.pipelines import ingest as pipeline

        job = replace(commands.job_of("upload", settings, run_id=""), to=settings.to)
        commands.check(job)
        if not settings.dry_run:
            pipeline.prepare(job)
        by_block = places.needs_prefect(job) and not settings.dry_run
        if by_block:
            console.say(waiting())
        with prefect_ready(settings) if by_block else nullcontext():
            report = lookup.report(job, None if settings.dry_run else lookup.load(job))
        if settings.json_:
            print_json(report)
        else:
            console.show_lookup(report)


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
        from nyctaxi_etl.orchestration import blocks
        from nyctaxi_etl.orchestration import jobs as commands

        wanted = blocks.is_configured(settings)
        if wanted:
            console.say(waiting())
        with prefect_ready(settings) if wanted else nullcontext():
            statuses = blocks.register(settings)
            statuses = blocks.check(statuses, commands.google_of(settings)) if settings.check else statuses
        code = EXIT_INCOMPLETE if any(status.is_failed for status in statuses) else EXIT_OK
        if settings.json_:
            print_json({"command": "blocks-init", "results": [vars(status) for status in statuses], "exit_code": code})
        else:
            console.show_blocks(statuses)
        raise typer.Exit(code)


@app.command(short_help="Print the columns of a colour.")
def schema(color: Annotated[Color, typer.Argument(help="yellow, green, fhv or fhvhv.")]) -> None:
    """Print the columns and rules of a colour, in Markdown."""
    from nyctaxi_etl.schema.dictionary import describe

    typer.echo(describe(color))


def run() -> NoReturn:
    """Run the command line of this process; if all is well but stdout took nothing, the exit code says that."""
    stop = Stop()
    stop.listen()
    written = streams.last()
    code = main(sys.argv[1:], stop)
    sys.stdout.flush()
    if written.error:
        console.say(f"Error: stdout can't be written to: {written.error.strerror}.")
        console.say(
            "Hint: The work was done, only what was to be printed is lost. Run again: what is loaded stays loaded."
        )
    stop.leave(EXIT_UNWRITTEN if written.error and code == EXIT_OK else code)


def main(argv: list[str], stop: Stop | None = None) -> int:
    """Run the command line ``argv`` and return the exit code; ``stop`` knows which signal has stopped it."""
    try:
        result = app(argv or ["--help"], prog_name="nyctaxi", standalone_mode=False)
    except TyperException as error:
        return _refuse_line(error, argv)
    except (typer.Abort, KeyboardInterrupt):
        result = EXIT_INTERRUPTED
    if result == EXIT_INTERRUPTED:  # Typer returns it for Ctrl-C, without a word
        console.say(_INTERRUPTED)
        result = stop.exit_code if stop else result
    return result if isinstance(result, int) else EXIT_OK


def _refuse_line(error: TyperException, argv: list[str]) -> int:
    """Refuse a command line that Typer could not read."""
    from nyctaxi_etl import settings as config

    context = getattr(error, "ctx", None)
    as_json = "--json" in argv or ("--no-json" not in argv and config.manner().json_)
    program, command = (context.command_path, context.info_name) if context and context.parent else ("nyctaxi", "")
    message = error.format_message().replace("Value error, ", "")  # pydantic's, which Typer reads values with
    choice = re.search(r"'([^']*)' is not one of (.*)", message)
    meant = did_you_mean(choice[1], re.findall(r"'([^']*)'", choice[2])) if choice else ""
    return refuse(UsageError(message, f"{meant}See `{program} --help`."), command, as_json=as_json)


def _given(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given, by their setting's name."""
    given = {name: value for name, value in arguments.items() if value is not None}
    return given | ({"color": ",".join(given["color"])} if "color" in given else {})
