"""Write the generated parts of the pages: what the code itself says of columns, commands, settings, exit codes, JSON.

A part stands between ``<!-- generated: NAME -->`` and ``<!-- end: NAME -->``; the file ``.env.example`` is made as a
whole. ``python docs/generate.py`` writes all of them; with ``--check`` it only tells, by its exit code, whether they
are up to date.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from nyctaxi_etl.cli.app import app
from nyctaxi_etl.core.partition import Color
from nyctaxi_etl.core.report import EXIT_CODES
from nyctaxi_etl.schema.dictionary import describe
from nyctaxi_etl.settings import SETTINGS
from nyctaxi_etl.settings.example import env_example
from nyctaxi_etl.sources.registry import SOURCES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

DOCS = Path(__file__).parent
PAGES = ("data.md", "reference.md")
ENV_EXAMPLE = DOCS.parent / ".env.example"
SCHEMA = DOCS / "report.schema.json"
ROOT_COMMAND: Any = typer.main.get_command(app)
COMMANDS: Mapping[str, Any] = ROOT_COMMAND.commands
UNNAMED_SOURCES = (
    (
        "a folder",
        "`yellow_tripdata_2021-01.parquet`, `.csv.gz` or `.csv`, in the folder itself, in `yellow/` or in `trip-data/`",
    ),
    (
        "`https://...`",
        "a mirror in the layout of `tlc`, of `datatalks`, or of a plain folder; no user name or password in it",
    ),
)
_PART = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end: \2 -->\n)", re.DOTALL)


def columns() -> str:
    """Return the data dictionary of every colour."""
    return "\n".join(f"{describe(color)}\n" for color in Color)


def commands() -> str:
    """Return each command with what it does."""
    rows = ((f"`nyctaxi {' '.join((name, *_arguments(name)))}`", _help(name)) for name in COMMANDS)
    return table(("command", "what it does"), rows)


def options() -> str:
    """Return each option with the commands that take it, its setting and its meaning; of the same meaning once."""
    takers: dict[tuple[str, str], list[str]] = {}
    for name, command in {"": ROOT_COMMAND, **COMMANDS}.items():
        for option in _options(command):
            takers.setdefault((_spelt(option), _sentence(option.help)), []).append(name or "nyctaxi itself")
    every = set(COMMANDS)
    rows = (
        (f"`{spelt}`", "all" if set(names) >= every else ", ".join(names), _setting_of(spelt), about)
        for (spelt, about), names in takers.items()
    )
    return table(("option", "of", "setting", "meaning"), rows)


def settings() -> str:
    """Return each setting with its default and its meaning."""
    rows = ((row.variable, row.default_text, row.about) for row in SETTINGS.values())
    cells = ((f"`{name}`", f"`{default}`" if default else "", about) for name, default, about in rows)
    return table(("setting", "default", "meaning"), cells)


def sources() -> str:
    """Return each source that has a name, and the two that have none."""
    named = ((f"`{source.name}`", re.sub(r"(NYCTAXI_\w+)", r"`\1`", source.about)) for source in SOURCES.values())
    return table(("`--source`", "what it is"), (*named, *UNNAMED_SOURCES))


def exit_codes() -> str:
    """Return each exit code with its meaning."""
    return table(("code", "meaning"), ((str(code), about) for code, about in EXIT_CODES.items()))


def json_fields() -> str:
    """Return the fields of each object that ``--json`` prints, from its JSON Schema."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    parts = []
    for definition in schema["$defs"].values():
        rows = [(f"`{name}`", _kind(field), field["description"]) for name, field in definition["properties"].items()]
        parts.append(f"**{definition['title']}**\n\n" + table(("field", "type", "meaning"), rows))
    return "\n".join(parts)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    first, *others = (" ".join(f"| {cell}".rstrip() for cell in row) + " |\n" for row in (head, *rows))
    return "".join([first, "|---" * len(head) + "|\n", *others])


PARTS: Mapping[str, Callable[[], str]] = {
    "columns": columns,
    "commands": commands,
    "options": options,
    "settings": settings,
    "sources": sources,
    "exit-codes": exit_codes,
    "json": json_fields,
}


def generate(text: str) -> str:
    """Return a page with its generated parts made anew. Raises ``KeyError`` for a part that nothing makes."""
    return _PART.sub(lambda part: f"{part[1]}\n{PARTS[part[2]]()}\n{part[3]}", text)


def main(arguments: list[str]) -> int:
    """Write the pages, or check them."""
    outdated = 0
    for page in (*(DOCS / name for name in PAGES), ENV_EXAMPLE):
        text = page.read_text(encoding="utf-8")
        made = env_example() if page == ENV_EXAMPLE else generate(text)
        outdated |= made != text
        if "--check" not in arguments:
            page.write_text(made, encoding="utf-8", newline="\n")
    return outdated if "--check" in arguments else 0


def _options(command: Any) -> list[Any]:
    return [option for option in command.get_params(typer.Context(command)) if option.param_type_name == "option"]


def _arguments(name: str) -> list[str]:
    return [param.name.upper() for param in COMMANDS[name].params if param.param_type_name == "argument"]


def _help(name: str) -> str:
    """Return the first paragraph of a command's help."""
    return _sentence(COMMANDS[name].help.partition("\n\n")[0])


def _spelt(option: Any) -> str:
    """Return an option as it is written: ``--jobs N``, ``--force/--no-force``."""
    value = "" if option.is_flag or not option.metavar else f" {option.metavar}"
    return "/".join((*option.opts, *option.secondary_opts)) + value


def _setting_of(spelt: str) -> str:
    name = f"NYCTAXI_{re.split('[ /]', spelt)[0].strip('-').replace('-', '_').upper()}"
    return f"`{name}`" if name in {row.variable for row in SETTINGS.values()} else ""


def _sentence(text: str) -> str:
    return " ".join(text.split())


def _kind(field: Mapping[str, Any]) -> str:
    """Return a field's type in a few words, from its schema."""
    if "oneOf" in field:
        return " or ".join(_kind(one) for one in field["oneOf"])
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    if "$ref" in field:
        return "object"
    kind: str = field["type"]
    return f"{kind} of {_kind(field['items'])}s" if "items" in field else kind


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
