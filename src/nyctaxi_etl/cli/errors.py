"""The one way out of a command: every error becomes a line, a hint and an exit code, and ``--json`` one object."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from nyctaxi_etl.cli import console
from nyctaxi_etl.core.errors import Bug, NycTaxiError, UsageError, trace_of
from nyctaxi_etl.core.report import EXIT_INCOMPLETE, EXIT_USAGE, LoadReport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nyctaxi_etl.settings import Settings

# How Prefect says, in exceptions of no class of its own, that its server isn't there.
_NO_SERVER = ("Failed to reach API", "Prefect API server", "No Prefect API URL")


@contextmanager
def door(command: str, given: dict[str, Any]) -> Iterator[Settings]:
    """Give the settings with the options put over them; turn any error into a message, a hint and an exit code."""
    from nyctaxi_etl import settings as config

    found: Settings | None = None
    try:
        found = config.settings()
        for warning in config.warnings():
            console.say_note(f"Warning: {warning}")
        yield found.overruled_by(given)
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        output = config.output_settings()
        output = output._replace(**{name: given[name] for name in output._fields if name in given})
        if output.debug:
            console.say(trace_of(error))
        known = _from_setting(error, found, given) if isinstance(error, NycTaxiError) else Bug.of(error)
        raise typer.Exit(refuse(known, command, as_json=output.json)) from error


@contextmanager
def reaching_prefect(instead: str = "") -> Iterator[None]:
    """Say plainly that Prefect's server is not there; ``instead`` is what a user can do without it."""
    import httpx

    try:
        yield
    except (httpx.HTTPError, RuntimeError, ValueError) as error:
        if not isinstance(error, httpx.HTTPError) and not any(words in str(error) for words in _NO_SERVER):
            raise
        reason = re.sub(r"//[^/@\s]*@", "//", (str(error).splitlines() or [type(error).__name__])[0])
        message = f"Prefect's server can't be reached: {reason}"
        ways = ("Start it (`prefect server start`)", "or unset PREFECT_API_URL to have one started", instead)
        raise UsageError(message, f"{', '.join(filter(None, ways))}.") from error


def refuse(error: NycTaxiError, command: str, *, as_json: bool) -> int:
    """Print the error for people, and as JSON if asked for; return the exit code."""
    code = EXIT_USAGE if isinstance(error, UsageError) else EXIT_INCOMPLETE
    console.say(f"Error: {error.message}")
    if error.hint:
        console.say(f"Hint: {error.hint}")
    if as_json:
        failure = {"type": type(error).__name__, "message": error.message, "hint": error.hint}
        print_json(LoadReport(command, "", "", ()).as_dict() | {"error": failure, "exit_code": code})
    return code


def print_json(document: dict[str, Any]) -> None:
    """Print the one JSON object of a command to stdout."""
    typer.echo(json.dumps(document, indent=2, default=str))


def _from_setting(error: NycTaxiError, found: Settings | None, given: dict[str, Any]) -> NycTaxiError:
    """Name the setting where an error speaks of an option that was not given."""
    option = re.match(r"--([a-z-]+)", error.message)
    name = option[1].replace("-", "_") if option else ""
    if found is None or name in given or name not in found.from_environment:
        return error
    rest = error.message[len(name) + len("--") :]
    return type(error)(f"NYCTAXI_{name.upper()}{rest}", error.hint)
