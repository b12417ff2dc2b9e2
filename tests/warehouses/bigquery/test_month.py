"""BigQuery keeps the promise of every warehouse, and its own: one load job, one transaction, one month's bytes.

Run against bqemulator over HTTP (``support.bigquery``), through a proxy that mends what it lacks
(``support.bigquery_proxy``): that proves our calls and the data's way, and what the emulator shares with BigQuery. It
has no partitions, keeps no expiration, minds no column that must be filled, estimates no bytes, commits nothing side by
side, and rolls back from copies of its own; where a test leans on one of these, it looks at what was asked instead.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from google.cloud import bigquery

from nyctaxi_etl.core.errors import (
    UsageError,
    WarehouseError,
)
from nyctaxi_etl.core.partition import Color
from nyctaxi_etl.core.progress import Event, listening
from nyctaxi_etl.schema.datasets import DATASETS, YELLOW
from nyctaxi_etl.warehouses.base import table_columns
from nyctaxi_etl.warehouses.bigquery.jobs import fields
from nyctaxi_etl.warehouses.ledger import LEDGER, LEDGER_TABLE, LedgerRow
from support.bigquery_place import FEBRUARY, JANUARY, LATER, Place, monthly
from support.bigquery_proxy import PROJECT, Answer, Fault, running
from support.months import TRIPS, stage_rows, trips

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


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
    far.make("europe-west1")
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
