"""Databases and a lake that an older version made: read, found unchanged, and brought up to date by this one.

``fixtures/made_by_0.1.tar.xz`` was made by the commit ``fdeb361``, before ledgers and metadata were made of lineages:
four small months, published as a folder; that folder's lake with both modes; DuckDB with ETL and with ELT, SQLite, and
Postgres as ``pg_dump --inserts`` writes it.
"""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from nyctaxi_etl import read_trips
from support.command import nyctaxi

if TYPE_CHECKING:
    from support.postgres import PostgresServer

FIXTURE = Path(__file__).parents[1] / "fixtures" / "made_by_0.1.tar.xz"
MONTHS = (
    ("--color", "yellow", "--year", "2021", "--months", "1-2"),
    ("--color", "green", "--year", "2021", "--months", "1"),
    ("--color", "fhv", "--year", "2019", "--months", "3"),
)
ROWS, KEPT_IN_JANUARY = 60, 57


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The folder as the older version left it."""
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


@pytest.fixture(params=["duckdb:///nyctaxi.duckdb", "sqlite:///nyctaxi.sqlite", "postgres"])
def address(old: Path, request: pytest.FixtureRequest) -> str:
    """The address of a database that the older version loaded these months into."""
    if request.param != "postgres":
        return str(request.param)
    server: PostgresServer = request.getfixturevalue("postgres")
    with psycopg.connect(server.dsn()) as connection:
        connection.execute((old / "nyctaxi.sql").read_bytes())
    return server.uri()


def run(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """Run a command on all months and return their results."""
    results: list[dict[str, Any]] = []
    for months in MONTHS:
        done = nyctaxi(*arguments, *months, "--direct", "--json", folder=folder)
        assert done.code == 0, done.err
        results += done.json["results"]
    return results


def outcomes(results: list[dict[str, Any]]) -> list[str]:
    """Return what became of each month, in order."""
    return [result["outcome"] for result in results]


def change_january(folder: Path) -> None:
    """Publish January 2021 of yellow anew, with one row less: its last, which no rule drops."""
    path = folder / "published" / "yellow_tripdata_2021-01.csv.gz"
    *lines, _last = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    path.write_bytes(gzip.compress(b"".join(lines)))


def test_an_old_warehouse(old: Path, address: str) -> None:
    """Every month is found unchanged, with the counts of then; a changed file replaces its month, and no other."""
    ingest = ("ingest", "--source", "published", "--to", address)
    results = run(old, *ingest)
    assert outcomes(results) == ["unchanged"] * 4
    assert (results[0]["rows_read"], results[0]["rows_loaded"]) == (ROWS, KEPT_IN_JANUARY)
    assert results[0]["flags"] == {"negative_fare": 1, "zero_distance": 1}
    change_january(old)
    results = run(old, *ingest)
    assert outcomes(results) == ["loaded", "unchanged", "unchanged", "unchanged"]
    was = {"source": "folder", "rows_read": ROWS, "rows_rejected": 3, "rows_loaded": KEPT_IN_JANUARY}
    assert (results[0]["replaced"], results[0]["rows_read"]) == (was, ROWS - 1)
    assert outcomes(run(old, *ingest)) == ["unchanged"] * 4


@pytest.mark.parametrize("mode", ["etl", "elt"])
def test_an_old_lake(old: Path, mode: str) -> None:
    """Every month is found unchanged; a changed file replaces its month; a warehouse takes them all."""
    upload = ("upload", "--source", "published", "--lake", "./lake", "--mode", mode)
    assert outcomes(run(old, *upload)) == ["unchanged"] * 4
    load = ("warehouse", "--lake", "./lake", "--mode", mode, "--to", "duckdb:///new.duckdb")
    results = run(old, *load)
    assert (outcomes(results), results[0]["rows_loaded"]) == (["loaded"] * 4, KEPT_IN_JANUARY)
    change_january(old)
    assert outcomes(run(old, *upload)) == ["loaded", "unchanged", "unchanged", "unchanged"]
    assert outcomes(run(old, *load)) == ["loaded", "unchanged", "unchanged", "unchanged"]


def test_an_old_lake_in_an_old_warehouse(old: Path) -> None:
    """What was loaded with ELT from the old lake is found unchanged in both tables, and so are the frames of both."""
    load = ("warehouse", "--lake", "./lake", "--mode", "elt", "--to", "duckdb:///elt.duckdb")
    assert outcomes(run(old, *load)) == ["unchanged"] * 4
    places = (f"duckdb:///{old / 'nyctaxi.duckdb'}", f"duckdb:///{old / 'elt.duckdb'}", str(old / "lake"))
    first, *others = (read_trips("yellow", 2021, "1-2", at=at) for at in places)
    order = ["pickup_datetime", "dropoff_datetime", "total_amount", "trip_distance"]
    whole = first.sort_values(order, ignore_index=True)
    assert len(first) > KEPT_IN_JANUARY
    assert all(other.sort_values(order, ignore_index=True).equals(whole) for other in others)
