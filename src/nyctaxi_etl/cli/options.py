"""Commands as Typer wants them, made of what is declared in ``settings``.

An option that is not given is ``None``, so that the setting of its name counts. A switch has its opposite, for those
whose settings turn it on.
"""

from __future__ import annotations

from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nyctaxi_etl.settings.declared import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable

    from nyctaxi_etl.settings.commands import Command
    from nyctaxi_etl.settings.declared import Setting

Given = dict[str, Any]

_EPILOG = "Every option has a setting NYCTAXI_<OPTION>, in the environment or in .env."


def add(app: typer.Typer, command: Command, run: Callable[[Given], None]) -> None:
    """Add a command to ``app``, with its options. It calls ``run`` with those that were given, by their settings."""

    def call(**options: Any) -> None:
        run({name: _as_setting(value) for name, value in options.items() if value is not None})

    # Typer reads the options from it.
    vars(call)["__signature__"] = Signature([_parameter(SETTINGS[name], command) for name in command.options])
    app.command(command.name, short_help=command.summary, help=f"{command.about}\n\n{_EPILOG}")(call)


def completion(choices: tuple[str, ...]) -> Callable[[str], list[str]]:
    """Return what a shell asks for the choices that begin as a word does."""

    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete


def _parameter(row: Setting, command: Command) -> Parameter:
    is_switch = row.type is bool
    default = f"  [default: {row.default_text}]" if row.default_text and not is_switch else ""
    option = typer.Option(
        f"{row.option}/--no-{row.option.removeprefix('--')}" if is_switch else row.option,
        metavar=row.metavar,
        help=f"{row.about_for(command.name)}{default}",
        min=row.low,
        max=row.high,
        autocompletion=completion(row.choices) if row.choices else None,
    )
    kind: Any = list[row.type] if row.repeats else row.type  # type: ignore[name-defined] # a value, not a type
    return Parameter(row.name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option])


def _as_setting(value: Any) -> Any:
    """Return an option's value as its setting has it: one that was given several times with commas between."""
    return ",".join(value) if isinstance(value, list) else value
