"""BigQuery keeps the promise of every warehouse, and its own: one load job, one transaction, one month's bytes.

Run against bqemulator over HTTP (``support.bigquery``), through a proxy that mends what it lacks
(``support.bigquery_proxy``): that proves our calls and the data's way, and what the emulator shares with BigQuery. It
has no partitions, keeps no expiration, minds no column that must be filled, estimates no bytes, commits nothing side by
side, and rolls back from copies of its own; where a test leans on one of these, it looks at what was asked instead.
"""

from __future__ import annotations

import os
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from google.api_core import exceptions as google_errors
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from nyctaxi_etl.core.errors import (
    CorruptFile,
    NotPublished,
    NycTaxiError,
    QualityError,
    Transient,
    UsageError,
    WarehouseError,
)
from nyctaxi_etl.core.partition import Color, Month, Partition
from nyctaxi_etl.core.progress import Event, listening
from nyctaxi_etl.schema.columns import Column
from nyctaxi_etl.schema.datasets import DATASETS, FHV, GREEN, YELLOW
from nyctaxi_etl.sources.fetch import fetch
from nyctaxi_etl.sources.registry import resolve
from nyctaxi_etl.staging.files import arrow_schema
from nyctaxi_etl.transform.clean import matches
from nyctaxi_etl.transform.stream import stage
from nyctaxi_etl.warehouses.base import table_columns
from nyctaxi_etl.warehouses.bigquery.client import bigquery_client
from nyctaxi_etl.warehouses.bigquery.commit import PAUSES
from nyctaxi_etl.warehouses.bigquery.errors import error_of
from nyctaxi_etl.warehouses.bigquery.jobs import Jobs, fields
from nyctaxi_etl.warehouses.bigquery.locations import datasets_near, is_near
from nyctaxi_etl.warehouses.bigquery.sql import counted, literal
from nyctaxi_etl.warehouses.bigquery.warehouse import BigQuery
from nyctaxi_etl.warehouses.ledger import LEDGER, LEDGER_TABLE, LedgerRow
from support.bigquery import Bucket, emulator
from support.bigquery_proxy import HOST, PROJECT, Answer, Call, Fault, Proxy, failed, proxied, refusal, running
from support.months import TRIPS, stage_rows, trips
from support.rules import PLAIN, RULED, UNSURE, in_words, ruled_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from nyctaxi_etl.schema.columns import Dataset, Predicate
    from nyctaxi_etl.staging.files import StagedFile

REAL = os.environ.get("NYCTAXI_REAL_DATA")
JANUARY, FEBRUARY = date(2021, 1, 1), date(2021, 2, 1)
CONFLICT = (
    f"Query error: Transaction is aborted due to concurrent update against table {PROJECT}:d.trips. "
    "Transaction ID: 61e30eea-0000-2dab-8e60-94eb2c1b1a92 at [2:1]"
)


@dataclass(frozen=True)
class Place:
    """A dataset of a test's own in the emulator, seen through a proxy of a test's own."""

    url: str
    dataset: str
    proxy: Proxy
    bucket: Bucket

    def client(self) -> bigquery.Client:
        """Return a client of this BigQuery."""
        return bigquery_client(PROJECT, self.url)

    def open(self, **options: Any) -> BigQuery:
        """Return the warehouse."""
        return BigQuery(self.client(), self.dataset, retry_seconds=10, **options)

    def put(self, staged: StagedFile, dataset: Dataset = TRIPS, table: str = "trips", **options: Any) -> int:
        """Replace the staged month in ``table``."""
        named = {name: options.pop(name) for name in ("raw_table", "run_id") if name in options}
        with self.open(**options) as warehouse:
            stage = replace(staged, uri=self.bucket.put(staged))
            return warehouse.replace(table, dataset, stage, **{"run_id": "run"} | named)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Return a query's rows."""
        with self.open() as warehouse:
            return warehouse.query(sql)

    def by_hand(self, statement: str) -> None:
        """Run a statement as a user does."""
        config = bigquery.QueryJobConfig(default_dataset=f"{PROJECT}.{self.dataset}")
        self.client().query(statement, config).result()

    def ledger(self, table: str = "trips") -> tuple[LedgerRow, ...]:
        """Return what the ledger says of ``table``."""
        with self.open() as warehouse:
            return warehouse.loaded(table)

    def rows(self, table: str = "trips", dataset: Dataset = TRIPS) -> list[tuple[Any, ...]]:
        """Return the table's rows with ``file_month`` last, in the order of their first column."""
        found = self.query(f"SELECT {', '.join(c.name for c in table_columns(dataset))} FROM {table}")
        return sorted(found, key=lambda row: (row[0] is None, row[0]))

    def expire(self, name: str) -> None:
        """Have this table expire at the beginning of 2 January 2126; the emulator would forget it."""
        then = str(int(datetime(2126, 1, 2, tzinfo=UTC).timestamp()) * 1000)
        self.proxy.faults.append(
            Fault(
                lambda call: call.method == "GET" and call.path.partition("?")[0].endswith(f"/tables/{name}"),
                lambda _call, answer: Answer(answer.status, answer.body | {"expirationTime": then}),
                times=100,
                late=True,
            )
        )

    def names(self, table: str = "names") -> int:
        """Replace a lookup table."""
        columns = (Column("id", "id"), Column("name", "text"))
        rows = pa.table({"id": pa.array([1, 2], pa.int16()), "name": ["a", "b"]})
        with self.open() as warehouse:
            return warehouse.replace_table(table, columns, rows)

    def tables(self) -> set[str]:
        """Return the names of all tables there are."""
        return {table.table_id for table in self.client().list_tables(self.dataset)}

    def fail(self, job: str, answer: Callable[[Call, Answer], Answer], **options: Any) -> None:
        """Have the next jobs of this kind go wrong."""
        self.proxy.faults.append(Fault(lambda call: call.job == job, answer, **options))


LATER = ("replaced_source", "replaced_rows", "flags")


@pytest.fixture(scope="session")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Bucket:
    """The session's lake."""
    return Bucket(tmp_path_factory.mktemp("buckets"), "lake")


@pytest.fixture(scope="session")
def emulated(bucket: Bucket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The session's emulator; its log is in pytest's folder."""
    with emulator(bucket.root, tmp_path_factory.mktemp("bqemulator") / "log") as port:
        yield port


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    """Numbers for names that are used once."""
    return count(1)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that a commit would have waited, in pieces; nothing waits for them."""
    pieces: list[float] = []
    clock = SimpleNamespace(sleep=pieces.append)
    monkeypatch.setattr("nyctaxi_etl.warehouses.bigquery.commit.time", clock)
    return pieces


@pytest.fixture
def place(emulated: int, bucket: Bucket, numbers: Iterator[int]) -> Iterator[Place]:
    """An empty dataset in the US."""
    with proxied(emulated) as (proxy, url):
        found = Place(url, f"d{next(numbers)}", proxy, bucket)
        _make(found, "US")
        proxy.calls.clear()
        yield found


def _make(place: Place, location: str) -> None:
    dataset = bigquery.Dataset(f"{PROJECT}.{place.dataset}")
    dataset.location = location
    place.client().create_dataset(dataset)


@pytest.fixture
def old(place: Place, tmp_path: Path) -> list[tuple[Any, ...]]:
    """What ``trips`` holds once January's trips 1 to 3 and February's 4 and 5 are loaded."""
    place.put(stage_rows(tmp_path, "2021-01", trips([1, 2, 3])), run_id="old")
    place.put(stage_rows(tmp_path, "2021-02", trips([4, 5])), run_id="old")
    place.proxy.calls.clear()
    return monthly(JANUARY, [1, 2, 3]) + monthly(FEBRUARY, [4, 5])


def monthly(month: date, numbers: Sequence[int]) -> list[tuple[Any, ...]]:
    """Return the rows that a table holds of a month of these trips."""
    return [(*row, month) for row in trips(numbers)]


# -- one month --------------------------------------------------------------------------------------------------------


def test_a_first_load_makes_the_table(place: Place, tmp_path: Path) -> None:
    """Nothing but the dataset has to be there before; afterwards the table and the ledger are."""
    assert place.ledger() == ()
    assert place.put(stage_rows(tmp_path, "2021-01", trips([1, 2, 3]))) == 3
    assert place.rows() == monthly(JANUARY, [1, 2, 3])
    assert place.tables() == {"trips", LEDGER_TABLE}


def test_the_ledger_row_tells_all(place: Place, tmp_path: Path) -> None:
    """Every field is what was staged, and the time is now."""
    staged = stage_rows(tmp_path, "2021-01", trips([1, 2, 3]), rejected=2)
    place.put(staged, run_id="a \\ \"run\" of 'mine'")
    (row,) = place.ledger()
    passed = datetime.now(UTC).replace(tzinfo=None) - row.loaded_at
    assert timedelta(0) <= passed < timedelta(minutes=1)
    assert row == LedgerRow(
        table_name="trips",
        color="green",
        file_month=JANUARY,
        lineage=replace(
            staged.lineage,
            source="folder",
            source_etag='"an-etag"',
            source_last_modified="Sat, 01 May 2021 00:00:00 GMT",
            dataset_version=TRIPS.version,
            rules=TRIPS.rules_id,
            rows_read=5,
            rows_rejected=2,
            rows_loaded=3,
            unknown_columns=("left", "right"),
        ),
        loaded_at=row.loaded_at,
        run_id="a \\ \"run\" of 'mine'",
    )
    assert row.lineage.fingerprint == (staged.lineage.source_sha256, TRIPS.version, TRIPS.rules_id)


@pytest.mark.usefixtures("old")
def test_the_ledger_tells_what_a_month_replaced(place: Place, tmp_path: Path) -> None:
    """Its source and its rows, of each table."""
    staged = stage_rows(tmp_path, "2021-01", trips([8, 9]))
    place.put(replace(staged, lineage=replace(staged.lineage, source="tlc")), run_id="new")
    assert [(row.replaced_source, row.replaced_rows) for row in place.ledger()] == [("folder", 3), ("", 0)]
    place.put(staged, raw_table="trips_raw", run_id="newest")
    assert [(row.replaced_source, row.replaced_rows) for row in place.ledger()] == [("tlc", 2), ("", 0)]
    assert [(row.replaced_source, row.replaced_rows) for row in place.ledger("trips_raw")] == [("", 0)]


def test_the_ledger_tells_what_was_flagged(place: Place, tmp_path: Path) -> None:
    """Rows that a rule marks but keeps are told by rule, whatever the rule's name."""
    flags = {'it\'s \\ "odd"': 2, "zero_distance": 1}
    staged = stage_rows(tmp_path, "2021-01", trips([1, 2]))
    place.put(replace(staged, lineage=replace(staged.lineage, flags=flags)))
    assert [row.lineage.flags for row in place.ledger()] == [flags]


@pytest.mark.usefixtures("old")
def test_a_ledger_of_an_older_version(place: Place, tmp_path: Path) -> None:
    """It is read without the columns that came later, gets them with the next load, and keeps what it says."""
    before, columns = place.ledger(), [column for column in LEDGER if column.name not in LATER]
    names = ", ".join(column.name for column in columns)
    place.by_hand(f"CREATE TABLE kept AS SELECT {names} FROM {LEDGER_TABLE}")
    place.by_hand(f"DROP TABLE {LEDGER_TABLE}")
    older = bigquery.Table(f"{PROJECT}.{place.dataset}.{LEDGER_TABLE}", schema=fields(columns))
    older.description = "nyctaxi ledger: one row for every month that a table of this dataset holds"
    place.client().create_table(older)
    place.by_hand(f"INSERT INTO {LEDGER_TABLE} ({names}) SELECT {names} FROM kept")
    assert place.ledger() == before
    place.put(stage_rows(tmp_path, "2021-01", trips([9])))
    # The emulator goes on describing a table as it was made, so its rows are asked for by a query.
    told = place.query(f"SELECT replaced_source, replaced_rows FROM {LEDGER_TABLE} ORDER BY file_month")
    assert told == [("folder", 3), (None, None)]
    assert place.ledger()[1] == before[1]


@pytest.mark.usefixtures("old")
def test_twice_is_once(place: Place, tmp_path: Path) -> None:
    """A month replaced again is the new one alone, in the table and in the ledger; the other month stays."""
    for _ in range(2):
        assert place.put(stage_rows(tmp_path, "2021-01", trips([7, 8]))) == 2
    assert place.rows() == monthly(FEBRUARY, [4, 5]) + monthly(JANUARY, [7, 8])
    kept = [(row.file_month, row.lineage.rows_loaded, row.run_id) for row in place.ledger()]
    assert kept == [(JANUARY, 2, "run"), (FEBRUARY, 2, "old")]


@pytest.mark.usefixtures("old")
def test_a_month_may_have_no_rows_left(place: Place, tmp_path: Path) -> None:
    """A month of which every row was rejected is loaded: empty."""
    assert place.put(stage_rows(tmp_path, "2021-01", [], rejected=4)) == 0
    assert place.rows() == monthly(FEBRUARY, [4, 5])
    assert [(row.lineage.rows_read, row.lineage.rows_loaded) for row in place.ledger()] == [(4, 0), (2, 2)]
    assert place.proxy.started("load") == []


@pytest.mark.parametrize("color", Color)
def test_values_come_back_exactly(place: Place, color: Color, tmp_path: Path) -> None:
    """Every declared column keeps its extremes, its nulls and any text."""
    dataset = DATASETS[color]
    extremes = [EXTREMES[column.types.arrow] for column in dataset.columns]
    rows = list(zip(*([*values, None] for values in extremes), strict=True))
    place.put(stage_rows(tmp_path, "2021-01", rows, dataset), dataset)
    found = place.rows(dataset=dataset)
    assert sorted(found, key=repr) == sorted(((*row, JANUARY) for row in rows), key=repr)


EXTREMES: Mapping[str, list[Any]] = {
    "int16": [-32768, 0, 1, 32767],
    "int32": [-(2**31), 0, 1, 2**31 - 1],
    "double": [-0.01, 0.1 + 0.2, 1e308, float("inf")],
    "string": ["", 'Señor O\'Brien "🚕" 東京', "a\tb\\N\r\n:x %s {}; --", "NULL"],
    "timestamp[us]": [
        datetime(1900, 1, 1),  # noqa: DTZ001 - published without a zone, as those below
        datetime(2009, 1, 1, 0, 0, 0, 1),  # noqa: DTZ001
        datetime(2021, 3, 14, 2, 30),  # noqa: DTZ001 - does not exist in New York
        datetime(3019, 12, 31, 23, 59, 59, 999999),  # noqa: DTZ001
    ],
}


def test_the_table_is_declared(place: Place, tmp_path: Path) -> None:
    """Partitioned by month, clustered by pickup zone, every column typed and described, before a row is in it.

    The emulator keeps the declaration without acting on it: asked is what counts.
    """
    rows = [(None,) * len(YELLOW.columns)]
    place.put(stage_rows(tmp_path, "2021-01", rows, YELLOW), YELLOW)
    (made,) = (c.body for c in place.proxy.calls if c.body.get("tableReference", {}).get("tableId") == "trips")
    assert made["timePartitioning"] == {"type": "MONTH", "field": "file_month"}
    assert made["clustering"] == {"fields": ["pickup_location_id"]}
    assert made["description"] == "nyctaxi yellow trips, one partition a month"
    declared = {one["name"]: (one["type"], one["mode"], one["description"]) for one in made["schema"]["fields"]}
    assert list(declared) == [column.name for column in table_columns(YELLOW)]
    assert declared["pickup_datetime"] == ("DATETIME", "NULLABLE", YELLOW.column("pickup_datetime").about)
    assert declared["fare_amount"] == ("FLOAT64", "NULLABLE", YELLOW.column("fare_amount").about)
    assert declared["file_month"][:2] == ("DATE", "REQUIRED")
    (load,) = place.proxy.started("load")
    assert {one["mode"] for one in load.body["configuration"]["load"]["schema"]["fields"]} == {"NULLABLE"}


def test_a_month_is_one_load_job_and_one_transaction(place: Place, tmp_path: Path) -> None:
    """The load job has an explicit schema and a table of its own that expires; the script touches one month only."""
    staged = stage_rows(tmp_path, "2021-01", trips([1, 2, 3]))
    place.put(staged)
    (load,), (script,) = place.proxy.started("load"), place.proxy.started("script")
    asked = load.body["configuration"]["load"]
    staging = asked["destinationTable"]["tableId"]
    assert staging.startswith("trips_2021_01_staging_")
    assert (asked["sourceFormat"], asked["writeDisposition"]) == ("PARQUET", "WRITE_TRUNCATE")
    assert asked["sourceUris"] == [place.bucket.put(staged)]
    assert [one["type"] for one in asked["schema"]["fields"]] == ["INT64", "DATETIME", "FLOAT64", "STRING"]
    assert not asked.get("autodetect")
    (made,) = (c.body for c in place.proxy.calls if c.body.get("tableReference", {}).get("tableId") == staging)
    left = datetime.fromtimestamp(int(made["expirationTime"]) / 1000, UTC) - datetime.now(UTC)
    assert timedelta(hours=23) < left <= timedelta(days=1)
    statements = script.sql.split(";\n")
    assert (statements[0], statements[-1]) == ("BEGIN TRANSACTION", "COMMIT TRANSACTION;")
    trips_statements = [one for one in statements if f".`{place.dataset}`.`trips`" in one]
    assert len(trips_statements) == 3
    assert all("DATE '2021-01-01'" in one for one in trips_statements)
    assert f'"{staged.lineage.source_sha256}"' in script.sql


def test_every_job_runs_where_the_dataset_is(place: Place, numbers: Iterator[int], tmp_path: Path) -> None:
    """A job without a location would be looked for in the US."""
    far = replace(place, dataset=f"d{next(numbers)}")
    _make(far, "europe-west1")
    far.put(stage_rows(tmp_path, "2021-01", trips([1])), max_bytes=10**9)
    jobs = [call for call in far.proxy.calls if call.job]
    assert {call.body["jobReference"]["location"] for call in jobs} == {"europe-west1"}
    assert {call.job for call in jobs} == {"load", "script", "estimate"}


def test_a_query_needs_no_dataset_before_a_name(place: Place, tmp_path: Path) -> None:
    """And colons and percent signs in it are the user's own."""
    place.put(stage_rows(tmp_path, "2021-01", trips([1])))
    assert place.query("SELECT ' :x %s % @', trip FROM trips") == [(" :x %s % @", 1)]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM trips WHERE TRUE",
        "UPDATE trips SET trip = 9 WHERE TRUE",
        "INSERT INTO trips (trip, file_month) VALUES (9, DATE '2021-01-01')",
        "CREATE TABLE other AS SELECT 1 AS trip",
        "CREATE VIEW other AS SELECT 1 AS trip",
        "ALTER TABLE trips ADD COLUMN other INT64",
        "TRUNCATE TABLE trips",
        "DROP TABLE trips",
        "SELECT 1; DELETE FROM trips WHERE TRUE",
        "BEGIN TRANSACTION; DELETE FROM trips WHERE TRUE; COMMIT TRANSACTION",
    ],
)
def test_a_query_that_writes_is_refused(place: Place, old: list[tuple[Any, ...]], statement: str) -> None:
    """BigQuery is asked what it would be, and isn't asked to run what is no SELECT."""
    with pytest.raises(UsageError, match="A query only reads: BigQuery calls this statement"):
        place.query(statement)
    assert len(place.proxy.started("estimate")) == 1
    assert not place.proxy.started("statement")
    assert not place.proxy.started("script")
    assert place.rows() == old
    assert place.tables() == {"trips", LEDGER_TABLE}


def test_a_query_that_bigquery_can_not_read_is_told(place: Place) -> None:
    """In its own words, before anything is run."""
    with pytest.raises(WarehouseError):
        place.query("SELEC 1")
    assert not place.proxy.started("statement")


def test_progress_is_told(place: Place, tmp_path: Path) -> None:
    """While the job runs, and when the rows are in."""
    place.fail("load", running, late=True)
    place.proxy.faults.append(
        Fault(
            lambda call: call.method == "GET" and "/jobs/nyctaxi_" in call.path,
            lambda _call, answer: Answer(200, answer.body | {"status": {"state": "RUNNING"}}),
            times=2,
            late=True,
        )
    )
    events: list[Event] = []
    with listening(events.append):
        place.put(stage_rows(tmp_path, "2021-01", trips([1, 2])))
    assert {(event.step, event.total) for event in events} == {("load", 2)}
    assert [event.done for event in events] == [0, 0, 0, 0, 2]  # three looks at the load job, one at the transaction


# -- what was there before --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("old")
def test_a_dropped_table_is_not_loaded(place: Place, tmp_path: Path) -> None:
    """What the ledger says of a table that a user dropped doesn't count, and goes when a month is in the new one."""
    place.by_hand("DROP TABLE trips")
    assert place.ledger() == ()
    place.put(stage_rows(tmp_path, "2021-03", trips([9])))
    assert [row.file_month for row in place.ledger()] == [date(2021, 3, 1)]
    assert place.query(f"SELECT run_id FROM {LEDGER_TABLE}") == [("run",)]


@pytest.mark.usefixtures("old")
def test_a_foreign_table_in_the_place_of_ours_is_not_loaded(place: Place) -> None:
    """The ledger remembers ours, which was there before."""
    place.by_hand("DROP TABLE trips")
    place.by_hand("CREATE TABLE trips AS SELECT 5 AS trip")
    assert place.ledger() == ()


@pytest.mark.usefixtures("old")
def test_a_dropped_ledger_is_made_anew(place: Place, tmp_path: Path) -> None:
    """Without the ledger nothing counts as loaded; the table is ours still."""
    place.by_hand(f"DROP TABLE {LEDGER_TABLE}")
    assert place.ledger() == ()
    place.put(stage_rows(tmp_path, "2021-01", trips([9])))
    assert place.rows() == monthly(FEBRUARY, [4, 5]) + monthly(JANUARY, [9])


def test_a_gained_column_is_added(place: Place, old: list[tuple[Any, ...]], tmp_path: Path) -> None:
    """Columns that the dataset gains are null in the months loaded before, and come with their description."""
    about = 'Tip, USD; "cash"\nor card.'
    wider = replace(TRIPS, columns=(Column("tip", "money", about=about), *TRIPS.columns, Column("flag", "text")))
    row = (0.5, *trips([6])[0], "Y")
    place.put(stage_rows(tmp_path, "2021-03", [row], wider), wider)
    assert place.rows() == [*old, (*trips([6])[0], date(2021, 3, 1))]
    assert place.query("SELECT tip, flag FROM trips WHERE trip = 6") == [(0.5, "Y")]
    assert set(place.query("SELECT tip, flag FROM trips WHERE trip < 6")) == {(None, None)}
    (asked,) = (call.sql for call in place.proxy.started("statement") if call.sql.startswith("ALTER"))
    assert r'`tip` FLOAT64 OPTIONS(description="Tip, USD; \"cash\"\nor card.")' in asked


def test_a_lost_column_stays(place: Place, old: list[tuple[Any, ...]], tmp_path: Path) -> None:
    """A column that the dataset loses stays in the table, null from then on."""
    narrower = replace(TRIPS, columns=TRIPS.columns[:-1])
    place.put(stage_rows(tmp_path, "2021-03", [row[:-1] for row in trips([6])], narrower), narrower)
    assert place.rows() == [*old, (*trips([6])[0][:-1], None, date(2021, 3, 1))]


def test_a_column_of_another_type_is_refused(place: Place, old: list[tuple[Any, ...]], tmp_path: Path) -> None:
    """The error names the column, and nothing is touched."""
    other = replace(TRIPS, columns=(*TRIPS.columns[:-1], Column("zone", "seconds")))
    with pytest.raises(WarehouseError, match="zone"):
        place.put(stage_rows(tmp_path, "2021-01", [(1, None, None, 5)], other), other)
    assert place.rows() == old


@pytest.mark.parametrize("kind", ["TABLE", "VIEW"])
def test_a_foreign_table_is_refused(place: Place, kind: str, tmp_path: Path) -> None:
    """A table or view of that name that nyctaxi did not make stays as it is, and the hint says what to do."""
    place.by_hand(f"CREATE {kind} trips AS SELECT 5 AS trip")
    with pytest.raises(WarehouseError, match="trips") as caught:
        place.put(stage_rows(tmp_path, "2021-01", trips([1])))
    assert "`table=`" in caught.value.hint
    assert place.query("SELECT * FROM trips") == [(5,)]
    assert not place.proxy.started("load")


def test_an_unpartitioned_table_is_refused(place: Place, tmp_path: Path) -> None:
    """Even under our own mark: every load would read the whole table."""
    table = bigquery.Table(f"{PROJECT}.{place.dataset}.trips", [bigquery.SchemaField("trip", "INT64")])
    table.description = "nyctaxi green trips"
    place.client().create_table(table)
    with pytest.raises(WarehouseError, match="not partitioned by month"):
        place.put(stage_rows(tmp_path, "2021-01", trips([1])))


def test_another_colours_table_is_refused(place: Place, old: list[tuple[Any, ...]], tmp_path: Path) -> None:
    """A table holds one colour."""
    with pytest.raises(WarehouseError, match="fhv"):
        place.put(stage_rows(tmp_path, "2021-01", [(None,) * len(FHV.columns)], FHV), FHV)
    assert place.rows() == old


def test_the_ledger_is_no_table_for_trips(place: Place, tmp_path: Path) -> None:
    """The one name that is taken in every warehouse."""
    with pytest.raises(WarehouseError, match=LEDGER_TABLE):
        place.put(stage_rows(tmp_path, "2021-01", trips([1])), table=LEDGER_TABLE)


def test_a_foreign_ledger_is_refused(place: Place, tmp_path: Path) -> None:
    """A table of the ledger's name that nyctaxi did not make stays as it is."""
    place.by_hand(f"CREATE TABLE {LEDGER_TABLE} AS SELECT 5 AS x")
    with pytest.raises(WarehouseError, match="not nyctaxi's ledger"):
        place.put(stage_rows(tmp_path, "2021-01", trips([1])))
    assert place.tables() == {LEDGER_TABLE}


def test_tables_made_at_the_same_moment(place: Place, tmp_path: Path) -> None:
    """A table that another program makes between our look and our making of it is taken as it is."""
    makes = Fault(
        lambda call: call.method == "POST" and call.path.partition("?")[0].endswith("/tables"),
        lambda _call, _answer: refusal(409, "duplicate", "Already Exists: Table"),
        times=2,
        late=True,
    )
    place.proxy.faults.append(makes)
    assert place.put(stage_rows(tmp_path, "2021-01", trips([1]))) == 1


# -- failures ---------------------------------------------------------------------------------------------------------


def test_rows_that_do_not_add_up_are_refused(place: Place, old: list[tuple[Any, ...]], tmp_path: Path) -> None:
    """An object with fewer rows than were read and kept is not committed, and its staging table is dropped.

    The emulator takes the rows back from copies it made; that BigQuery rolls back a script that ends with an error
    before its commit is its documented word.
    """
    with pytest.raises(QualityError, match=r"green/2021-01.* trips .* 4 rows .* 5 "):
        place.put(stage_rows(tmp_path, "2021-01", trips([6, 7, 8, 9]), lost=1))
    assert place.rows() == old
    assert [row.run_id for row in place.ledger()] == ["old", "old"]
    assert place.tables() == {"trips", LEDGER_TABLE}


def test_the_words_of_a_check_are_found_among_bigquerys() -> None:
    """It says where in the script it was, which the emulator doesn't."""
    text = "Query error: nyctaxi counted 4 rows in table 1 of the transaction at [5:1]"
    assert counted(text) == (1, 4)
    assert counted(CONFLICT) is None


@pytest.mark.parametrize("error", [CorruptFile("torn"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
def test_a_broken_off_wait_cancels_the_transaction(
    place: Place, old: list[tuple[Any, ...]], error: BaseException, tmp_path: Path
) -> None:
    """The error comes through as it is, BigQuery is told to stop, and a second try goes well."""
    place.fail("script", running)
    staged = stage_rows(tmp_path, "2021-01", trips(range(10, 20)))

    def listen(_event: Event) -> None:
        if place.proxy.started("script"):
            raise error

    with listening(listen), pytest.raises(type(error)) as caught:
        place.put(staged)
    assert caught.value is error
    (script,) = place.proxy.started("script")
    (cancel,) = (call.path for call in place.proxy.calls if "/cancel" in call.path)
    assert cancel.startswith(f"/bigquery/v2/projects/{PROJECT}/jobs/{script.job_id}/cancel?location=US")
    assert place.rows() == old
    assert place.put(staged) == 10


def test_a_month_that_the_lake_does_not_have_is_missing(place: Place, tmp_path: Path) -> None:
    """The object's name is told, and what to do."""
    staged = replace(stage_rows(tmp_path, "2021-01", trips([1])), uri="gs://lake/none.parquet#17")
    with BigQuery(place.client(), place.dataset) as warehouse:
        with pytest.raises(NotPublished, match=r"gs://lake/none\.parquet") as caught:
            warehouse.replace("trips", TRIPS, staged, "run")
        assert "nyctaxi upload" in caught.value.hint
    assert place.tables() == {"trips", LEDGER_TABLE}


def test_a_month_that_is_not_at_gs_is_refused(place: Place, tmp_path: Path) -> None:
    """Before BigQuery is asked for anything."""
    staged = stage_rows(tmp_path, "2021-01", trips([1]))
    assert staged.uri == ""
    with BigQuery(place.client(), place.dataset) as warehouse, pytest.raises(UsageError, match="gs://"):
        warehouse.replace("trips", TRIPS, staged, "run")
    assert place.proxy.calls == []


def test_an_object_that_is_no_parquet_is_told(place: Place, tmp_path: Path) -> None:
    """In BigQuery's words."""
    (place.bucket.root / "lake").mkdir(exist_ok=True)
    (place.bucket.root / "lake" / "page.parquet").write_text("<html>")
    staged = replace(stage_rows(tmp_path, "2021-01", trips([1])), uri="gs://lake/page.parquet")
    with (
        BigQuery(place.client(), place.dataset) as warehouse,
        pytest.raises(WarehouseError, match="refused: Error while reading data"),
    ):
        warehouse.replace("trips", TRIPS, staged, "run")


# As Google wrote them: github.com/GoogleCloudPlatform/data-science-on-gcp/issues/170 (a load job),
# Likewise github.com/tuva-health/tuva-core/issues/1319 and github.com/airbytehq/airbyte/issues/17013.
# With "500" before and "reason: bytesBilledLimitExceeded" after it, github.com/exmergo/dex/issues/320.
# At the last two, github.com/google-github-actions/auth/issues/250, googleapis/google-cloud-python/issues/4674.
FILE_DENIED = "Access Denied: File gs://ds-on-gcp-401703-cf-staging/flights/raw/201603.csv.gz: Access Denied"
GLOB_DENIED = (
    "Access Denied: BigQuery BigQuery: Permission denied while globbing file pattern. Caller does not have "
    "storage.objects.get access to the Google Cloud Storage object. Permission 'storage.objects.get' denied on "
    "resource (or it may not exist). Please make sure gs://b/k is accessible via appropriate IAM roles, e.g. Storage "
    "Object Viewer or Storage Object Creator."
)
# The same sentence with the bucket's right, as Cloud Storage says it of itself:
# "...@developer.gserviceaccount.com does not have storage.buckets.get access to the Google Cloud Storage bucket."
BUCKET_DENIED = GLOB_DENIED.replace("storage.objects.get", "storage.buckets.get")
ELSEWHERE = "Cannot read and write in different locations: source: US, destination: us-east4"
OVER_LIMIT = "Query exceeded limit for bytes billed: 163595928. 164626432 or higher required."
NO_QUOTA_PROJECT = (
    "Caller does not have required permission to use project xxx-yyy. Grant the caller the "
    "roles/serviceusage.serviceUsageConsumer role, or a custom role with the serviceusage.services.use permission, "
    "by visiting https://console.developers.google.com/iam-admin/iam/project?project=xxx-yyy and then retry."
)
REQUESTER_PAYS = "Bucket is requester pays bucket but no user project provided."
OFF = (
    "BigQuery API has not been used in project 17 before or it is disabled. Enable it by visiting "
    "https://console.developers.google.com/apis/api/bigquery.googleapis.com/overview?project=17 then retry."
)


@pytest.mark.parametrize(
    ("status", "reason", "text", "kind", "hint"),
    [
        (403, "accessDenied", "Access Denied: Table p:d.t", WarehouseError, "roles/bigquery.dataEditor"),
        (403, "accessDenied", "x does not have storage.objects.get access", WarehouseError, "storage.objectViewer"),
        (403, "accessDenied", FILE_DENIED, WarehouseError, "roles/storage.objectViewer on the lake's bucket"),
        (403, "accessDenied", GLOB_DENIED, WarehouseError, "roles/storage.objectViewer on the lake's bucket"),
        (403, "accessDenied", BUCKET_DENIED, WarehouseError, "roles/storage.legacyBucketReader"),
        (403, "forbidden", NO_QUOTA_PROJECT, WarehouseError, "set-quota-project"),
        (403, "accessNotConfigured", OFF, WarehouseError, "gcloud services enable bigquery.googleapis.com"),
        (400, "required", REQUESTER_PAYS, WarehouseError, "--no-requester-pays"),
        (400, "invalid", ELSEWHERE, UsageError, "NYCTAXI_GCS_LOCATION"),
        (500, "bytesBilledLimitExceeded", OVER_LIMIT, WarehouseError, "NYCTAXI_BIGQUERY_MAX_BYTES"),
        (500, "notImplemented", "Unheard of.", WarehouseError, "what it was before"),
        (500, "internalError", "An internal error occurred", Transient, "Run again"),
        (502, "somethingNew", "Bad gateway", Transient, "Run again"),
        (403, "forbidden", "No.", WarehouseError, "roles/bigquery.jobUser"),
        (403, "billingNotEnabled", "Billing has not been enabled for this project.", WarehouseError, "billing"),
        (403, "quotaExceeded", "Quota exceeded: your table exceeded quota", WarehouseError, "quota"),
        (400, "bytesBilledLimitExceeded", "Query exceeded limit.", WarehouseError, "NYCTAXI_BIGQUERY_MAX_BYTES"),
        (400, "invalidQuery", "Syntax error", WarehouseError, "what it was before"),
        (401, "authError", "Invalid Credentials", UsageError, "gcloud auth application-default login"),
        (404, "notFound", "Not found: Dataset p:d", UsageError, "bq mk --location"),
        (404, "notFound", "Not found: Job p:US.17", Transient, "Run again"),
        (404, "notFound", "Not found: Table p:d.trips_2021_01_staging_17", Transient, "Run again"),
        (429, "rateLimitExceeded", "Exceeded rate limits", Transient, "Run again"),
        (503, "backendError", "Try again", Transient, "Run again"),
    ],
)
def test_what_google_refuses_has_a_next_move(  # noqa: PLR0913, PLR0917 - a row of the table above
    place: Place, status: int, reason: str, text: str, kind: type[NycTaxiError], hint: str
) -> None:
    """Each of its errors becomes one of ours that says where it was and what to do."""
    place.fail("statement", lambda _call, _answer: refusal(status, reason, text), times=100)
    with (
        BigQuery(place.client(), place.dataset, retry_seconds=0.2) as warehouse,
        pytest.raises(NycTaxiError) as caught,
    ):
        warehouse.query("SELECT 1")
    assert type(caught.value) is kind
    assert hint in caught.value.hint
    assert kind is UsageError or place.dataset in caught.value.message
    assert "127.0.0.1" not in "".join(traceback.format_exception(caught.value))


def test_a_job_over_its_limit_is_not_tried_again(place: Place, tmp_path: Path) -> None:
    """Google's library makes a 500 of every reason of a failed job that it doesn't know, and this is one."""
    place.fail("script", lambda call, _answer: failed(call, "bytesBilledLimitExceeded", OVER_LIMIT), times=100)
    with pytest.raises(WarehouseError, match="164626432 or higher") as caught:
        place.put(stage_rows(tmp_path, "2021-01", trips([1])), max_bytes=10**8)
    assert "NYCTAXI_BIGQUERY_MAX_BYTES" in caught.value.hint
    assert place.tables() == {"trips", LEDGER_TABLE}


@pytest.mark.parametrize("errors", [None, "text", {"reason": "x"}, ["text"], [None], [{"reason": None, "message": 5}]])
def test_errors_of_any_shape_are_error_of(errors: object) -> None:
    """What a server sends as its errors is anything: it is read into words or none."""
    error = google_errors.BadRequest("No.", errors=errors)  # type: ignore[no-untyped-call]
    assert isinstance(error_of(error, "here"), WarehouseError)


@pytest.mark.parametrize("body", [["a"], {"a": 1}, {"error": "text"}, {"error": ["a"]}, {"datasetReference": 5}])
@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("kind", ["GET", "POST"])
def test_an_answer_that_is_none_of_bigquerys(place: Place, kind: str, status: int, body: Any, tmp_path: Path) -> None:
    """A proxy in between may say anything: the month fails, and it is no bug."""
    place.proxy.faults.append(Fault(lambda call: call.method == kind, lambda *_: Answer(status, body), times=100))
    with pytest.raises(NycTaxiError):
        place.put(stage_rows(tmp_path, "2021-01", trips([1])))


def test_our_own_mistakes_stay_bugs(place: Place) -> None:
    """Only what fails within Google's library is laid to an answer."""
    with pytest.raises(AttributeError), Jobs(place.client(), place.dataset).translated_errors():
        getattr(place, "no_such")  # noqa: B009 - that it isn't there is the point


def test_a_dataset_that_is_not_there(place: Place) -> None:
    """The hint makes one, with a location."""
    with BigQuery(place.client(), "nowhere") as warehouse, pytest.raises(UsageError, match="nowhere") as caught:
        warehouse.loaded("trips")
    assert "bq mk --location" in caught.value.hint


def test_a_server_that_does_not_answer(place: Place) -> None:
    """It is asked again for a while; then the month fails for a passing reason."""
    client = bigquery_client(PROJECT, "127.0.0.1:9")
    with BigQuery(client, place.dataset, retry_seconds=0.5) as warehouse, pytest.raises(Transient, match="did not"):
        warehouse.loaded("trips")


def test_without_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Google's library finds none on this machine, or knows of no project: the hints say what to do."""
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "BIGQUERY_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(UsageError, match="no usable Google credentials") as caught:
        bigquery_client("p", None)
    assert "gcloud auth application-default login" in caught.value.hint
    nobody = AnonymousCredentials()  # type: ignore[no-untyped-call]
    monkeypatch.setattr("google.auth.default", lambda **_: (nobody, None))
    with pytest.raises(UsageError, match="no project"):
        bigquery_client("", None)


# -- the load job's id ------------------------------------------------------------------------------------------------


def test_a_retry_adopts_the_load_job(place: Place, tmp_path: Path) -> None:
    """The answer to the start of a load job is lost: the second try finds the job done and takes its rows."""
    staged = stage_rows(tmp_path, "2021-01", trips([1, 2, 3]))
    place.fail("load", lambda _call, _answer: refusal(409, "duplicate", "Already Exists: Job"), late=True)
    assert place.put(staged) == 3
    (load,) = place.proxy.started("load")
    assert any(f"/jobs/{load.job_id}" in call.path for call in place.proxy.calls if call.method == "GET")
    assert place.rows() == monthly(JANUARY, [1, 2, 3])


def test_a_retry_adopts_what_was_staged_before_the_commit_failed(place: Place, tmp_path: Path) -> None:
    """After a failure that may pass the staging table stays, and the next run moves no byte into it."""
    staged = stage_rows(tmp_path, "2021-01", trips([1, 2, 3]))
    place.fail("script", lambda call, _answer: failed(call, "backendError", "Backend error."))
    with pytest.raises(Transient):
        place.put(staged)
    assert place.put(staged) == 3
    one, two = place.proxy.started("load")
    assert one.job_id == two.job_id  # refused with 409, and found done
    assert place.tables() == {"trips", LEDGER_TABLE}


def test_a_failed_load_job_is_not_adopted(place: Place, tmp_path: Path) -> None:
    """Its id is used up: the next attempt has the next number."""
    staged = stage_rows(tmp_path, "2021-01", trips(range(3)))
    path = place.bucket.root / place.bucket.put(staged).removeprefix("gs://")
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    with pytest.raises(WarehouseError):
        place.put(staged)
    path.write_bytes(whole)
    assert place.put(staged) == 3
    first, again, second = (call.job_id for call in place.proxy.started("load"))
    assert first == again == f"{second.removesuffix('_2')}_1"


def test_a_month_forced_again_is_loaded_again(place: Place, tmp_path: Path) -> None:
    """The job of the first time is done, but its rows are gone with the staging table."""
    staged = stage_rows(tmp_path, "2021-01", trips([1, 2, 3]))
    assert [place.put(staged) for _ in range(3)] == [3, 3, 3]
    assert place.rows() == monthly(JANUARY, [1, 2, 3])
    attempts = [call.job_id.rpartition("_")[2] for call in place.proxy.started("load")]
    assert attempts == ["1", "1", "2", "1", "2", "3"]


def test_other_content_has_another_job(place: Place, tmp_path: Path) -> None:
    """A changed file, declaration, rule or generation is loaded by a job, and into a staging table, of its own."""
    staged = stage_rows(tmp_path, "2021-01", trips([1]))
    uri = place.bucket.put(staged)
    others = [
        replace(staged, lineage=replace(staged.lineage, source_sha256="0" * 64)),
        replace(staged, lineage=replace(staged.lineage, dataset_version="new")),
        replace(staged, lineage=replace(staged.lineage, rules="new")),
    ]
    for generation, month in [("", staged), ("#1", staged), ("#2", staged), *(("", other) for other in others)]:
        with BigQuery(place.client(), place.dataset) as warehouse:
            warehouse.replace("trips", TRIPS, replace(month, uri=uri + generation), "run")
    loads = place.proxy.started("load")
    assert len({call.job_id for call in loads}) == 6
    assert {tuple(call.body["configuration"]["load"]["sourceUris"]) for call in loads} == {(uri,)}
    assert len({call.body["configuration"]["load"]["destinationTable"]["tableId"] for call in loads}) == 6


# -- rows that would be gone ------------------------------------------------------------------------------------------

DAYS_60 = 60 * 24 * 3600 * 1000


@pytest.mark.parametrize("which", ["default_table_expiration_ms", "default_partition_expiration_ms"])
def test_a_dataset_whose_tables_expire_is_refused(place: Place, which: str, tmp_path: Path) -> None:
    """Before anything moves, with the command that takes it back; what is there can still be asked.

    A public repository on loading 2019's rows into the sandbox: "BigQuery accepts the load jobs (exit code 0, status
    DONE) but immediately treats all rows as expired — `COUNT(*)` returns 0."
    """
    dataset = place.client().get_dataset(place.dataset)
    setattr(dataset, which, DAYS_60)
    place.client().update_dataset(dataset, [which])
    place.proxy.calls.clear()
    for step in (place.ledger, lambda: place.put(stage_rows(tmp_path, "2021-01", trips([1]))), place.names):
        with pytest.raises(UsageError, match=r"60 days .*by its default expiration") as caught:
            step()
        command = "bq update --default_table_expiration 0 --default_partition_expiration 0"
        assert f"{command} {PROJECT}:{place.dataset}" in caught.value.hint
    assert {call.method for call in place.proxy.calls} == {"GET"}
    assert place.query("SELECT 1") == [(1,)]


@pytest.mark.parametrize("name", ["trips", LEDGER_TABLE])
@pytest.mark.usefixtures("old")
def test_a_table_that_expires_is_refused(place: Place, name: str, tmp_path: Path) -> None:
    """What is made under a dataset's default keeps it when that is taken back; the hint's SQL takes it from there."""
    place.expire(name)
    for step in (place.ledger, lambda: place.put(stage_rows(tmp_path, "2021-01", trips([1])))):
        with pytest.raises(UsageError, match=rf"{name} at 2126-01-02 00:00 UTC") as caught:
            step()
        sql = f"ALTER TABLE `{PROJECT}.{place.dataset}.{name}` SET OPTIONS (expiration_timestamp = NULL)"
        assert sql in caught.value.hint
    assert not place.proxy.started("load")


def test_a_table_whose_partitions_expire_is_refused(place: Place, tmp_path: Path) -> None:
    """Its months go one by one, and the ledger would call them unchanged."""
    place.put(stage_rows(tmp_path, "2021-01", trips([1])))
    table = place.client().get_table(f"{place.dataset}.trips")
    table.time_partitioning = bigquery.TimePartitioning("MONTH", "file_month", expiration_ms=DAYS_60)
    place.client().update_table(table, ["time_partitioning"])
    for step in (place.ledger, lambda: place.put(stage_rows(tmp_path, "2021-02", trips([2])))):
        with pytest.raises(UsageError, match=r"trips 60 days after each month") as caught:
            step()
        assert "SET OPTIONS (partition_expiration_days = NULL)" in caught.value.hint


def test_a_lookup_that_expires_is_refused(place: Place) -> None:
    """As trips are."""
    place.names()
    place.expire("names")
    with pytest.raises(UsageError, match="names at 2126-01-02"):
        place.names()


def test_that_tables_can_be_made_is_proved_by_one(place: Place) -> None:
    """It is empty, would expire by itself, and is dropped."""
    jobs = Jobs(place.client(), place.dataset)
    jobs.prove_write_access()
    made, dropped = (call for call in place.proxy.calls if call.method in {"POST", "DELETE"})
    left = datetime.fromtimestamp(int(made.body["expirationTime"]) / 1000, UTC) - datetime.now(UTC)
    assert timedelta() < left <= timedelta(hours=1)
    assert made.body["tableReference"]["tableId"] in dropped.path
    assert place.tables() == set()


# -- side by side -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("slept")
def test_a_conflict_of_two_commits_is_retried(place: Place, old: list[tuple[Any, ...]], tmp_path: Path) -> None:
    """BigQuery cancels one of two transactions on a table, which then goes again: nothing is loaded twice."""
    place.fail("script", lambda call, _answer: failed(call, "invalidQuery", CONFLICT), times=2)
    assert place.put(stage_rows(tmp_path, "2021-03", trips([6]))) == 1
    assert len(place.proxy.started("script")) == 3
    assert len(place.proxy.started("load")) == 1
    assert place.rows() == [*old, *monthly(date(2021, 3, 1), [6])]


def test_a_conflict_that_goes_on_is_told(
    place: Place, old: list[tuple[Any, ...]], slept: list[float], tmp_path: Path
) -> None:
    """After ten attempts in some minutes, told every second, the month fails for a passing reason."""
    place.fail("script", lambda call, _answer: failed(call, "invalidQuery", CONFLICT), times=100)
    events: list[Event] = []
    with listening(events.append), pytest.raises(Transient, match="concurrent update"):
        place.put(stage_rows(tmp_path, "2021-03", trips([6])))
    assert len(place.proxy.started("script")) == len(PAUSES) + 1 == 10
    assert sum(PAUSES) / 2 - 1 <= sum(slept) <= sum(PAUSES)
    assert set(slept) == {1}
    assert sum("another program's commit" in event.note for event in events) == len(slept)
    assert place.rows() == old


def test_a_pause_can_be_broken_off(place: Place, slept: list[float], tmp_path: Path) -> None:
    """Whoever listens stops the run within a second."""
    place.fail("script", lambda call, _answer: failed(call, "invalidQuery", CONFLICT), times=100)

    def listen(event: Event) -> None:
        if "another program's commit" in event.note:
            raise KeyboardInterrupt

    with listening(listen), pytest.raises(KeyboardInterrupt):
        place.put(stage_rows(tmp_path, "2021-03", trips([6])))
    assert slept == []


def test_the_ledger_is_changed_before_rows_are_paid_for(place: Place, tmp_path: Path) -> None:
    """Statements of a transaction that is canceled are billed, and the ledger is what every month changes."""
    place.put(stage_rows(tmp_path, "2021-01", ruled(range(3)), RULED), RULED, raw_table="trips_raw")
    (script,) = place.proxy.started("script")
    changes = [one.split(" WHERE")[0] for one in script.sql.split(";\n") if one.startswith(("DELETE", "INSERT"))]
    ledger = [number for number, one in enumerate(changes) if one.startswith("DELETE") and LEDGER_TABLE in one]
    assert ledger == [0, 1]


def test_the_lookup_makes_way_for_others_too(place: Place, slept: list[float]) -> None:
    """It is replaced by a transaction as months are."""
    place.fail("script", lambda call, _answer: failed(call, "invalidQuery", CONFLICT), times=2)
    assert place.names() == 2
    assert len(place.proxy.started("script")) == 3
    assert slept


def test_a_table_that_is_no_lookup_is_refused(place: Place, old: list[tuple[Any, ...]]) -> None:
    """A user's table stays as it is, and so does one of trips."""
    place.by_hand("CREATE TABLE names AS SELECT 5 AS x")
    for table in ("names", "trips"):
        with pytest.raises(WarehouseError, match=f"{table} that is not nyctaxi's lookup"):
            place.names(table)
    assert place.query("SELECT * FROM names") == [(5,)]
    assert place.rows() == old


def test_a_lookup_is_replaced_as_a_whole(place: Place) -> None:
    """By whatever rows come."""
    for _ in range(2):
        assert place.names() == 2
    assert sorted(place.query("SELECT id, name FROM names")) == [(1, "a"), (2, "b")]


def test_threads_load_months_side_by_side(place: Place, tmp_path: Path) -> None:
    """Six months, four at once, into an empty dataset: load jobs overlap, commits queue.

    The emulator would never cancel one of two transactions; that no two of ours are underway at once is what counts.
    """
    months = [stage_rows(tmp_path, f"2021-0{n}", trips(range(50 * n, 50 * n + 50))) for n in range(1, 7)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(place.put, months)) == [50] * 6
    assert [row[0] for row in place.rows()] == list(range(50, 350))
    assert [row.lineage.rows_loaded for row in place.ledger()] == [50] * 6
    assert place.proxy.scripts_at_once == 1
    assert place.tables() == {"trips", LEDGER_TABLE}


def test_threads_load_the_same_month(place: Place, tmp_path: Path) -> None:
    """One wins, and no row is lost or doubled."""
    staged = [stage_rows(tmp_path, "2021-01", trips(range(start, start + 50))) for start in (0, 100, 200)]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(place.put, staged)) == [50] * 3
    numbers = [row[0] for row in place.rows()]
    assert numbers in [list(range(start, start + 50)) for start in (0, 100, 200)]
    assert len(place.ledger()) == 1


# -- an emulator as people have it ----------------------------------------------------------------------------------


@pytest.fixture
def bare(emulated: int, bucket: Bucket, numbers: Iterator[int]) -> Place:
    """An empty dataset in the emulator itself, without the proxy that mends it."""
    url = f"http://{HOST}:{emulated}"
    found = Place(url, f"d{next(numbers)}", Proxy(emulated), bucket)
    _make(found, "US")
    return found


def test_a_bare_emulator_is_enough(bare: Place, tmp_path: Path) -> None:
    """Months as ETL and as ELT, again and with other rows, a column that is gained, and the lookup."""
    for numbers in ([1, 2, 3], [7, 8]):
        assert bare.put(stage_rows(tmp_path, "2021-01", trips(numbers)), max_bytes=10**9) == len(numbers)
    assert bare.rows() == monthly(JANUARY, [7, 8])
    assert bare.put(stage_rows(tmp_path, "2021-01", ruled(range(9)), RULED), RULED, "elt", raw_table="elt_raw") == 6
    assert [len(bare.ledger(table)) for table in ("trips", "elt", "elt_raw")] == [1, 1, 1]
    wider = replace(TRIPS, columns=(*TRIPS.columns, Column("flag", "text")))
    assert bare.put(stage_rows(tmp_path, "2021-02", [(*trips([4])[0], "Y")], wider), wider) == 1
    assert bare.query("SELECT flag FROM trips WHERE trip = 4") == [("Y",)]
    assert bare.names() == 2
    with pytest.raises(QualityError, match="4 rows"):
        bare.put(stage_rows(tmp_path, "2021-01", trips([6, 7, 8, 9]), lost=1))
    assert len(bare.rows()) == 3


@pytest.mark.parametrize(
    "text", ["", '"', '""', "\\", '\\"', "a\n\r\tb", "\x7f", "'; DROP TABLE x; --", "Ä🚕 @x ?", "`"]
)
def test_a_text_is_a_literal(bare: Place, text: str) -> None:
    """Whatever is in it; the emulator lacks BigQuery's escapes for what can't be seen."""
    assert bare.query(f"SELECT {literal(text, 'STRING')}") == [(text,)]


# -- money and places -------------------------------------------------------------------------------------------------


def test_a_transaction_over_the_limit_is_refused(place: Place, old: list[tuple[Any, ...]], tmp_path: Path) -> None:
    """The numbers and the setting are told. The emulator estimates nothing: the proxy says 600 for each statement."""
    place.proxy.bytes_read = 600
    with pytest.raises(WarehouseError, match=r"green/2021-01.* 1,200 bytes; 1,000 ") as caught:
        place.put(stage_rows(tmp_path, "2021-01", trips([6])), max_bytes=1000)
    assert "NYCTAXI_BIGQUERY_MAX_BYTES" in caught.value.hint
    assert not place.proxy.started("script")
    assert place.rows() == old
    assert place.tables() == {"trips", LEDGER_TABLE}


def test_a_transaction_within_the_limit_is_limited(place: Place, tmp_path: Path) -> None:
    """Each statement is estimated by itself, and BigQuery is told the limit, too."""
    place.proxy.bytes_read = 500
    place.put(stage_rows(tmp_path, "2021-01", trips([6])), max_bytes=1000)
    assert [call.sql.split()[0] for call in place.proxy.started("estimate")] == ["DELETE", "INSERT"]
    (script,) = place.proxy.started("script")
    assert script.body["configuration"]["query"]["maximumBytesBilled"] == "1000"


def test_without_a_limit_nothing_is_estimated(place: Place, tmp_path: Path) -> None:
    """Which saves two calls a month."""
    place.put(stage_rows(tmp_path, "2021-01", trips([6])))
    assert not place.proxy.started("estimate")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"location": "EU"}, ["US", "EU"]),
        ({"location": "us"}, []),
        ({"bucket_location": "us-central1"}, []),
        ({"bucket_location": "EUROPE-WEST1"}, ["US", "EUROPE-WEST1", "charges"]),
    ],
)
def test_locations_are_compared_first(place: Place, options: dict[str, Any], words: list[str], tmp_path: Path) -> None:
    """A dataset that is not where it is meant to be, or far from the bucket, is told before anything is made."""
    staged = stage_rows(tmp_path, "2021-01", trips([1]))
    if not words:
        assert place.put(staged, **options) == 1
        return
    with pytest.raises(UsageError) as caught:
        place.put(staged, **options)
    assert all(word in caught.value.message for word in words)
    assert [call.method for call in place.proxy.calls] == ["GET"]


def test_a_bucket_elsewhere_is_refused_first(place: Place, numbers: Iterator[int], tmp_path: Path) -> None:
    """The error names both locations."""
    far = replace(place, dataset=f"d{next(numbers)}")
    _make(far, "europe-west1")
    far.proxy.calls.clear()
    with pytest.raises(UsageError, match=r"europe-west1.*US-CENTRAL1") as caught:
        far.put(stage_rows(tmp_path, "2021-01", trips([1])), bucket_location="US-CENTRAL1")
    assert "Use a dataset in US or us-central1: bq mk --location" in caught.value.hint
    assert "NYCTAXI_GCS_LOCATION" in caught.value.hint
    assert [call.method for call in far.proxy.calls] == ["GET"]


@pytest.mark.parametrize(
    ("dataset", "bucket", "near"),
    [
        ("US", "us", True),
        ("US", "US-CENTRAL1", True),
        ("US", "NAM4", True),
        ("US", "us-central1+us-west1", True),
        ("US", "US-WEST1", False),  # "in Oregon (us-west1), the job incurs data transfer charges"
        ("US", "US-EAST1+US-WEST1", False),
        ("US", "EUROPE-WEST1", False),
        ("us-central1", "NAM4", True),
        ("us-central1", "US-CENTRAL1", True),
        ("us-central1", "US", False),
        ("us-east1", "NAM4", True),
        ("EU", "EU", True),
        ("EU", "EUROPE-WEST4", True),
        ("EU", "EUR4", True),
        ("EU", "europe-central2", False),  # "in Warsaw (europe-central2), the job incurs data transfer charges"
        ("EU", "EUROPE-WEST1", False),
        ("EU", "EUROPE-WEST2", False),
        ("EU", "EUR5", False),
        ("EU", "US", False),
        ("europe-west4", "EUR4", True),
        ("europe-west1", "EU", False),
        ("europe-central2", "EUROPE-CENTRAL2", True),
        ("asia-northeast1", "ASIA1", True),  # "in a dual-region that includes Tokyo, like the ASIA1 dual-region"
        ("asia-northeast2", "ASIA1", True),
        ("asia-northeast1", "ASIA", False),
    ],
)
def test_what_can_be_loaded_from_where(dataset: str, bucket: str, *, near: bool) -> None:
    """As docs.cloud.google.com/bigquery/docs/locations has it; quotes are from there."""
    assert is_near(dataset, bucket) is near


@pytest.mark.parametrize(
    ("bucket", "places"),
    [
        ("US", ("US",)),
        ("nam4", ("US", "us-central1", "us-east1")),
        ("EUROPE-WEST1", ("europe-west1",)),
        ("ASIA", ()),
    ],
)
def test_where_a_dataset_could_be(bucket: str, places: tuple[str, ...]) -> None:
    """Every place that is named is near."""
    assert datasets_near(bucket) == places
    assert all(is_near(place, bucket) for place in places)


# -- ELT --------------------------------------------------------------------------------------------------------------


def ruled(numbers: Sequence[int]) -> list[tuple[Any, ...]]:
    """Return trips with 0, 1 or unknown passengers in turn."""
    return [(*row, (0, 1, None)[row[0] % 3]) for row in trips(numbers)]


def test_elt_keeps_all_and_cleans_within(place: Place, tmp_path: Path) -> None:
    """The raw table has every row that parsed, the clean one those that no rule drops: zero passengers, not null."""
    staged = stage_rows(tmp_path, "2021-01", ruled(range(9)), RULED, rejected=2)
    assert place.put(staged, RULED, raw_table="trips_raw") == 6
    assert place.rows("trips_raw", RULED) == [(*row, JANUARY) for row in ruled(range(9))]
    assert place.rows("trips", RULED) == [(*row, JANUARY) for row in ruled(range(9)) if row[-1] != 0]
    counts = [
        (row.table_name, row.lineage.rows_read, row.lineage.rows_rejected, row.lineage.rows_loaded)
        for row in (*place.ledger("trips_raw"), *place.ledger("trips"))
    ]
    assert counts == [("trips_raw", 11, 2, 9), ("trips", 11, 5, 6)]
    assert len(place.proxy.started("script")) == len(place.proxy.started("load")) == 1


def test_elt_that_fails_leaves_both_tables(place: Place, tmp_path: Path) -> None:
    """The raw table is of the same transaction."""
    place.put(stage_rows(tmp_path, "2021-01", ruled(range(9)), RULED), RULED, raw_table="trips_raw")
    with pytest.raises(QualityError, match="trips_raw counts 2 rows where 3 "):
        place.put(stage_rows(tmp_path, "2021-01", ruled([11, 12]), RULED, lost=1), RULED, raw_table="trips_raw")
    assert [row[0] for row in place.rows("trips_raw", RULED)] == list(range(9))
    assert [row[0] for row in place.rows("trips", RULED)] == [1, 2, 4, 5, 7, 8]


@pytest.mark.parametrize("raw_table", ["trips", "Trips"])
def test_elt_wants_two_tables(place: Place, raw_table: str, tmp_path: Path) -> None:
    """Otherwise no rule would be applied; every warehouse takes upper and lower case for one."""
    with pytest.raises(UsageError, match="trips"):
        place.put(stage_rows(tmp_path, "2021-01", ruled([1]), RULED), RULED, raw_table=raw_table)
    assert place.proxy.calls == []


@pytest.mark.parametrize("predicate", UNSURE, ids=in_words)
def test_a_rule_that_bigquery_may_judge_otherwise_is_refused(
    place: Place, predicate: Predicate, tmp_path: Path
) -> None:
    """As by every warehouse: before BigQuery is asked for anything."""
    staged = stage_rows(tmp_path, "2021-01", ruled([1]), RULED)
    with pytest.raises(UsageError, match="rule_1 of green") as caught:
        place.put(staged, ruled_by(PLAIN[0], predicate), raw_table="trips_raw")
    assert "`mode=etl`" in caught.value.hint
    assert place.proxy.calls == []


@pytest.mark.parametrize("predicates", [*((one,) for one in PLAIN), ()], ids=in_words)
def test_any_plain_rule_drops_the_same_rows(place: Place, predicates: tuple[Predicate, ...], tmp_path: Path) -> None:
    """The clean table has just the rows that the transform step would have kept."""
    schema = arrow_schema(RULED.columns)
    rows = ruled(range(8))
    batch = pa.RecordBatch.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema)
    lost = [matches(one, batch, Month(2021, 1)).to_pylist() for one in predicates]
    kept = [row[0] for index, row in enumerate(rows) if not any(mask[index] for mask in lost)]
    staged = stage_rows(tmp_path, "2021-01", rows, RULED)
    assert place.put(staged, ruled_by(*predicates), raw_table="trips_raw") == len(kept)
    assert [row[0] for row in place.rows()] == kept


def test_elt_is_estimated_for_both_tables(place: Place, tmp_path: Path) -> None:
    """From what is staged, for the raw table doesn't hold the month yet."""
    place.put(stage_rows(tmp_path, "2021-01", ruled([1]), RULED), RULED, raw_table="trips_raw", max_bytes=10**9)
    sources = [call.sql for call in place.proxy.started("estimate") if call.sql.startswith("INSERT")]
    assert len(sources) == 2
    assert all("trips_raw_2021_01_staging_" in sql for sql in sources)


@pytest.mark.skipif(not REAL, reason="NYCTAXI_REAL_DATA, a folder with real trip records, is not set")
@pytest.mark.parametrize(
    ("folder", "partition"),
    [
        ("datatalks/green", "green/2020-04"),
        ("datatalks/green", "green/2019-01"),
        ("eras", "yellow/2014-03"),
        ("eras", "yellow/2019-01"),
        ("eras", "fhv/2018-02"),
        ("eras", "fhvhv/2020-01"),
    ],
)
def test_elt_ends_as_etl_does(place: Place, folder: str, partition: str, tmp_path: Path) -> None:
    """Real months of every colour: the rules applied before the load and within BigQuery leave the same rows."""
    color, _, month = partition.partition("/")
    found = Partition(Color(color), Month.parse(month))
    raw = fetch(resolve(str(Path(str(REAL)) / folder)), found, tmp_path / "raw")
    dataset = DATASETS[found.color]
    etl = stage(raw, dataset, tmp_path / "etl")
    elt = stage(raw, replace(dataset, rules=()), tmp_path / "elt")
    rows = place.put(_named(etl), dataset, "etl")
    assert place.put(_named(elt), dataset, "elt", raw_table="elt_raw") == rows == etl.lineage.rows_loaded
    names = ", ".join(column.name for column in table_columns(dataset))
    one, two = (f"SELECT {names}, COUNT(*) AS n FROM {table} GROUP BY {names}" for table in ("etl", "elt"))
    for difference in (f"({one}) EXCEPT DISTINCT ({two})", f"({two}) EXCEPT DISTINCT ({one})"):
        assert place.query(f"SELECT COUNT(*) FROM ({difference}) AS d") == [(0,)]
    assert place.query("SELECT COUNT(*) FROM elt_raw") == [(elt.lineage.rows_loaded,)]
    (of_etl,), (of_elt,) = place.ledger("etl"), place.ledger("elt")
    assert (of_etl.lineage.rows_read, of_etl.lineage.rows_rejected) == (
        of_elt.lineage.rows_read,
        of_elt.lineage.rows_rejected,
    )
    if found.color is GREEN.color:
        assert elt.lineage.rows_loaded > etl.lineage.rows_loaded


def _named(staged: StagedFile) -> StagedFile:
    """Give the month's file a name of its own, as the folders of the lake do."""
    path = staged.path.with_stem(f"{staged.path.parent.parent.name}-{staged.path.parent.name}-{staged.path.stem}")
    return replace(staged, path=staged.path.rename(path))
