"""What a month may replace: real rows do made-up ones and other real ones, made-up rows do real ones by force alone."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from nyctaxi_etl.cli import app as cli
from nyctaxi_etl.core.errors import UsageError, WarehouseError
from nyctaxi_etl.core.partition import Color, Month, Partition
from nyctaxi_etl.pipelines.destination import refuse_made_up
from nyctaxi_etl.pipelines.ingest import ingest_steps
from nyctaxi_etl.pipelines.job import Job, Plan
from nyctaxi_etl.pipelines.month import run_month
from nyctaxi_etl.sources.registry import resolve
from nyctaxi_etl.warehouses.opening import open_warehouse
from support.months import publish
from support.web import serving

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nyctaxi_etl.staging.stage import Stage
    from nyctaxi_etl.warehouses.base import Warehouse

    Run = Callable[..., tuple[int, dict[str, Any]]]

JANUARY = Partition(Color.FHV, Month(2021, 1))
MONTHS = ("--color", "fhv", "--year", "2021", "--months", "1-2", "--direct", "--json")
REAL, SAMPLE = ("--source", "source"), ("--source", "sample")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a command runs: the folder ``source`` has two months of fhv; the sample's months have 40 rows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NYCTAXI_SAMPLE_ROWS", "40")
    publish(tmp_path / "source", "2021-01", 20, "B00001")
    publish(tmp_path / "source", "2021-02", 30, "B00001")
    return tmp_path


@pytest.fixture
def run(folder: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """A command in this process: call it for its exit code and its JSON object."""
    assert (folder / "source").is_dir()

    def run(command: str, *arguments: str) -> tuple[int, dict[str, Any]]:
        code = cli.main([command, *MONTHS, *arguments])
        return code, json.loads(capfd.readouterr().out)

    return run


def sources(folder: Path, table: str = "fhv_taxi_data") -> list[str]:
    """Return where the ledger says that the table's months are from."""
    with duckdb.connect(str(folder / "data" / "nyctaxi.duckdb"), read_only=True) as connection:
        sql = "SELECT source FROM nyctaxi_loads WHERE table_name = ? ORDER BY file_month"
        return [source for (source,) in connection.execute(sql, [table]).fetchall()]


def replaced(report: dict[str, Any]) -> list[Any]:
    """Return what each month of a report has replaced: its source and the rows that were loaded of it."""
    olds = [result["replaced"] for result in report["results"]]
    return [old and (old["source"], old["rows_loaded"]) for old in olds]


def refused(answer: tuple[int, dict[str, Any]], words: str) -> None:
    """Assert that a run was refused before anything moved, with these words."""
    code, report = answer
    assert (code, report["exit_code"], report["results"]) == (2, 2, [])
    assert report["error"]["type"] == "UsageError"
    assert "--force" in report["error"]["hint"]
    assert words in report["error"]["message"]


def test_made_up_rows_do_not_replace_real_ones(folder: Path, run: Run) -> None:
    """The run ends before anything moves, a month that isn't there too; --force replaces, and real rows may again."""
    run("ingest", *REAL, "--months", "2")
    refused(run("ingest", *SAMPLE), "fhv/2021-02 (folder)")
    assert not (folder / "data" / "raw" / "sample").exists()
    assert sources(folder) == ["folder"]
    code, report = run("ingest", *SAMPLE, "--force")
    assert (code, sources(folder), replaced(report)) == (0, ["sample", "sample"], [None, ("folder", 30)])
    rows = [result["rows_loaded"] for result in report["results"]]
    code, report = run("ingest", *REAL)
    assert (code, sources(folder)) == (0, ["folder", "folder"])
    assert replaced(report) == [("sample", rows[0]), ("sample", rows[1])]
    assert replaced(run("ingest", *REAL)[1]) == [None, None]


def test_made_up_rows_do_not_replace_real_ones_in_the_lake(folder: Path, run: Run) -> None:
    """The same of upload, in both layers, which know nothing of each other."""
    trips = folder / "data" / "lake" / "trips" / "fhv" / "fhv_tripdata_2021-01.parquet"
    run("upload", *REAL, "--months", "1")
    before = trips.read_bytes()
    refused(run("upload", *SAMPLE), "fhv/2021-01 (folder)")
    assert trips.read_bytes() == before
    assert run("upload", *SAMPLE, "--mode", "elt")[0] == 0
    code, report = run("upload", *SAMPLE, "--force")
    assert (code, replaced(report)) == (0, [("folder", 20), None])
    code, report = run("upload", *REAL)
    assert (code, [old and old[0] for old in replaced(report)]) == (0, ["sample", "sample"])


@pytest.mark.parametrize("mode", ["etl", "elt"])
def test_made_up_rows_of_the_lake_do_not_replace_real_ones(mode: str, folder: Path, run: Run) -> None:
    """The same of warehouse, by what the lake says of where its rows came from."""
    there = ("--lake", str(folder / "real"), "--mode", mode)
    here = ("--lake", str(folder / "made-up"), "--mode", mode)
    run("upload", *REAL, *there)
    run("upload", *SAMPLE, *here)
    assert run("warehouse", *there)[0] == 0
    refused(run("warehouse", *here), "fhv/2021-01 (folder), fhv/2021-02 (folder)")
    assert sources(folder) == ["folder", "folder"]
    code, report = run("warehouse", *here, "--force")
    assert (code, replaced(report)) == (0, [("folder", 20), ("folder", 30)])
    assert sources(folder) == ["sample", "sample"]
    if mode == "elt":
        assert sources(folder, "fhv_taxi_data_raw") == ["sample", "sample"]
    code, report = run("warehouse", *there)
    assert (code, [old and old[0] for old in replaced(report)]) == (0, ["sample", "sample"])


def test_one_real_source_replaces_another_and_says_so(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Report, JSON and ledger name both sources and how the counts differ."""
    given = (*MONTHS[:-1], "--months", "1")
    cli.main(["ingest", *given, *REAL])
    publish(folder / "mirror", "2021-01", 23, "B00002")
    with serving(folder / "mirror") as site:
        capfd.readouterr()
        assert cli.main(["ingest", *given, "--source", site.url]) == 0
        host = site.url.partition("//")[2]
    out = capfd.readouterr().out
    assert f"fhv/2021-01: the month of folder was replaced by that of {host}: 23 rows, 20 before (+3)" in out
    with duckdb.connect(str(folder / "data" / "nyctaxi.duckdb"), read_only=True) as connection:
        row = connection.execute("SELECT source, rows_loaded, replaced_source, replaced_rows FROM nyctaxi_loads")
        assert row.fetchall() == [(host, 23, "folder", 20)]


def test_a_host_called_as_a_source_is(folder: Path) -> None:
    """Its months are real, whatever it is called."""
    assert resolve("http://sample/x").name == "http://sample/x"
    assert resolve(str(folder)).name == "folder"
    assert resolve("sample").name == "sample"


def test_a_real_month_that_came_meanwhile_is_kept(folder: Path) -> None:
    """Loaded by another run after the ledger was asked, it fails the made-up month."""
    real = Job(resolve(str(folder / "source")), "duckdb", folder / "data", "real")
    made_up = replace(real, source=resolve("sample"), run_id="made up", sample_rows=40)

    def opened(job: Job) -> Warehouse:
        return open_warehouse(job.to, job.data_dir)

    def load_late(job: Job, staged: Stage) -> int:
        assert run_month(Plan(real, steps), JANUARY).outcome == "loaded"
        return steps.commit(job, staged)

    steps = ingest_steps(opened)
    result = run_month(Plan(made_up, steps._replace(commit=load_late)), JANUARY)
    assert result.failure is not None
    assert (result.outcome, result.failure.type) == ("failed", WarehouseError.__name__)
    assert sources(folder) == ["folder"]


def test_many_months_are_named_briefly(folder: Path) -> None:
    """Three of them, and how many more."""
    job = Job(resolve("sample"), "duckdb", folder, "run")
    moves = [(Partition(Color.FHV, Month(2021, number)), "sample", "tlc") for number in range(1, 13)]
    with pytest.raises(UsageError, match=r"fhv/2021-01 \(tlc\), fhv/2021-02 \(tlc\), fhv/2021-03 \(tlc\) and 9 more"):
        refuse_made_up(job, [*moves, *moves])
    refuse_made_up(replace(job, force=True), moves)
    refuse_made_up(job, [(JANUARY, "tlc", "sample"), (JANUARY, "sample", "sample")])
