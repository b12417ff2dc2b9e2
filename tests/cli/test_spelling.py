"""Arguments as the command line spells them, and as Python does."""

from __future__ import annotations

import ast
import pickle
import re
from pathlib import Path

import pytest

import nyctaxi_etl
from nyctaxi_etl.cli.spelling import hint_with_options, message_of, report_with_options
from nyctaxi_etl.core.errors import Bug, LakeError, UsageError
from nyctaxi_etl.core.partition import Partition
from nyctaxi_etl.core.report import Failure, LoadReport, PartitionResult
from nyctaxi_etl.settings import SETTINGS
from nyctaxi_etl.settings.commands import COMMANDS

PACKAGE = Path(str(nyctaxi_etl.__file__)).parent
# A shell command, quoted or not, may have options; these modules put one together.
PARTS_OF_COMMANDS = {"frame.py", "load.py", "folding.py"}
COMMAND = re.compile(r"`[^`]*`|\b(?:nyctaxi|gcloud|bq) .*")


@pytest.mark.parametrize(
    ("about", "message", "option", "setting", "python"),
    [
        ("source", "tcl: no.", "--source tcl: no.", "NYCTAXI_SOURCE tcl: no.", "source=tcl: no."),
        ("data_dir", "/x: no.", "--data-dir /x: no.", "NYCTAXI_DATA_DIR /x: no.", "data_dir=/x: no."),
        # A setting that is no option is spelled as one either way.
        ("tlc_url", "x: no.", "NYCTAXI_TLC_URL x: no.", "NYCTAXI_TLC_URL x: no.", "tlc_url=x: no."),
        ("", "No month remains.", "No month remains.", "No month remains.", "No month remains."),
    ],
)
def test_an_error_is_told_as_it_was_asked(about: str, message: str, option: str, setting: str, python: str) -> None:
    """The option where one was given, the setting where that gave the value, the parameter in Python; also pickled."""
    error = pickle.loads(pickle.dumps(UsageError(message, "A hint.", about=about)))  # noqa: S301 - made here
    assert (message_of(error), message_of(error, {about}), str(error)) == (option, setting, python)
    assert (error.message, error.hint, error.about) == (message, "A hint.", about)


def test_other_errors_are_about_no_argument() -> None:
    """What the lake says is told as it is."""
    assert message_of(LakeError("The lake is dry.")) == "The lake is dry."


@pytest.mark.parametrize(
    ("hint", "told"),
    [
        ("Use `mode=etl`, or another `lake=`.", "Use --mode etl, or another --lake."),
        ("Name a file: `to=duckdb:///path`.", "Name a file: --to duckdb:///path."),
        ("Choose another name with `table=`, or `force=True` it.", "Choose another name with --table, or --force it."),
        ("Load the copy: `source=a b`", "Load the copy: --source a b"),
        ("`data_dir=`, `source=`.", "--data-dir, --source."),
        ("Run `nyctaxi upload --lake gs://b/p` with `raw=True`.", "Run `nyctaxi upload --lake gs://b/p` with --raw."),
        (
            "Nothing of the kind: `bq mk --location=X`, `x=1`, a=b.",
            "Nothing of the kind: `bq mk --location=X`, `x=1`, a=b.",
        ),
        ("", ""),
        ("A lone ` is left: `to=x", "A lone ` is left: `to=x"),
        ("A lone ` to=x", "A lone ` to=x"),
    ],
)
def test_arguments_in_hints_become_options(hint: str, told: str) -> None:
    """A quoted argument is an option with its value; a shell command, and all that is not quoted, is left as it is."""
    assert hint_with_options(hint) == told


def test_hints_of_months_become_options() -> None:
    """A report's months have them, too; nothing else of it changes."""
    month = Partition.parse("fhv/2021-01")
    failed = PartitionResult(month, "failed", "t", failure=Failure.of(LakeError("No.", "Name another `lake=`.")))
    broken = PartitionResult(month, "failed", "t", failure=Failure.of(Bug.of(KeyError())))
    loaded = PartitionResult(month, "loaded", "t")
    told = report_with_options(LoadReport("upload", "s", "d", (failed, broken, loaded)))
    hints = [result.failure.hint for result in told.results if result.failure]
    assert hints[0] == "Name another --lake."
    assert "--debug" in hints[1]
    assert told.results[2] == loaded


def texts() -> list[tuple[str, str]]:
    """Return every text in the code below the command line, but for docstrings, with the module that it is in."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0]
        if room in {"cli", "settings"} or path.name in PARTS_OF_COMMANDS:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        constants = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docs]
        found += [(path.name, node.value) for node in constants if isinstance(node.value, str)]
    return found


def test_the_command_line_alone_spells_options() -> None:
    """Below it no message and no hint has an option or its setting's variable, but for shell commands."""
    rows = [SETTINGS[name] for command in COMMANDS.values() for name in command.options]
    words = "|".join({word for row in rows for word in (row.option, row.variable)})
    spelled = re.compile(rf"(?<![\w-])(?:{words})(?![\w-])")
    assert [(name, text) for name, text in texts() if spelled.search(COMMAND.sub("", text))] == []


def test_every_error_is_about_a_setting() -> None:
    """What an error is about is a setting, so that it can be spelled, or an argument of ``read_trips`` alone."""
    code = "".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    assert set(re.findall(r'\babout="([a-z_]+)"', code)) <= SETTINGS.keys() | {"at", "where", "batch_rows"}
