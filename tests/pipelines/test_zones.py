"""The zone lookup is brought: the same rows in the lake and in each warehouse, however often."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow.parquet as pq
import pytest

from nyctaxi_etl.core.errors import WarehouseError
from nyctaxi_etl.orchestration.connections import lake_of, warehouse_of
from nyctaxi_etl.pipelines import zones
from nyctaxi_etl.pipelines.job import Google, Job
from nyctaxi_etl.schema.datasets import ZONES, ZONES_TABLE
from nyctaxi_etl.sources.registry import resolve
from nyctaxi_etl.warehouses.bigquery.client import bigquery_client
from nyctaxi_etl.warehouses.bigquery.warehouse import BigQuery
from support.bigquery_proxy import PROJECT
from support.command import nyctaxi
from support.places import PLACES
from support.zones import HEADER, JFK, OUTSIDE, official_lookup, written_lookup

if TYPE_CHECKING:
    from pathlib import Path

    from nyctaxi_etl.sources.zones import ZoneLookup
    from support.google import Cloud
    from support.places import Place


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A source's folder with the official lookup where the TLC has it."""
    return official_lookup(tmp_path)


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Place:
    """An empty warehouse of each kind."""
    found: Place = PLACES[request.param](request)
    return found


def job(tmp_path: Path, source: str, to: str = "duckdb", lake: str = "", google: Google | None = None) -> Job:
    """Return the job of bringing the lookup from there to there."""
    return Job(resolve(source), to, tmp_path / "data", "run", lake=lake, google=google or Google())


def load(asked: Job) -> ZoneLookup:
    """Bring the lookup to where the job says."""
    return zones.load_zones(asked, lake_of, warehouse_of)


# -- loading


def test_twice_is_once(place: Place, folder: Path, tmp_path: Path) -> None:
    """In each warehouse and in the lake are the 265 rows, however often they were brought."""
    asked = job(tmp_path, str(folder), place.address)
    for _ in range(2):
        assert load(asked).rows.num_rows == 265
    names = ", ".join(column.name for column in ZONES)
    rows = place.query(f"SELECT {names} FROM {ZONES_TABLE} ORDER BY location_id")
    assert (len(rows), tuple(rows[131]), tuple(rows[264])) == (265, JFK, OUTSIDE)
    in_lake = pq.read_table(tmp_path / "data" / "lake" / zones.KEY)
    assert [tuple(row.values()) for row in in_lake.to_pylist()] == [tuple(row) for row in rows]


def test_the_new_replaces_the_old(place: Place, folder: Path, tmp_path: Path) -> None:
    """What a later file no longer has is gone; views of the table stay."""
    load(job(tmp_path, str(folder), place.address))
    place.by_hand(f"CREATE VIEW mine AS SELECT zone FROM {ZONES_TABLE}")
    load(job(tmp_path, str(written_lookup(tmp_path, f'{HEADER}1,N/A,It\'s "new",c\n')), place.address))
    assert [tuple(row) for row in place.query("SELECT zone FROM mine")] == [('It\'s "new"',)]


@pytest.mark.parametrize("made", ["TABLE taxi_zone_lookup (x INTEGER)", "VIEW taxi_zone_lookup AS SELECT 1 AS x"])
def test_a_foreign_table_is_left_as_it_is(made: str, place: Place, folder: Path, tmp_path: Path) -> None:
    """A table or view of that name that isn't ours is refused, and nothing goes into the lake."""
    place.by_hand(f"CREATE {made}")
    before = [tuple(row) for row in place.query(f"SELECT * FROM {ZONES_TABLE}")]
    with pytest.raises(WarehouseError, match="taxi_zone_lookup that is not nyctaxi's"):
        load(job(tmp_path, str(folder), place.address))
    assert [tuple(row) for row in place.query(f"SELECT * FROM {ZONES_TABLE}")] == before
    assert not (tmp_path / "data" / "lake").exists()


def test_google(google: Cloud, folder: Path, tmp_path: Path) -> None:
    """The bucket has the file and BigQuery the table, with texts of any kind; a foreign table is refused."""
    asked = Google(PROJECT, google.dataset, storage_emulator=google.storage, bigquery_emulator=google.bigquery)
    lake = f"gs://{google.bucket}/nyc"
    load(job(tmp_path, str(folder), "bigquery", lake, asked))
    rows = pq.read_table(google.root / google.bucket / "nyc" / zones.KEY)
    assert rows.num_rows == 265
    odd = written_lookup(tmp_path, f'{HEADER}1,N/A,It\'s a \\ ""new"" Zoné,c\n')
    load(job(tmp_path, str(odd), "bigquery", lake, asked))
    assert google.query(f"SELECT * FROM {ZONES_TABLE}") == [(1, "N/A", 'It\'s a \\ ""new"" Zoné', "c")]
    google.query("CREATE TABLE other (x INT64)")
    with (
        BigQuery(bigquery_client(PROJECT, google.bigquery), google.dataset) as warehouse,
        pytest.raises(WarehouseError, match="other that is not nyctaxi's"),
    ):
        warehouse.replace_table("other", ZONES, rows)


# -- the command


def test_the_command(folder: Path, tmp_path: Path) -> None:
    """It says what it did in a line, or as JSON; a dry run does nothing."""
    options = ("--source", str(folder), "--data-dir", "d", "--to", "duckdb:///z.duckdb", "--lake", "l")
    planned = nyctaxi("zones", *options, "--dry-run", folder=tmp_path)
    assert (planned.code, planned.out.split(":")[0]) == (0, "planned")
    assert not (tmp_path / "z.duckdb").exists()
    done = nyctaxi("zones", *options, "--json", folder=tmp_path)
    (result,) = done.json["results"]
    assert (done.code, result["outcome"], result["rows_loaded"]) == (0, "loaded", 265)
    assert done.json["lake"] == "l"
    with duckdb.connect(str(tmp_path / "z.duckdb"), read_only=True) as connection:
        found: Any = connection.execute(f"SELECT count(*) FROM {ZONES_TABLE}").fetchone()
    assert found == (265,)
    assert (tmp_path / "l" / zones.KEY).is_file()
    said = nyctaxi("zones", "--source", "sample", folder=tmp_path)
    assert said.out.startswith("loaded: 265 zones of sample, ")


def test_the_command_fails(tmp_path: Path) -> None:
    """Without a lookup the error is said, exit code 1."""
    (tmp_path / "empty").mkdir()
    done = nyctaxi("zones", "--source", "empty", "--json", folder=tmp_path)
    assert (done.code, done.json["error"]["type"]) == (1, "NotPublished")
