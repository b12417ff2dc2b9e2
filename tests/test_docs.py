"""The docs are true: what they name exists, what exists they name, and what they tell you to run runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Any, get_args

import duckdb
import pytest
import typer

from nyctaxi_etl.cli.app import app
from nyctaxi_etl.core import errors, report
from nyctaxi_etl.core.partition import Color, Month, Partition
from nyctaxi_etl.core.report import LoadReport, PartitionResult
from nyctaxi_etl.sample.months import write_month
from nyctaxi_etl.schema.dictionary import describe
from nyctaxi_etl.settings import Settings, settings
from nyctaxi_etl.warehouses.ledger import LEDGER
from support.markdown import Block, anchors, blocks, links, prose, rows
from support.web import serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from support.postgres import PostgresServer

ROOT = Path(__file__).parents[1]
README, ENV_EXAMPLE = ROOT / "README.md", ROOT / ".env.example"
PAGES = [page for page in sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")) if page.is_file()]
SOURCE = ROOT / "src" / "nyctaxi_etl"
BLOCKS = [block for page in PAGES for block in blocks(page)]
CALLS = [block for block in BLOCKS if block.language == "shell" and re.search(r"^nyctaxi ", block.text, re.MULTILINE)]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ROWS = 2_000
# What the blocks fetch from a site, and the file that one of them expects in a folder.
PUBLISHED = (
    *(f"trip-data/yellow_tripdata_2021-0{number}.parquet" for number in (1, 2, 3)),
    "green/green_tripdata_2021-01.csv.gz",
)
DOWNLOADED = "yellow_tripdata_2021-01.csv.gz"


def of(language: str) -> pytest.MarkDecorator:
    """Run a test with each block of a language."""
    return pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == language], ids=str)


def clean_environment() -> dict[str, str]:
    """Return this process' environment without what would change how a block runs."""
    prefixes = ("NYCTAXI_", "PREFECT_", "PG")
    return {name: text for name, text in os.environ.items() if not name.startswith(prefixes)}


def make_month(path: Path) -> None:
    """Write a generated month to ``path``, which names it."""
    color, _, month = path.name.partition(".")[0].split("_")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_month(Partition(Color(color), Month.parse(month)), path, ROWS)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """An environment where ``nyctaxi`` and ``python`` are ours, months small and both sites on the loopback."""
    programs, site = tmp_path_factory.mktemp("bin"), tmp_path_factory.mktemp("site")
    for name, arguments in (("nyctaxi", "-m nyctaxi_etl"), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {arguments} "$@"\n')
        (programs / name).chmod(0o755)
    for key in PUBLISHED:
        make_month(site / key)
    with serving(site) as server:
        yield clean_environment() | {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "src"),
            "PYTHONIOENCODING": "utf-8",
            "NO_PROXY": "127.0.0.1",
            "NYCTAXI_DIRECT": "true",
            "NYCTAXI_SAMPLE_ROWS": str(ROWS),
            "NYCTAXI_TLC_URL": server.url,
            "NYCTAXI_DATATALKS_URL": server.url,
        }


@pytest.fixture(scope="module")
def loaded(environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the README's first commands were run."""
    folder = tmp_path_factory.mktemp("loaded")
    run(["nyctaxi", "ingest", "--color", "yellow", "--year", "2021", "--months", "1-3"], environment, folder)
    run(["nyctaxi", "zones", "--source", "sample"], environment, folder)
    return folder


def run(command: list[str], environment: Mapping[str, str], folder: Path) -> str:
    """Run a command in ``folder``, expect it to succeed, and return its output."""
    program = shutil.which(command[0], path=environment["PATH"])
    assert program is not None
    done = subprocess.run(
        [program, *command[1:]],
        env={**environment},
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def excuse(block: Block) -> None:
    """Skip a block that says why it is not run."""
    if why := block.noted("not run"):
        pytest.skip(f"{block}: {why}")


# -- what they tell you to run ----------------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("bash"), reason="the blocks are written for a POSIX shell")
@pytest.mark.parametrize("block", CALLS, ids=str)
def test_shell_blocks_run(
    block: Block, environment: Mapping[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Every block that calls nyctaxi does what it says, in an empty folder, to its last line."""
    excuse(block)
    text = block.text
    if block.note == "with postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        text = text.replace("postgresql://etl@db.example.com/trips", shlex.quote(server.uri()))
        text = re.sub("PGPASSWORD=.*", f"PGPASSWORD={shlex.quote(server.password)}", text)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    make_month(tmp_path / "downloads" / DOWNLOADED)
    run(["bash", "-euc", text], environment, tmp_path)


@of("python")
def test_python_blocks_run(block: Block, environment: Mapping[str, str], loaded: Path) -> None:
    """Every Python block compiles, and runs where months are loaded."""
    compile(f"def fragment():\n{indent(block.text, '    ')}", str(block), "exec")  # which may hold a return
    excuse(block)
    run(["python", "-c", block.text], environment, loaded)


@of("sql")
def test_sql_blocks_run(block: Block, loaded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every SQL block runs in DuckDB where months are loaded."""
    excuse(block)
    monkeypatch.chdir(loaded)
    with duckdb.connect("data/nyctaxi.duckdb", read_only=True) as connection:
        for statement in block.text.split(";\n"):
            connection.execute(statement).fetchall()


def test_the_ledger_agrees_with_the_table(loaded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The query that compares them returns nothing, as the docs say."""
    (query,) = (block.text for block in blocks(ROOT / "docs" / "guarantees.md") if block.language == "sql")
    monkeypatch.chdir(loaded)
    with duckdb.connect("data/nyctaxi.duckdb", read_only=True) as connection:
        assert connection.execute(query).fetchall() == []


def test_pasted_output_is_what_comes(environment: Mapping[str, str], tmp_path: Path) -> None:
    """The README shows the words that its commands print; numbers may change with the sample."""
    whole = {name: text for name, text in environment.items() if name != "NYCTAXI_SAMPLE_ROWS"}
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    shown = [(block.noted("output"), block.text) for block in blocks(README) if block.language == "text"]
    came = [(command, run(shlex.split(command), whole, tmp_path)) for command, _ in shown]
    assert shown
    assert [(command, words(text)) for command, text in shown] == [(command, words(text)) for command, text in came]


def words(text: str) -> list[str]:
    """Return a text's words, without its numbers and lines."""
    return re.findall(r"[A-Za-z_]+", text)


def test_the_demo_says_what_is_missing(environment: Mapping[str, str], tmp_path: Path) -> None:
    """Where nothing is loaded, the demo says so in one line and fails."""
    command = [sys.executable, str(ROOT / "examples" / "demo.py")]
    done = subprocess.run(
        command, env={**environment}, cwd=tmp_path, capture_output=True, encoding="utf-8", check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1


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


# -- what exists they name --------------------------------------------------------------------------------------------

ROOT_COMMAND: Any = typer.main.get_command(app)
COMMANDS: dict[str, Any] = ROOT_COMMAND.commands


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


def test_every_error_has_its_paragraph() -> None:
    """Each kind of error that the code raises has a heading in the troubleshooting page."""
    code = "".join(path.read_text() for path in SOURCE.rglob("*.py") if path != Path(errors.__file__))
    kinds = {kind for kind in vars(errors) if isinstance(vars(errors)[kind], type)}
    raised = {kind for kind in kinds if re.search(rf"\b{kind}\(", code)}
    assert {kind.lower() for kind in raised} <= anchors(ROOT / "docs" / "troubleshooting.md")


def test_every_column_of_the_ledger_is_told() -> None:
    """The page on guarantees has the ledger's columns and what they mean."""
    told = rows(ROOT / "docs" / "guarantees.md")
    assert [[column.name, column.about] for column in LEDGER if [column.name, column.about] not in told] == []


def test_every_room_is_on_the_map() -> None:
    """CONTRIBUTING has a line for each room of the package, and for no other."""
    told = [re.findall(r"[a-z_]+(?:/|\.py)", row[0]) for row in rows(ROOT / "CONTRIBUTING.md")]
    rooms = {f"{path.name}/" for path in SOURCE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    modules = {path.name for path in SOURCE.glob("*.py") if not path.name.startswith("__")}
    assert {name for names in told for name in names} == rooms | modules


def test_every_decision_is_listed() -> None:
    """The list of decisions has each record."""
    folder = ROOT / "docs" / "decisions"
    assert {path for path, _ in links(folder / "README.md")} == {path.name for path in folder.glob("0*.md")}


# -- what they name exists --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_resolve(page: Path) -> None:
    """Each link within the repository leads to a file, and to a heading if it names one."""
    for path, anchor in links(page):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_exist(page: Path) -> None:
    """Each target that a page tells you to make is in the Makefile."""
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(encoding="utf-8"), flags=re.MULTILINE))
    there = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert named <= there


# -- what is generated, and what is dated -----------------------------------------------------------------------------


@pytest.mark.parametrize("color", Color)
def test_the_data_dictionary_is_up_to_date(color: Color) -> None:
    """docs/data.md has word for word what ``nyctaxi schema`` prints."""
    assert f"\n{describe(color)}\n" in (ROOT / "docs" / "data.md").read_text(encoding="utf-8")


def test_the_generator_has_nothing_to_change(environment: Mapping[str, str], tmp_path: Path) -> None:
    """``docs/generate.py --check`` agrees; on a page that is outdated it doesn't, and mends it."""
    for name in ("data.md", "generate.py"):
        shutil.copy(ROOT / "docs" / name, tmp_path)
    page, command = tmp_path / "data.md", [sys.executable, str(tmp_path / "generate.py")]
    text = page.read_text(encoding="utf-8")
    run([*command, "--check"], environment, tmp_path)
    page.write_text(text.replace("| vendor_id |", "| vendor |"), encoding="utf-8")
    assert subprocess.run([*command, "--check"], env={**environment}, check=False).returncode == 1
    run(command, environment, tmp_path)
    assert page.read_text(encoding="utf-8") == text


def test_the_changelog_has_this_version() -> None:
    """The version of pyproject.toml is the changelog's newest."""
    versions = re.findall(r"^## \[(.*?)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert versions[0] == PROJECT["version"]


def test_the_license_is_what_the_package_says() -> None:
    """The LICENSE is MIT's, and so the package says."""
    assert (ROOT / "LICENSE").read_text().startswith("MIT License\n")
    assert PROJECT["license"] == "MIT"
