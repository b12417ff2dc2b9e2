"""``nyctaxi upload`` as a promise to its users: what is in the lake afterwards, and what a second run leaves alone."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest

from nyctaxi_etl.core.lineage import Lineage
from nyctaxi_etl.core.partition import Color, Month, Partition
from nyctaxi_etl.lakes.metadata import read_lineage
from nyctaxi_etl.lakes.parquet import read_metadata
from nyctaxi_etl.sample.months import write_month
from nyctaxi_etl.schema.datasets import DATASETS
from nyctaxi_etl.staging.files import arrow_schema
from support.command import Done, nyctaxi, start
from support.months import publish

if TYPE_CHECKING:
    from support.google import Cloud

MONTH = ("--color", "green", "--year", "2021", "--months", "1", "--direct", "--json")
JANUARY = Partition(Color.GREEN, Month(2021, 1))
STEM = "green_tripdata_2021-01"
TRIPS, CONFORMED, REJECTS = (f"{layer}/green/{STEM}.parquet" for layer in ("trips", "conformed", "rejects"))
ROWS = 3_000
UNCHANGED_SECONDS = 3.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a command runs: with the folder ``source``, which holds a generated January 2021 of green."""
    (tmp_path / "source").mkdir()
    write_month(JANUARY, tmp_path / "source" / f"{STEM}.csv.gz", ROWS)
    return tmp_path


def upload(folder: Path, *arguments: str, **settings: str) -> Done:
    """Upload January from the folder ``source``."""
    done = nyctaxi("upload", *MONTH, "--source", "source", *arguments, folder=folder, settings=settings)
    assert done.code == 0, done.err
    return done


def only(done: Done) -> dict[str, Any]:
    """Return the one result of a run."""
    (result,) = done.json["results"]
    return dict(result)


def lake_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the lake's objects by key, each with its inode and time of change, but for what is noted beside them."""
    files = (path for path in (folder / "data" / "lake").rglob("*") if path.is_file() and path.name[0] != ".")
    found = {path.relative_to(folder / "data" / "lake").as_posix(): path.stat() for path in files}
    return {key: (stat.st_ino, stat.st_mtime_ns) for key, stat in found.items()}


def count(folder: Path, key: str, where: str = "true") -> int:
    """Return how many rows of an object fulfil a condition."""
    path = folder / "data" / "lake" / key
    with duckdb.connect() as reader:
        rows = reader.execute(f"SELECT count(*) FROM read_parquet('{path}') WHERE {where}").fetchall()
    return int(rows[0][0])


# What is put


def test_a_month_is_put_with_its_rejects(folder: Path) -> None:
    """Rows that the rules keep, the others with their reasons, and a report that says where."""
    done = upload(folder)
    result = only(done)
    known = {name: done.json[name] for name in ("command", "source", "destination", "exit_code")}
    assert known == {
        "command": "upload",
        "source": str(folder / "source"),
        "destination": "data/lake",
        "exit_code": 0,
    }
    assert (result["outcome"], result["table"], result["rows_read"]) == ("loaded", TRIPS, ROWS)
    assert set(lake_of(folder)) == {TRIPS, REJECTS}
    assert count(folder, TRIPS) == result["rows_loaded"]
    assert count(folder, REJECTS) == result["rows_rejected"] > 0
    assert count(folder, TRIPS, "passenger_count = 0") == 0
    assert list((folder / "data" / "staging").iterdir()) == []
    assert not (folder / "data" / "rejects").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        *({"rows_read": "9" * 5000}, {"flags": "[" * 100_000}, {"flags": "[]"}, {"flags": '{"a": "b"}'}),
        *({"flags": "5"}, {"unknown_columns": "5"}, {"unknown_columns": "{"}),
    ],
)
def test_facts_that_make_no_sense_are_none(wrong: dict[str, str]) -> None:
    """What another program wrote, or damaged, is as if nothing were known: the month is put again."""
    whole = {field.name: "1" for field in fields(Lineage)} | {"flags": '{"a": 1}', "unknown_columns": '["b"]'}
    assert read_lineage(whole) is not None
    assert read_lineage(whole | wrong) is None


def test_the_facts_go_with_it(folder: Path) -> None:
    """Where it came from, what it was conformed to and its counts are in the footer, complete."""
    result = only(upload(folder))
    facts = read_lineage(read_metadata(folder / "data" / "lake" / TRIPS))
    assert facts is not None
    content = (folder / "source" / f"{STEM}.csv.gz").read_bytes()
    dataset = DATASETS[Color.GREEN]
    assert (facts.source, facts.source_bytes) == ("folder", len(content))
    assert facts.source_sha256 == hashlib.sha256(content).hexdigest()
    assert facts.source_url.endswith(f"{STEM}.csv.gz")
    assert (facts.dataset_version, facts.rules) == (dataset.version, dataset.rules_id)
    names = ("rows_read", "rows_rejected", "rows_loaded", "flags", "unknown_columns")
    assert {name: getattr(facts, name) for name in names[:-1]} == {name: result[name] for name in names[:-1]}
    assert list(facts.unknown_columns) == result["unknown_columns"]


def test_every_month_has_every_column(folder: Path) -> None:
    """Columns that a month's file didn't have are there and null, so that months can be read together."""
    (path,) = (folder / "source").iterdir()
    path.unlink()
    publish(folder / "source", "2015-01", 20, "B00001")
    nyctaxi(
        "upload", "--color", "fhv", "--year", "2015", "--months", "1", "--direct", "--source", "source", folder=folder
    )
    schema = pq.read_schema(folder / "data" / "lake" / "trips" / "fhv" / "fhv_tripdata_2015-01.parquet")
    assert schema.remove_metadata() == arrow_schema(DATASETS[Color.FHV].columns)
    assert count(folder, "trips/fhv/fhv_tripdata_2015-01.parquet", "affiliated_base_number IS NULL") == 20


def test_elt_puts_every_row_that_parses(folder: Path) -> None:
    """With --mode elt nothing is dropped before the warehouse: only what can't be parsed is set aside."""
    etl, elt = only(upload(folder)), only(upload(folder, "--mode", "elt"))
    assert (elt["outcome"], elt["table"]) == ("loaded", CONFORMED)
    zero = count(folder, CONFORMED, "passenger_count = 0")
    assert zero > 0
    assert elt["rows_loaded"] == count(folder, CONFORMED) == etl["rows_loaded"] + zero
    assert elt["rows_rejected"] == etl["rows_rejected"] - zero
    facts = read_metadata(folder / "data" / "lake" / CONFORMED)
    assert facts["rules"].startswith("none#")


def test_one_lake_for_both_modes(folder: Path) -> None:
    """Rows of both lie side by side; what ETL has set aside stays, whichever was put last."""
    upload(folder)
    before = lake_of(folder)
    upload(folder, "--mode", "elt")
    after = lake_of(folder)
    assert set(after) == {TRIPS, CONFORMED, REJECTS}
    assert {key: after[key] for key in before} == before
    assert only(upload(folder))["outcome"] == only(upload(folder, "--mode", "elt"))["outcome"] == "unchanged"


def test_rejects_are_removed_when_there_are_none(folder: Path) -> None:
    """A month that comes again without a row to set aside leaves no rejects of its former self."""
    upload(folder)
    path = folder / "source" / f"{STEM}.csv.gz"
    rows = pd.read_csv(path, nrows=5, dtype=str).assign(passenger_count="1")
    path.unlink()
    rows.to_csv(folder / "source" / f"{STEM}.csv", index=False)
    result = only(upload(folder))
    assert (result["outcome"], result["rows_rejected"]) == ("loaded", 0)
    assert set(lake_of(folder)) == {TRIPS}


def test_raw_bytes_are_identical(folder: Path) -> None:
    """--raw puts the file as it was published, also beside a month that is unchanged, and only once."""
    upload(folder)
    assert only(upload(folder, "--raw"))["outcome"] == "unchanged"
    key = f"raw/folder/{STEM}.csv.gz"
    published = (folder / "source" / f"{STEM}.csv.gz").read_bytes()
    assert (folder / "data" / "lake" / key).read_bytes() == published
    before = lake_of(folder)
    upload(folder, "--raw")
    assert lake_of(folder) == before


# A second run


def test_a_second_run_moves_nothing(folder: Path) -> None:
    """What is there of the same bytes is unchanged; --force, or other bytes, put it again."""
    first, before = only(upload(folder)), lake_of(folder)
    again = only(upload(folder))
    assert again["outcome"] == "unchanged"
    assert lake_of(folder) == before
    same = ("rows_read", "rows_rejected", "rows_loaded", "flags", "unknown_columns", "bytes")
    assert {name: again[name] for name in same} == {name: first[name] for name in same}
    assert only(upload(folder, "--force"))["outcome"] == "loaded"
    write_month(JANUARY, folder / "source" / f"{STEM}.csv.gz", ROWS + 1)
    assert only(upload(folder))["outcome"] == "loaded"


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"PAR1 torn"), lambda path: path.unlink()])
def test_what_is_damaged_or_gone_is_put_again(damage: Any, folder: Path) -> None:
    """An object that can't be read is one of which nothing is known."""
    upload(folder)
    damage(folder / "data" / "lake" / TRIPS)
    assert only(upload(folder))["outcome"] == "loaded"
    assert count(folder, TRIPS) > 0


def test_two_years_unchanged_take_no_time(tmp_path: Path) -> None:
    """24 months that are there: at most three seconds for all, with --direct, for the lake and for the warehouse.

    Seconds of a processor: the clock's are decided by what else the machine does.
    """
    for year in (2019, 2020):
        for number in range(1, 13):
            publish(tmp_path / "source", f"{year}-{number:02d}", 10, "B00001")
    years = ("--color", "fhv", "--year", "2019-2020", "--direct", "--json")
    for command in (("upload", *years, "--source", "source"), ("warehouse", *years)):
        assert nyctaxi(*command, folder=tmp_path).json["totals"]["outcomes"] == {"loaded": 24}
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        again = nyctaxi(*command, folder=tmp_path)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert again.json["totals"]["outcomes"] == {"unchanged": 24}
        assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < UNCHANGED_SECONDS


# What else a command does


def test_a_dry_run_writes_nothing(folder: Path) -> None:
    """--dry-run names keys, and leaves no trace; it asks no bucket."""
    before = sorted(folder.rglob("*"))
    for lake, mode, key in (("elsewhere", "etl", TRIPS), ("gs://nobody/x/", "elt", CONFORMED)):
        done = upload(folder, "--dry-run", "--lake", lake, "--mode", mode)
        assert done.json["destination"] == lake.rstrip("/")
        assert (only(done)["outcome"], only(done)["table"]) == ("planned", key)
    assert sorted(folder.rglob("*")) == before


def test_every_option_has_a_setting(folder: Path) -> None:
    """A run with nothing on its command line: lake, mode and raw come from the environment."""
    settings = {"NYCTAXI_LAKE": "elsewhere", "NYCTAXI_MODE": "elt", "NYCTAXI_RAW": "true"}
    done = upload(folder, **settings)
    assert (done.json["destination"], only(done)["table"]) == ("elsewhere", CONFORMED)
    assert {path.name for path in (folder / "elsewhere").iterdir()} >= {"conformed", "raw"}
    assert only(upload(folder, "--mode", "etl", "--no-raw", **settings))["table"] == TRIPS


def test_a_missing_month_and_a_wrong_one(folder: Path) -> None:
    """A month that isn't published is missing, a file that is none fails; neither leaves anything in the lake."""
    (folder / "source" / "green_tripdata_2021-03.csv").write_text("<html>Not found</html>")
    done = nyctaxi("upload", *MONTH, "--months", "1-3", "--source", "source", folder=folder)
    assert done.code == 1
    assert [result["outcome"] for result in done.json["results"]] == ["loaded", "missing", "failed"]
    assert set(lake_of(folder)) == {TRIPS, REJECTS}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("--lake", "s3://bucket/x"), "--lake s3://bucket/x: not a lake that can be opened."),
        (("--mode", "elephant"), "elephant"),
        (("--to", "duckdb"), "No such option"),
    ],
)
def test_nonsense_is_refused(wrong: tuple[str, ...], said: str, folder: Path) -> None:
    """One clear line and exit code 2; nothing is written."""
    done = nyctaxi("upload", *MONTH, "--source", "source", *wrong, folder=folder)
    assert done.code == done.json["exit_code"] == 2
    assert said in done.error
    assert not (folder / "data").exists()


def test_a_lake_that_cannot_be_written(folder: Path) -> None:
    """A lake where a file stands fails the month, and names the place."""
    (folder / "elsewhere").write_text("a file")
    done = nyctaxi("upload", *MONTH, "--source", "source", "--lake", "elsewhere", folder=folder)
    assert done.code == 1
    assert "elsewhere" in done.out


def test_ctrl_c_leaves_nothing_half_written(tmp_path: Path) -> None:
    """Ctrl-C while the month is conformed: it is not in the lake, no folder is left, and the same goes again."""
    arguments = ("upload", *MONTH, "--source", "sample")
    settings = {"NYCTAXI_SAMPLE_ROWS": "600000"}
    process = start(*arguments, folder=tmp_path, settings=settings)
    assert process.stderr is not None
    assert any("transform" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.count("Interrupted.")) == (130, 1)
    assert set(lake_of(tmp_path)) <= {REJECTS}
    assert list((tmp_path / "data" / "staging").iterdir()) == []
    again = nyctaxi(*arguments, folder=tmp_path, settings=settings)
    assert (only(again)["outcome"], only(again)["rows_read"]) == ("loaded", 600_000)


# To a bucket


def test_to_a_bucket(google: Cloud, folder: Path) -> None:
    """Objects carry their facts as metadata, the published bytes are identical, a second run moves nothing."""
    settings = google.settings() | {"NYCTAXI_GCS_CHUNK_MB": "1"}
    result = only(upload(folder, "--raw", **settings))
    assert result["outcome"] == "loaded"
    key = f"raw/folder/{STEM}.csv.gz"
    assert google.objects() == {TRIPS, REJECTS, key}
    facts = read_lineage(google.facts(TRIPS))
    assert facts is not None
    assert (facts.rows_loaded, json.loads(google.facts(TRIPS)["flags"])) == (result["rows_loaded"], result["flags"])
    stored = google.root / google.bucket / "nyc" / key
    assert stored.read_bytes() == (folder / "source" / f"{STEM}.csv.gz").read_bytes()
    again = upload(folder, "--raw", **settings)
    assert (again.json["destination"], only(again)["outcome"]) == (f"gs://{google.bucket}/nyc", "unchanged")


def test_no_such_bucket(google: Cloud, folder: Path) -> None:
    """A bucket that isn't there is said to be so before anything is fetched."""
    settings = google.settings() | {"NYCTAXI_LAKE": "gs://nobody-has-this"}
    done = nyctaxi("upload", *MONTH, "--source", "source", folder=folder, settings=settings)
    assert done.code != 0
    assert "gs://nobody-has-this" in done.out


REAL = os.environ.get("NYCTAXI_REAL_DATA")


@pytest.mark.skipif(not REAL, reason="NYCTAXI_REAL_DATA is not set")
def test_a_real_month_of_each_era(tmp_path: Path) -> None:
    """Real files of every colour become objects with all declared columns, and every row is accounted for."""
    published = {path.stem: path for path in Path(REAL or "", "eras").glob("*.csv")}
    (tmp_path / "source").mkdir()
    for path in published.values():
        shutil.copy(path, tmp_path / "source")
    years = sorted(stem.split("_tripdata_")[1][:4] for stem in published)
    asked = ("--color", ",".join(Color), "--year", f"{years[0]}-{years[-1]}")
    done = nyctaxi("upload", *asked, "--direct", "--json", "--source", "source", folder=tmp_path)
    results = {Path(result["table"]).stem: result for result in done.json["results"] if result["outcome"] != "missing"}
    assert set(results) == set(published), done.err
    for result in results.values():
        assert result["outcome"] == "loaded"
        assert result["rows_read"] == result["rows_loaded"] + result["rows_rejected"]
        assert count(tmp_path, result["table"]) == result["rows_loaded"]
        schema = pq.read_schema(tmp_path / "data" / "lake" / result["table"])
        assert schema.remove_metadata() == arrow_schema(DATASETS[Color(result["color"])].columns)
