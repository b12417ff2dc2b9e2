"""The command line: parse, call, print. Nothing heavier than Typer is imported until a command runs."""

from __future__ import annotations

import re
import sys
from functools import partial
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from nyctaxi_etl.cli import console, options, streams
from nyctaxi_etl.cli.blocks_init import run_blocks_init
from nyctaxi_etl.cli.errors import print_error
from nyctaxi_etl.cli.run import run_on_months
from nyctaxi_etl.cli.stopping import Stop
from nyctaxi_etl.cli.zones import run_zones
from nyctaxi_etl.core.errors import UsageError
from nyctaxi_etl.core.partition import Color  # noqa: TC001 - Typer reads the annotations
from nyctaxi_etl.core.report import EXIT_INTERRUPTED, EXIT_OK, EXIT_UNWRITTEN
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


for _command in ON_MONTHS:
    options.add(app, _command, partial(run_on_months, _command))
options.add(app, ZONES, run_zones)
options.add(app, BLOCKS_INIT, run_blocks_init)


@app.command(short_help="Print the columns of a colour.")
def schema(color: Annotated[Color, typer.Argument(help="yellow, green, fhv or fhvhv.")]) -> None:
    """Print the columns and rules of a colour, in Markdown."""
    from nyctaxi_etl.schema.dictionary import describe

    typer.echo(describe(color))


def run() -> NoReturn:
    """Run the command line of this process; if all is well but stdout took nothing, the exit code says that."""
    stop = Stop()
    stop.listen()
    written = streams.protect_standard_streams()
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
        return _print_unreadable(error, argv)
    except (typer.Abort, KeyboardInterrupt):
        result = EXIT_INTERRUPTED
    if result == EXIT_INTERRUPTED:  # Typer returns it for Ctrl-C, without a word
        console.say(_INTERRUPTED)
        result = stop.exit_code if stop else result
    return result if isinstance(result, int) else EXIT_OK


def _print_unreadable(error: TyperException, argv: list[str]) -> int:
    """Print why Typer could not read a command line, and return the exit code."""
    from nyctaxi_etl import settings as config

    context = getattr(error, "ctx", None)
    as_json = "--json" in argv or ("--no-json" not in argv and config.output_settings().json)
    program, command = (context.command_path, context.info_name) if context and context.parent else ("nyctaxi", "")
    message = error.format_message().replace("Value error, ", "")  # pydantic's, which Typer reads values with
    choice = re.search(r"'([^']*)' is not one of (.*)", message)
    meant = did_you_mean(choice[1], re.findall(r"'([^']*)'", choice[2])) if choice else ""
    return print_error(command, UsageError(message, f"{meant}See `{program} --help`."), as_json=as_json)
