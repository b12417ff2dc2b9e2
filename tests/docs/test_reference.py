"""Commands, options, settings, exit codes and JSON: what exists the pages name, and what they name exists."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any, get_args

import pytest
import typer

from nyctaxi_etl.cli.app import app
from nyctaxi_etl.core import report
from nyctaxi_etl.core.partition import Color, Month, Partition
from nyctaxi_etl.core.report import LoadReport, PartitionResult
from nyctaxi_etl.settings import Settings, settings
from support.markdown import blocks, prose, rows
from support.pages import README, ROOT

if TYPE_CHECKING:
    from pathlib import Path

ENV_EXAMPLE = ROOT / ".env.example"
ROOT_COMMAND: Any = typer.main.get_command(app)
COMMANDS: dict[str, Any] = ROOT_COMMAND.commands


def test_json_is_shaped_as_shown() -> None:
    """The README's JSON object has the keys of a report, at every level."""
    (shown,) = (json.loads(block.text) for block in blocks(README) if block.language == "json")
    (row,) = shown["results"]
    result = PartitionResult(Partition(Color.YELLOW, Month(2021, 1)), "loaded", row["table"], flags=row["flags"])
    made = LoadReport("ingest", "sample", "duckdb", (result,)).as_dict()
    assert keys(shown) == keys(made)


def keys(value: Any) -> Any:
    """Return a document's keys, level by level and in order."""
    if isinstance(value, dict):
        return [(name, keys(inner)) for name, inner in value.items()]
    return [keys(inner) for inner in value] if isinstance(value, list) else None


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_readme(name: str) -> None:
    """Each command has a row in the README and a help text."""
    assert any(re.fullmatch(rf"nyctaxi {name}( [A-Z]+)?", row[0]) for row in rows(README))
    assert COMMANDS[name].help


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_every_option_is_in_the_readme(name: str) -> None:
    """Each option of each command is named in the README, and switches share one sentence on their opposites."""
    text = prose(README)
    command = COMMANDS.get(name, ROOT_COMMAND)
    options = {option for param in command.params for option in param.opts if option.startswith("--")} | {"--help"}
    missing = {option for option in options if not re.search(rf"{option}(?![\w-])", text)}
    assert not missing
    assert not any(param.secondary_opts for param in command.params) or "turned off by its opposite" in text


def test_the_readme_names_no_option_that_is_not_there() -> None:
    """The table of options has the options of the commands on months, all of them and in any order."""
    told = {row[0] for row in rows(README) if re.fullmatch(r"--[a-z-]+", row[0])}
    on_months = (COMMANDS[name] for name in ("ingest", "upload", "warehouse"))
    assert told == {option for command in on_months for param in command.params for option in param.opts}


def defaults() -> dict[str, tuple[str, str]]:
    """Return what each setting is by default, as a file has it, and what it means."""
    found = {}
    for name, setting in Settings.model_fields.items():
        value = setting.get_default()
        text = value.get_secret_value() if hasattr(value, "get_secret_value") else str(value)
        text = text.lower() if isinstance(value, bool) else text
        found[setting.alias or f"NYCTAXI_{name.upper()}"] = (text, setting.description or "")
    return found


def test_every_setting_is_in_the_readme() -> None:
    """The README's table has each setting with its default, and no other."""
    told = {row[0]: row[1] for row in rows(README) if row[0].startswith("NYCTAXI_")}
    assert told == {name: default for name, (default, _) in defaults().items()}


def test_env_example_lists_exactly_the_settings() -> None:
    """Each setting is there once, commented out, with its default, below a line that says what it means."""
    listed = re.findall(r"^# (.*)\n#(NYCTAXI_\w+)=(.*)$", ENV_EXAMPLE.read_text(), flags=re.MULTILINE)
    assert {name: (default, about) for about, name, default in listed} == defaults()
    assert len(listed) == len(defaults())


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
    """The README's table has each exit code, and no other."""
    told = {int(row[0]) for row in rows(README) if row[0].isdecimal()}
    assert told == {value for name, value in vars(report).items() if name.startswith("EXIT_")}


def test_outcomes_are_those_of_the_report() -> None:
    """The README names each outcome of a month."""
    assert all(f"`{outcome}`" in prose(README) for outcome in get_args(report.Outcome))
