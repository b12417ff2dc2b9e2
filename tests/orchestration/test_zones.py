"""The zone lookup: every source's, whole or not at all, the same rows in the lake and in each warehouse."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow.parquet as pq
import pytest

from nyctaxi_etl.core.errors import Blocked, CorruptFile, NotPublished, NycTaxiError, SchemaDrift, WarehouseError
from nyctaxi_etl.orchestration import zones
from nyctaxi_etl.pipelines.ingest import Google, Job
from nyctaxi_etl.schema.datasets import ZONES, ZONES_TABLE
from nyctaxi_etl.sources.registry import resolve
from nyctaxi_etl.warehouses.bigquery.warehouse import BigQuery, bigquery_client
from nyctaxi_etl.warehouses.lookup import replace_lookup
from support.bigquery_proxy import PROJECT
from support.command import nyctaxi
from support.places import PLACES
from support.web import serving

if TYPE_CHECKING:
    from support.google import Cloud
    from support.places import Place

OFFICIAL = Path(str(resources.files("nyctaxi_etl").joinpath("taxi_zone_lookup.csv")))
HEADER = "LocationID,Borough,Zone,service_zone\n"
JFK = (132, "Queens", "JFK Airport", "Airports")
OUTSIDE = (265, "N/A", "Outside of NYC", "N/A")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A source's folder with the official lookup where the TLC has it."""
    (tmp_path / "source" / "misc").mkdir(parents=True)
    shutil.copy(OFFICIAL, tmp_path / "source" / "misc")
    return tmp_path / "source"


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Place:
    """An empty warehouse of each kind."""
    found: Place = PLACES[request.param](request)
    return found


def job(tmp_path: Path, source: str, to: str = "duckdb", lake: str = "", google: Google | None = None) -> Job:
    """Return the job of bringing the lookup from there to there."""
    return Job(resolve(source), to, tmp_path / "data", "run", lake=lake, google=google or Google())


def written(tmp_path: Path, text: str) -> Path:
    """Return a folder with this as its lookup."""
    made = tmp_path / "written"
    made.mkdir(exist_ok=True)
    (made / "taxi_zone_lookup.csv").write_text(text)
    return made


# -- reading


@pytest.mark.parametrize("source", ["sample", "folder"])
def test_the_official_zones(source: str, folder: Path, tmp_path: Path) -> None:
    """All 265 are there, typed as declared, and N/A is a text."""
    rows = zones.read(resolve(str(folder) if source == "folder" else source), tmp_path).rows
    assert rows.num_rows == 265
    assert rows.schema.names == [column.name for column in ZONES]
    assert rows.schema.types == ["int16", "string", "string", "string"]
    found = {row["location_id"]: tuple(row.values()) for row in rows.to_pylist()}
    assert (found[132], found[265], found[264][1]) == (JFK, OUTSIDE, "Unknown")
    assert set(found) == set(range(1, 266))
    assert sum(column.null_count for column in rows.columns) == 0


def test_a_folder_may_hold_it_itself(tmp_path: Path) -> None:
    """Without ``misc`` the folder itself is looked in; names are matched as those of trips are."""
    made = written(tmp_path, "\ufeffservice_zone,ZONE,borough,Location ID\nBoro Zone,Here,Queens,7\n")
    lookup = zones.read(resolve(str(made)), tmp_path)
    assert lookup.rows.to_pylist() == [
        {"location_id": 7, "borough": "Queens", "zone": "Here", "service_zone": "Boro Zone"}
    ]
    assert lookup.url == (made / "taxi_zone_lookup.csv").as_posix()


def test_a_site_has_it(folder: Path, tmp_path: Path) -> None:
    """It is fetched from ``misc`` of any base URL."""
    with serving(folder) as site:
        lookup = zones.read(resolve("tlc", {"tlc": site.url}), tmp_path)
        assert (lookup.rows.num_rows, lookup.url) == (265, f"{site.url}/misc/taxi_zone_lookup.csv")
        assert zones.read(resolve("datatalks", {"datatalks": site.url}), tmp_path).sha256 == lookup.sha256


def test_a_web_page_is_no_lookup(folder: Path, tmp_path: Path) -> None:
    """A page that comes instead of the file is called one, whatever it says that it is."""
    (folder / "misc" / "taxi_zone_lookup.csv").write_text("<!DOCTYPE html><html>Log in</html>")
    with serving(folder) as site, pytest.raises(Blocked, match="with a web page"):
        zones.read(resolve(site.url), tmp_path)


def test_what_is_not_there(tmp_path: Path) -> None:
    """A source without the file is said to have none."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotPublished, match="not in the folder"):
        zones.read(resolve(str(tmp_path / "empty")), tmp_path)
    with serving(tmp_path / "empty") as site, pytest.raises(NotPublished, match="not published at"):
        zones.read(resolve(site.url), tmp_path)


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("", CorruptFile, "can't be read"),
        (HEADER, CorruptFile, "not one for each row"),
        (f"{HEADER}1,a,b,c\n1,a,b,c\n", CorruptFile, "not one for each row"),
        (f"{HEADER}x,a,b,c\n", CorruptFile, "can't be read"),
        (f"{HEADER}70000,a,b,c\n", CorruptFile, "can't be read"),
        (f"{HEADER}1,a,b\n", CorruptFile, "can't be read"),
        ("id,Borough,Zone\n1,a,b\n", SchemaDrift, "no column for location_id, service_zone"),
    ],
)
def test_what_is_no_lookup(text: str, kind: type[NycTaxiError], says: str, tmp_path: Path) -> None:
    """Another file is refused, with what is wrong with it."""
    with pytest.raises(kind, match=says):
        zones.read(resolve(str(written(tmp_path, text))), tmp_path)


# -- loading


def test_twice_is_once(place: Place, folder: Path, tmp_path: Path) -> None:
    """In each warehouse and in the lake are the 265 rows, however often they were brought."""
    asked = job(tmp_path, str(folder), place.address)
    for _ in range(2):
        assert zones.load(asked).rows.num_rows == 265
    names = ", ".join(column.name for column in ZONES)
    rows = place.query(f"SELECT {names} FROM {ZONES_TABLE} ORDER BY location_id")
    assert (len(rows), tuple(rows[131]), tuple(rows[264])) == (265, JFK, OUTSIDE)
    in_lake = pq.read_table(tmp_path / "data" / "lake" / zones.KEY)
    assert [tuple(row.values()) for row in in_lake.to_pylist()] == [tuple(row) for row in rows]


def test_the_new_replaces_the_old(place: Place, folder: Path, tmp_path: Path) -> None:
    """What a later file no longer has is gone; views of the table stay."""
    zones.load(job(tmp_path, str(folder), place.address))
    place.by_hand(f"CREATE VIEW mine AS SELECT zone FROM {ZONES_TABLE}")
    zones.load(job(tmp_path, str(written(tmp_path, f'{HEADER}1,N/A,It\'s "new",c\n')), place.address))
    assert [tuple(row) for row in place.query("SELECT zone FROM mine")] == [('It\'s "new"',)]


@pytest.mark.parametrize("made", ["TABLE taxi_zone_lookup (x INTEGER)", "VIEW taxi_zone_lookup AS SELECT 1 AS x"])
def test_a_foreign_table_is_left_as_it_is(made: str, place: Place, folder: Path, tmp_path: Path) -> None:
    """A table or view of that name that isn't ours is refused, and nothing goes into the lake."""
    place.by_hand(f"CREATE {made}")
    before = [tuple(row) for row in place.query(f"SELECT * FROM {ZONES_TABLE}")]
    with pytest.raises(WarehouseError, match="taxi_zone_lookup that is not nyctaxi's"):
        zones.load(job(tmp_path, str(folder), place.address))
    assert [tuple(row) for row in place.query(f"SELECT * FROM {ZONES_TABLE}")] == before
    assert not (tmp_path / "data" / "lake").exists()


def test_google(google: Cloud, folder: Path, tmp_path: Path) -> None:
    """The bucket has the file and BigQuery the table, with texts of any kind; a foreign table is refused."""
    asked = Google(PROJECT, google.dataset, storage_emulator=google.storage, bigquery_emulator=google.bigquery)
    lake = f"gs://{google.bucket}/nyc"
    zones.load(job(tmp_path, str(folder), "bigquery", lake, asked))
    rows = pq.read_table(google.root / google.bucket / "nyc" / zones.KEY)
    assert rows.num_rows == 265
    odd = written(tmp_path, f'{HEADER}1,N/A,It\'s a \\ ""new"" Zoné,c\n')
    zones.load(job(tmp_path, str(odd), "bigquery", lake, asked))
    assert google.query(f"SELECT * FROM {ZONES_TABLE}") == [(1, "N/A", 'It\'s a \\ ""new"" Zoné', "c")]
    with BigQuery(bigquery_client(PROJECT, google.bigquery), google.dataset) as warehouse:
        warehouse.query("CREATE TABLE other (x INT64)")
        with pytest.raises(WarehouseError, match="other that is not nyctaxi's"):
            replace_lookup(warehouse, "other", ZONES, rows)


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
