"""``nyctaxi warehouse`` as a promise to its users: from the lake into a table, by way of nothing or of a raw table."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import psycopg
import pyarrow.parquet as pq
import pytest

from nyctaxi_etl.core.errors import CorruptFile
from nyctaxi_etl.core.partition import Color, Month, Partition
from nyctaxi_etl.lakes.metadata import read_lineage
from nyctaxi_etl.lakes.parquet import ROW_GROUP_ROWS
from nyctaxi_etl.sample.months import write_month
from nyctaxi_etl.schema.datasets import DATASETS
from nyctaxi_etl.staging.files import StagedFile
from support.command import Done, nyctaxi

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from support.google import Cloud
    from support.postgres import PostgresServer

MONTH = ("--color", "green", "--year", "2021", "--months", "1", "--json")
JANUARY = Partition(Color.GREEN, Month(2021, 1))
STEM = "green_tripdata_2021-01"
ROWS = 3_000
REAL = os.environ.get("NYCTAXI_REAL_DATA")
# Two colours, three months, as published: the main job of a team, end to end.
RANGE = ("--color", "yellow,green", "--year", "2019", "--months", "1-3", "--direct", "--json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a command runs: with the folder ``source``, which holds a generated January 2021 of green."""
    (tmp_path / "source").mkdir()
    write_month(JANUARY, tmp_path / "source" / f"{STEM}.csv.gz", ROWS)
    return tmp_path


def run(command: str, folder: Path, *arguments: str, **settings: str) -> Done:
    """Run a command on January without Prefect."""
    done = nyctaxi(command, *MONTH, "--direct", *arguments, folder=folder, settings=settings)
    assert done.code == 0, done.err
    return done


def upload(folder: Path, *arguments: str, **settings: str) -> dict[str, Any]:
    """Upload January, and return its result."""
    return only(run("upload", folder, "--source", "source", *arguments, **settings))


def warehouse(folder: Path, *arguments: str, **settings: str) -> dict[str, Any]:
    """Bring January into the warehouse, and return its result."""
    return only(run("warehouse", folder, *arguments, **settings))


def only(done: Done) -> dict[str, Any]:
    """Return the one result of a run."""
    (result,) = done.json["results"]
    return dict(result)


def query(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    """Return a query's rows, of the embedded warehouse."""
    with duckdb.connect(str(folder / "data" / "nyctaxi.duckdb"), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def ledger(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Return what the ledger says of each table, but for when and by which run."""
    rows = query(folder, "SELECT * EXCLUDE (loaded_at, run_id) FROM nyctaxi_loads")
    return {str(row[0]): row for row in rows}


def differences(folder: Path, one: str, other: str) -> int:
    """Return how many rows are not the same in two tables, doubles counted."""
    both = ((one, other), (other, one))
    sql = " UNION ALL ".join(f"(SELECT * FROM {a} EXCEPT ALL SELECT * FROM {b})" for a, b in both)
    return int(query(folder, f"SELECT count(*) FROM ({sql})")[0][0])


# ETL


def test_a_month_from_the_lake(folder: Path) -> None:
    """The rows that the lake has, the ledger as ingest writes it, and a report that says from where."""
    put = upload(folder)
    done = run("warehouse", folder)
    result = only(done)
    known = {name: done.json[name] for name in ("command", "source", "destination")}
    assert known == {"command": "warehouse", "source": "data/lake", "destination": "duckdb"}
    assert (result["outcome"], result["table"]) == ("loaded", "green_taxi_data")
    same = ("rows_read", "rows_rejected", "rows_loaded", "flags", "unknown_columns", "bytes")
    assert {name: result[name] for name in same} == {name: put[name] for name in same}
    assert query(folder, "SELECT count(*) FROM green_taxi_data") == [(put["rows_loaded"],)]
    assert list((folder / "data" / "staging").iterdir()) == []


def test_it_ends_as_ingest_does(folder: Path) -> None:
    """By way of the lake or straight from the source: the same rows, the same ledger; then nothing is left to do."""
    run("ingest", folder, "--source", "source", "--table", "straight")
    upload(folder)
    warehouse(folder)
    assert differences(folder, "green_taxi_data", "straight") == 0
    rows = ledger(folder)
    assert rows["green_taxi_data"][1:] == rows["straight"][1:]
    assert only(run("ingest", folder, "--source", "source"))["outcome"] == "unchanged"


def test_a_second_run_moves_nothing(folder: Path) -> None:
    """The ledger decides; --force loads again, and so does a month that was put anew."""
    upload(folder)
    first, again = warehouse(folder), warehouse(folder)
    assert (first["outcome"], again["outcome"]) == ("loaded", "unchanged")
    same = ("rows_read", "rows_rejected", "rows_loaded", "flags", "bytes")
    assert {name: again[name] for name in same} == {name: first[name] for name in same}
    assert warehouse(folder, "--force")["outcome"] == "loaded"
    write_month(JANUARY, folder / "source" / f"{STEM}.csv.gz", ROWS + 1)
    upload(folder)
    assert (warehouse(folder)["outcome"], warehouse(folder)["outcome"]) == ("loaded", "unchanged")


def test_a_month_that_the_lake_lacks(folder: Path) -> None:
    """It is missing, and the hint is the whole command that puts it there; the others are loaded."""
    upload(folder)
    done = nyctaxi("warehouse", *MONTH, "--months", "1-2", "--direct", folder=folder)
    assert done.code == done.json["exit_code"] == 1
    assert [result["outcome"] for result in done.json["results"]] == ["loaded", "missing"]
    error = done.json["results"][1]["error"]
    assert error["type"] == "NotPublished"
    assert "nyctaxi upload --color green --year 2021 --months 2" in error["hint"]
    elt = nyctaxi("warehouse", *MONTH, "--direct", "--mode", "elt", folder=folder)
    assert (elt.code, only(elt)["outcome"]) == (1, "missing")
    assert "--mode elt" in only(elt)["error"]["hint"]


def test_what_others_put_is_not_loaded(folder: Path) -> None:
    """A Parquet file of which nothing is known, or that is damaged, fails its month; the table is what it was."""
    upload(folder)
    warehouse(folder)
    path = folder / "data" / "lake" / "trips" / "green" / f"{STEM}.parquet"
    whole = path.read_bytes()
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    foreign = nyctaxi("warehouse", *MONTH, "--direct", folder=folder)
    assert (foreign.code, only(foreign)["error"]["type"]) == (1, "LakeError")
    path.write_bytes(whole[:100] + bytes(2_000) + whole[2_100:])
    torn = nyctaxi("warehouse", *MONTH, "--direct", "--force", folder=folder)
    assert (torn.code, only(torn)["error"]["type"]) == (1, "CorruptFile")
    assert query(folder, "SELECT count(*) FROM green_taxi_data")[0][0] > 0


def test_a_table_of_another_name(folder: Path) -> None:
    """--table names it; it holds one colour."""
    upload(folder)
    assert warehouse(folder, "--table", "trips")["table"] == "trips"
    assert set(ledger(folder)) == {"trips"}
    done = nyctaxi("warehouse", *MONTH, "--color", "yellow", "--table", "trips", folder=folder)
    assert (done.code, "one table for 2 colours" in done.error) == (2, True)


# ELT


def test_elt_ends_as_etl_does(folder: Path) -> None:
    """Every row that parses in the raw table, and a clean one that is row for row what ETL makes."""
    upload(folder)
    etl = warehouse(folder, "--table", "etl")
    put = upload(folder, "--mode", "elt")
    elt = warehouse(folder, "--mode", "elt")
    assert (elt["outcome"], elt["table"]) == ("loaded", "green_taxi_data")
    same = ("rows_read", "rows_rejected", "rows_loaded")
    assert {name: elt[name] for name in same} == {name: etl[name] for name in same}
    assert differences(folder, "green_taxi_data", "etl") == 0
    assert query(folder, "SELECT count(*) FROM green_taxi_data_raw") == [(put["rows_loaded"],)]
    rows = ledger(folder)
    *facts, flags = rows["green_taxi_data"][1:]
    assert facts == list(rows["etl"][1:-1])
    # With ELT flags are counted of all rows that parse: docs/lake.md.
    assert json.loads(flags) == put["flags"]
    assert "none#" in str(rows["green_taxi_data_raw"])


def test_elt_twice_is_once(folder: Path) -> None:
    """A second run finds both tables as they should be; a table that is gone is made again."""
    upload(folder, "--mode", "elt")
    assert warehouse(folder, "--mode", "elt")["outcome"] == "loaded"
    again = warehouse(folder, "--mode", "elt")
    assert again["outcome"] == "unchanged"
    assert again["rows_read"] == again["rows_loaded"] + again["rows_rejected"]
    with duckdb.connect(str(folder / "data" / "nyctaxi.duckdb")) as connection:
        connection.execute("DROP TABLE green_taxi_data_raw")
    assert warehouse(folder, "--mode", "elt")["outcome"] == "loaded"


# What else a command does


def test_a_dry_run_asks_nobody(folder: Path) -> None:
    """--dry-run names tables, for BigQuery too, and leaves no trace."""
    before = sorted(folder.rglob("*"))
    assert warehouse(folder, "--dry-run")["outcome"] == "planned"
    planned = run("warehouse", folder, "--dry-run", "--to", "bigquery", "--lake", "gs://bucket/x").json
    assert (planned["source"], planned["destination"]) == ("gs://bucket/x", "bigquery")
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("command", "wrong", "said"),
    [
        ("warehouse", ("--to", "bigquery"), "BigQuery loads from a bucket only"),
        ("warehouse", ("--to", "nonsense"), "--to nonsense"),
        ("warehouse", ("--source", "sample"), "No such option"),
        ("ingest", ("--to", "bigquery"), "--to bigquery: BigQuery loads from the lake, not from a source."),
    ],
)
def test_nonsense_is_refused(command: str, wrong: tuple[str, ...], said: str, folder: Path) -> None:
    """One clear line, a hint and exit code 2; nothing is written."""
    done = nyctaxi(command, *MONTH, "--direct", *wrong, folder=folder)
    assert done.code == done.json["exit_code"] == 2
    assert said in done.error
    assert "Hint: " in done.err
    assert not (folder / "data").exists()


def test_the_command_needs_no_source(folder: Path) -> None:
    """A team's setting of a source that isn't there is nothing to this command."""
    upload(folder)
    assert warehouse(folder, NYCTAXI_SOURCE="nowhere")["outcome"] == "loaded"


# A month of the lake's as it is read


def test_the_lakes_parquet_is_read_in_batches(folder: Path) -> None:
    """Small batches of the declared columns, whatever its row groups; what is no Parquet is said to be damaged."""
    upload(folder)
    path = folder / "data" / "lake" / "trips" / "green" / f"{STEM}.parquet"
    table = pq.read_table(path)
    big = folder / "big.parquet"
    pq.write_table(table.take([0] * 200_000), big, row_group_size=ROW_GROUP_ROWS)
    lineage = read_lineage({k.decode().removeprefix("nyctaxi."): v.decode() for k, v in table.schema.metadata.items()})
    assert lineage is not None
    staged = StagedFile(JANUARY, lineage, big)
    assert staged.schema.names == [column.name for column in DATASETS[Color.GREEN].columns]
    sizes = [batch.num_rows for batch in staged.batches()]
    assert sum(sizes) == 200_000
    assert max(sizes) <= 65_536
    big.write_bytes(b"PAR1")
    with pytest.raises(CorruptFile, match="not a whole Parquet file"):
        _ = staged.schema


# Into other warehouses


@pytest.mark.parametrize("mode", ["etl", "elt"])
def test_into_postgres(mode: str, postgres: PostgresServer, folder: Path) -> None:
    """The same month from the same lake."""
    upload(folder, "--mode", mode)
    settings = {"PGPASSWORD": postgres.password, "NYCTAXI_MODE": mode}
    done = warehouse(folder, "--to", postgres.uri(), **settings)
    with psycopg.connect(postgres.dsn()) as connection:
        (rows,) = connection.execute("SELECT count(*) FROM green_taxi_data").fetchall()
    assert rows == (done["rows_loaded"],)
    assert warehouse(folder, "--to", postgres.uri(), **settings)["outcome"] == "unchanged"


# The whole way, on Google Cloud


@pytest.fixture(scope="module")
def expected() -> Mapping[str, Mapping[str, Any]]:
    """What the real files hold, counted by other means."""
    found: dict[str, dict[str, Any]] = json.loads(Path(REAL or "", "expected.json").read_text())
    return found


def kept(expected: Mapping[str, Mapping[str, Any]], *, also_zero: bool = False) -> list[tuple[str, str, int]]:
    """Return the rows that each month of the range has in the warehouse."""
    names = [(color, f"2019-0{number}") for color in ("yellow", "green") for number in (1, 2, 3)]
    files = {(color, month): expected[f"datatalks/{color}/{color}_tripdata_{month}.csv.gz"] for color, month in names}
    return [
        (color, month, file["rows"] - (0 if also_zero else file["zero_passengers"]))
        for (color, month), file in files.items()
    ]


def held(google: Cloud, ending: str = "taxi_data") -> list[tuple[str, str, int]]:
    """Return the rows that BigQuery has of each month."""
    return [
        (color, str(day)[:7], rows)
        for color in ("yellow", "green")
        for day, rows in google.query(
            f"SELECT file_month, COUNT(*) FROM {color}_{ending} GROUP BY file_month ORDER BY file_month"
        )
    ]


@pytest.mark.skipif(not REAL, reason="NYCTAXI_REAL_DATA is not set")
@pytest.mark.parametrize("mode", ["etl", "elt"])
def test_web_to_lake_to_bigquery(
    mode: str, google: Cloud, expected: Mapping[str, Mapping[str, Any]], tmp_path: Path
) -> None:
    """Two colours and three months of real files: the counts are those of the files, less those of no passengers."""
    settings = google.settings() | {"NYCTAXI_MODE": mode}
    source = ("--source", str(Path(REAL or "", "datatalks")))
    commands: Sequence[tuple[str, ...]] = (("upload", *RANGE, *source), ("warehouse", *RANGE, "--to", "bigquery"))
    for command in commands:
        # The emulator counts a month short now and then while another is committed: one at a time.
        done = nyctaxi(*command, "--jobs", "1", folder=tmp_path, settings=settings)
        assert done.code == 0, done.err
        assert done.json["totals"]["outcomes"] == {"loaded": 6}
        if command[0] == "warehouse" or mode == "etl":
            rows = [(one["color"], one["month"], one["rows_loaded"]) for one in done.json["results"]]
            assert rows == kept(expected)
        again = nyctaxi(*command, folder=tmp_path, settings=settings)
        assert again.json["totals"]["outcomes"] == {"unchanged": 6}, again.err
    assert held(google) == kept(expected)
    if mode == "elt":
        assert held(google, "taxi_data_raw") == kept(expected, also_zero=True)
    layer = "trips" if mode == "etl" else "conformed"
    assert {key for key in google.objects() if key.startswith(layer)} == {
        f"{layer}/{color}/{color}_tripdata_{month}.parquet" for color, month, _ in kept(expected)
    }
    assert not list((tmp_path / "data").rglob("*.parquet"))


@pytest.mark.skipif(not REAL, reason="NYCTAXI_REAL_DATA is not set")
def test_from_a_bucket_into_duckdb(google: Cloud, expected: Mapping[str, Mapping[str, Any]], tmp_path: Path) -> None:
    """The same lake feeds the embedded warehouse: months are downloaded, loaded, and gone from here."""
    settings = google.settings()
    source = ("--source", str(Path(REAL or "", "datatalks")))
    for command in (("upload", *RANGE, *source), ("warehouse", *RANGE)):
        done = nyctaxi(*command, folder=tmp_path, settings=settings)
        assert done.code == 0, done.err
    sql = "SELECT count(*) FROM {}_taxi_data"
    for color in ("yellow", "green"):
        wanted = sum(rows for one, _, rows in kept(expected) if one == color)
        assert query(tmp_path, sql.format(color)) == [(wanted,)]
    assert list((tmp_path / "data" / "staging").iterdir()) == []
    shutil.rmtree(tmp_path / "data" / "staging")
    assert not list((tmp_path / "data").rglob("*.parquet"))


def test_a_bucket_far_from_the_dataset(google: Cloud, tmp_path: Path) -> None:
    """Where the bucket is said to be is compared with where the dataset is, before anything moves."""
    far = google.fresh("europe-west1").settings()
    settings = far | {"NYCTAXI_SAMPLE_ROWS": "100", "NYCTAXI_GCS_LOCATION": "US-CENTRAL1"}
    assert nyctaxi("upload", *MONTH, "--direct", "--source", "sample", folder=tmp_path, settings=settings).code == 0
    done = nyctaxi("warehouse", *MONTH, "--direct", "--to", "bigquery", folder=tmp_path, settings=settings)
    assert done.code == 2
    assert "europe-west1" in done.error
    assert "US-CENTRAL1" in done.error
