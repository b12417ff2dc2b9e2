"""ELT ends as ETL does: rows go in as they came, and SQL of the same rules makes the clean table, all in one commit."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pyarrow as pa
import pytest

from nyctaxi_etl.core.errors import CorruptFile, QualityError, UsageError, WarehouseError
from nyctaxi_etl.core.partition import Color, Month, Partition
from nyctaxi_etl.core.progress import Event, listening
from nyctaxi_etl.schema.columns import Column, Predicate, Rule
from nyctaxi_etl.schema.datasets import DATASETS, FHV
from nyctaxi_etl.sources.fetch import fetch
from nyctaxi_etl.sources.registry import resolve
from nyctaxi_etl.staging.files import arrow_schema
from nyctaxi_etl.transform.clean import matches
from nyctaxi_etl.transform.stream import stage
from nyctaxi_etl.warehouses.base import table_columns
from nyctaxi_etl.warehouses.ledger import clean_ledger_row
from support.months import Row, stage_rows
from support.places import PLACES, Place
from support.published import raw_file
from support.rules import PLAIN, RULED, UNSURE, in_words, ruled, ruled_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nyctaxi_etl.core.partition import RawFile
    from nyctaxi_etl.schema.columns import Dataset
    from nyctaxi_etl.staging.files import StagedFile
    from nyctaxi_etl.warehouses.ledger import LedgerRow
    from support.postgres import PostgresServer

SETTING = "NYCTAXI_REAL_DATA"
FOLDER = os.environ.get(SETTING)
JANUARY, FEBRUARY = date(2021, 1, 1), date(2021, 2, 1)
NOTE = "making trips of trips_raw"


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Place:
    """An empty warehouse of each kind."""
    return PLACES[request.param](request)


@pytest.fixture
def old(place: Place, tmp_path: Path) -> dict[str, list[Row]]:
    """What both tables hold once January's trips 0 to 5 and February's 6 to 8 are loaded."""
    put(place, staged(tmp_path, "2021-01", range(6)), run_id="old")
    put(place, staged(tmp_path, "2021-02", range(6, 9)), run_id="old")
    raw = monthly(JANUARY, range(6)) + monthly(FEBRUARY, range(6, 9))
    return {"trips": [row for row in raw if row[-2] != 0], "trips_raw": raw}


def monthly(month: date, numbers: Sequence[int]) -> list[Row]:
    """Return the rows that a table holds of a month of these trips."""
    return [(*row, month) for row in ruled(numbers)]


def staged(folder: Path, month: str, numbers: Sequence[int], **options: int) -> StagedFile:
    """Stage a month of these trips, no rule applied."""
    found = stage_rows(folder, month, ruled(numbers), RULED, **options)
    return replace(found, lineage=replace(found.lineage, rules=replace(RULED, rules=()).rules_id))


def put(place: Place, month: StagedFile, dataset: Dataset = RULED, run_id: str = "run") -> int:
    """Replace the staged month in both tables."""
    with place.open() as warehouse:
        return warehouse.replace("trips", dataset, month, run_id, raw_table="trips_raw")


def held(place: Place, dataset: Dataset = RULED) -> dict[str, list[Row]]:
    """Return what both tables hold."""
    return {table: place.rows(table, dataset) for table in ("trips", "trips_raw")}


def ledger(place: Place, table: str) -> tuple[LedgerRow, ...]:
    """Return what the ledger says of ``table``."""
    with place.open() as warehouse:
        return warehouse.loaded(table)


def counts(place: Place, table: str) -> list[tuple[object, ...]]:
    """Return what the ledger counts of ``table``, by month."""
    return [
        (row.run_id, row.lineage.rows_read, row.lineage.rows_rejected, row.lineage.rows_loaded)
        for row in ledger(place, table)
    ]


OLD_COUNTS = {"trips": [("old", 6, 2, 4), ("old", 3, 1, 2)], "trips_raw": [("old", 6, 0, 6), ("old", 3, 0, 3)]}


def is_old(place: Place, old: dict[str, list[Row]]) -> bool:
    """Tell whether tables and ledger are those of ``old``."""
    return held(place) == old and {table: counts(place, table) for table in old} == OLD_COUNTS


@contextmanager
def failing(when: Callable[[Event], bool], error: BaseException) -> Iterator[None]:
    """Raise ``error`` at the first event for which ``when`` is true."""

    def listen(event: Event) -> None:
        if when(event):
            raise error

    with listening(listen):
        yield


# -- a month ----------------------------------------------------------------------------------------------------------


def test_all_is_kept_and_cleaned_within(place: Place, tmp_path: Path) -> None:
    """The raw table has every row that parsed, the clean one those that no rule drops: zero passengers, not null."""
    month = staged(tmp_path, "2021-01", range(9), rejected=2)
    assert put(place, month) == 6
    assert held(place)["trips_raw"] == monthly(JANUARY, range(9))
    assert held(place)["trips"] == monthly(JANUARY, [1, 2, 4, 5, 7, 8])
    assert counts(place, "trips_raw") == [("run", 11, 2, 9)]
    assert counts(place, "trips") == [("run", 11, 5, 6)]


def test_both_ledger_rows_tell_all(place: Place, tmp_path: Path) -> None:
    """They differ in the table, the rules and the counts alone; the clean one is that of ETL."""
    month = staged(tmp_path, "2021-01", range(3))
    put(place, month)
    (raw,), (clean,) = ledger(place, "trips_raw"), ledger(place, "trips")
    assert (raw.lineage.rules, clean.lineage.rules) == (month.lineage.rules, RULED.rules_id)
    assert clean.lineage.fingerprint == (month.lineage.source_sha256, RULED.version, RULED.rules_id)
    lineage = replace(raw.lineage, rules=RULED.rules_id, rows_rejected=1, rows_loaded=2)
    same = replace(raw, table_name="trips", lineage=lineage)
    assert clean == same


def test_twice_is_once(place: Place, old: dict[str, list[Row]], tmp_path: Path) -> None:
    """A month replaced again is the new one alone in both tables; the other month stays."""
    for _ in range(2):
        assert put(place, staged(tmp_path, "2021-01", range(10, 14))) == 3
    assert held(place)["trips"] == old["trips"][4:] + monthly(JANUARY, [10, 11, 13])
    assert held(place)["trips_raw"] == old["trips_raw"][6:] + monthly(JANUARY, range(10, 14))
    assert counts(place, "trips") == [("run", 4, 1, 3), ("old", 3, 1, 2)]
    assert counts(place, "trips_raw") == [("run", 4, 0, 4), ("old", 3, 0, 3)]


def test_other_rules_make_another_clean_month(place: Place, old: dict[str, list[Row]], tmp_path: Path) -> None:
    """The raw month is what it was; the clean one is rebuilt, and the ledger names its rules."""
    cheap = Rule("cheap", Predicate("fare_amount", "<", 1), "drop", "Too little.")
    other = replace(RULED, rules=(cheap,))
    assert put(place, staged(tmp_path, "2021-01", range(6)), other) == 2
    assert held(place)["trips_raw"] == old["trips_raw"]
    assert held(place)["trips"] == monthly(JANUARY, [4, 5]) + old["trips"][4:]
    assert [row.lineage.rules for row in ledger(place, "trips")] == [other.rules_id, RULED.rules_id]


def test_a_clean_month_may_have_no_rows_left(place: Place, old: dict[str, list[Row]], tmp_path: Path) -> None:
    """A month of which the rules drop every row is loaded: empty."""
    assert put(place, staged(tmp_path, "2021-01", [0, 3])) == 0
    assert held(place)["trips"] == old["trips"][4:]
    assert counts(place, "trips")[0] == ("run", 2, 2, 0)


def test_etl_and_elt_share_a_clean_table(place: Place, old: dict[str, list[Row]], tmp_path: Path) -> None:
    """A team that changes its mind loads the next month the other way into the same table."""
    with place.open() as warehouse:
        warehouse.replace("trips", RULED, stage_rows(tmp_path, "2021-01", ruled([1, 2]), RULED), "etl")
    assert held(place) == {"trips": monthly(JANUARY, [1, 2]) + old["trips"][4:], "trips_raw": old["trips_raw"]}
    assert put(place, staged(tmp_path, "2021-01", range(6)), run_id="old") == 4
    assert is_old(place, old)


def test_gained_and_lost_columns(place: Place, old: dict[str, list[Row]], tmp_path: Path) -> None:
    """A column that the dataset gains is added to both tables; one that it loses stays, null from then on."""
    rows = [(*row[:3], row[4], 0.5) for row in ruled([10, 11])]
    other = replace(RULED, columns=(*RULED.columns[:3], RULED.columns[4], Column("tip", "money")))
    put(place, stage_rows(tmp_path, "2021-03", rows, other), other)
    for table, rows_before in old.items():
        assert place.query(f"SELECT DISTINCT tip, zone FROM {table} WHERE trip > 9") == [(0.5, None)]
        assert place.query(f"SELECT count(*) FROM {table} WHERE tip IS NULL") == [(len(rows_before),)]


@pytest.mark.parametrize("table", ["order", "x" * 48, "a\"b'c; DROP TABLE trips --", "%s :x {}"])
def test_any_name_is_quoted(place: Place, table: str, tmp_path: Path) -> None:
    """Words of SQL, the longest name with its ending, and worse ones are names in either place."""
    for numbers in ([1, 2], [3, 4]):
        with place.open() as warehouse:
            month = staged(tmp_path, "2021-01", numbers)
            warehouse.replace(table, RULED, month, "run", raw_table=f"{table}_raw")
    assert place.rows(table, RULED) == monthly(JANUARY, [4])
    assert place.rows(f"{table}_raw", RULED) == monthly(JANUARY, [3, 4])
    assert [row.table_name for name in (table, f"{table}_raw") for row in ledger(place, name)] == [
        table,
        f"{table}_raw",
    ]


# -- rules ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("predicates", [*((one,) for one in PLAIN), (), tuple(PLAIN[:4])], ids=in_words)
def test_any_plain_rule_drops_the_same_rows(place: Place, predicates: tuple[Predicate, ...], tmp_path: Path) -> None:
    """The clean table has just the rows that the transform step would have kept."""
    month, dataset = Month(2021, 1), ruled_by(*predicates)
    edges = [edge - timedelta(microseconds=late) for edge in (month.start, month.next.start) for late in (0, 1)]
    rows = ruled(range(8)) + [(20 + i, edge, None, None, None) for i, edge in enumerate(edges)]
    batch = pa.RecordBatch.from_pylist(
        [dict(zip(arrow_schema(RULED.columns).names, row, strict=True)) for row in rows], arrow_schema(RULED.columns)
    )
    lost = [matches(one, batch, month).to_pylist() for one in predicates]
    kept = [row[0] for index, row in enumerate(rows) if not any(mask[index] for mask in lost)]
    assert put(place, stage_rows(tmp_path, "2021-01", rows, RULED), dataset) == len(kept)
    assert [row[0] for row in held(place)["trips"]] == kept


@pytest.mark.parametrize("predicate", UNSURE, ids=in_words)
def test_a_rule_that_databases_may_judge_otherwise_is_refused(
    place: Place, predicate: Predicate, tmp_path: Path
) -> None:
    """The error names the rule and the other way, before anything is made; as a flag it does no harm."""
    dataset = ruled_by(PLAIN[0], predicate)
    with pytest.raises(UsageError, match="rule_1 of green") as caught:
        put(place, staged(tmp_path, "2021-01", range(3)), dataset)
    assert "`mode=etl`" in caught.value.hint
    assert ledger(place, "trips") == ledger(place, "trips_raw") == ()
    flags = replace(dataset, rules=(dataset.rules[0], dataset.rules[1]._replace(action="flag")))
    assert put(place, staged(tmp_path, "2021-01", range(3)), flags) == 2


# -- what was there before --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw_table", ["trips", "Trips"])
def test_one_table_is_not_enough(place: Place, raw_table: str, tmp_path: Path) -> None:
    """Otherwise no rule would be applied; some databases don't tell upper from lower case."""
    with place.open() as warehouse, pytest.raises(UsageError, match="trips"):
        warehouse.replace("trips", RULED, staged(tmp_path, "2021-01", [1]), "run", raw_table=raw_table)
    assert ledger(place, "trips") == ()


@pytest.mark.parametrize("foreign", ["trips", "trips_raw"])
@pytest.mark.parametrize("made", ["TABLE {} AS SELECT 5 AS trip", "VIEW {} AS SELECT 5 AS trip"])
def test_a_foreign_table_is_refused(place: Place, foreign: str, made: str, tmp_path: Path) -> None:
    """In either's place a table or view of a user's stays as it is, and the other is not loaded."""
    place.by_hand(f"CREATE {made.format(foreign)}")
    with pytest.raises(WarehouseError, match=rf"table {foreign} ") as caught:
        put(place, staged(tmp_path, "2021-01", [1]))
    assert "`table=`" in caught.value.hint
    assert place.query(f"SELECT * FROM {foreign}") == [(5,)]
    assert ledger(place, "trips") == ledger(place, "trips_raw") == ()


def test_another_colours_raw_table_is_refused(place: Place, old: dict[str, list[Row]], tmp_path: Path) -> None:
    """Both tables hold the same colour."""
    month = stage_rows(tmp_path, "2021-01", [(None,) * len(FHV.columns)], FHV)
    with place.open() as warehouse, pytest.raises(WarehouseError, match="trips_raw that does not hold fhv"):
        warehouse.replace("fhv_trips", FHV, month, "run", raw_table="trips_raw")
    assert is_old(place, old)
    assert ledger(place, "fhv_trips") == ()


# -- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [CorruptFile("torn"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
@pytest.mark.parametrize("point", ["midway", "between"])
def test_a_failure_leaves_both_old_months(
    place: Place, old: dict[str, list[Row]], point: str, error: BaseException, tmp_path: Path
) -> None:
    """Midway into the raw table, or between it and the clean one; a second try goes well."""
    month = staged(tmp_path, "2021-01", range(10, 20))

    def now(event: Event) -> bool:
        return event.note == NOTE if point == "between" else event.done >= 4

    with failing(now, error), pytest.raises(type(error)) as caught:
        put(place, month)
    assert caught.value is error
    assert is_old(place, old)
    assert put(place, month) == 7


def test_raw_rows_that_do_not_add_up_are_refused(place: Place, old: dict[str, list[Row]], tmp_path: Path) -> None:
    """A staged file with fewer rows than were read and could be parsed is not committed to either table."""
    with pytest.raises(QualityError, match=r"green/2021-01: trips_raw counts 4 rows where 5 "):
        put(place, staged(tmp_path, "2021-01", range(4), lost=1))
    assert is_old(place, old)


def test_clean_rows_that_do_not_add_up_are_refused(
    place: Place, old: dict[str, list[Row]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nor is a clean month with other rows than the raw one's less those dropped."""

    def wrong(raw: LedgerRow, table: str, dataset: Dataset, dropped: int) -> LedgerRow:
        return clean_ledger_row(raw, table, dataset, dropped + 1)

    for module in ("duckdb.warehouse", "postgres.partitions", "sqlalchemy.warehouse"):
        monkeypatch.setattr(f"nyctaxi_etl.warehouses.{module}.clean_ledger_row", wrong)
    with pytest.raises(QualityError, match=r"green/2021-01: trips counts 4 rows where 3 "):
        put(place, staged(tmp_path, "2021-01", range(6)))
    assert is_old(place, old)


# A process that loads a month, says at an event with this note (or at its end) that it is there, and waits.
LOADING = """
import pickle, sys
from nyctaxi_etl.core.progress import listening
from nyctaxi_etl.warehouses.opening import open_warehouse
address, folder, dataset, staged, note = pickle.loads(bytes.fromhex(sys.argv[1]))
def stop(event):
    if event is None or note and event.note == note:
        print("there", flush=True)
        sys.stdin.read()
with listening(stop), open_warehouse(address, folder) as warehouse:
    warehouse.replace("trips", dataset, staged, "new", raw_table="trips_raw")
stop(None)
"""


@pytest.mark.parametrize("note", [NOTE, ""], ids=["between", "after"])
def test_a_killed_process_leaves_both_old_or_both_new(
    place: Place, old: dict[str, list[Row]], note: str, tmp_path: Path
) -> None:
    """SIGKILL between the raw rows and the clean ones leaves neither, after the commit both; the next load mends it."""
    month = staged(tmp_path, "2021-01", range(10, 20))
    task = pickle.dumps((place.address, tmp_path, RULED, month, note)).hex()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", LOADING, task]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        process.kill()
    if note:
        assert is_old(place, old)
    else:
        assert [counts(place, table)[0] for table in old] == [("new", 10, 3, 7), ("new", 10, 0, 10)]
    put(place, month)
    assert [len(rows) for rows in held(place).values()] == [7 + 2, 10 + 3]


def test_loads_side_by_side(place: Place, tmp_path: Path) -> None:
    """Months, one twice, ETL between them, and even the two tables in each other's place: nobody is stuck."""
    loads: list[tuple[str, str, str | None]] = [
        ("2021-01", "trips", "trips_raw"),
        ("2021-02", "trips", "trips_raw"),
        ("2021-01", "trips_raw", "trips"),
        ("2021-01", "trips", None),
        ("2021-02", "trips", "trips_raw"),
        ("2021-01", "trips", "trips_raw"),
    ]

    def load(month: str, table: str, raw_table: str | None) -> int:
        with place.open() as warehouse:
            return warehouse.replace(table, RULED, staged(tmp_path, month, range(30)), "run", raw_table=raw_table)

    with ThreadPoolExecutor(len(loads)) as pool:
        rows = [done.result() for done in [pool.submit(load, *one) for one in loads]]
    assert rows == [20, 20, 20, 30, 20, 20]
    for table in ("trips", "trips_raw"):
        found = Counter(row[-1] for row in place.rows(table, RULED))
        assert {row.file_month: row.lineage.rows_loaded for row in ledger(place, table)} == dict(found)


# -- Postgres ---------------------------------------------------------------------------------------------------------


def test_both_tables_are_partitioned(postgres: PostgresServer, tmp_path: Path) -> None:
    """Each month has a part of its own in either, and nothing is left of the way there."""
    place = Place(postgres.url(), tmp_path, lambda _statement: None)
    for month in ("2021-01", "2021-02", "2021-01"):
        put(place, staged(tmp_path, month, range(6)))
    found = place.query(r"SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    parts = [f"{table}{ending}" for table in ("trips", "trips_raw") for ending in ("", "_2021_01", "_2021_02")]
    assert [name for (name,) in found] == sorted([*parts, "nyctaxi_loads"])


def test_readers_of_one_table_do_not_keep_those_of_the_other(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """While the exchange waits for a reader of the clean table, the raw one can be read; both change at once."""
    monkeypatch.setattr("nyctaxi_etl.warehouses.postgres.locks._WAITS_SECONDS", (0.2,) * 50)
    place = Place(postgres.url(), tmp_path, lambda _statement: None)
    put(place, staged(tmp_path, "2021-01", range(6)))
    seen: list[int] = []
    with psycopg.connect(postgres.dsn()) as reader:
        reader.execute("SELECT count(*) FROM trips")

        def listen(event: Event) -> None:
            if event.note.startswith("waiting for those who use trips_raw and trips"):
                reader.execute("SET LOCAL lock_timeout = '5s'")
                seen.extend(count for (count,) in reader.execute("SELECT count(*) FROM trips_raw"))
                reader.commit()

        with listening(listen):
            assert put(place, staged(tmp_path, "2021-01", range(9))) == 6
    assert seen == [6]


# -- real and generated months ----------------------------------------------------------------------------------------

REAL = [
    "datatalks/green/green_tripdata_2020-04.csv.gz",
    "datatalks/yellow/yellow_tripdata_2019-01.csv.gz",
    "eras/fhv_tripdata_2018-02.csv",
    "eras/fhvhv_tripdata_2020-01.csv",
    "eras/green_tripdata_2020-02.csv",
    "eras/yellow_tripdata_2009-01.csv",
    "eras/yellow_tripdata_2019-07.csv",
    "samples/fhv_tripdata_2019-06.sample.csv.gz",
    "samples/fhvhv_tripdata_2020-04.sample.csv.gz",
    "samples/yellow_tripdata_2016-07.sample.csv.gz",
    "samples/yellow_tripdata_2025-02.sample.parquet",
]


@pytest.mark.skipif(not FOLDER, reason=f"{SETTING} names no folder of real TLC files.")
@pytest.mark.parametrize("name", REAL)
def test_real_months_end_alike(place: Place, name: str, tmp_path: Path) -> None:
    """Months of every colour and era, as they were published."""
    found = re.search(r"([a-z]+)_tripdata_(\d{4}-\d{2})", name)
    assert found
    partition = Partition(Color(found[1]), Month.parse(found[2]))
    _end_alike(place, raw_file(Path(str(FOLDER)) / name, partition), tmp_path)


@pytest.mark.parametrize(
    "partition", ["yellow/2019-03", "yellow/2024-01", "green/2020-01", "fhv/2020-05", "fhvhv/2021-02"]
)
def test_generated_months_end_alike(place: Place, partition: str, tmp_path: Path) -> None:
    """Months of every colour that need no network."""
    color, _, month = partition.partition("/")
    found = Partition(Color(color), Month.parse(month))
    _end_alike(place, fetch(resolve("sample"), found, tmp_path / "raw", sample_rows=4000), tmp_path)


def _end_alike(place: Place, raw: RawFile, folder: Path) -> None:
    """Load a month both ways: by the declared rules, and again with every rule dropping what it flags, and one more."""
    dataset = DATASETS[raw.partition.color]
    rules = [*dataset.rules, Rule("low_zone", Predicate("pickup_location_id", "<", 100), "drop", "A test's.")]
    strict = replace(dataset, rules=tuple(rule._replace(action="drop") for rule in rules))
    flags_only = tuple(rule for rule in dataset.rules if rule.action == "flag")
    as_it_came = stage(raw, replace(dataset, rules=flags_only), folder / "elt")
    for declared in (dataset, strict):
        etl = stage(raw, declared, folder / "etl")
        with place.open() as warehouse:
            assert warehouse.replace("etl", declared, etl, "run") == etl.lineage.rows_loaded
            assert warehouse.replace("elt", declared, as_it_came, "run", raw_table="elt_raw") == etl.lineage.rows_loaded
        _same_rows(place, declared)
        assert place.query("SELECT count(*) FROM elt_raw") == [(as_it_came.lineage.rows_loaded,)]
        (one,), (other,) = ledger(place, "etl"), ledger(place, "elt")
        # With ELT flags are counted of all rows that parse: docs/lake.md.
        assert other.lineage.flags == as_it_came.lineage.flags
        lineage = replace(one.lineage, flags=other.lineage.flags)
        assert other == replace(one, table_name="elt", loaded_at=other.loaded_at, lineage=lineage)
    assert etl.lineage.rows_loaded < as_it_came.lineage.rows_loaded, "no rule drops a row of this month"


def _same_rows(place: Place, dataset: Dataset) -> None:
    names = ", ".join(column.name for column in table_columns(dataset))
    one, other = (f"SELECT {names}, count(*) FROM {table} GROUP BY {names}" for table in ("etl", "elt"))
    for difference in (f"{one} EXCEPT {other}", f"{other} EXCEPT {one}"):
        assert place.query(f"SELECT count(*) FROM ({difference}) AS difference") == [(0,)]
