"""The promise of every warehouse: a month is wholly the old or the new one, others are untouched, twice is once."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from nyctaxi_etl.core.errors import CorruptFile, NycTaxiError, QualityError, UsageError, WarehouseError
from nyctaxi_etl.core.partition import Color
from nyctaxi_etl.core.progress import Event, listening
from nyctaxi_etl.core.report import PartitionResult
from nyctaxi_etl.orchestration.runners import run_months
from nyctaxi_etl.schema.columns import Column, quote
from nyctaxi_etl.schema.datasets import DATASETS, FHV
from nyctaxi_etl.warehouses.base import check_lookup_rows
from nyctaxi_etl.warehouses.ledger import LEDGER_TABLE, LedgerRow
from nyctaxi_etl.warehouses.opening import open_warehouse
from support.limits import largest_file, unprivileged
from support.loading import Loading, ingest, job_of
from support.months import TRIPS, publish, stage_rows, trips
from support.places import PLACES, Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nyctaxi_etl.core.partition import Partition
    from nyctaxi_etl.schema.columns import Dataset
    from nyctaxi_etl.staging.files import StagedFile

JANUARY, FEBRUARY = date(2021, 1, 1), date(2021, 2, 1)


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Place:
    """An empty warehouse of each kind."""
    return PLACES[request.param](request)


@pytest.fixture
def old(place: Place, tmp_path: Path) -> list[tuple[Any, ...]]:
    """What ``trips`` holds once January's trips 1 to 3 and February's 4 and 5 are loaded."""
    put(place, stage_rows(tmp_path, "2021-01", trips([1, 2, 3])), run_id="old")
    put(place, stage_rows(tmp_path, "2021-02", trips([4, 5])), run_id="old")
    return monthly(JANUARY, [1, 2, 3]) + monthly(FEBRUARY, [4, 5])


def put(place: Place, staged: StagedFile, dataset: Dataset = TRIPS, table: str = "trips", run_id: str = "run") -> int:
    """Replace the staged month in ``table``."""
    with place.open() as warehouse:
        return warehouse.replace(table, dataset, staged, run_id)


def ledger(place: Place, table: str = "trips") -> tuple[LedgerRow, ...]:
    """Return what the ledger says of ``table``."""
    with place.open() as warehouse:
        return warehouse.loaded(table)


def monthly(month: date, numbers: Sequence[int]) -> list[tuple[Any, ...]]:
    """Return the rows that a table holds of a month of these trips."""
    return [(*row, month) for row in trips(numbers)]


@contextmanager
def failing_at_row(row: int, error: BaseException) -> Iterator[None]:
    """Raise ``error`` in the midst of a load, once ``row`` rows are on their way."""

    def listen(event: Event) -> None:
        if event.step == "load" and event.done >= row:
            raise error

    with listening(listen):
        yield


# -- one month --------------------------------------------------------------------------------------------------------


def test_a_first_load_makes_the_table(place: Place, tmp_path: Path) -> None:
    """Nothing has to be there before, and the number of rows comes back."""
    assert ledger(place) == ()
    assert put(place, stage_rows(tmp_path, "2021-01", trips([1, 2, 3]))) == 3
    assert place.rows("trips", TRIPS) == monthly(JANUARY, [1, 2, 3])


def test_an_empty_warehouse_is_not_made_by_looking(place: Place) -> None:
    """To ask what is loaded leaves no file behind."""
    assert ledger(place) == ()
    assert not list(place.data_dir.glob("trips.*"))


def test_the_ledger_row_tells_all(place: Place, tmp_path: Path) -> None:
    """Every field is what was staged, and the time is now."""
    staged = stage_rows(tmp_path, "2021-01", trips([1, 2, 3]), rejected=2)
    put(place, staged, run_id="a run")
    (row,) = ledger(place)
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
        run_id="a run",
    )
    assert row.lineage.fingerprint == (staged.lineage.source_sha256, TRIPS.version, TRIPS.rules_id)


@pytest.mark.usefixtures("old")
def test_the_ledger_tells_what_a_month_replaced(place: Place, tmp_path: Path) -> None:
    """Its source and its rows; what the same run tries again, replaces what the first attempt did."""
    staged = stage_rows(tmp_path, "2021-01", trips([8, 9]))
    real = replace(staged, lineage=replace(staged.lineage, source="tlc"))
    for _ in range(2):
        put(place, real, run_id="new")
        assert [(row.replaced_source, row.replaced_rows) for row in ledger(place)] == [("folder", 3), ("", 0)]
    put(place, staged, run_id="newest")
    assert [(row.replaced_source, row.replaced_rows) for row in ledger(place)] == [("tlc", 2), ("", 0)]


def test_the_ledger_tells_what_was_flagged(place: Place, tmp_path: Path) -> None:
    """Rows that a rule marks but keeps are told by rule, whatever the rule's name; nobody's text is none."""
    flags = {'it\'s \\ "odd"': 2, "zero_distance": 1}
    staged = stage_rows(tmp_path, "2021-01", trips([1, 2]))
    put(place, replace(staged, lineage=replace(staged.lineage, flags=flags)))
    (row,) = ledger(place)
    assert row.lineage.flags == flags
    for text in ("nothing", "[1]"):
        place.by_hand(f"UPDATE {LEDGER_TABLE} SET flags = '{text}'")
        assert [row.lineage.flags for row in ledger(place)] == [{}]


@pytest.mark.usefixtures("old")
def test_a_ledger_of_an_older_version(place: Place, tmp_path: Path) -> None:
    """It is read without the columns that came later, gets them with the next load, and keeps what it says."""
    before = ledger(place)
    for column in ("replaced_source", "replaced_rows", "flags"):
        place.by_hand(f"ALTER TABLE {LEDGER_TABLE} DROP COLUMN {column}")
    assert ledger(place) == before
    put(place, stage_rows(tmp_path, "2021-01", trips([9])))
    (january, february) = ledger(place)
    assert (january.replaced_source, january.replaced_rows, february) == ("folder", 3, before[1])


@pytest.mark.usefixtures("old")
def test_twice_is_once(place: Place, tmp_path: Path) -> None:
    """A month replaced again is the new one alone, in the table and in the ledger; the other month stays."""
    for _ in range(2):
        assert put(place, stage_rows(tmp_path, "2021-01", trips([7, 8]))) == 2
    assert place.rows("trips", TRIPS) == monthly(FEBRUARY, [4, 5]) + monthly(JANUARY, [7, 8])
    kept = [(row.file_month, row.lineage.rows_loaded, row.run_id) for row in ledger(place)]
    assert kept == [(JANUARY, 2, "run"), (FEBRUARY, 2, "old")]


@pytest.mark.usefixtures("old")
def test_a_month_may_have_no_rows_left(place: Place, tmp_path: Path) -> None:
    """A month of which every row was rejected is loaded: empty."""
    assert put(place, stage_rows(tmp_path, "2021-01", [], rejected=4)) == 0
    assert place.rows("trips", TRIPS) == monthly(FEBRUARY, [4, 5])
    assert [(row.lineage.rows_read, row.lineage.rows_loaded) for row in ledger(place)] == [(4, 0), (2, 2)]


@pytest.mark.parametrize("color", Color)
def test_values_come_back_exactly(place: Place, color: Color, tmp_path: Path) -> None:
    """Every declared column keeps its extremes, its nulls and any text."""
    dataset = DATASETS[color]
    extremes = [EXTREMES[column.types.arrow] for column in dataset.columns]
    rows = list(zip(*([*values, None] for values in extremes), strict=True))
    put(place, stage_rows(tmp_path, "2021-01", rows, dataset), dataset)
    found = place.rows("trips", dataset)
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


@pytest.mark.parametrize("table", ["staged", "order", "x" * 48, "a\"b'c; DROP TABLE trips --", "%s :x {}"])
def test_any_name_is_quoted(place: Place, table: str, tmp_path: Path) -> None:
    """A table may be called as a word of SQL, or of ours, or worse; nothing of it is taken for a statement."""
    for numbers in ([1, 2], [3]):
        put(place, stage_rows(tmp_path, "2021-01", trips(numbers)), table=table)
    assert place.rows(table, TRIPS) == monthly(JANUARY, [3])
    assert [row.table_name for row in ledger(place, table)] == [table]


def test_a_query_is_taken_as_it_is(place: Place, tmp_path: Path) -> None:
    """Colons and percent signs in it are the user's own."""
    put(place, stage_rows(tmp_path, "2021-01", trips([1])))
    assert place.query("SELECT ' :x %s %', 5 % 3 FROM trips") == [(" :x %s %", 2)]


def test_a_query_that_fails_is_told(place: Place, tmp_path: Path) -> None:
    """What the database says of it is the message."""
    put(place, stage_rows(tmp_path, "2021-01", trips([1])))
    with pytest.raises(WarehouseError, match="tripz"):
        place.query("SELECT * FROM tripz")


# What writes, as the databases here have it, and what would end a transaction that only reads to begin another.
WRITES = [
    "DELETE FROM trips",
    "UPDATE trips SET trip = 9",
    "INSERT INTO trips (trip, file_month) VALUES (9, '2021-01-01')",
    "DELETE FROM trips WHERE trip = 1 RETURNING trip",
    "CREATE TABLE other (trip INTEGER)",
    "CREATE TABLE other AS SELECT 1 AS trip",
    "CREATE VIEW other AS SELECT 1 AS trip",
    "ALTER TABLE trips ADD COLUMN other INTEGER",
    "DROP TABLE trips",
]
SEVERAL = ["SELECT 1; DELETE FROM trips", "COMMIT; DELETE FROM trips", "ROLLBACK; BEGIN; DELETE FROM trips; COMMIT"]


@pytest.mark.parametrize("statement", WRITES)
def test_a_query_that_writes_is_refused(place: Place, old: list[tuple[Any, ...]], statement: str) -> None:
    """It says that a query only reads, nothing is changed, and the next query and load are as ever."""
    with place.open() as warehouse:
        with pytest.raises(UsageError, match="A query only reads: "):
            warehouse.query(statement)
        assert warehouse.query("SELECT count(*) FROM trips") == [(5,)]
        with pytest.raises(WarehouseError, match="other"):
            warehouse.query("SELECT * FROM other")
    assert place.rows("trips", TRIPS) == old


@pytest.mark.parametrize("statements", SEVERAL)
def test_a_query_can_not_leave_its_transaction(
    place: Place, old: list[tuple[Any, ...]], statements: str, tmp_path: Path
) -> None:
    """Several statements in one change nothing either, and the same warehouse takes a month afterwards."""
    with place.open() as warehouse:
        with pytest.raises(NycTaxiError):
            warehouse.query(statements)
        assert warehouse.query("SELECT count(*) FROM trips") == [(5,)]
        assert warehouse.replace("trips", TRIPS, stage_rows(tmp_path, "2021-03", trips([6])), "run") == 1
    assert place.rows("trips", TRIPS) == [*old, *monthly(date(2021, 3, 1), [6])]


# -- a table that explains ids ----------------------------------------------------------------------------------------

NAMES = (Column("id", "id"), Column("name", "text"))


def names_of(*names: str | None) -> pa.Table:
    """Return a lookup that explains the ids from 1 on."""
    return pa.table({"id": pa.array(range(1, len(names) + 1), pa.int16()), "name": pa.array(names, pa.string())})


def replaced(place: Place, rows: pa.Table, table: str = "names", columns: Sequence[Column] = NAMES) -> int:
    """Replace a lookup, and return how many rows it has."""
    with place.open() as warehouse:
        return warehouse.replace_table(table, columns, rows)


def test_a_lookup_is_replaced_as_a_whole(place: Place) -> None:
    """It is made, and replaced by whatever rows come, with texts of any kind."""
    assert replaced(place, names_of("a", "b", "c")) == 3
    odd = 'It\'s a \\ "new" Zoné 🚕 %s :x {}; --'
    assert replaced(place, names_of(odd, None)) == 2
    assert sorted(place.query("SELECT id, name FROM names")) == [(1, odd), (2, None)]


@pytest.mark.parametrize("table", ["order", "a\"b'c; DROP TABLE trips --", "%s :x {}"])
def test_a_lookups_name_is_quoted(place: Place, table: str) -> None:
    """Nothing of it is taken for a statement."""
    for rows in (names_of("a", "b"), names_of("c")):
        assert replaced(place, rows, table) == rows.num_rows
    assert place.query(f"SELECT name FROM {quote(table)}") == [("c",)]


@pytest.mark.parametrize("made", ["TABLE names AS SELECT 5 AS x", "VIEW names AS SELECT 5 AS x"])
def test_a_table_that_is_no_lookup_is_refused(place: Place, made: str) -> None:
    """A table or view of a user's stays as it is."""
    place.by_hand(f"CREATE {made}")
    with pytest.raises(WarehouseError, match="names that is not nyctaxi's lookup"):
        replaced(place, names_of("a"))
    assert place.query("SELECT * FROM names") == [(5,)]


def test_trips_are_no_lookup(place: Place, old: list[tuple[Any, ...]]) -> None:
    """Nor is a table of trips, though it is ours."""
    with pytest.raises(WarehouseError, match="trips that is not nyctaxi's lookup"):
        replaced(place, names_of("a"), "trips")
    assert place.rows("trips", TRIPS) == old


def test_a_lookup_that_does_not_add_up_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is counted is compared before the commit; the lookup is what it was."""
    replaced(place, names_of("a", "b"))
    rows = SimpleNamespace(num_rows=3)
    for module in ("duckdb.tables", "postgres.tables", "sqlalchemy.warehouse"):
        counts = lambda table, counted, _rows: check_lookup_rows(table, counted, rows)  # noqa: E731 - said once
        monkeypatch.setattr(f"nyctaxi_etl.warehouses.{module}.check_lookup_rows", counts)
    with pytest.raises(QualityError, match="names counts 1 rows where 3 were read"):
        replaced(place, names_of("z"))
    assert sorted(place.query("SELECT id, name FROM names")) == [(1, "a"), (2, "b")]


def test_lookups_are_replaced_side_by_side(place: Place) -> None:
    """One of them is there in the end, whole, also when it is made at the same moment."""
    lookups = [names_of(*(letter * 3)) for letter in "abcd"]
    with ThreadPoolExecutor(len(lookups)) as pool:
        assert list(pool.map(lambda rows: replaced(place, rows), lookups)) == [3] * 4
    assert len({name for _, name in place.query("SELECT id, name FROM names")}) == 1


# -- a ledger of another make -----------------------------------------------------------------------------------------


def test_a_ledger_of_another_make_is_told(place: Place, tmp_path: Path) -> None:
    """A table that a user happens to call as we call the ledger is told, not stumbled over."""
    place.by_hand(f"CREATE TABLE {LEDGER_TABLE} AS SELECT 1 AS weight")
    with pytest.raises(WarehouseError):
        put(place, stage_rows(tmp_path, "2021-01", trips([1])))
    assert place.query(f"SELECT * FROM {LEDGER_TABLE}") == [(1,)]


# -- what was there before --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("old")
def test_a_dropped_table_is_not_loaded(place: Place, tmp_path: Path) -> None:
    """What the ledger says of a table that a user dropped doesn't count, and is forgotten when it is made anew."""
    place.by_hand("DROP TABLE trips")
    assert ledger(place) == ()
    put(place, stage_rows(tmp_path, "2021-01", trips([9])))
    assert place.rows("trips", TRIPS) == monthly(JANUARY, [9])
    assert [row.file_month for row in ledger(place)] == [JANUARY]


@pytest.mark.usefixtures("old")
def test_a_dropped_ledger_is_made_anew_or_told(place: Place, tmp_path: Path) -> None:
    """Without the ledger nothing counts as loaded; the table is ours still, or refused where that can't be known."""
    place.by_hand(f"DROP TABLE {LEDGER_TABLE}")
    assert ledger(place) == ()
    if not place.comments:
        with pytest.raises(WarehouseError, match="trips"):
            put(place, stage_rows(tmp_path, "2021-01", trips([9])))
        return
    put(place, stage_rows(tmp_path, "2021-01", trips([9])))
    assert place.rows("trips", TRIPS) == monthly(FEBRUARY, [4, 5]) + monthly(JANUARY, [9])


def test_a_gained_column_is_added(place: Place, old: list[tuple[Any, ...]], tmp_path: Path) -> None:
    """A column that the dataset gains is null in the months loaded before."""
    wider = replace(TRIPS, columns=(Column("tip", "money"), *TRIPS.columns, Column("flag", "text")))
    row = (0.5, *trips([6])[0], "Y")
    put(place, stage_rows(tmp_path, "2021-03", [row], wider), wider)
    assert place.rows("trips", TRIPS) == [*old, (*trips([6])[0], date(2021, 3, 1))]
    assert place.query("SELECT tip, flag FROM trips WHERE trip = 6") == [(0.5, "Y")]
    assert set(place.query("SELECT tip, flag FROM trips WHERE trip < 6")) == {(None, None)}


def test_a_lost_column_stays(place: Place, old: list[tuple[Any, ...]], tmp_path: Path) -> None:
    """A column that the dataset loses stays in the table, null from then on."""
    narrower = replace(TRIPS, columns=TRIPS.columns[:-1])
    put(place, stage_rows(tmp_path, "2021-03", [row[:-1] for row in trips([6])], narrower), narrower)
    assert place.rows("trips", TRIPS) == [*old, (*trips([6])[0][:-1], None, date(2021, 3, 1))]


def test_a_column_of_another_type_is_refused(place: Place, old: list[tuple[Any, ...]], tmp_path: Path) -> None:
    """The error names the column, and nothing is touched."""
    other = replace(TRIPS, columns=(*TRIPS.columns[:-1], Column("zone", "seconds")))
    with pytest.raises(WarehouseError, match="zone"):
        put(place, stage_rows(tmp_path, "2021-01", [(1, None, None, 5)], other), other)
    assert place.rows("trips", TRIPS) == old


# What users add to a table; SQLite has no way to change a column that is there.
CHANGES: Mapping[str, str] = {
    "default": "ALTER TABLE trips ADD COLUMN agent VARCHAR(9) DEFAULT 'us'",
    "not null": "ALTER TABLE trips ALTER COLUMN trip SET NOT NULL",
    "not null with a default": "ALTER TABLE trips ADD COLUMN agent VARCHAR(9) NOT NULL DEFAULT 'us'",
    "check": "ALTER TABLE trips ADD COLUMN agent VARCHAR(9) DEFAULT 'us' CHECK (agent <> '')",
    "generated": "ALTER TABLE trips ADD COLUMN twice BIGINT GENERATED ALWAYS AS (trip * 2) {}",
    "index": "CREATE INDEX mine ON trips (pickup_datetime)",
    "unique index": "CREATE UNIQUE INDEX mine ON trips (file_month, trip)",
    "view": "CREATE VIEW mine AS SELECT * FROM trips WHERE trip > 1",
}
# What a database can't do: DuckDB adds no column with a check or a formula, SQLite changes none.
CANNOT = {
    ("duckdb", "check"),
    ("duckdb", "generated"),
    ("sqlite", "not null"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_users_add_is_lived_with(place: Place, old: list[tuple[Any, ...]], change: str, tmp_path: Path) -> None:
    """Rows that satisfy it are loaded, into a month that is there and a new one; a column's default is filled in."""
    kind = place.address.partition(":")[0].partition("+")[0]
    if (kind, change) in CANNOT:
        pytest.skip(f"{kind} has no such change")
    place.by_hand(CHANGES[change].format("STORED" if kind == "postgresql" else "VIRTUAL"))
    put(place, stage_rows(tmp_path, "2021-01", trips([1, 2, 3])))
    put(place, stage_rows(tmp_path, "2021-03", trips([6])))
    assert place.rows("trips", TRIPS) == [*old, *monthly(date(2021, 3, 1), [6])]
    if "agent" in CHANGES[change]:
        assert set(place.query("SELECT agent FROM trips")) == {("us",)}
    if change == "generated":
        assert place.query("SELECT sum(twice - trip * 2) FROM trips") == [(0,)]


@pytest.mark.parametrize("change", ["not null", "unique index"])
def test_rows_that_a_users_constraint_refuses_are_told(
    place: Place, old: list[tuple[Any, ...]], change: str, tmp_path: Path
) -> None:
    """The message is the database's, which names it; the hint says what to do, and it isn't tried again."""
    if (place.address.partition(":")[0], change) in CANNOT:
        pytest.skip("SQLite has no such change")
    place.by_hand(CHANGES[change])
    second = None if change == "not null" else 7
    staged = stage_rows(tmp_path, "2021-01", [(trip, None, None, None) for trip in (7, second)])
    says = "constraint of the table refuses rows: .*(trip|mine|duplicate key)"
    with pytest.raises(WarehouseError, match=says) as caught:
        put(place, staged)
    assert "drop it" in caught.value.hint
    assert place.rows("trips", TRIPS) == old


@pytest.mark.parametrize("made", ["TABLE {} AS SELECT 5 AS trip", "VIEW {} AS SELECT 5 AS trip"])
def test_a_foreign_table_is_refused(place: Place, made: str, tmp_path: Path) -> None:
    """A table or view of that name that nyctaxi did not make stays as it is, and the hint says what to do."""
    place.by_hand(f"CREATE {made.format('trips')}")
    with pytest.raises(WarehouseError, match="trips") as caught:
        put(place, stage_rows(tmp_path, "2021-01", trips([1])))
    assert "`table=`" in caught.value.hint
    assert place.query("SELECT * FROM trips") == [(5,)]
    assert ledger(place) == ()


@pytest.mark.parametrize("kind", ["TABLE", "VIEW"])
@pytest.mark.usefixtures("old")
def test_a_foreign_table_in_the_place_of_ours_is_refused(place: Place, kind: str, tmp_path: Path) -> None:
    """Even if the ledger remembers ours, which the user renamed; ours keeps its rows."""
    place.by_hand("ALTER TABLE trips RENAME TO mine")
    place.by_hand(f"CREATE {kind} trips AS SELECT 5 AS trip")
    assert ledger(place) == ()
    with pytest.raises(WarehouseError, match="trips") as caught:
        put(place, stage_rows(tmp_path, "2021-01", trips([1])))
    assert "`table=`" in caught.value.hint
    assert place.query("SELECT * FROM trips") == [(5,)]
    assert place.query("SELECT count(*) FROM mine") == [(5,)]


def test_another_colours_table_is_refused(place: Place, old: list[tuple[Any, ...]], tmp_path: Path) -> None:
    """A table holds one colour."""
    staged = stage_rows(tmp_path, "2021-01", [(None,) * len(FHV.columns)], FHV)
    with pytest.raises(WarehouseError, match="fhv"):
        put(place, staged, FHV)
    assert place.rows("trips", TRIPS) == old
    assert [row.color for row in ledger(place)] == ["green", "green"]


def test_the_ledger_is_no_table_for_trips(place: Place, old: list[tuple[Any, ...]], tmp_path: Path) -> None:
    """The one name that is taken in every warehouse."""
    with pytest.raises(WarehouseError, match=LEDGER_TABLE):
        put(place, stage_rows(tmp_path, "2021-01", trips([1])), table=LEDGER_TABLE)
    assert place.rows("trips", TRIPS) == old


def test_tables_of_one_colour_are_apart(place: Place, old: list[tuple[Any, ...]], tmp_path: Path) -> None:
    """The same month in another table is another month."""
    put(place, stage_rows(tmp_path, "2021-01", trips([9])), table="trips_2")
    assert place.rows("trips", TRIPS) == old
    assert place.rows("trips_2", TRIPS) == monthly(JANUARY, [9])
    assert [row.lineage.rows_loaded for row in (*ledger(place), *ledger(place, "trips_2"))] == [3, 2, 1]


# -- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [CorruptFile("torn"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
def test_a_failure_midway_leaves_the_old_month(
    place: Place, old: list[tuple[Any, ...]], error: BaseException, tmp_path: Path
) -> None:
    """The error comes through as it is; table and ledger hold what they held, and a second try goes well."""
    staged = stage_rows(tmp_path, "2021-01", trips(range(10, 20)))
    with failing_at_row(4, error), pytest.raises(type(error)) as caught:
        put(place, staged)
    assert caught.value is error
    assert place.rows("trips", TRIPS) == old
    assert [(row.lineage.rows_loaded, row.run_id) for row in ledger(place)] == [(3, "old"), (2, "old")]
    assert put(place, staged) == 10
    assert len(place.rows("trips", TRIPS)) == 12


def test_rows_that_do_not_add_up_are_refused(place: Place, old: list[tuple[Any, ...]], tmp_path: Path) -> None:
    """A staged file with fewer rows than were read and kept is not committed."""
    with pytest.raises(QualityError, match=r"green/2021-01.* 4 rows .* 5 "):
        put(place, stage_rows(tmp_path, "2021-01", trips([6, 7, 8, 9]), lost=1))
    assert place.rows("trips", TRIPS) == old
    assert [row.run_id for row in ledger(place)] == ["old", "old"]


def test_a_failed_first_load_holds_nothing(place: Place, tmp_path: Path) -> None:
    """A month that failed in an empty warehouse is not there; loading it goes well afterwards."""
    staged = stage_rows(tmp_path, "2021-01", trips([1, 2, 3]))
    with failing_at_row(2, CorruptFile("torn")), pytest.raises(CorruptFile):
        put(place, staged)
    assert ledger(place) == ()
    put(place, staged)
    assert place.rows("trips", TRIPS) == monthly(JANUARY, [1, 2, 3])


# So many rows as don't fit into a log beside the file.
@pytest.mark.parametrize(("place", "rows"), [("duckdb", 130_000), ("sqlite", 20_000)], indirect=["place"])
@pytest.mark.parametrize("spare", [0, 300_000])
def test_a_full_disk_is_told(place: Place, old: list[tuple[Any, ...]], rows: int, spare: int, tmp_path: Path) -> None:
    """It is no conflict that passes; the month is what it was, and the file no larger than before."""
    (path,) = tmp_path.glob("trips.*")
    size = path.stat().st_size
    staged = stage_rows(tmp_path, "2021-01", trips(range(rows)), batch_rows=10_000)
    with largest_file(size + spare), pytest.raises(WarehouseError, match="there is no room left") as caught:
        put(place, staged)
    assert path.name in caught.value.message
    assert "Make room" in caught.value.hint
    assert path.stat().st_size <= size
    assert place.rows("trips", TRIPS) == old
    assert put(place, staged) == rows


@pytest.mark.parametrize("place", ["duckdb", "sqlite"], indirect=True)
def test_a_file_that_may_not_be_written_is_told(place: Place, tmp_path: Path) -> None:
    """The message names it, the hint is to give access, and it isn't tried again."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / place.address.rpartition("/")[2]
        moved = replace(place, address=f"{place.address.partition(':')[0]}:///{path}")
        staged = stage_rows(tmp_path, "2021-01", trips([1]))
        put(moved, staged)
        path.chmod(0o444)
        path.parent.chmod(0o555)
        with unprivileged(), pytest.raises(NycTaxiError, match="written to") as caught:
            put(moved, staged)
        assert type(caught.value) in {UsageError, WarehouseError}
        assert path.name in caught.value.message
        assert "Give access" in caught.value.hint
        path.parent.chmod(0o755)


@pytest.mark.parametrize("place", ["duckdb", "sqlite"], indirect=True)
def test_a_file_in_use_is_waited_for(place: Place, old: list[tuple[Any, ...]], tmp_path: Path) -> None:
    """A load says at once that another program has the file, of its month, and goes on when that has ended."""
    path = place.address.partition(":///")[2]
    heard: list[Event] = []
    with subprocess.Popen(
        [sys.executable, "-c", _KEEPING, place.address.partition(":")[0], path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()

        def listen(event: Event) -> None:
            if event.note:
                heard.append(event)
                other.kill()

        staged = stage_rows(tmp_path, "2021-03", trips([6]))
        with listening(listen):
            put(place, staged)
    assert heard[0].subject == str(staged.partition)
    assert "another program" in heard[0].note
    assert place.rows("trips", TRIPS) == [*old, *monthly(date(2021, 3, 1), [6])]


# Have the file as a program has it that writes to it.
_KEEPING = """
import duckdb, sqlite3, sys
kind, path = sys.argv[1:]
if kind == "duckdb":
    other = duckdb.connect(path)
else:
    other = sqlite3.connect(path)
    other.execute("BEGIN IMMEDIATE")
print(flush=True)
input()
"""


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_a_commit_waits_for_readers(place: Place, old: list[tuple[Any, ...]], tmp_path: Path) -> None:
    """SQLite has a commit wait for those who read; that is said, too."""
    notes: list[str] = []
    path = place.address.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM trips").fetchall()

        def listen(event: Event) -> None:
            if event.note:
                notes.append(event.note)
                reader.rollback()

        with listening(listen):
            put(place, stage_rows(tmp_path, "2021-03", trips([6])))
    assert notes
    assert place.rows("trips", TRIPS) == [*old, *monthly(date(2021, 3, 1), [6])]


def test_every_batch_is_told(place: Place, tmp_path: Path) -> None:
    """The listener hears of each batch, whichever thread sends it: this is how Ctrl-C stops a load."""
    for _ in range(5):
        heard: list[int] = []
        with listening(lambda event, heard=heard: heard.append(event.done)):  # type: ignore[misc]
            put(place, stage_rows(tmp_path, "2021-01", trips(range(20)), batch_rows=5))
        assert heard == [5, 10, 15, 20]


# -- side by side -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("round_", range(3))
def test_threads_load_months_side_by_side(place: Place, round_: int, tmp_path: Path) -> None:
    """Six months, four at once, into an empty warehouse, none of them tried twice."""
    months = {staged.partition: staged for staged in _six_months(tmp_path, round_)}

    def load(partition: Partition) -> PartitionResult:
        return PartitionResult(partition, "loaded", "trips", rows_loaded=put(place, months[partition]))

    results = run_months(tuple(months), load, jobs=4)
    assert [result.rows_loaded for result in results] == [50] * 6
    assert [row[0] for row in place.rows("trips", TRIPS)] == list(range(300))
    assert [row.lineage.rows_loaded for row in ledger(place)] == [50] * 6


def _six_months(folder: Path, round_: int) -> list[StagedFile]:
    """Stage months of 50 trips each, numbered through."""
    numbers = [range(50 * index, 50 * index + 50) for index in range(6)]
    return [stage_rows(folder, f"202{round_}-0{index + 1}", trips(own)) for index, own in enumerate(numbers)]


def test_threads_load_the_same_month(place: Place, tmp_path: Path) -> None:
    """One wins, and no row is lost or doubled."""
    staged = [stage_rows(tmp_path, "2021-01", trips(range(start, start + 50))) for start in (0, 100, 200)]
    _at_once([(place, month, TRIPS, "trips") for month in staged])
    numbers = [row[0] for row in place.rows("trips", TRIPS)]
    assert numbers in [list(range(start, start + 50)) for start in (0, 100, 200)]
    assert len(ledger(place)) == 1


def test_colours_are_loaded_side_by_side(place: Place, tmp_path: Path) -> None:
    """Two tables and the ledger are made at the same moment in an empty warehouse."""
    datasets = list(DATASETS.values())
    _at_once(
        [
            (place, stage_rows(tmp_path, "2021-01", [(None,) * len(dataset.columns)], dataset), dataset, dataset.table)
            for dataset in datasets
        ]
    )
    assert [len(ledger(place, dataset.table)) for dataset in datasets] == [1, 1, 1, 1]


def _at_once(loads: Sequence[tuple[Place, StagedFile, Dataset, str]]) -> None:
    """Start the loads in threads at the same moment, and wait for all; any error is raised."""
    barrier = Barrier(len(loads))

    def load(place: Place, staged: StagedFile, dataset: Dataset, table: str) -> int:
        barrier.wait()
        return put(place, staged, dataset, table)

    with ThreadPoolExecutor(len(loads)) as pool:
        for done in [pool.submit(load, *arguments) for arguments in loads]:
            done.result()


def test_processes_load_different_months(place: Place, tmp_path: Path) -> None:
    """Two processes begin at the same moment in an empty warehouse; both end well."""
    january, february = (publish(tmp_path / "files", month, 20, "B1") for month in ("2021-01", "2021-02"))
    job = job_of(tmp_path / "files", place.address, tmp_path)
    with Loading(job, [january]) as one, Loading(job, [february]) as other:
        _race(one, other)
    assert place.query("SELECT file_month, count(*) FROM fhv_taxi_data GROUP BY file_month") != []
    assert [row.lineage.rows_loaded for row in ledger(place, "fhv_taxi_data")] == [20, 20]
    assert len(place.rows("fhv_taxi_data", FHV)) == 40


def test_processes_load_the_same_month(place: Place, tmp_path: Path) -> None:
    """One wins, nobody has to understand an error, and no row is lost or doubled."""
    partition = publish(tmp_path / "old", "2021-01", 20, "old")
    ingest(job_of(tmp_path / "old", place.address, tmp_path), partition)
    jobs = []
    for base, rows in (("one", 30), ("two", 40)):
        publish(tmp_path / base, "2021-01", rows, base)
        jobs.append(job_of(tmp_path / base, place.address, tmp_path / f"data-{base}", base))
    with Loading(jobs[0], [partition]) as one, Loading(jobs[1], [partition]) as other:
        _race(one, other)
    found = place.query("SELECT dispatching_base_num, count(*) FROM fhv_taxi_data GROUP BY dispatching_base_num")
    assert found in ([("one", 30)], [("two", 40)])
    assert [(row.run_id, row.lineage.rows_loaded) for row in ledger(place, "fhv_taxi_data")] == found


def _race(one: Loading, other: Loading) -> None:
    """Let both load once both are ready to begin."""
    for loading in (one, other):
        loading.until("transform")
    for loading in (one, other):
        loading.go()
    assert (one.end(), other.end()) == ("", "")


# -- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me:s3cret@host/trips",
        "postgresql://host/trips?password=s3cret",
        "mysql://host/?SSLPassword=s3cret",
    ],
)
def test_an_address_with_a_password_is_refused(address: str, tmp_path: Path) -> None:
    """It would stand in the history of the shell; the message doesn't repeat it."""
    with pytest.raises(UsageError, match="holds a password") as caught:
        open_warehouse(address, tmp_path)
    assert "s3cret" not in f"{caught.value.message}{caught.value.hint}"
    assert "PGPASSWORD" in caught.value.hint


@pytest.mark.parametrize(
    "address", ["", "trips", "nothing://host", "postgresql+psycopg_async://host/trips", "duckdb:x"]
)
def test_an_address_of_no_warehouse_is_refused(address: str, tmp_path: Path) -> None:
    """What nothing here can open, or not in the way that a load needs, is wrong usage."""
    with pytest.raises(UsageError) as caught:
        open_warehouse(address, tmp_path)
    assert caught.value.hint


def test_duckdb_alone_is_a_file_in_the_data_folder(tmp_path: Path) -> None:
    """The default warehouse needs no path."""
    with open_warehouse("duckdb", tmp_path / "data") as warehouse:
        warehouse.replace("trips", TRIPS, stage_rows(tmp_path, "2021-01", trips([1])), "run")
    assert (tmp_path / "data" / "nyctaxi.duckdb").exists()


# -- DuckDB and SQLite: a file ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["duckdb", "sqlite"])
def test_a_file_of_another_kind_is_told_at_once(kind: str, tmp_path: Path) -> None:
    """A file that isn't a database is refused by name, without a wait or a second try."""
    path = tmp_path / "block.csv"
    path.write_text("VendorID,fare\n" * 1000)
    os.utime(path, (0, 0))
    _refused_at_once(f"{kind}:///{path}", tmp_path, "block.csv")
    assert path.read_text().startswith("VendorID")


@pytest.mark.parametrize("kind", ["duckdb", "sqlite"])
def test_a_file_in_no_folder_is_told_at_once(kind: str, tmp_path: Path) -> None:
    """A path that leads through a file is refused by name."""
    (tmp_path / "lock").touch()
    _refused_at_once(f"{kind}:///{tmp_path}/lock/trips.db", tmp_path, "trips.db")


@pytest.mark.parametrize("address", ["duckdb:///:memory:", "duckdb:///", "sqlite://", "sqlite:///:memory:"])
def test_a_warehouse_in_memory_is_refused(address: str, tmp_path: Path) -> None:
    """It would be gone when the command ends."""
    with pytest.raises(UsageError, match="names no file"):
        open_warehouse(address, tmp_path)


def _refused_at_once(address: str, folder: Path, name: str) -> None:
    started = time.monotonic()
    with pytest.raises(NycTaxiError, match=name) as caught, open_warehouse(address, folder) as warehouse:
        warehouse.replace("trips", TRIPS, stage_rows(folder, "2021-01", trips([1])), "run")
    assert type(caught.value) in {UsageError, WarehouseError}
    assert time.monotonic() - started < 5
