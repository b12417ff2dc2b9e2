"""The command line: parse, call, print. Nothing heavier than Typer is imported until a command runs."""

from __future__ import annotations

import re
import sys
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from nyctaxi_etl.cli import console, options, streams
from nyctaxi_etl.cli.errors import error_boundary, print_error, print_json
from nyctaxi_etl.cli.run import do, prefect_ready, waiting
from nyctaxi_etl.cli.spelling import hint_with_options
from nyctaxi_etl.cli.stopping import Stop
from nyctaxi_etl.core.errors import UsageError
from nyctaxi_etl.core.partition import Color  # noqa: TC001 - Typer reads the annotations
from nyctaxi_etl.core.report import EXIT_INCOMPLETE, EXIT_INTERRUPTED, EXIT_OK, EXIT_UNWRITTEN
from nyctaxi_etl.core.suggest import did_you_mean
from nyctaxi_etl.settings.commands import BLOCKS_INIT, ON_MONTHS, ZONES

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


def _zones(given: options.Given) -> None:
    with error_boundary(ZONES.name, given) as settings:
        from nyctaxi_etl.orchestration import connections, jobs
        from nyctaxi_etl.pipelines.workspace import check_data_dir
        from nyctaxi_etl.pipelines.zones import load_zones, zones_report

        job = replace(jobs.job_of("upload", settings, run_id=""), to=settings.to)
        jobs.check(job)
        if not settings.dry_run:
            check_data_dir(job)
        by_block = connections.needs_prefect(job) and not settings.dry_run
        if by_block:
            console.say(waiting())
        with prefect_ready(settings) if by_block else nullcontext():
            loads = not settings.dry_run
            lookup = load_zones(job, connections.lake_of, connections.warehouse_of) if loads else None
            report = zones_report(job, lookup)
        if settings.json:
            print_json(report)
        else:
            console.show_lookup(report)


def _blocks_init(given: options.Given) -> None:
    with error_boundary(BLOCKS_INIT.name, given) as settings:
        from nyctaxi_etl.orchestration import blocks, jobs

        wanted = blocks.is_configured(settings)
        if wanted:
            console.say(waiting())
        with prefect_ready(settings) if wanted else nullcontext():
            statuses = blocks.register(settings)
            statuses = blocks.check(statuses, jobs.google_of(settings)) if settings.check else statuses
        statuses = tuple(replace(status, note=hint_with_options(status.note)) for status in statuses)
        code = EXIT_INCOMPLETE if any(status.is_failed for status in statuses) else EXIT_OK
        if settings.json:
            print_json({"command": "blocks-init", "results": [vars(status) for status in statuses], "exit_code": code})
        else:
            console.show_blocks(statuses)
        raise typer.Exit(code)


for _command in ON_MONTHS:
    options.add(app, _command, partial(do, _command.name))
options.add(app, ZONES, _zones)
options.add(app, BLOCKS_INIT, _blocks_init)


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
    as_json = "--json" in argv or ("--no-json" not in argv and config.output_settings().json)
    program, command = (context.command_path, context.info_name) if context and context.parent else ("nyctaxi", "")
    message = error.format_message().replace("Value error, ", "")  # pydantic's, which Typer reads values with
    choice = re.search(r"'([^']*)' is not one of (.*)", message)
    meant = did_you_mean(choice[1], re.findall(r"'([^']*)'", choice[2])) if choice else ""
    return print_error(command, UsageError(message, f"{meant}See `{program} --help`."), as_json=as_json)
