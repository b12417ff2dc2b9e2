"""Published values mean what they meant, rules say the same in Arrow and in SQL, and every row is accounted for."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nyctaxi_etl.core.errors import SchemaDrift
from nyctaxi_etl.core.partition import Month
from nyctaxi_etl.readers.layout import Rows
from nyctaxi_etl.readers.opening import open_trips
from nyctaxi_etl.schema.columns import Column, Predicate, key
from nyctaxi_etl.schema.datasets import DATASETS, ESSENTIAL, FHV, FHVHV, GREEN, YELLOW, ZONES
from nyctaxi_etl.staging.files import arrow_schema
from nyctaxi_etl.staging.rejects import none_rejected
from nyctaxi_etl.transform.clean import clean, matches
from nyctaxi_etl.warehouses.duckdb.tables import DIALECT as DUCKDB
from nyctaxi_etl.warehouses.postgres.sql import DIALECT as POSTGRES
from nyctaxi_etl.warehouses.sql import Dialect, condition
from support.published import JANUARY, stage_csv, stage_parquet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nyctaxi_etl.schema.columns import Dataset
    from support.postgres import PostgresServer
    from support.published import Outcome

SQLITE = Dialect("sqlalchemy", time_literal="")
TIME = "2019-01-05 10:00:00"
START = datetime(2019, 1, 5, 10)  # noqa: DTZ001 - published without a zone


def _csv(dataset: Dataset, name: str, *values: str, **options: Any) -> Outcome:
    """Stage rows with a pickup time and one column of these published values."""
    essential = "".join(f",{column}" for column in ESSENTIAL.get(dataset.color, ()))
    rows = "".join(f"{TIME},{value}{',' if essential else ''}\n" for value in values)
    return stage_csv(f"pickup_datetime,{name}{essential}\n{rows}", dataset, **options)


def _parquet(dataset: Dataset, name: str, values: pa.Array) -> Outcome:
    """Stage a Parquet file with a pickup time and one column."""
    essential = {column: pa.nulls(len(values)) for column in ESSENTIAL.get(dataset.color, ())}
    return stage_parquet({"pickup_datetime": pa.array([START] * len(values)), name: values, **essential}, dataset)


def _rows(count: int, columns: dict[str, list[pa.Array]]) -> Rows:
    """Return parsed rows of which none is to be set aside."""
    return Rows(count, columns, [], none_rejected(), lambda picked: (picked, pa.nulls(0, pa.string())))


# Rules


def _edges() -> list[datetime]:
    month = [JANUARY.start, JANUARY.next.start]
    micro = timedelta(microseconds=1)
    return [datetime.min, datetime.max, *month, *(edge - micro for edge in month)]  # noqa: DTZ901 - the extremes


# With nulls and extremes, but no NaN: none is left in conformed rows, for it is read as null.
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "int16": st.none() | st.sampled_from([0, 1, -1, 32_767, -32_768]) | st.integers(-32_768, 32_767),
    "int32": st.none() | st.integers(-(2**31), 2**31 - 1),
    "double": st.none() | st.sampled_from([0.0, -0.0, 5e-324, -5e-324]) | st.floats(allow_nan=False),
    "string": st.none() | st.text(max_size=3),
    "timestamp[us]": st.none() | st.sampled_from(_edges()) | st.datetimes(),
}


@st.composite
def _batches(draw: st.DrawFn, columns: Sequence[Column]) -> pa.RecordBatch:
    count = draw(st.integers(0, 8))
    lists = [draw(st.lists(VALUES[column.types.arrow], min_size=count, max_size=count)) for column in columns]
    schema = arrow_schema(columns)
    return pa.record_batch([pa.array(v, field.type) for v, field in zip(lists, schema, strict=True)], schema=schema)


def _ruled(dataset: Dataset) -> tuple[Column, ...]:
    words = {word for rule in dataset.rules for word in rule.predicate}
    return tuple(column for column in dataset.columns if column.name in words)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), dataset=st.sampled_from(list(DATASETS.values())))
def test_rules_mean_the_same_in_arrow_and_sql(data: st.DataObject, dataset: Dataset) -> None:
    """For any rows, DuckDB and SQLite find with a rule's SQL just the rows that Arrow finds."""
    columns = _ruled(dataset)
    batch = data.draw(_batches(columns))
    wanted = [matches(rule.predicate, batch, JANUARY).to_pylist() for rule in dataset.rules]
    assert _in_duckdb(dataset, batch) == wanted
    assert _in_sqlite(dataset, batch) == wanted


@settings(max_examples=60, deadline=None)
@given(data=st.data(), dataset=st.sampled_from(list(DATASETS.values())))
def test_rules_mean_the_same_in_postgres(
    postgres_session: PostgresServer, data: st.DataObject, dataset: Dataset
) -> None:
    """And so does Postgres, in columns of the types that it is given."""
    columns = _ruled(dataset)
    batch = data.draw(_batches(columns))
    wanted = [matches(rule.predicate, batch, JANUARY).to_pylist() for rule in dataset.rules]
    assert _in_postgres(postgres_session, dataset, batch) == wanted


def _in_duckdb(dataset: Dataset, batch: pa.RecordBatch) -> list[list[bool]]:
    numbered = pa.table(batch).append_column("row", pa.array(range(batch.num_rows), pa.int64()))
    conditions = ", ".join(condition(DUCKDB, rule.predicate, JANUARY) for rule in dataset.rules)
    with duckdb.connect() as connection:
        connection.register("trips", numbered)
        rows = connection.execute(f"SELECT {conditions} FROM trips ORDER BY row").fetchall()
    return [[row[index] for row in rows] for index in range(len(dataset.rules))]


def _in_sqlite(dataset: Dataset, batch: pa.RecordBatch) -> list[list[bool]]:
    conditions = ", ".join(condition(SQLITE, rule.predicate, JANUARY) for rule in dataset.rules)
    values = [[_for_sqlite(value) for value in column.to_pylist()] for column in batch.columns]
    with sqlite3.connect(":memory:") as connection:
        connection.execute(f"CREATE TABLE trips ({', '.join(batch.schema.names)})")
        marks = ", ".join("?" * batch.num_columns)
        connection.executemany(f"INSERT INTO trips VALUES ({marks})", zip(*values, strict=True))
        rows = connection.execute(f"SELECT {conditions} FROM trips ORDER BY rowid").fetchall()
    connection.close()
    return [[bool(row[index]) for row in rows] for index in range(len(dataset.rules))]


def _in_postgres(server: PostgresServer, dataset: Dataset, batch: pa.RecordBatch) -> list[list[bool]]:
    names = batch.schema.names
    ddl = ", ".join(f"{name} {dataset.column(name).types.postgres}" for name in names)
    conditions = ", ".join(condition(POSTGRES, rule.predicate, JANUARY) for rule in dataset.rules)
    with psycopg.connect(server.dsn()) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TEMPORARY TABLE trips (row serial, {ddl})".encode())
        insert = f"INSERT INTO trips ({', '.join(names)}) VALUES ({', '.join(['%s'] * len(names))})"
        cursor.executemany(insert.encode(), [tuple(row.values()) for row in batch.to_pylist()])
        rows = cursor.execute(f"SELECT {conditions} FROM trips ORDER BY row".encode()).fetchall()
    return [[row[index] for row in rows] for index in range(len(dataset.rules))]


def _for_sqlite(value: Any) -> Any:
    """Write a time as SQLAlchemy writes it into SQLite."""
    return value.isoformat(" ", "microseconds") if isinstance(value, datetime) else value


@pytest.mark.parametrize(
    ("predicate", "found"),
    [
        (Predicate("fare_amount", "=", 0), [False, True, False, False]),
        (Predicate("fare_amount", "<", 0), [True, False, False, False]),
        (Predicate("fare_amount", "<", "tip_amount"), [True, False, False, False]),
        (Predicate("fare_amount", "=", "tip_amount"), [False, True, False, False]),
    ],
)
def test_a_predicate_is_true_or_not(predicate: Predicate, found: list[bool]) -> None:
    """Numbers and columns can be compared with; a null makes it not true."""
    batch = pa.record_batch({"fare_amount": [-1.0, -0.0, 2.0, None], "tip_amount": [0.0, 0.0, None, None]})
    assert matches(predicate, batch, JANUARY).to_pylist() == found


def test_zero_passengers_are_dropped_and_no_count_is_kept() -> None:
    """Nobody is paid for carrying nobody, but a count that was not entered is not zero."""
    outcome = _csv(YELLOW, "passenger_count", "0", "", "1", "0.0", "nan")
    assert outcome.values("passenger_count") == [None, 1, None]
    assert [(reject.line, reject.reason, reject.raw) for reject in outcome.rejects] == [
        (2, "no_passengers", f"{TIME},0"),
        (5, "no_passengers", f"{TIME},0.0"),
    ]


def test_wrong_clocks_are_loaded_and_flagged() -> None:
    """Trips of the year 3019, of 2009 and of the next month are loaded; so are those that end before they begin."""
    times = ["3019-02-02 00:00:00", "2009-01-01 00:00:00", "2019-02-01 00:00:00", "2018-12-31 23:59:59", TIME]
    outcome = stage_csv("pickup_datetime,dropoff_datetime\n" + "".join(f"{t},{TIME}\n" for t in times), FHV)
    assert [str(value) for value in outcome.values("pickup_datetime")] == times
    assert outcome.staged.lineage.flags == {"pickup_outside_month": 4, "dropoff_before_pickup": 2}
    assert outcome.staged.lineage.rows_rejected == 0


def test_flags_count_the_rows_that_are_kept() -> None:
    """A row that is set aside is not counted by a flag, nor is its unknown code."""
    header = "VendorID,pickup_datetime,passenger_count,fare_amount,trip_distance"
    outcome = stage_csv(f"{header}\nwho,{TIME},0,-1,0\nwho,{TIME},1,-1,0\nwho,{TIME},x,-1,0\n", YELLOW)
    assert outcome.staged.lineage.flags == {"negative_fare": 1, "zero_distance": 1, "unknown_vendor_id": 1}


def test_without_rules_every_row_that_parses_is_loaded() -> None:
    """A dataset without rules, as ELT loads it, drops and flags nothing."""
    outcome = _csv(replace(YELLOW, rules=()), "passenger_count", "0", "1")
    assert (outcome.values("passenger_count"), outcome.staged.lineage.flags) == ([0, 1], {})


# Codes, flags and text


@pytest.mark.parametrize(
    ("dataset", "name", "published", "loaded"),
    [
        (YELLOW, "vendor_name", "CMT VTS DDS cmt 1 2.0 6 1e0", [1, 2, 3, 1, 1, 2, 6, 1]),
        (YELLOW, "Payment_Type", "CRD CRE Credit CREDIT CSH CAS Cash CASH", [1, 1, 1, 1, 2, 2, 2, 2]),
        (YELLOW, "payment_type", "NOC No_Charge No DIS Dispute UNK NA NA_ 0 6", [3, 3, 3, 4, 4, 5, 5, 5, 0, 6]),
        (YELLOW, "store_and_forward", "0 1 0.0 1.0 N Y n y_ true", list("NYNYNYNYY")),
        (GREEN, "Trip_type ", "1 2.0 _", [1, 2, None]),
        (FHVHV, "SR_Flag", "1 _ 0", ["Y", None, "N"]),
        (FHV, "SR_Flag", "1 _ 1.0", [1, None, 1]),
        (FHV, "Dispatching_base_num", "B00013__ b00014 _ NULL", ["B00013", "b00014", None, None]),
    ],
)
def test_codes_of_every_era_are_mapped(dataset: Dataset, name: str, published: str, loaded: list[Any]) -> None:
    """Words, letters and numbers of all eras become the codes of today (``_`` stands for a blank)."""
    values = [value.replace("_", " ") for value in published.split(" ")]
    outcome = _csv(dataset, name, *values)
    column = next(column for column in dataset.columns if key(name) in column.keys)
    assert outcome.values(column.name) == loaded
    assert _parquet(dataset, name, pa.array(values)).values(column.name) == loaded
    assert not [flag for flag in outcome.staged.lineage.flags if flag.startswith("unknown")]


@pytest.mark.parametrize(
    ("name", "unknown"),
    [
        ("vendor_id", ["ACME", "1.5", "40000", "-32769", "inf", "1_0", "٣", "0x1"]),
        ("payment_type", ["Barter", "1e9"]),
        ("store_and_fwd_flag", ["*", "2", "YES"]),
    ],
)
def test_unknown_codes_are_null_and_counted(name: str, unknown: list[str]) -> None:
    """A code that no map knows loses no trip."""
    outcome = _csv(YELLOW, name, *unknown, "1")
    assert outcome.values(name)[:-1] == [None] * len(unknown)
    assert outcome.staged.lineage.flags == {f"unknown_{name}": len(unknown)}
    assert outcome.staged.lineage.rows_rejected == 0


def test_unknown_codes_in_numbers_are_null_and_counted() -> None:
    """Parquet's own numbers can be no codes either."""
    outcome = _parquet(YELLOW, "VendorID", pa.array([1.0, 1.5, float("inf"), float("nan"), None, -32768.0, 1e300]))
    assert outcome.values("vendor_id") == [1, None, None, None, None, -32768, None]
    assert outcome.staged.lineage.flags == {"unknown_vendor_id": 3}


def test_not_available_is_text_where_it_means_something(tmp_path: Path) -> None:
    """N/A names a zone; NA is a payment type."""
    path = tmp_path / "zones.csv"
    path.write_text('"LocationID","Borough","Zone","service_zone"\n264,"Unknown","N/A","NA"\n')
    file = open_trips(path, ZONES)
    (block,) = file.blocks()
    cleaned = clean(file.parse(block), replace(FHV, columns=ZONES, rules=()), JANUARY)
    assert cleaned.batch.to_pylist() == [
        {"location_id": 264, "borough": "Unknown", "zone": "N/A", "service_zone": "NA"}
    ]


def test_text_that_no_database_stores_is_rejected() -> None:
    """A NUL inside a text is set aside with its row."""
    outcome = _csv(FHV, "dispatching_base_num", "B1", "B\x002")
    assert outcome.values("dispatching_base_num") == ["B1"]
    assert outcome.rejects == [(3, "dispatching_base_num: 'B\\x002' does not fit", f"{TIME},B\x002")]


# Numbers and times in CSV


@pytest.mark.parametrize("junk", ["", "0,5", "a"])
def test_numbers_are_read_in_all_their_shapes(junk: str) -> None:
    """1.0 and 1e0 are whole, blanks around count for nothing, and so it is beside a value that is no number."""
    values = ["1", "1.0", "1e0", " 2 ", "-0", "007", "", "nan", "32767", "-32768"]
    outcome = _csv(replace(YELLOW, rules=()), "passenger_count", *values, *([f'"{junk}"'] if junk else []))
    assert outcome.values("passenger_count") == [1, 1, 1, 2, 0, 7, None, None, 32_767, -32_768]
    assert len(outcome.rejects) == bool(junk)


@pytest.mark.parametrize("value", ["1.5", "32768", "-32769", "inf", "1e9", "x", '"1,0"', "1_0", "--", "9" * 400])
def test_whole_numbers_that_do_not_fit_are_rejected(value: str) -> None:
    """A count with a fraction, out of range, or no number, sets its row aside with the value as the reason."""
    outcome = _csv(YELLOW, "passenger_count", value)
    word = value.strip('"')
    assert [reject.reason for reject in outcome.rejects] == [f"passenger_count: '{word[:80]}' does not fit"]


@pytest.mark.parametrize("value", ["inf", "-Infinity", "1e999", '"12,50"', "$5", "1.2.3"])
def test_money_that_is_no_number_is_rejected(value: str) -> None:
    """Infinite or unreadable money can't be loaded, and other money is loaded to the last digit."""
    outcome = _csv(YELLOW, "fare_amount", "1e-2", value, "-0.0", "0.1", "nan", "-nan")
    assert outcome.values("fare_amount") == [0.01, 0.0, 0.1, None, None]
    assert [reject.line for reject in outcome.rejects] == [3]


@pytest.mark.parametrize(
    ("published", "loaded"),
    [
        ("2019-01-05 10:00:00.123456789", "2019-01-05 10:00:00.123456"),
        ("2019-01-05 10:00:00.999999999", "2019-01-05 10:00:00.999999"),
        ("2019-01-05 10:00:00.5", "2019-01-05 10:00:00.500000"),
        ("2019-01-05T10:00", "2019-01-05 10:00:00"),
        ("2019-01-05", "2019-01-05 00:00:00"),
        (" 2019-01-05 10:00:00 ", "2019-01-05 10:00:00"),
        ("9999-12-31 23:59:59.999999", "9999-12-31 23:59:59.999999"),
        ("0001-01-01 00:00:00", "0001-01-01 00:00:00"),
        ("", "None"),
        (" NULL ", "None"),
    ],
)
def test_times_are_read_in_all_their_shapes(published: str, loaded: str) -> None:
    """Fractions finer than a microsecond are cut off; a day without a time is its midnight."""
    assert [str(value) for value in _csv(FHV, "dropoff_datetime", published).values("dropoff_datetime")] == [loaded]


@pytest.mark.parametrize(
    "value",
    ["2019-02-30 00:00:00", "2019-01-05 24:00:00", "0000-01-01 00:00:00", "01/05/2019", f"{TIME}Z", "1546300800"],
)
def test_times_that_are_none_are_rejected(value: str) -> None:
    """A day that isn't in the calendar, or a time with a zone, sets its row aside."""
    outcome = _csv(FHV, "dropoff_datetime", TIME, value)
    ((line, reason, raw),) = outcome.rejects
    assert (line, raw) == (3, f"{TIME},{value}")
    assert reason.startswith(f"dropoff_datetime: '{value}")


# Types of Parquet


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1, None, 0, 3], pa.int64()),
        pa.array([1, None, 0, 3], pa.int16()),
        pa.array([1, None, 0, 3], pa.uint8()),
        pa.array([1, None, 0, 3], pa.uint64()),
        pa.array([1, None, -0.0, 3], pa.float64()),
        pa.array([1, float("nan"), 0, 3], pa.float32()),
        pa.array([Decimal(1), None, Decimal(0), Decimal(3)], pa.decimal128(9, 2)),
        pa.array([Decimal(1), None, Decimal(0), Decimal(3)], pa.decimal256(50, 0)),
        pa.array(["1", None, "0.0", " 3 "]),
        pa.array(["1", "", "0", "3"], pa.large_string()),
        pa.array(["1", "nan", "0", "3"], pa.string_view()),
        pa.array([b"1", None, b"0", b"3"], pa.binary()),
        pa.array(["1", None, "0", "3"]).dictionary_encode(),
        pa.array(["1", None, "0", "3"], pa.large_string()).dictionary_encode(),
        pa.array([1, None, 0, 3]).dictionary_encode(),
        pa.array([9, 1, None, 0, 3, 9], pa.int64())[1:5],
    ],
    ids=lambda array: str(array.type),
)
def test_whole_numbers_of_every_type_are_read(values: pa.Array) -> None:
    """Counts are the same whatever type they were saved in, and so are codes and money."""
    unruled = replace(YELLOW, rules=())
    for name in ("passenger_count", "vendor_id", "fare_amount"):
        rows = _rows(4, {"pickup_datetime": [pa.array([START] * 4)], name: [values]})
        cleaned = clean(rows, unruled, JANUARY)
        assert cleaned.batch.column(name).to_pylist() == [1, None, 0, 3]
        assert not cleaned.flags
        assert _parquet(unruled, name, values).values(name) == [1, None, 0, 3]


@pytest.mark.parametrize(
    ("values", "bad"),
    [
        (pa.array([1, 2**53 + 1, -(2**63), 32_768], pa.int64()), [2, 3, 4]),
        (pa.array([1, 2**64 - 1], pa.uint64()), [2]),
        (pa.array([-32_768, -32_769, 32_767], pa.int32()), [2]),
        (pa.array([1.5, 1.0, float("inf"), -float("inf"), 1e300]), [1, 3, 4, 5]),
        (pa.array([Decimal("1.50"), Decimal("1.00")]), [1]),
        (pa.array([b"1", b"\xff"]), [2]),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_numbers_out_of_range_are_rejected_whatever_their_type(values: pa.Array, bad: list[int]) -> None:
    """A number that a column can't hold never wraps around to another: its row is set aside."""
    outcome = _parquet(YELLOW, "passenger_count", values)
    assert [reject.line for reject in outcome.rejects] == bad
    assert outcome.staged.lineage.rows_loaded == len(values) - len(bad)


def test_seconds_have_their_own_range() -> None:
    """A duration may have 32 bits."""
    outcome = _parquet(FHVHV, "trip_time", pa.array([2**31 - 1, 2**31, -(2**31)], pa.int64()))
    assert outcome.values("trip_time") == [2**31 - 1, -(2**31)]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1.0, 0.0, None]),
        pa.array([1, 0, None], pa.int8()),
        pa.array([True, False, None]),
        pa.array([Decimal("1.00"), Decimal("0.00"), None]),
        pa.array(["Y ", "n", "nan"]),
        pa.DictionaryArray.from_arrays(pa.array([1, 2, 0]), pa.array([None, "Y", "N"])),
    ],
    ids=lambda array: str(array.type),
)
def test_flags_of_every_type_are_read(values: pa.Array) -> None:
    """A flag is Y, N or null, whatever it was saved as."""
    rows = _rows(3, {"pickup_datetime": [pa.array([START] * 3)], "store_and_fwd_flag": [values]})
    cleaned = clean(rows, YELLOW, JANUARY)
    assert cleaned.batch.column("store_and_fwd_flag").to_pylist() == ["Y", "N", None]
    assert not cleaned.flags


def test_text_of_numbers_is_kept() -> None:
    """A text column that someone saved as numbers is text again."""
    assert _parquet(FHV, "affiliated_base_number", pa.array([13, None])).values("affiliated_base_number") == [
        "13",
        None,
    ]


@pytest.mark.parametrize(
    ("values", "loaded"),
    [
        (pa.array([START], pa.timestamp("s")), START),
        (pa.array([START], pa.timestamp("ms")), START),
        (
            pa.array([1_546_682_400_123_456_789], pa.int64()).cast(pa.timestamp("ns")),
            START.replace(microsecond=123_456),
        ),
        (pa.array([START.replace(tzinfo=UTC)], pa.timestamp("us", "UTC")), START),
        (pa.array([START.replace(tzinfo=UTC)], pa.timestamp("ms", "America/New_York")), datetime(2019, 1, 5, 5)),  # noqa: DTZ001
        (pa.array([START.date()], pa.date32()), datetime(2019, 1, 5)),  # noqa: DTZ001 - published without a zone
        (pa.array([START.date()], pa.date64()), datetime(2019, 1, 5)),  # noqa: DTZ001 - published without a zone
        (pa.array(["2019-01-05 10:00:00"]).dictionary_encode(), START),
        (pa.array([b"2019-01-05 10:00:00"]), START),
        (pa.array([None], pa.null()), None),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_times_of_every_type_are_read(values: pa.Array, loaded: datetime | None) -> None:
    """A time is what the clock showed, in microseconds, whatever unit or zone it was saved with."""
    rows = _rows(1, {"pickup_datetime": [values]})
    assert clean(rows, FHV, JANUARY).batch.column("pickup_datetime").to_pylist() == [loaded]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([0, 2**53, None], pa.int64()).cast(pa.timestamp("s")),
        pa.array([0, -(2**60), None], pa.int64()).cast(pa.timestamp("ms")),
        pa.array([0, 2**62, None], pa.int64()).cast(pa.timestamp("us")),
        pa.array([0, 2**31 - 1, None], pa.int32()).cast(pa.date32()),
        pa.array([0, 253_402_300_800_000_000, None], pa.int64()).cast(pa.timestamp("us")),
        pa.array([0, 253_402_300_800, None], pa.int64()).cast(pa.timestamp("s", "UTC")),
    ],
    ids=lambda array: str(array.type),
)
def test_times_out_of_the_calendar_are_rejected(values: pa.Array) -> None:
    """A time beyond the year 9999 never wraps around to another: its row is set aside."""
    outcome = _parquet(FHV, "dropoff_datetime", values)
    assert [str(value) for value in outcome.values("dropoff_datetime")] == ["1970-01-01 00:00:00", "None"]
    assert [reject.line for reject in outcome.rejects] == [2]


def test_far_years_survive_the_timestamps_of_spark() -> None:
    """The year 3019 in 96-bit timestamps is not read as nanoseconds, which end in 2262."""
    far = datetime(3019, 2, 2)  # noqa: DTZ001 - published without a zone
    columns = {"pickup_datetime": pa.array([far], pa.timestamp("us"))}
    assert stage_parquet(columns, FHV, use_deprecated_int96_timestamps=True).values("pickup_datetime") == [far]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("fare_amount", pa.array([[1.0]])),
        ("fare_amount", pa.array([True])),
        ("fare_amount", pa.array([START])),
        ("store_and_fwd_flag", pa.array([{"flag": "Y"}])),
        ("store_and_fwd_flag", pa.array([["Y"]])),
        ("store_and_fwd_flag", pa.array([START])),
        ("request_source", pa.array([date(2019, 1, 1)])),
        ("dropoff_datetime", pa.array([1])),
        ("dropoff_datetime", pa.array([time(10)])),
        ("dropoff_datetime", pa.array([timedelta(1)])),
        ("vendor_id", pa.array([START])),
    ],
    ids=lambda value: str(getattr(value, "type", value)),
)
def test_a_column_of_a_type_that_cannot_mean_it_is_refused(name: str, values: pa.Array) -> None:
    """A list of fares, or a duration as a time, is another layout: the file is refused, naming column and type."""
    with pytest.raises(SchemaDrift, match=rf"{name} came as .*, which can't mean it"):
        _parquet(YELLOW, name, values)


def test_a_zone_that_nobody_knows_is_refused() -> None:
    """Times of an unknown zone can't be read."""
    values = pa.array([0], pa.int64()).cast(pa.timestamp("us")).cast(pa.int64()).cast(pa.timestamp("us", "Mars/Base"))
    rows = _rows(1, {"pickup_datetime": [values]})
    with pytest.raises(SchemaDrift, match="zone that is not known"):
        clean(rows, FHV, JANUARY)


# Several columns that mean one


def test_columns_that_mean_the_same_fill_each_other() -> None:
    """2018 has the base in either of two columns, in one block or in another."""
    header = "Pickup_DateTime,Dispatching_base_number,Dispatching_base_num"
    outcome = stage_csv(f"{header}\n{TIME},B1,\n{TIME},,B2\n{TIME},,\n{TIME},B3,B4\n", FHV)
    assert outcome.values("dispatching_base_num") == ["B1", "B2", None, "B3"]


def test_a_bad_value_in_either_of_two_columns_is_not_lost() -> None:
    """Each of two columns that mean the same can set a row aside."""
    header = "Pickup_DateTime,locationID,PULocationID"
    outcome = stage_csv(f"{header}\n{TIME},x,\n{TIME},,y\n{TIME},1,\n{TIME},,2\n", FHV)
    assert outcome.values("pickup_location_id") == [1, 2]
    assert [(reject.line, reject.reason) for reject in outcome.rejects] == [
        (2, "pickup_location_id: 'x' does not fit"),
        (3, "pickup_location_id: 'y' does not fit"),
    ]


# How much may be unparsable


def test_too_many_unparsable_rows_refuse_the_file() -> None:
    """More than the allowed share fails the month, and the message names the first fault, not the first reject."""
    values = ["0", *["1"] * 17, "x", "y"]
    with pytest.raises(
        SchemaDrift, match=r"10.0% of its rows can't be parsed; line 20: passenger_count: 'x'"
    ) as caught:
        _csv(YELLOW, "passenger_count", *values, max_unparsable=0.05)
    assert "NYCTAXI_MAX_UNPARSABLE" in caught.value.hint


def test_a_few_unparsable_rows_do_not() -> None:
    """One row of twenty is within the allowed share; rows dropped by a rule don't count."""
    outcome = _csv(YELLOW, "passenger_count", "x", *["1"] * 10, *["0"] * 9, max_unparsable=0.05)
    assert (outcome.staged.lineage.rows_loaded, outcome.staged.lineage.rows_rejected) == (10, 10)


def test_a_broken_line_before_a_bad_value_is_the_first_fault() -> None:
    """Lines that are no rows and rows that don't fit are told in the file's order."""
    content = f"pickup_datetime,passenger_count\n{TIME},1\n{TIME}\n{TIME},x\n{TIME},0\n{TIME},1,,1\n"
    with pytest.raises(SchemaDrift, match="line 3: 1 fields where 2 are named"):
        stage_csv(content, YELLOW, max_unparsable=0.05)
    assert [reject.line for reject in stage_csv(content, YELLOW).rejects] == [3, 4, 5, 6]


def test_a_month_of_december_ends_with_the_year() -> None:
    """The month after December is January."""
    outcome = stage_csv("pickup_datetime,SR_Flag\n2018-12-31 23:59:59,\n2019-01-01 00:00:00,\n", FHV, Month(2018, 12))
    assert outcome.staged.lineage.flags == {"pickup_outside_month": 1}


def test_money_is_summed_to_the_cent() -> None:
    """A float32 column keeps its cents."""
    outcome = _parquet(YELLOW, "total_amount", pa.array([12.3, 0.1], pa.float32()))
    assert pc.sum(outcome.table["total_amount"]).as_py() == pytest.approx(12.4, abs=1e-6)
