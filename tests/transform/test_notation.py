"""Copies that people have: NYC Open Data's exports and those of BigQuery's public data set load like the TLC's files.

The names are those that were published: of NYC Open Data's "Yellow Taxi Trip Data", "Green Taxi Trip Data" and "FHV
Trip Data", and of bigquery-public-data.new_york_taxi_trips. The rows are made up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from nyctaxi_etl.core.errors import SchemaDrift
from nyctaxi_etl.schema.datasets import FHV, FHVHV, GREEN, YELLOW
from nyctaxi_etl.transform.notation import as_iso, without_commas
from support.published import JANUARY, stage_csv

if TYPE_CHECKING:
    from nyctaxi_etl.schema.columns import Dataset

# As the TLC published it, as NYC Open Data exports it, as BigQuery's public data set has it.
TLC = (
    "VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,passenger_count,trip_distance,RatecodeID,store_and_fwd_flag,"
    "PULocationID,DOLocationID,payment_type,fare_amount,extra,mta_tax,tip_amount,tolls_amount,improvement_surcharge,"
    "total_amount,congestion_surcharge,airport_fee\n"
    "1,2019-01-01 00:05:00,2019-01-01 00:59:59,1,.97,1,N,161,141,1,9.3,1,0.5,0,0,1,14.3,2.5,0\n"
    "2,2019-01-31 12:55:08,2019-01-31 13:01:27,2,1.1,2,Y,43,237,2,1234.5,1,0.5,4,0,1,1241,2.5,\n"
)
TIMES = {
    "2019-01-01 00:05:00": ("01/01/2019 12:05:00 AM", "2019 Jan 01 12:05:00 AM"),
    "2019-01-01 00:59:59": ("01/01/2019 12:59:59 AM", "2019 Jan 01 12:59:59 AM"),
    "2019-01-31 12:55:08": ("01/31/2019 12:55:08 PM", "2019 Jan 31 12:55:08 PM"),
    "2019-01-31 13:01:27": ("01/31/2019 01:01:27 PM", "2019 Jan 31 01:01:27 PM"),
}
BIGQUERY_NAMES = {
    "VendorID": "vendor_id",
    "tpep_pickup_datetime": "pickup_datetime",
    "tpep_dropoff_datetime": "dropoff_datetime",
    "RatecodeID": "rate_code",
    "improvement_surcharge": "imp_surcharge",
    "PULocationID": "pickup_location_id",
    "DOLocationID": "dropoff_location_id",
}


def open_data(text: str, style: int = 0) -> str:
    """Write the TLC's text as NYC Open Data exports it: twelve hours, large numbers with commas and quotes."""
    for iso, halves in TIMES.items():
        text = text.replace(iso, halves[style])
    return text.replace("1234.5", '"1,234.5"').replace(",1241,", ',"1,241.00",')


def bigquery(text: str, mark: str) -> str:
    """Write the TLC's text as BigQuery exports its copy: its names, a zone's mark, the file's year and month."""
    header, *rows = text.splitlines()
    names = [BIGQUERY_NAMES.get(name, name) for name in header.split(",")]
    lines = [",".join([*names, "data_file_year", "data_file_month"]), *(f"{row},2019,1" for row in rows)]
    copy = "\n".join(lines)
    for iso in TIMES:
        copy = copy.replace(iso, f"{iso}{mark}")
    return f"{copy}\n"


@pytest.mark.parametrize(
    "copy",
    [
        open_data(TLC),
        open_data(TLC, 1),
        '"' + open_data(TLC).replace('"', "").replace("1,234", "1234").replace("1,241", "1241").replace(",", '","')
        .replace("\n", '"\n"').removesuffix('"'),
        bigquery(TLC, "+00:00"),
        bigquery(TLC, "+00"),
        bigquery(TLC, " UTC"),
    ],
    ids=["open-data", "open-data-words", "every-field-quoted", "offset", "short-offset", "utc"],
)  # fmt: skip
def test_a_copy_loads_as_the_tlcs_file_does(copy: str) -> None:
    """Every value of a copy is that of the TLC's file; nothing is rejected, and no column is unknown."""
    wanted, found = (stage_csv(text, YELLOW, max_unparsable=0.0, max_outside=0.0) for text in (TLC, copy))
    assert wanted.staged.lineage.rows_loaded == 2
    assert found.table.equals(wanted.table)
    assert (found.rejects, found.staged.lineage.unknown_columns) == ([], ())


GREEN_OPEN_DATA = (
    "vendorid,lpep_pickup_datetime,Lpep_dropoff_datetime,Store_and_fwd_flag,RateCodeID,Pickup_longitude,"
    "Pickup_latitude,Dropoff_longitude,Dropoff_latitude,Passenger_count,Trip_distance,Fare_amount,Extra,MTA_tax,"
    "Tip_amount,Tolls_amount,Ehail_fee,Total_amount,Payment_type,Trip_type,PULocationID\n"
    "2,01/05/2019 09:00:00 PM,01/05/2019 09:10:00 PM,N,1,-73.9,40.8,-73.9,40.8,1,1.2,7,0.5,0.5,0,0,,8,2,1,41\n"
)
GREEN_BIGQUERY = (
    "vendor_id,pickup_datetime,dropoff_datetime,store_and_fwd_flag,rate_code,passenger_count,trip_distance,"
    "fare_amount,extra,mta_tax,tip_amount,tolls_amount,ehail_fee,airport_fee,total_amount,payment_type,"
    "distance_between_service,time_between_service,trip_type,imp_surcharge,pickup_location_id,"
    "dropoff_location_id,data_file_year,data_file_month\n"
    "2,2019-01-05 21:00:00 UTC,2019-01-05 21:10:00 UTC,N,1.0,1,1.2,7,0.5,0.5,0,0,,,8,2.0,,,1.0,0.3,41,42,2019,1\n"
)
FHV_OPEN_DATA = (
    "Dispatching_base_num,Pickup_DateTime,DropOff_datetime,PUlocationID,DOlocationID,SR_Flag,Affiliated_base_number\n"
    "B00001,01/05/2019 09:00:00 PM,01/05/2019 09:10:00 PM,41,42,,B00001\n"
)
FHV_BIGQUERY = (
    "location_id,pickup_datetime,dispatching_base_num,borough,zone,service_zone,dropoff_datetime,"
    "dropoff_location_id,dropoff_borough,dropoff_zone,dropoff_service_zone\n"
    "41,2019-01-05T21:00:00,B00001,Manhattan,Central Harlem,Boro Zone,2019-01-05T21:10:00,42,Manhattan,"
    "Central Harlem North,Boro Zone\n"
)


@pytest.mark.parametrize(
    ("dataset", "copy", "unknown"),
    [
        (GREEN, GREEN_OPEN_DATA, ""),
        (GREEN, GREEN_BIGQUERY, "airport_fee,distance_between_service,time_between_service"),
        (FHV, FHV_OPEN_DATA, ""),
        (FHV, FHV_BIGQUERY, "borough,zone,service_zone,dropoff_borough,dropoff_zone,dropoff_service_zone"),
    ],
    ids=["green-open-data", "green-bigquery", "fhv-open-data", "fhv-bigquery"],
)
def test_the_other_colours(dataset: Dataset, copy: str, unknown: str) -> None:
    """Each published name of the copies is known, or named as one that is not loaded."""
    outcome = stage_csv(copy, dataset, max_unparsable=0.0, max_outside=0.0)
    assert [str(value) for value in outcome.values("pickup_datetime")] == ["2019-01-05 21:00:00"]
    assert [str(value) for value in outcome.values("dropoff_datetime")] == ["2019-01-05 21:10:00"]
    assert outcome.values("pickup_location_id") == [41]
    assert ",".join(outcome.staged.lineage.unknown_columns) == unknown


AMBIGUOUS = ["01/02/2019 13:00:00", "01/02/2019 01:00:00", "01/02/2019", "01-02-2019 01:00:00 AM", "1/2/19 01:00:00 AM"]
IMPOSSIBLE = [
    *("13/01/2019 01:00:00 AM", "02/30/2019 01:00:00 AM", "01/02/2019 00:05:00 AM", "01/02/2019 13:05:00 PM"),
    *("01/02/2019 01:60:00 AM", "2019 Foo 02 01:00:00 AM", "2019-01-02 01:00:00 AM", "01/02/2019 01:05:00 XM"),
    *("2019-01-02 01:00:00-05:00", "2019-01-02 01:00:00Z", "2019-01-02 01:00:00 EST"),
]


@pytest.mark.parametrize("text", [*AMBIGUOUS, *IMPOSSIBLE])
def test_a_day_and_a_month_are_never_guessed(text: str) -> None:
    """What may be read in two ways, or in none, sets its row aside; a file of it is refused."""
    outcome = stage_csv(f"pickup_datetime\n2019-01-05 10:00:00\n{text}\n", FHV)
    assert [reject.raw for reject in outcome.rejects] == [text]
    assert outcome.staged.lineage.rows_loaded == 1
    with pytest.raises(SchemaDrift):
        stage_csv("\n".join(["pickup_datetime", *[text] * 20]), FHV, max_unparsable=0.05)


def test_a_file_with_the_day_first_is_refused() -> None:
    """Even where the half of the day is given: most of its days are no months, and the month is kept as it was."""
    days = "".join(f"{day:02d}/01/2019 01:00:00 AM\n" for day in range(1, 32))
    with pytest.raises(SchemaDrift):
        stage_csv(f"pickup_datetime\n{days}", FHV, JANUARY, max_unparsable=0.05)


def test_notations_leave_the_rest_as_it_is() -> None:
    """Only what is of a declared notation is rewritten; nulls stay nulls, among others as well."""
    texts = pa.array(["01/31/2019 12:00:00 AM", None, "x", "2019-01-05 10:00:00", "1/5/2019 2:03:04 pm"], pa.string())
    assert as_iso(texts).to_pylist() == [
        *("2019-01-31 00:00:00", None, "x", "2019-01-05 10:00:00", "2019-01-05 14:03:04"),
    ]
    numbers = pa.array(["1,234.50", "-1,234", "12,34", "1,23", "1,234,567.8", "1,234,56", "0,5", ",123", None])
    assert without_commas(numbers).to_pylist() == [
        *("1234.50", "-1234", "12,34", "1,23", "1234567.8", "1,234,56", "0,5", ",123", None),
    ]


def test_ids_and_counts_with_commas() -> None:
    """A comma in a whole number is one of thousands, or the value is none."""
    rows = ['2019-01-05 10:00:00,"1,234",HV0003', '2019-01-05 10:00:00,"1,2",HV0003']
    outcome = stage_csv("\n".join(["pickup_datetime,trip_time,hvfhs_license_num", *rows]), FHVHV)
    assert outcome.values("trip_time") == [1234]
    assert len(outcome.rejects) == 1
