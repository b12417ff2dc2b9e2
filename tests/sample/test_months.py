"""Generated months: the same bytes always, the published layouts, plausible trips, and the defects at their rates."""

from __future__ import annotations

import csv
import gzip
import hashlib
import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow.parquet as pq
import pytest

from nyctaxi_etl.core.partition import Color, Month, Partition
from nyctaxi_etl.core.progress import Event, listening
from nyctaxi_etl.sample.defects import DEFECTS, SURE_ROWS
from nyctaxi_etl.sample.eras import CSV_LAYOUTS, csv_layout, parquet_columns
from nyctaxi_etl.sample.months import write_month
from nyctaxi_etl.schema.datasets import GREEN, YELLOW

if TYPE_CHECKING:
    from collections.abc import Callable

REAL = os.environ.get("NYCTAXI_REAL_DATA")
needs_real_data = pytest.mark.skipif(not REAL, reason="NYCTAXI_REAL_DATA, a folder with real trip records, is not set")

ERAS = [f"{color}/{layout.since}" for color, layouts in CSV_LAYOUTS.items() for layout in layouts]
REAL_ERAS = sorted(Path(REAL, "eras").glob("*.csv")) if REAL else [Path("none")]
REAL_PARQUET = sorted(Path(REAL, "tlc", "trip-data").glob("*.parquet")) if REAL else [Path("none")]


def of(text: str) -> Partition:
    """Read ``yellow/2021-01``."""
    color, month = text.split("/")
    return Partition(Color(color), Month.parse(month))


def of_file(path: Path) -> Partition:
    """Read the partition in a published file's name."""
    color, _kind, month = path.name.split(".")[0].split("_")
    return of(f"{color}/{month}")


def made(folder: Path, text: str, rows: int, ending: str = ".csv") -> Path:
    """Make a month in a folder."""
    path = folder / f"{text.replace('/', '_')}_{rows}{ending}"
    write_month(of(text), path, rows)
    return path


def records(path: Path) -> list[list[str]]:
    """Read a CSV file's rows behind the header, without blank lines."""
    with path.open(newline="") as file:
        return [row for row in csv.reader(file) if row][1:]


def frame(folder: Path, text: str, rows: int) -> pd.DataFrame:
    """Make a month as Parquet and read it."""
    return pd.read_parquet(made(folder, text, rows, ".parquet"))


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
def test_a_month_is_the_same_bytes_every_time(tmp_path: Path, ending: str) -> None:
    """Two files of the same month, size and format don't differ in a byte, whatever they are called."""
    write_month(of("yellow/2021-01"), tmp_path / f"one{ending}", 40_000)
    write_month(of("yellow/2021-01"), tmp_path / f"two{ending}", 40_000)
    assert (tmp_path / f"one{ending}").read_bytes() == (tmp_path / f"two{ending}").read_bytes()


def test_the_trips_are_the_same_on_every_machine(tmp_path: Path) -> None:
    """The text of a month is pinned: a new digest here is a sample that changed for everybody."""
    digest = hashlib.sha256(made(tmp_path, "yellow/2021-01", 1000).read_bytes()).hexdigest()
    assert digest == "b8666764176344220f4b8217d8c5d4c2173998a6a547a870b933cb972f21aac3"


def test_formats_hold_the_same_trips(tmp_path: Path) -> None:
    """csv.gz is csv compressed, without a time or a name in its header; Parquet has the same amounts."""
    text = made(tmp_path, "green/2020-02", 500)
    packed = made(tmp_path, "green/2020-02", 500, ".csv.gz").read_bytes()
    assert gzip.decompress(packed) == text.read_bytes()
    assert packed[3:8] == bytes(5)
    totals = [float(row[16]) for row in records(text)]
    assert totals == frame(tmp_path, "green/2020-02", 500).total_amount.tolist()


def test_months_and_sizes_differ(tmp_path: Path) -> None:
    """Another month or another size has other trips."""
    fares = [
        [row[10] for row in records(made(tmp_path, *month))][:50]
        for month in (("yellow/2021-01", 50), ("yellow/2021-02", 50))
    ]
    assert fares[0] != fares[1]
    assert fares[0] != [row[10] for row in records(made(tmp_path, "yellow/2021-01", 51))][:50]


@pytest.mark.parametrize("text", ["yellow/2021-01", "yellow/2009-05", "green/2014-02", "fhv/2018-02", "fhvhv/2025-02"])
@pytest.mark.parametrize("rows", [0, 1, 10, 64_001])
def test_a_month_has_exactly_its_rows(tmp_path: Path, text: str, rows: int) -> None:
    """The rows asked for are there, none at all and several chunks included."""
    assert len(records(made(tmp_path, text, rows))) == rows
    assert pq.read_metadata(made(tmp_path, text, rows, ".parquet")).num_rows == rows


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("yellow/2014-03", b"vendor_id, pickup_datetime, dropoff_datetime, passenger_count, trip_distance, "),
        ("yellow/2016-07", b"VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,passenger_count,trip_distance,Rate"),
        ("fhv/2015-01", b"Dispatching_base_num,Pickup_date,locationID\r\nB"),
        ("fhv/2017-09", b'"Dispatching_base_num","Pickup_DateTime","DropOff_datetime","PUlocationID","DOlocationID",'),
        ("fhvhv/2020-01", b"hvfhs_license_num,dispatching_base_num,pickup_datetime,dropoff_datetime,PULocationID,"),
    ],
)
def test_headers_are_the_published_ones(tmp_path: Path, text: str, start: bytes) -> None:
    """A few first lines, literally."""
    assert made(tmp_path, text, 10).read_bytes().startswith(start)


@pytest.mark.parametrize(
    ("text", "gap"),
    [
        ("yellow/2010-02", b"total_amount\n\r\n"),
        ("green/2014-02", b"Trip_type \n\n\r\n"),
        ("green/2015-03", b"Trip_type \r\n2"),
    ],
)
def test_blank_lines_and_line_endings_are_the_published_ones(tmp_path: Path, text: str, gap: bytes) -> None:
    """Between header and rows stands what stood there."""
    assert gap in made(tmp_path, text, 10).read_bytes()


@pytest.mark.parametrize(
    ("text", "names", "fields"),
    [
        ("yellow/2016-07", 17, 19),
        ("green/2013-08", 20, 22),
        ("green/2015-03", 21, 23),
        ("green/2016-08", 19, 21),
        ("green/2017-05", 19, 19),
        ("yellow/2024-01", 19, 19),
        ("yellow/2026-06", 21, 21),
        ("fhvhv/2022-01", 24, 24),
        ("fhvhv/2025-02", 25, 25),
    ],
)
def test_rows_have_the_fields_of_their_era(tmp_path: Path, text: str, names: int, fields: int) -> None:
    """Names and fields agree or disagree as published."""
    path = made(tmp_path, text, 20)
    with path.open(newline="") as file:
        assert len(next(csv.reader(file))) == names
    assert {len(row) for row in records(path)} == {fields}


@needs_real_data
@pytest.mark.parametrize("real", REAL_ERAS, ids=lambda path: path.stem)
def test_a_month_begins_as_the_real_one(tmp_path: Path, real: Path) -> None:
    """Header, blank lines and the first row's number of fields are those of the real file, byte for byte."""
    head, _newline, row = _first_row(real)
    made_head, _newline, made_row = _first_row(made(tmp_path, str(of_file(real)), 10))
    assert made_head == head
    assert made_row.count(b",") == row.count(b",")
    assert made_row[:1].isdigit() == row[:1].isdigit()
    assert made_row.startswith(b'"') == row.startswith(b'"')


def _first_row(path: Path) -> tuple[bytes, bytes, bytes]:
    content = path.read_bytes()
    row = next(line for line in content.split(b"\n")[1:] if line.strip())
    head = content[: content.index(b"\n" + row)]
    return head, b"\n", row


@needs_real_data
@pytest.mark.parametrize("real", REAL_PARQUET, ids=lambda path: path.stem)
def test_parquet_has_the_names_and_types_of_the_real_one(tmp_path: Path, real: Path) -> None:
    """The schema and the compression are those of the official file."""
    mine = made(tmp_path, str(of_file(real)), 10, ".parquet")
    assert pq.read_schema(mine).remove_metadata() == pq.read_schema(real).remove_metadata()
    packed = [pq.read_metadata(path).row_group(0).column(0).compression for path in (mine, real)]
    assert packed[0] == packed[1]


@pytest.mark.parametrize(
    ("text", "types"),
    [
        ("yellow/2012-06", {"VendorID": "int64", "passenger_count": "double", "store_and_fwd_flag": "string"}),
        ("yellow/2020-10", {"airport_fee": "null"}),
        ("yellow/2023-01", {"VendorID": "int64", "airport_fee": "double"}),
        ("yellow/2023-02", {"VendorID": "int32", "passenger_count": "int64", "Airport_fee": "double"}),
        ("yellow/2025-01", {"store_and_fwd_flag": "large_string", "cbd_congestion_fee": "double"}),
        ("yellow/2026-06", {"request_source": "large_string"}),
        ("green/2019-08", {"ehail_fee": "double", "payment_type": "double"}),
        ("green/2023-01", {"ehail_fee": "null"}),
        ("green/2023-02", {"ehail_fee": "double", "payment_type": "int64", "PULocationID": "int32"}),
        ("fhv/2019-04", {"PUlocationID": "double", "SR_Flag": "null", "dropOff_datetime": "timestamp[us]"}),
        ("fhv/2019-05", {"PUlocationID": "int64"}),
        ("fhvhv/2019-02", {"wav_match_flag": "null", "airport_fee": "null", "trip_time": "int64"}),
        ("fhvhv/2023-02", {"wav_match_flag": "large_string", "PULocationID": "int32"}),
    ],
)
def test_parquet_types_follow_the_published_changes(tmp_path: Path, text: str, types: dict[str, str]) -> None:
    """Each change of a type is there in its month."""
    schema = pq.read_schema(made(tmp_path, text, 10, ".parquet"))
    assert {name: str(schema.field(name).type) for name in types} == types


@pytest.mark.parametrize("text", ERAS)
def test_every_era_can_be_made(tmp_path: Path, text: str) -> None:
    """Each layout is written whole, with a pickup in the month in nearly every row."""
    partition = of(text)
    names = csv_layout(partition.color, partition.month).header.lower().split(",")
    pickup = next(place for place, name in enumerate(names) if "pickup_date" in name)
    rows = [row for row in records(made(tmp_path, text, 500)) if len(row) > pickup]
    assert sum(row[pickup].startswith(f"{partition.month}-") for row in rows) > 490
    assert len(parquet_columns(partition.color, partition.month)) >= 7


def test_old_codes_are_words(tmp_path: Path) -> None:
    """2009 to 2014 have the vendors' letters and each vendor's own words for payments and flags."""
    words = {(row[0], row[11]) for row in records(made(tmp_path, "yellow/2009-01", 2000)) if len(row) > 11}
    assert {("CMT", "Cash"), ("VTS", "CASH"), ("VTS", "CREDIT"), ("DDS", "Credit")} <= words
    rows = records(made(tmp_path, "yellow/2010-02", 5000))
    assert {row[11] for row in rows} >= {"CRE", "CAS", "NA ", "CRD", "CSH"}
    assert {row[8] for row in rows if row[0] == "CMT"} == {"0", "1"}
    assert {row[8] for row in rows if row[0] == "VTS"} == {""}
    rows = records(made(tmp_path, "yellow/2012-06", 5000))
    assert {row[11] for row in rows} >= {"CRD", "CSH", "NOC", "DIS"}


def test_numbers_are_written_as_published(tmp_path: Path) -> None:
    """17 digits to 2014, miles without a leading zero and coordinates of single precision after."""
    assert max(len(row[12]) for row in records(made(tmp_path, "yellow/2009-01", 200))) > 15
    rows = records(made(tmp_path, "yellow/2015-01", 200))
    assert any(row[4].startswith(".") for row in rows)
    assert max(len(row[5]) for row in rows) > 15


def test_2018_fills_the_other_base_column(tmp_path: Path) -> None:
    """The fhv files of 2018 have the base in Dispatching_base_number; Dispatching_base_num is empty."""
    rows = records(made(tmp_path, "fhv/2018-02", 50))
    assert {row[6] for row in rows} == {""}
    assert all(row[5].upper().startswith("B") for row in rows)


DEFECT_ROWS = 200_000
START, END = datetime(2021, 1, 1), datetime(2021, 2, 1)  # noqa: DTZ001 - published without a zone
SEEN: dict[str, tuple[str, Callable[[pd.DataFrame], pd.Series[bool]]]] = {
    "negative_fare": ("yellow", lambda trips: trips.fare_amount < 0),
    "no_meter_data": ("yellow", lambda trips: trips.passenger_count.isna()),
    "no_passengers": ("green", lambda trips: trips.passenger_count == 0),
    "no_zone": ("fhv", lambda trips: trips.PUlocationID.isna()),
    "lower_case_base": ("fhv", lambda trips: trips.dispatching_base_num.str.startswith("b")),
    "base_with_blanks": ("fhv", lambda trips: trips.dispatching_base_num.str.endswith(" ")),
    "pickup_outside_month": ("fhv", lambda trips: ~trips.pickup_datetime.between(START, END, inclusive="left")),
    "pickup_in_old_year": ("fhv", lambda trips: trips.pickup_datetime.dt.year.isin([2002, 2009])),
    "dropoff_before_pickup": ("fhv", lambda trips: trips.dropOff_datetime < trips.pickup_datetime),
    "dropoff_in_3019": ("fhv", lambda trips: trips.dropOff_datetime.dt.year == 3019),
    "zero_distance": ("green", lambda trips: trips.trip_distance == 0),
}


@pytest.fixture(scope="module")
def months(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    """A large month of each colour, read from Parquet."""
    folder = tmp_path_factory.mktemp("months")
    return {color: frame(folder, f"{color}/2021-01", DEFECT_ROWS) for color in Color}


@pytest.mark.parametrize("name", SEEN)
def test_defects_are_there_at_their_rates(months: dict[str, pd.DataFrame], name: str) -> None:
    """What is declared of a defect is what is found, within chance and what other defects add."""
    color, seen = SEEN[name]
    expected = next(defect.share for defect in DEFECTS if defect.name == name) * DEFECT_ROWS
    found = int(seen(months[color]).sum())
    assert 0.9 * expected - 4 * expected**0.5 <= found <= 1.35 * expected + 4 * expected**0.5 + 1


@pytest.mark.parametrize("name", SEEN)
def test_a_small_month_has_every_defect(tmp_path: Path, name: str) -> None:
    """From 10,000 rows on each defect is there once at least."""
    color, seen = SEEN[name]
    assert seen(frame(tmp_path, f"{color}/2021-01", SURE_ROWS)).any()


@pytest.mark.parametrize("text", ["yellow/2016-07", "green/2015-03", "fhv/2018-02", "fhvhv/2020-01"])
def test_a_few_rows_cannot_be_parsed(tmp_path: Path, text: str) -> None:
    """A word in place of a number, or half of the fields: once at least from 10,000 rows on, not in a handful."""
    assert 1 <= len(_unparsable(records(made(tmp_path, text, SURE_ROWS)))) <= 3
    assert not _unparsable(records(made(tmp_path, text, 100)))


def test_about_one_row_in_50_000_cannot_be_parsed(tmp_path: Path) -> None:
    """Both kinds of unparsable rows are in a large month."""
    found = _unparsable(records(made(tmp_path, "fhv/2019-01", 400_000)))
    assert 2 <= len(found) <= 22
    assert {"see receipt" in row for row in found} == {True, False}


def _unparsable(rows: list[list[str]]) -> list[list[str]]:
    fields = max(map(len, rows))
    return [row for row in rows if len(row) < fields or "see receipt" in row]


def test_every_rule_has_its_defect() -> None:
    """Each rule of the metered colours finds something to do in a sample."""
    assert {rule.name for rule in (*YELLOW.rules, *GREEN.rules)} <= {defect.name for defect in DEFECTS}


@pytest.mark.parametrize("color", ["yellow", "green"])
def test_the_meter_is_null_as_a_block(months: dict[str, pd.DataFrame], color: str) -> None:
    """Passengers, rate code, flag and congestion are null together, and payment is 0 (yellow) or null (green) there."""
    trips = months[color]
    missing = trips.passenger_count.isna()
    for name in ("RatecodeID", "store_and_fwd_flag", "congestion_surcharge"):
        assert (trips[name].isna() == missing).all()
    assert (trips.payment_type.fillna(0).eq(0) == missing).all()


def test_a_refund_is_another_row_negated(months: dict[str, pd.DataFrame]) -> None:
    """A negative row has a neighbour with the same pickup and the same amount the other way round."""
    trips = months["yellow"]
    refunds = trips.index[(trips.fare_amount < 0) & trips.tpep_pickup_datetime.between(START, END)]
    pairs = [(trips.fare_amount[place], trips.fare_amount[place ^ 1]) for place in refunds]
    assert sum(one == -other for one, other in pairs) > 0.98 * len(pairs)


def test_the_total_is_the_sum_of_its_parts(months: dict[str, pd.DataFrame]) -> None:
    """Fare, extras, taxes, tip, tolls and surcharges add up to the cent, null being nothing."""
    trips = months["yellow"]
    charges = trips.loc[:, "fare_amount":"congestion_surcharge"].drop(columns="total_amount")
    assert ((charges.fillna(0).sum(axis=1) - trips.total_amount).abs() < 0.005).all()


def test_trips_are_like_the_real_thing(months: dict[str, pd.DataFrame]) -> None:
    """Busy evenings and quiet nights, few busy zones and many quiet ones, dearer the longer, tips by card alone."""
    trips = months["yellow"]
    hours = trips.tpep_pickup_datetime.dt.hour.value_counts()
    zones = trips.PULocationID.value_counts(normalize=True)
    whole = trips[(trips.trip_distance > 0) & (trips.fare_amount > 0) & (trips.RatecodeID == 1)]
    assert hours[18] > 5 * hours[4]
    assert zones.iloc[:40].sum() > 0.8
    assert len(zones) > 200
    assert whole.trip_distance.corr(whole.fare_amount) > 0.9
    assert trips.tip_amount[trips.payment_type == 2].eq(0).all()
    assert 0.6 < (trips.payment_type == 1).mean() < 0.8


def test_rows_are_roughly_in_order_of_pickup(months: dict[str, pd.DataFrame]) -> None:
    """A row is at most an hour earlier than the one before, but for wrong clocks."""
    steps = months["fhvhv"].pickup_datetime.diff().dt.total_seconds()
    assert (steps > -3600).mean() > 0.999
    assert (steps < 0).mean() > 0.3


def test_writing_says_how_far_it_is(tmp_path: Path) -> None:
    """Somebody who listens hears of every chunk, and of the last row in the end."""
    events: list[Event] = []
    with listening(events.append):
        made(tmp_path, "yellow/2021-01", 40_000)
    assert len(events) > 1
    assert (events[-1].done, events[-1].total) == (40_000, 40_000)


def test_nonsense_is_refused(tmp_path: Path) -> None:
    """Another ending or a negative size is an error, and no file is left."""
    with pytest.raises(ValueError, match=r"\.csv\.gz, \.csv or \.parquet"):
        made(tmp_path, "yellow/2021-01", 10, ".json")
    with pytest.raises(ValueError, match="-1 rows"):
        made(tmp_path, "yellow/2021-01", -1)
    assert list(tmp_path.iterdir()) == []
