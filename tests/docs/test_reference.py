"""Commands, options, settings, exit codes and JSON: what exists the pages name, and what they name exists."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any, get_args

import pytest
import typer
from jsonschema import Draft202012Validator

from nyctaxi_etl.cli.app import app
from nyctaxi_etl.core import errors, report
from nyctaxi_etl.core.partition import Color, Month, Partition
from nyctaxi_etl.core.report import LoadReport, PartitionResult
from nyctaxi_etl.settings import SETTINGS, settings
from nyctaxi_etl.settings.example import env_example
from nyctaxi_etl.sources.registry import SOURCES
from support.command import nyctaxi
from support.markdown import blocks, prose, rows
from support.pages import DOCS, PAGES, ROOT

if TYPE_CHECKING:
    from pathlib import Path

ENV_EXAMPLE, REFERENCE = ROOT / ".env.example", DOCS / "reference.md"
ROOT_COMMAND: Any = typer.main.get_command(app)
COMMANDS: dict[str, Any] = ROOT_COMMAND.commands
SCHEMA: dict[str, Any] = json.loads((DOCS / "report.schema.json").read_text(encoding="utf-8"))
MONTHS = ("--color", "yellow", "--year", "2021", "--months", "1-2", "--json")
# What each prints: loaded, replaced and unchanged months, made-up zones, blocks that are not configured, refusals.
PRINTED = {
    "ingest": ("ingest", *MONTHS, "--source", "sample", "--direct"),
    "ingest again": ("ingest", *MONTHS, "--source", "sample", "--direct", "--force"),
    "unchanged": ("ingest", *MONTHS, "--source", "sample", "--direct"),
    "planned": ("ingest", *MONTHS, "--dry-run"),
    "missing": ("ingest", *MONTHS, "--source", ".", "--direct"),
    "upload": ("upload", *MONTHS, "--source", "sample", "--direct"),
    "warehouse": ("warehouse", *MONTHS, "--direct"),
    "zones": ("zones", "--source", "sample", "--json"),
    "no zones": ("zones", "--source", ".", "--json"),
    "blocks-init": ("blocks-init", "--json"),
    "wrong color": ("ingest", "--color", "blue", "--year", "2021", "--json"),
    "no command": ("nonsense", "--json"),
}


def test_json_is_shaped_as_shown() -> None:
    """The JSON object that the reference shows has the keys of a report, at every level, and keeps to the schema."""
    (shown,) = (json.loads(block.text) for block in blocks(REFERENCE) if block.language == "json")
    (row,) = shown["results"]
    result = PartitionResult(Partition(Color.YELLOW, Month(2021, 1)), "loaded", row["table"], flags=row["flags"])
    made = LoadReport("ingest", "sample", "duckdb", (result,)).as_dict()
    assert keys(shown) == keys(made)
    Draft202012Validator(closed(SCHEMA)).validate(shown)


def keys(value: Any) -> Any:
    """Return a document's keys, level by level and in order."""
    if isinstance(value, dict):
        return [(name, keys(inner)) for name, inner in value.items()]
    return [keys(inner) for inner in value] if isinstance(value, list) else None


def closed(schema: Any) -> Any:
    """Return the schema with no properties allowed but those that it names."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(one) for name, one in schema.items()}
    return (
        {"additionalProperties": False, **inner}
        if isinstance(schema.get("type"), str) and "properties" in schema
        else inner
    )


def test_what_is_printed_keeps_to_the_schema(tmp_path: Path) -> None:
    """Each command's JSON is what the schema says, with no field that it does not have; each object in it is tried."""
    validator, seen = Draft202012Validator(closed(SCHEMA)), set[str]()
    Draft202012Validator.check_schema(SCHEMA)
    for name, line in PRINTED.items():
        document = nyctaxi(*line, folder=tmp_path, settings={"NYCTAXI_SAMPLE_ROWS": "500"}).json
        assert [error.message for error in validator.iter_errors(document)] == [], name
        assert document["exit_code"] in report.EXIT_CODES
        seen |= {result.get("outcome", "") for result in document["results"]}
        seen |= {"replaced" for result in document["results"] if result.get("replaced")}
    assert seen >= {*get_args(report.Outcome), "replaced"} - {"failed"}


def test_the_schema_refuses_what_is_none() -> None:
    """An outcome, a type of error and a field that are not there are refused: the schema is not empty."""
    month = PartitionResult(Partition(Color.YELLOW, Month(2021, 1)), "loaded", "yellow_taxi_data")
    good = LoadReport("ingest", "sample", "duckdb", (month,)).as_dict()
    (row,) = good["results"]
    wrong_error = {"type": "Sadness", "message": "", "hint": ""}
    validator = Draft202012Validator(closed(SCHEMA))
    assert validator.is_valid(good)
    for change in ({"outcome": "lost"}, {"error": wrong_error}, {"rows_read": -1}, {"extra": 1}, {"flags": [1]}):
        assert not validator.is_valid(good | {"results": [row | change]}), change


def test_the_schema_knows_every_outcome_color_and_error() -> None:
    """What a field may be is what the code has for it."""
    result, error = (SCHEMA["$defs"][name]["properties"] for name in ("result", "error"))
    kinds = {kind.__name__ for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert result["outcome"]["enum"] == list(get_args(report.Outcome))
    assert result["color"]["enum"] == list(Color)
    assert set(error["type"]["enum"]) == kinds
    assert {name for one in SCHEMA["$defs"].values() for name in named(one, "command")} == COMMANDS.keys() - {"schema"}


def named(definition: dict[str, Any], name: str) -> list[str]:
    """Return the values that a property of a definition may have, if they are declared."""
    field = definition["properties"].get(name, {})
    return [*field.get("enum", []), *([field["const"]] if "const" in field else [])]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_told(name: str) -> None:
    """Each command has a row in the reference and a help text."""
    assert any(re.fullmatch(rf"nyctaxi {name}( [A-Z]+)?", row[0]) for row in rows(REFERENCE))
    assert COMMANDS[name].help


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_every_option_is_told(name: str) -> None:
    """Each option of each command is named in the reference, and switches share one sentence on their opposites."""
    text = prose(REFERENCE)
    command = COMMANDS.get(name, ROOT_COMMAND)
    options = {option for param in command.params for option in param.opts if option.startswith("--")} | {"--help"}
    missing = {option for option in options if not re.search(rf"{option}(?![\w-])", text)}
    assert not missing
    assert not any(param.secondary_opts for param in command.params) or "turned off by its opposite" in text


def test_the_table_of_options_has_who_takes_them() -> None:
    """Each row's option is taken by the commands that it names, and each command's options have its name."""
    options = [row for row in rows(REFERENCE) if re.match("--[a-z]", row[0]) and len(row) > len(("option", "of"))]
    told = {pair for row in options for pair in takers(row)}
    declared = {
        (option, name or "nyctaxi itself")
        for name, command in {"": ROOT_COMMAND, **COMMANDS}.items()
        for param in command.params
        for option in (*param.opts, *param.secondary_opts)
        if option.startswith("--")
    }
    assert {pair for pair in told if pair[0] != "--help"} == declared


def takers(row: list[str]) -> list[tuple[str, str]]:
    """Return each option of a row with each command that it is said to be of."""
    names = row[1].split(", ")
    return [(option, name) for option in row[0].partition(" ")[0].split("/") for name in names]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_names_what_is_not_there(page: Path) -> None:
    """Each option that a page names in backticks exists, and so does each setting."""
    text = page.read_text(encoding="utf-8")
    options = {
        option
        for command in (ROOT_COMMAND, *COMMANDS.values())
        for param in command.params
        for option in (*param.opts, *param.secondary_opts)
    }
    assert set(re.findall(r"`(--[a-z-]+)", text)) <= options | {"--help"}
    told = set(re.findall(r"NYCTAXI_[A-Z_]*[A-Z]", text)) - {"NYCTAXI_REAL_DATA"}
    assert told <= {setting.variable for setting in SETTINGS.values()}


def test_every_setting_is_told() -> None:
    """The reference's table has each setting with its default and its meaning, and no other."""
    told = {row[0]: (row[1], row[2]) for row in rows(REFERENCE) if row[0].startswith("NYCTAXI_")}
    assert told == {setting.variable: (setting.default_text, setting.about) for setting in SETTINGS.values()}


def test_every_source_is_told() -> None:
    """The reference's table has each source that has a name, with what it is."""
    told = [[cell.replace("`", "") for cell in row] for row in rows(REFERENCE)]
    assert [name for name, source in SOURCES.items() if [name, source.about] not in told] == []


def test_env_example_is_made_of_the_settings() -> None:
    """Each setting is there once, commented out, with its default, below a line that says what it means."""
    assert ENV_EXAMPLE.read_text() == env_example()
    listed = re.findall(r"^# (.*)\n#(NYCTAXI_\w+)=(.*)$", env_example(), flags=re.MULTILINE)
    told = {name: (default, about) for about, name, default in listed}
    assert told == {row.variable: (row.default_text, row.about) for row in SETTINGS.values()}
    assert len(listed) == len(SETTINGS)


def test_env_example_sets_what_is_so_anyway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every line of it taken in, the settings are the defaults."""
    for name in [name for name in os.environ if name.startswith("NYCTAXI_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    without = settings()
    text = re.sub(r"^#(?=NYCTAXI_)", "", ENV_EXAMPLE.read_text(), flags=re.MULTILINE)
    (tmp_path / ".env").write_text(text)
    assert settings() == without


def test_exit_codes_are_those_of_the_report() -> None:
    """The reference's table has each exit code with its meaning, and no other; the command's help has them, too."""
    told = {int(row[0]): row[1] for row in rows(REFERENCE) if row[0].isdecimal()}
    assert told == report.EXIT_CODES
    assert set(told) == {value for name, value in vars(report).items() if re.match("EXIT_(?!CODES)", name)}
    assert {int(code) for code in re.findall(r"\b\d+(?= )", ROOT_COMMAND.epilog)} == set(told)


def test_outcomes_are_those_of_the_report() -> None:
    """The reference names each outcome of a month."""
    assert all(f"`{outcome}`" in prose(REFERENCE) for outcome in get_args(report.Outcome))
