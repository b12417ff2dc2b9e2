"""The command as a promise to its users: what it prints where, what it refuses, and how it ends."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from nyctaxi_etl.cli import app as cli
from nyctaxi_etl.cli.options import completion
from nyctaxi_etl.core.partition import Color
from nyctaxi_etl.pipelines import ingest, workspace
from nyctaxi_etl.settings import SETTINGS
from support.command import COMMAND, Done, environment, nyctaxi, rows_of
from support.ports import free_port
from support.web import Fault, serving

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nyctaxi_etl.pipelines.job import Job

OPTIONS = (
    *("--color", "--year", "--months", "--source", "--to", "--table", "--jobs", "--force", "--dry-run", "--json"),
    *("--direct", "--data-dir", "--verbose", "--debug"),
)
# Typer reads the values of parameters with pydantic, so that one is Typer's own.
HEAVY = (
    *("prefect", "pyarrow", "pandas", "duckdb", "sqlalchemy", "httpx", "pydantic_settings", "numpy"),
    *("stamina", "psycopg", "pgpq", "isal"),
)
KEYS = ["command", "source", "destination", "results", "totals", "notes", "exit_code"]
RESULT_KEYS = [
    *("partition", "color", "month", "outcome", "table", "rows_read", "rows_rejected", "rows_loaded"),
    *("flags", "unknown_columns", "bytes", "seconds", "error", "replaced"),
]
SECRET = "s3cr3t-pw"  # noqa: S105 - nobody's
FOLDER = ("--source", "source")
MONTH = ("ingest", "--color", "fhv", "--year", "2021", "--months", "1", "--direct")


# Help, version, completion


@pytest.mark.parametrize(
    "arguments",
    [("--help",), *((name, "--help") for name in ("ingest", "upload", "warehouse", "blocks-init", "schema"))],
)
def test_help_imports_nothing_heavy(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """Help comes at once: none of the heavy packages is imported for it."""
    command = [sys.executable, "-X", "importtime", "-m", "nyctaxi_etl", *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "typer" in imported
    assert imported.isdisjoint(HEAVY)


def test_help_names_every_option(tmp_path: Path) -> None:
    """Every option of the contract is in the command's help, and what a switch's setting needs to be overridden."""
    text = nyctaxi("ingest", "--help", folder=tmp_path).out
    assert [option for option in OPTIONS if f"{option} " not in text] == []
    assert "--direct / --no-direct" in text
    assert "NYCTAXI_<OPTION>" in text


def test_help_without_a_command(tmp_path: Path) -> None:
    """The bare command shows what there is."""
    done = nyctaxi(folder=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert all(name in done.out for name in ("ingest", "blocks-init", "schema", "Exit codes: 0 all good"))


def test_version_and_completion(tmp_path: Path) -> None:
    """The version is one line; a shell can be taught to complete."""
    done = nyctaxi("--version", folder=tmp_path)
    assert done.code == 0
    assert re.fullmatch(r"nyctaxi(?: \d+\.\d+\.\d+|, not installed)\n", done.out)
    # What --show-completion prints in bash; in which shell the tests run is not known.
    script = nyctaxi(folder=tmp_path, settings={"_NYCTAXI_COMPLETE": "source_bash"})
    assert script.code == 0
    assert "complete -o default -F _nyctaxi_completion nyctaxi" in script.out


def test_completion_of_colours(tmp_path: Path) -> None:
    """Colours are completed, without anything heavy being imported."""
    settings = {"_NYCTAXI_COMPLETE": "complete_bash", "COMP_WORDS": "nyctaxi ingest --color f", "COMP_CWORD": "3"}
    assert nyctaxi(folder=tmp_path, settings=settings).out.split() == ["fhv", "fhvhv"]


def test_schema(tmp_path: Path) -> None:
    """The columns of a colour are printed in Markdown; another word is refused."""
    done = nyctaxi("schema", "green", folder=tmp_path)
    assert done.code == 0
    assert "pickup_datetime" in done.out
    assert nyctaxi("schema", "pink", folder=tmp_path).code == 2


# What a run prints


def test_report_on_stdout_progress_on_stderr(folder: Path) -> None:
    """Not on a terminal: the report alone on stdout, one plain line per month and step on stderr."""
    done = nyctaxi(*MONTH[:-3], "--months", "1-2", "--direct", "--jobs", "1", *FOLDER, folder=folder)
    assert done.code == 0, done.err
    header, *rows, totals = done.out.splitlines()[:4]
    assert header.split() == ["month", "outcome", "rows", "read", "rejected", "loaded", "size", "seconds"]
    assert [row.split()[:5] for row in rows] == [
        ["fhv/2021-01", "loaded", "20", "0", "20"],
        ["fhv/2021-02", "loaded", "30", "0", "30"],
    ]
    assert totals.split()[:6] == ["total", "2", "loaded", "50", "0", "50"]
    assert {len(line) for line in done.out.splitlines()[:4]} == {len(header)}
    assert done.err.splitlines() == [
        line
        for month, rows_loaded in (("fhv/2021-01", 20), ("fhv/2021-02", 30))
        for line in (f"{month} transform", f"{month} load", f"{month} loaded {rows_loaded} rows")
    ]


def test_json_of_a_success(folder: Path) -> None:
    """With --json stdout is exactly one object, with the keys of the contract."""
    done = nyctaxi(*MONTH, *FOLDER, "--json", folder=folder)
    assert done.code == 0, done.err
    assert list(done.json) == KEYS
    assert done.json | {"results": [], "totals": {}} == {
        "command": "ingest",
        "source": str(folder / "source"),
        "destination": "duckdb",
        "results": [],
        "totals": {},
        "notes": [],
        "exit_code": 0,
    }
    (result,) = done.json["results"]
    assert list(result) == RESULT_KEYS
    known = {name: result[name] for name in ("partition", "color", "month", "outcome", "table", "error")}
    assert known == {
        "partition": "fhv/2021-01",
        "color": "fhv",
        "month": "2021-01",
        "outcome": "loaded",
        "table": "fhv_taxi_data",
        "error": None,
    }
    assert (result["rows_read"], result["rows_rejected"], result["rows_loaded"]) == (20, 0, 20)
    assert done.json["totals"]["outcomes"] == {"loaded": 1}


def test_json_of_a_partial_failure(folder: Path) -> None:
    """A month that is missing and one that fails are in the object, with their reasons; the others are loaded."""
    (folder / "source" / "fhv_tripdata_2021-04.csv").write_text("<html>Not found</html>")
    done = nyctaxi(*MONTH[:-3], "--months", "1,3-4", "--direct", *FOLDER, "--json", folder=folder)
    assert done.code == done.json["exit_code"] == 1
    assert list(done.json) == KEYS
    results = {result["month"]: result for result in done.json["results"]}
    outcomes = {month: (one["outcome"], one["error"] and one["error"]["type"]) for month, one in results.items()}
    assert outcomes == {
        "2021-01": ("loaded", None),
        "2021-03": ("missing", "NotPublished"),
        "2021-04": ("failed", "CorruptFile"),
    }
    assert list(results["2021-03"]["error"]) == ["type", "message", "hint"]
    assert done.json["totals"]["outcomes"] == {"failed": 1, "loaded": 1, "missing": 1}
    assert rows_of(folder) == [("2021-01-01", 20)]


def test_json_of_a_usage_error(folder: Path) -> None:
    """A usage error too is exactly one object, whether Typer finds it or the command does."""
    for wrong in (("--months", "13"), ("--nonsense",), ("--jobs", "0")):
        done = nyctaxi(*MONTH, *wrong, "--json", folder=folder)
        assert (done.code, done.json["exit_code"], done.json["command"]) == (2, 2, "ingest")
        assert list(done.json) == [*KEYS, "error"]
        assert done.json["results"] == []
        assert done.json["error"]["type"] == "UsageError"
        assert done.json["error"]["message"] == done.error.removeprefix("Error: ")


def test_json_by_setting_counts_for_errors(folder: Path) -> None:
    """NYCTAXI_JSON holds for errors as well, even where another setting is what's wrong."""
    for settings, wrong in (({}, ("--months", "13")), ({}, ("--nonsense",)), ({"NYCTAXI_JOBS": "many"}, ())):
        done = nyctaxi(*MONTH, *wrong, folder=folder, settings={"NYCTAXI_JSON": "true", **settings})
        assert (done.code, done.json["exit_code"]) == (2, 2)
    assert nyctaxi(*MONTH, "--no-json", "--nonsense", folder=folder, settings={"NYCTAXI_JSON": "true"}).out == ""


def test_why_a_month_failed_is_said_once_and_briefly(folder: Path) -> None:
    """A missing month says why on its line of the progress and below the table, and names itself once in each."""
    done = nyctaxi(*MONTH[:-3], "--months", "1,3", "--direct", *FOLDER, folder=folder)
    assert done.code == 1
    assert f"fhv/2021-03 missing: not in the folder {folder / 'source'}." in done.err.splitlines()
    note = next(line for line in done.out.splitlines() if line.startswith("fhv/2021-03:"))
    assert note.count("fhv/2021-03") == 1
    assert len(note) < 260


def test_a_direct_run_needs_no_prefect(folder: Path) -> None:
    """--direct doesn't even import Prefect."""
    command = [sys.executable, "-X", "importtime", *COMMAND[1:], *MONTH, *FOLDER]
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=True)
    assert "duckdb" in done.stderr
    assert not re.search(r"\| +prefect", done.stderr)
    assert not (folder / "prefect").exists()


def test_a_second_run_moves_nothing(folder: Path) -> None:
    """What is in and unchanged is said to be so; --force loads it again."""
    nyctaxi(*MONTH, *FOLDER, folder=folder)
    again = nyctaxi(*MONTH, *FOLDER, "--json", folder=folder)
    forced = nyctaxi(*MONTH, *FOLDER, "--json", "--force", folder=folder)
    assert [done.json["results"][0]["outcome"] for done in (again, forced)] == ["unchanged", "loaded"]
    assert again.json["results"][0]["rows_loaded"] == 20
    assert (again.code, forced.code) == (0, 0)


def test_dry_run_writes_nothing(folder: Path) -> None:
    """--dry-run names what would be loaded and where, and leaves no trace."""
    before = sorted(folder.rglob("*"))
    done = nyctaxi(*MONTH[:-3], "--months", "1-2", *FOLDER, "--dry-run", "--json", folder=folder)
    assert done.code == 0
    planned = [(one["partition"], one["outcome"], one["table"]) for one in done.json["results"]]
    assert planned == [("fhv/2021-01", "planned", "fhv_taxi_data"), ("fhv/2021-02", "planned", "fhv_taxi_data")]
    assert sorted(folder.rglob("*")) == before


def test_colours_ranges_and_notes(folder: Path) -> None:
    """Colours are repeated or joined by commas, years and months are ranges; what is left out is said on stderr."""
    colors = ("--color", "green,fhv", "--color", "fhvhv")
    done = nyctaxi("ingest", *colors, "--year", "2019,2020", "--months", "1,12", "--dry-run", "--json", folder=folder)
    planned = [result["partition"] for result in done.json["results"]]
    assert planned == [
        *("green/2019-01", "green/2019-12", "green/2020-01", "green/2020-12"),
        *("fhv/2019-01", "fhv/2019-12", "fhv/2020-01", "fhv/2020-12"),
        *("fhvhv/2019-12", "fhvhv/2020-01", "fhvhv/2020-12"),
    ]
    assert "Left out 1 month of fhvhv before 2019-02" in done.err


# Settings


def test_every_option_has_a_setting(folder: Path) -> None:
    """A run without any option: all comes from the environment."""
    settings = {
        "NYCTAXI_COLOR": "fhv",
        "NYCTAXI_YEAR": "2021",
        "NYCTAXI_MONTHS": "2",
        "NYCTAXI_SOURCE": "source",
        "NYCTAXI_TO": "duckdb:///other.duckdb",
        "NYCTAXI_TABLE": "trips",
        "NYCTAXI_JOBS": "1",
        "NYCTAXI_FORCE": "true",
        "NYCTAXI_JSON": "true",
        "NYCTAXI_DIRECT": "true",
        "NYCTAXI_DATA_DIR": "elsewhere",
        "NYCTAXI_VERBOSE": "true",
    }
    done = nyctaxi("ingest", folder=folder, settings=settings)
    assert done.code == 0, done.err
    assert done.json["destination"] == "duckdb:///other.duckdb"
    assert [(one["month"], one["table"], one["outcome"]) for one in done.json["results"]] == [
        ("2021-02", "trips", "loaded")
    ]
    assert (folder / "other.duckdb").exists()
    assert (folder / "elsewhere").is_dir()
    assert not (folder / "data").exists()
    dry = nyctaxi("ingest", folder=folder, settings={**settings, "NYCTAXI_DRY_RUN": "true"})
    assert dry.json["results"][0]["outcome"] == "planned"


def test_the_command_line_wins(folder: Path) -> None:
    """An option is put over the setting of its name, a switch by its opposite; the environment over .env."""
    (folder / ".env").write_text("NYCTAXI_COLOR=green\nNYCTAXI_YEAR=2021\nNYCTAXI_MONTHS=1\nNYCTAXI_DRY_RUN=true\n")
    settings = {"NYCTAXI_COLOR": "fhv", "NYCTAXI_JSON": "true", "NYCTAXI_SOURCE": "nowhere"}
    from_env = nyctaxi("ingest", *FOLDER, folder=folder, settings=settings)
    assert [(one["partition"], one["outcome"]) for one in from_env.json["results"]] == [("fhv/2021-01", "planned")]
    options = ("--months", "2", "--no-dry-run", "--direct", "--no-json")
    done = nyctaxi("ingest", *FOLDER, *options, folder=folder, settings=settings)
    assert done.code == 0, done.err
    assert done.out.startswith("month ")
    assert rows_of(folder) == [("2021-02-01", 30)]


def test_a_wrong_setting_is_one_clear_line(folder: Path) -> None:
    """A setting's value that can't be is refused by the setting's name, without its value."""
    cases = {"NYCTAXI_JOBS": SECRET, "NYCTAXI_DIRECT": SECRET, "NYCTAXI_POSTGRES_PORT": SECRET}
    for name, value in cases.items():
        done = nyctaxi(*MONTH, *FOLDER, folder=folder, settings={name: value})
        assert done.code == 2
        assert name in done.error
        assert SECRET not in done.err + done.out
    done = nyctaxi(*MONTH[:-3], "--direct", folder=folder, settings={"NYCTAXI_MONTHS": "13"})
    assert (done.code, done.error) == (2, "Error: NYCTAXI_MONTHS 13: 13 is not a month.")


# Nonsense

NONSENSE: Sequence[tuple[tuple[str, ...], str]] = (
    (("--months", "0"), "0 is not a month"),
    (("--months", "13"), "13 is not a month"),
    (("--months", "3-1"), "'3-1' is not a number or an ascending range"),
    (("--months", "1-"), "'1-' is not"),
    (("--color", "pink"), "pink is not a colour"),
    (("--year", "1999"), "before 2015-01"),
    (("--year", "2999"), "not begun yet"),
    (("--year", "abc"), "--year abc"),
    (("--jobs", "0"), "--jobs"),
    (("--jobs", "65"), "--jobs"),
    (("--jobs", "many"), "--jobs"),
    (("--table", 'a"b'), "can't name a table"),
    (("--color", "green", "--table", "trips"), "one table for 2 colours"),
    (("--data-dir", "source/fhv_tripdata_2021-01.csv/below"), "can't be written to: Not a directory"),
    (("--source", "nowhere"), "--source nowhere: there is no such folder"),
    (("--source", "ftp://host/x"), "not an http or https address"),
    (("--source", "http://[x"), "--source http://...: not an http or https address"),
    (("--source", f"https://host:{SECRET}/x"), "--source https://...: not an http or https address"),
    (("--source", f"https://{'a' * 200}.test"), "not an http or https address"),
    (("--source", "~nosuchuser/x"), "--source ~nosuchuser/x: there is no such home"),
    (("--data-dir", "~nosuchuser/x"), "--data-dir ~nosuchuser/x: there is no such home"),
    (("--source", "fo\udcffo"), "--source fo\\udcffo: the name of this folder is not written in UTF-8"),
    (("--data-dir", "fo\udcffo"), "--data-dir fo\\udcffo: the name of this folder is not written in UTF-8"),
    (("--to", "duckdb:///fo\udcffo"), "is not written in UTF-8"),
    (("--year", "21"), "--year 21: a year has four digits"),
    (("--source", "datatalks", "--year", "2018"), "before 2019-01"),
    (("--table", "nyctaxi_loads"), "'nyctaxi_loads' is a name that nyctaxi or a database has"),
    (("--table", "Taxi_Zone_Lookup"), "is a name that nyctaxi or a database has"),
    (("--table", "trips_file_month"), "is a name that nyctaxi or a database has"),
    (("--source", f"https://me:{SECRET}@host/x"), "holds a user name or password"),
    (("--source", f"https://host/x?token={SECRET}"), "holds a user name or password"),
    (("--source", "https://host/x?page=1"), "can't have a query"),
    (("--to", "nonsense"), "--to nonsense"),
    (("--to", "oracle9://host/x"), "--to oracle9"),
    (("--to", f"postgresql://me:{SECRET}@host/x"), "holds a password"),
    (("--to", f"postgresql://me@host/x?password={SECRET}"), "holds a password"),
    (("--to", f"mssql+pyodbc:///?odbc_connect=UID%3Dme%3BPWD%3D{SECRET}"), "holds a password"),
    (("--to", f"host=h password={SECRET}"), "holds a password"),
    (("--source", f"http:/me:{SECRET}@host/x"), "holds a user name or password"),
    (("--source", f"//me:{SECRET}@host/x"), "holds a user name or password"),
    (("--nonsense",), "No such option"),
    (("stray",), "stray"),
)


@pytest.mark.parametrize(("wrong", "said"), NONSENSE, ids=[" ".join(wrong) for wrong, _ in NONSENSE])
def test_nonsense_is_refused(
    wrong: tuple[str, ...], said: str, folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each gets one clear line, a hint and exit code 2; nothing is written, no secret is repeated."""
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    assert cli.main([*MONTH, *FOLDER, *wrong]) == 2
    out, err = capfd.readouterr()
    done = Done(2, out, err, 0)
    assert said in done.error
    assert err.splitlines()[-1].startswith("Hint: ")
    assert out == ""
    assert SECRET not in err
    assert "Traceback" not in err
    assert sorted(folder.rglob("*")) == before


HINTS: Sequence[tuple[tuple[str, ...], str]] = (
    (("ingest", "--color", "fhv", "--year", "2021", "--source", "tcl"), "Did you mean tlc? Name tlc, datatalks"),
    (("ingest", "--color", "yelow", "--year", "2021"), "Did you mean yellow? Choose of yellow, green, fhv, fhvhv."),
    (("schema", "purple"), "See `nyctaxi schema --help`."),
    (("schema", "gren"), "Did you mean green? See `nyctaxi schema --help`."),
    (("upload", "--mode", "ellt"), "Did you mean elt? See `nyctaxi upload --help`."),
    ((*MONTH, "--to", "duckbd"), "Did you mean duckdb? Name duckdb"),
    ((*MONTH, "--to", "duckdb://trips.duckdb"), "A file's address has three slashes: duckdb:///path"),
    ((*MONTH, "--to", "sqlite://trips.db"), "A file's address has three slashes: sqlite:///path"),
    (
        (*MONTH, "--to", "mysql://host/x"),
        "Its driver MySQLdb is not installed: pip install mysqlclient. Or name another",
    ),
    ((*MONTH, "--to", "nosuch://host/x"), "may come with a package of its own"),
)


@pytest.mark.parametrize(("arguments", "hint"), HINTS, ids=[" ".join(arguments) for arguments, _ in HINTS])
def test_the_next_move_is_told(
    arguments: tuple[str, ...],
    hint: str,
    folder: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was probably meant, how it is written, and what is to be installed."""
    monkeypatch.chdir(folder)
    given = arguments if "--source" in arguments or arguments[0] != "ingest" else (*arguments, *FOLDER)
    assert cli.main([*given]) == 2
    err = capfd.readouterr().err
    assert err.splitlines()[-1].startswith(f"Hint: {hint}" if "package" not in hint else "Hint: ")
    assert hint in err
    assert "Value error" not in err
    assert "bug" not in err


@pytest.mark.parametrize(
    ("name", "value"),
    [("TLC_URL", "http://[x"), ("DATATALKS_URL", "http://[x"), ("TLC_URL", "host"), ("SOURCE", "http://[x")],
)
def test_an_address_in_a_setting_is_refused_by_its_name(
    name: str, value: str, folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting's address is checked as an option's is."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv(f"NYCTAXI_{name}", value)
    source = ("--source", "datatalks") if name == "DATATALKS_URL" else ()
    assert cli.main([*MONTH, *source]) == 2
    assert f"Error: NYCTAXI_{name} " in capfd.readouterr().err


def test_a_folder_below_one_that_is_not_utf8(folder: Path) -> None:
    """The path of the folder that one is in counts, too: it is kept in the ledger."""
    try:
        below = folder / "d\udcff"
        below.mkdir()
    except OSError:
        pytest.skip("this file system has no such names")
    (below / "source").mkdir()
    done = nyctaxi(*MONTH, *FOLDER, "--to", "sqlite:///x.db", folder=below)
    assert done.code == 2
    assert "is not written in UTF-8" in done.error
    done = nyctaxi(*MONTH, "--source", "sample", folder=below)
    assert done.code == 2
    assert "is not written in UTF-8" in done.error


def test_a_source_plans_what_it_declares(folder: Path) -> None:
    """DataTalksClub's copy ends: months after it are left out with a note, in a dry run as in any other."""
    colors = ("--color", "yellow,fhv", "--source", "datatalks")
    done = nyctaxi("ingest", *colors, "--year", "2018-2021", "--months", "7-8", "--dry-run", "--json", folder=folder)
    planned = [result["partition"] for result in done.json["results"]]
    assert planned == [
        *("yellow/2019-07", "yellow/2019-08", "yellow/2020-07", "yellow/2020-08", "yellow/2021-07"),
        *("fhv/2019-07", "fhv/2019-08", "fhv/2020-07", "fhv/2020-08", "fhv/2021-07", "fhv/2021-08"),
    ]
    assert "Left out 1 month of yellow after 2021-07, the last one that this source has." in done.err
    assert "Left out 2 months of yellow before 2019-01" in done.err


def test_nonsense_in_a_process_of_its_own(folder: Path) -> None:
    """The same from outside, once: the exit code is the process'."""
    done = nyctaxi(*MONTH, *FOLDER, "--months", "13", folder=folder)
    assert (done.code, done.out, done.error) == (2, "", "Error: --months 13: 13 is not a month.")
    assert nyctaxi("nonsense", folder=folder).code == 2


@pytest.mark.parametrize("left_out", ["--color", "--year"])
def test_what_must_be_given(left_out: str, folder: Path) -> None:
    """A colour and a year have no default; the hint is a whole command."""
    at = MONTH.index(left_out)
    done = nyctaxi(*MONTH[:at], *MONTH[at + 2 :], folder=folder)
    assert (done.code, done.error) == (2, f"Error: {left_out} is missing.")
    assert "nyctaxi ingest --color yellow --year 2021 --months 1-3" in done.err


# Errors


def test_a_bug_says_that_it_is_one(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that nobody expected is one line, and where to report it; the traceback comes with --debug."""

    def broken(_job: Job) -> None:
        message = "no such thing"
        raise KeyError(message)

    monkeypatch.chdir(folder)
    monkeypatch.setattr(workspace, "check_data_dir", broken)
    assert cli.main([*MONTH, *FOLDER]) == 1
    err = capfd.readouterr().err
    assert "Error: KeyError: 'no such thing'" in err
    assert "Hint: This is a bug in nyctaxi: run again with --debug" in err
    assert "Traceback" not in err
    assert cli.main([*MONTH, *FOLDER, "--debug"]) == 1
    assert "Traceback" in capfd.readouterr().err


@pytest.mark.parametrize("debug", [False, True])
def test_a_bug_in_a_month(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, debug: bool
) -> None:
    """The month has failed, the report says so in one line, and the traceback comes with --debug."""

    def broken(*_: object) -> None:
        message = f"no such thing as postgresql://me:{SECRET}@host"
        raise KeyError(message)

    monkeypatch.chdir(folder)
    monkeypatch.setattr(ingest, "fetch_file", broken)
    assert cli.main([*MONTH, *FOLDER, "--json", *(("--debug",) if debug else ())]) == 1
    out, err = capfd.readouterr()
    (result,) = json.loads(out)["results"]
    assert (result["outcome"], result["error"]["type"]) == ("failed", "Bug")
    assert ("Traceback" in err, "Traceback" in out, SECRET in out + err) == (debug, False, False)


def test_debug_shows_the_traceback_of_an_expected_error(folder: Path) -> None:
    """--debug, or its setting, shows where an expected error came from as well."""
    for arguments, settings in ((("--debug",), {}), ((), {"NYCTAXI_DEBUG": "1"})):
        done = nyctaxi(*MONTH, "--source", "nowhere", *arguments, folder=folder, settings=settings)
        assert done.code == 2
        assert "Traceback" in done.err
        assert done.error == "Error: --source nowhere: there is no such folder."


def test_prefect_out_of_reach(folder: Path) -> None:
    """A server that doesn't answer is named, quickly, with the ways out; nothing is loaded."""
    settings = {"PREFECT_API_URL": f"http://user:{SECRET}@127.0.0.1:{free_port()}/api"}
    done = nyctaxi(*MONTH[:-1], *FOLDER, "--json", folder=folder, settings=settings)
    assert done.code == done.json["exit_code"] == 2
    assert "Prefect's server can't be reached" in done.error
    assert "--direct" in done.json["error"]["hint"]
    assert SECRET not in done.err + done.out
    assert done.seconds < 20
    assert not (folder / "data" / "nyctaxi.duckdb").exists()


def test_prefect_without_a_folder(folder: Path) -> None:
    """Where Prefect's folder can't be written to, the command says so at once, and what to do; --direct needs none."""
    settings = {"PREFECT_HOME": str(folder / "source" / "fhv_tripdata_2021-01.csv" / "prefect")}
    done = nyctaxi(*MONTH[:-1], *FOLDER, "--json", folder=folder, settings=settings)
    assert done.code == done.json["exit_code"] == 2
    assert done.error.startswith(f"Error: Prefect's folder {settings['PREFECT_HOME']} can't be written to: ")
    assert "PREFECT_HOME" in done.json["error"]["hint"]
    assert done.seconds < 20
    assert nyctaxi(*MONTH, *FOLDER, folder=folder, settings=settings).code == 0


def test_no_retry_noise(folder: Path) -> None:
    """A server that is busy for a moment is a line of the progress, and nobody's log."""
    with serving(folder / "source") as site:
        site.once["trip-data/fhv_tripdata_2021-01.parquet"] = [Fault(status=503, headers={"Retry-After": "0"})]
        done = nyctaxi(*MONTH, "--source", site.url, folder=folder)
    assert done.code == 0, done.err
    assert "stamina" not in done.err
    (said,) = (line for line in done.err.splitlines() if "Trying again" in line)
    assert said.startswith("fhv/2021-01 extract: ")
    assert "fhv/2021-01:" not in said


def test_many_missing_months_are_a_few_lines(folder: Path) -> None:
    """What is to be said of 64 months alike is said once on each output; the JSON object has every month."""
    years = (*MONTH[:3], "--year", "2015-2020", "--direct", *FOLDER)
    done = nyctaxi(*years, folder=folder)
    assert done.code == 1
    assert done.out.splitlines()[1].split()[:4] == ["fhv/2015-01", "to", "2020-12", "missing"]
    assert "fhv 2015-01 to 2020-12: not in the folder" in done.out
    assert "(72 months)" in done.out
    assert len(done.out.splitlines()) == 4
    assert len(done.err.splitlines()) < 20
    planned = nyctaxi(*years, "--dry-run", folder=folder)
    assert [line.split()[:2] for line in planned.out.splitlines()[1:]] == [["fhv/2015-01", "to"], ["total", "72"]]
    assert len(nyctaxi(*years, "--json", folder=folder).json["results"]) == 72


def test_colors_complete_by_prefix() -> None:
    """What the shell offers for a colour are the colours, for a source those that have a name."""
    assert completion(SETTINGS["color"].choices)("") == [str(color) for color in Color]
    assert completion(SETTINGS["source"].choices)("s") == ["sample"]


def test_module_runs_as_the_command(tmp_path: Path) -> None:
    """``python -m nyctaxi_etl`` and the installed script enter by the same door."""
    done = nyctaxi("ingest", "--color", "pink", "--year", "2021", "--json", folder=tmp_path)
    assert json.loads(done.out)["exit_code"] == done.code == 2
