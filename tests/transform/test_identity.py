"""A file must be what its name says: a month of that colour, by its names and its pickups."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import psycopg
import pytest

from nyctaxi_etl.cli import app as cli
from nyctaxi_etl.core.errors import WrongFile
from nyctaxi_etl.core.partition import Color, Month, Partition
from nyctaxi_etl.sample.eras import CSV_LAYOUTS
from nyctaxi_etl.sample.months import write_month
from nyctaxi_etl.schema.datasets import DATASETS
from support.published import csv_file, stage_csv, stage_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from support.postgres import PostgresServer

YELLOW, GREEN, FHV, FHVHV = Color
REAL = os.environ.get("NYCTAXI_REAL_DATA")
JULY, AUGUST = "2019-07-03 10:00:00", "2019-08-03 10:00:00"
MONTH = Month(2019, 8)
# Names of each colour as people's copies have them, renamed to one style.
RENAMED = "pickup_datetime,dropoff_datetime,pickup_location_id,dropoff_location_id,fare_amount,passenger_count"
# The published names that tell a colour, and the colour that each is not.
WRONG = [
    ("VendorID,tpep_pickup_datetime,tpep_dropoff_datetime", GREEN, YELLOW),
    ("Trip_Pickup_DateTime,Trip_Dropoff_DateTime,Total_Amt", GREEN, YELLOW),
    ("vendor_id, pickup_datetime, rate_code, surcharge", GREEN, YELLOW),
    ("VendorID,lpep_pickup_datetime,Lpep_dropoff_datetime", YELLOW, GREEN),
    ("pickup_datetime,Trip_type ", YELLOW, GREEN),
    ("pickup_datetime,Ehail_fee", YELLOW, GREEN),
    ("Dispatching_base_num,Pickup_date,locationID", YELLOW, FHV),
    ("Dispatching_base_num,Pickup_date,locationID", FHVHV, FHV),
    ("hvfhs_license_num,dispatching_base_num,pickup_datetime", FHV, FHVHV),
    ("hvfhs_license_num,dispatching_base_num,pickup_datetime", YELLOW, FHVHV),
    ("lpep_pickup_datetime,passenger_count", FHV, GREEN),
    ("tpep_pickup_datetime,passenger_count", FHVHV, YELLOW),
    (RENAMED, FHV, YELLOW),
]
RIGHT = [
    *((RENAMED, color) for color in (YELLOW, GREEN)),
    ("pickup_datetime,pickup_location_id", FHV),
    ("pickup_datetime,HVFHS License Num", FHVHV),
    # Somebody has joined both colours' columns: the file's own names outweigh the others.
    ("tpep_pickup_datetime,trip_type,ehail_fee", YELLOW),
    ("lpep_pickup_datetime,surcharge", GREEN),
]


def lines(header: str, times: Sequence[str]) -> str:
    """Return a CSV file with these pickups, all else empty."""
    names = header.split(",")
    (index,) = (n for n, name in enumerate(names) if "pickup" in name.lower() and "date" in name.lower())
    rows = (",".join(time if n == index else "" for n in range(len(names))) for time in times)
    return "\n".join([header, *rows, ""])


def stage(header: str, color: Color, times: Sequence[str] = (AUGUST,), **options: Any) -> int:
    """Stage a file of August 2019 and return how many rows it has."""
    return stage_csv(
        lines(header, times), DATASETS[color], MONTH, **{"max_outside": 0.5, **options}
    ).staged.lineage.rows_read


# -- the colour --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("header", "color", "really"), WRONG)
def test_another_colours_names_are_refused(header: str, color: Color, really: Color) -> None:
    """The message names the file, a name that it must not have or lacks, and the colour that it looks like."""
    with pytest.raises(WrongFile, match=f"{color}_tripdata_2019-08.csv is not {color}: .* looks like {really}, with"):
        stage(header, color)


@pytest.mark.parametrize(("header", "color"), RIGHT)
def test_peoples_copies_are_taken(header: str, color: Color) -> None:
    """Renamed and added columns are no other colour's file."""
    assert stage(header, color) == 1


def test_without_any_sign_of_a_colour() -> None:
    """A file of fhvhv needs its licence, whatever else it may be."""
    with pytest.raises(WrongFile, match=r"has no hvfhs_license_num, which every file of that colour has.$"):
        stage("pickup_datetime,PULocationID", FHVHV)


# -- the month ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "share"),
    [([JULY, AUGUST], 0.5), ([JULY], 1.0), (["", "", JULY, AUGUST], 0.5), ([AUGUST], 0.0), ([""], 0.0)],
)
def test_up_to_the_share_it_is_taken(times: list[str], share: float) -> None:
    """Half of the pickups may be of other months; a row without one is of no month."""
    assert stage("dispatching_base_num,Pickup_DateTime", FHV, times, max_outside=share) == len(times)


@pytest.mark.parametrize(
    ("times", "share"), [([JULY, JULY, AUGUST], 0.5), ([JULY, "", ""], 0.5), ([JULY, *[AUGUST] * 9], 0.05)]
)
def test_more_is_refused(times: list[str], share: float) -> None:
    """The message says how many, and in which month most are; the hint names the setting."""
    with pytest.raises(WrongFile, match=r"is not 2019-08: .*% of its pickups .* of [\d,]+ in 2019-07\.$") as caught:
        stage("dispatching_base_num,Pickup_DateTime", FHV, times, max_outside=share)
    assert "NYCTAXI_MAX_OUTSIDE_MONTH" in caught.value.hint


def test_rows_that_a_rule_drops_count() -> None:
    """They are of the month as the others are; and far times are months like any other."""
    rows = [f"{JULY},0"] * 6 + [f"{AUGUST},1"] * 3 + ["0001-01-01 00:00:00,1", "2262-01-01 00:00:00,1"]
    content = "tpep_pickup_datetime,passenger_count\n" + "\n".join(rows) + "\n"
    with pytest.raises(WrongFile, match=r"72\.7% of its pickups are outside of that month, 6 of 11 in 2019-07"):
        stage_csv(content, DATASETS[YELLOW], MONTH, max_outside=0.5)


# -- real and generated months -----------------------------------------------------------------------------------------


ERAS = [Partition(color, layout.since) for color, layouts in CSV_LAYOUTS.items() for layout in layouts]
LATER = [Partition(color, Month(*month)) for color in Color for month in ((2021, 8), (2023, 2), (2025, 2), (2026, 6))]


@pytest.mark.parametrize(
    ("partition", "ending"),
    [*((era, ending) for era in ERAS for ending in (".csv", ".parquet")), *((era, ".parquet") for era in LATER)],
    ids=str,
)
def test_every_generated_layout_is_taken(partition: Partition, ending: str, tmp_path: Path) -> None:
    """Whatever the sample makes is what its name says."""
    path = tmp_path / f"{partition.stem}{ending}"
    write_month(partition, path, 400)
    dataset = DATASETS[partition.color]
    assert stage_file(path, dataset, partition.month, max_outside=0.5).staged.lineage.rows_read == 400


def real() -> Iterator[Path]:
    """Yield every real file that is good."""
    for path in sorted(Path(REAL or "").rglob("*_tripdata_*")) if REAL else ():
        if "bad" not in path.parts:
            yield path


@pytest.mark.skipif(not REAL, reason="set NYCTAXI_REAL_DATA to a folder with real trip records")
@pytest.mark.parametrize("path", list(real()), ids=lambda path: path.name)
def test_every_real_file_is_what_its_name_says(path: Path) -> None:
    """None is refused under its name; each is, a year earlier, and under another colour's name."""
    color, month = Color(path.name.partition("_")[0]), Month.parse(path.name.split("_")[2][:7])
    assert stage_file(path, DATASETS[color], month, max_outside=0.5).staged.lineage.rows_read
    with pytest.raises(WrongFile, match=str(month)):
        stage_file(path, DATASETS[color], Month(month.year - 1, month.number), max_outside=0.5)
    for other in set(Color) - {color}:
        with pytest.raises(WrongFile, match=f"looks like {color}"):
            stage_file(path, DATASETS[other], month, max_outside=0.5)


# -- what is there stays ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("command", "to"), [("ingest", "duckdb"), ("ingest", "postgres"), ("upload", "elt")])
def test_what_is_there_stays(
    command: str, to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """A month that is loaded is not replaced by a file of another, whether rows are staged first or loaded as read."""
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "source"
    source.mkdir()
    csv_file(source, lines("dispatching_base_num,Pickup_DateTime", [AUGUST] * 3), DATASETS[FHV], MONTH)
    given = [command, "--color", "fhv", "--year", "2019", "--months", "8", "--source", "source", "--direct", "--json"]
    server: PostgresServer | None = request.getfixturevalue("postgres") if to == "postgres" else None
    given += ["--to", server.url()] if server else ["--mode", "elt"] if to == "elt" else []
    assert cli.main(given) == 0
    csv_file(source, lines("dispatching_base_num,Pickup_DateTime", [JULY] * 9), DATASETS[FHV], MONTH)
    assert cli.main(given) == 1
    assert rows(tmp_path, to, server) == 3
    monkeypatch.setenv("NYCTAXI_MAX_OUTSIDE_MONTH", "1")
    assert cli.main(given) == 0
    assert rows(tmp_path, to, server) == 9


def rows(folder: Path, to: str, server: PostgresServer | None) -> int:
    """Return how many rows the month has."""
    if server:
        with psycopg.connect(server.dsn()) as connection:
            return int(connection.execute("SELECT count(*) FROM fhv_taxi_data").fetchall()[0][0])
    table = f"read_parquet('{folder}/data/lake/conformed/fhv/*.parquet')" if to == "elt" else "fhv_taxi_data"
    with duckdb.connect(":memory:" if to == "elt" else str(folder / "data" / "nyctaxi.duckdb")) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0])


def test_the_report_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One month of another is failed, as WrongFile; the others are loaded."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "source").mkdir()
    for month in (Month(2019, 7), MONTH):
        csv_file(tmp_path / "source", lines("dispatching_base_num,Pickup_DateTime", [JULY]), DATASETS[FHV], month)
    given = ["--color", "fhv", "--year", "2019", "--months", "7-8", "--source", "source", "--direct", "--json"]
    assert cli.main(["ingest", *given]) == 1
    july, august = json.loads(capfd.readouterr().out)["results"]
    assert (july["outcome"], august["outcome"], august["error"]["type"]) == ("loaded", "failed", "WrongFile")
    assert "fhv_tripdata_2019-08.csv is not 2019-08" in august["error"]["message"]
