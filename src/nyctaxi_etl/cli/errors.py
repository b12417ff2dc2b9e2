"""The one way out of a command: every error becomes a line, a hint and an exit code, and ``--json`` one object."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

from nyctaxi_etl.cli import console
from nyctaxi_etl.cli.spelling import failure_with_options, message_of
from nyctaxi_etl.core.errors import Bug, NycTaxiError, UsageError, trace_of
from nyctaxi_etl.core.report import EXIT_INCOMPLETE, EXIT_USAGE, Failure, LoadReport

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from nyctaxi_etl.settings import Settings
    from nyctaxi_etl.settings.commands import Command


@contextmanager
def error_boundary(command: Command, given: dict[str, Any]) -> Iterator[Settings]:
    """Give the settings with the options put over them; turn any error into a message, a hint and an exit code.

    Raises:
        typer.Exit: After an error, which has been printed; its exit code is the error's.
    """
    from nyctaxi_etl import settings as config

    settings: Settings | None = None
    try:
        settings = config.settings().overruled_by(given)
        for warning in config.warnings():
            console.say_note(f"Warning: {warning}")
        yield settings
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        output = config.output_settings()
        output = output._replace(**{name: given[name] for name in output._fields if name in given})
        if output.debug:
            console.say(trace_of(error))
        ours = error if isinstance(error, NycTaxiError) else Bug.of(error)
        from_environment = settings.from_environment if settings else ()
        raise typer.Exit(print_error(command.name, ours, from_environment, as_json=output.json)) from error


def print_error(command: str, error: NycTaxiError, from_environment: Collection[str] = (), *, as_json: bool) -> int:
    """Print an error that ends a command, for people and, if asked for, as JSON; return the exit code.

    ``from_environment`` are the settings whose values are not the command line's.
    """
    code = EXIT_USAGE if isinstance(error, UsageError) else EXIT_INCOMPLETE
    failure = replace(failure_with_options(Failure.of(error)), message=message_of(error, from_environment))
    console.say(f"Error: {failure.message}")
    if failure.hint:
        console.say(f"Hint: {failure.hint}")
    if as_json:
        document = {"type": failure.type, "message": failure.message, "hint": failure.hint}
        print_json(LoadReport(command, "", "", ()).as_dict() | {"error": document, "exit_code": code})
    return code


def print_json(document: dict[str, Any]) -> None:
    """Print the one JSON object of a command to stdout."""
    typer.echo(json.dumps(document, indent=2, default=str))
