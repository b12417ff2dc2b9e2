"""The layouts that generated months are written in, as data: every CSV header and every Parquet type since 2009.

Headers, blank lines and line endings are the published files' own, byte for byte.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

from nyctaxi_etl.core.partition import Color, Month
from nyctaxi_etl.schema.columns import key
from nyctaxi_etl.schema.datasets import DATASETS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nyctaxi_etl.schema.columns import Column

CRLF = "\r\n"
_SAME: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = MappingProxyType({})


class CsvLayout(NamedTuple):
    """How a colour's CSV files look from a month on: ``header`` and what of the file isn't plain CSV.

    ``trailing``: empty fields of rows beyond the header's names. ``gap``: what stands between header and rows.
    ``numbers``: ``binary`` has 17 digits, ``sql`` miles as ``.50`` and coordinates of single precision. ``empty``:
    columns that are never filled; ``unmetered``: those not filled where the meter's data are missing. ``words``: a
    canonical column's text by its code, as vendor 2 (VTS) writes it last.
    """

    since: Month
    header: str
    trailing: str = ""
    gap: str = CRLF
    numbers: Literal["binary", "sql"] = "sql"
    quoted: bool = False
    empty: tuple[str, ...] = ()
    unmetered: tuple[str, ...] = ()
    words: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = _SAME


_LF_BLANK = "\n\r\n"  # The header ends in LF, then comes a blank line with CRLF.
_VENDORS = ("", "CMT", "VTS", "DDS")
_WORDS_2009 = {
    "vendor_id": (_VENDORS, _VENDORS),
    "payment_type": (
        ("", "Credit", "Cash", "No Charge", "Dispute", "Unknown"),
        ("", "CREDIT", "CASH", "No Charge", "Dispute", "NA"),
    ),
}
_WORDS_2010 = {
    "vendor_id": (_VENDORS, _VENDORS),
    "payment_type": (("", "CRE", "CAS", "NA ", "NA ", "NA "), ("", "CRD", "CSH", "NOC", "DIS", "UNK")),
    "store_and_fwd_flag": (("0", "1"), ("", "")),
}
_THREE_LETTERS = ("", "CRD", "CSH", "NOC", "DIS", "UNK")
_WORDS_2011 = {
    "vendor_id": (_VENDORS, _VENDORS),
    "payment_type": (_THREE_LETTERS, _THREE_LETTERS),
    "store_and_fwd_flag": (("N", "Y"), ("", "")),
}
_SHARED = {"shared_request_flag": (("", "1"), ("", "1"))}

_YELLOW_2009 = (
    "vendor_name,Trip_Pickup_DateTime,Trip_Dropoff_DateTime,Passenger_Count,Trip_Distance,Start_Lon,Start_Lat,Rate_Code,"
    "store_and_forward,End_Lon,End_Lat,Payment_Type,Fare_Amt,surcharge,mta_tax,Tip_Amt,Tolls_Amt,Total_Amt"
)
_YELLOW_2010 = (
    "vendor_id,pickup_datetime,dropoff_datetime,passenger_count,trip_distance,pickup_longitude,pickup_latitude,rate_code,"
    "store_and_fwd_flag,dropoff_longitude,dropoff_latitude,payment_type,fare_amount,surcharge,mta_tax,tip_amount,"
    "tolls_amount,total_amount"
)
_YELLOW_2015 = (
    "VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,passenger_count,trip_distance,pickup_longitude,pickup_latitude,"
    "RateCodeID,store_and_fwd_flag,dropoff_longitude,dropoff_latitude,payment_type,fare_amount,extra,mta_tax,tip_amount,"
    "tolls_amount,improvement_surcharge,total_amount"
)
_YELLOW_2016 = (
    "VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,passenger_count,trip_distance,RatecodeID,store_and_fwd_flag,"
    "PULocationID,DOLocationID,payment_type,fare_amount,extra,mta_tax,tip_amount,tolls_amount,improvement_surcharge,"
    "total_amount"
)
_YELLOW_2019 = _YELLOW_2016 + ",congestion_surcharge"
_GREEN_2013 = (
    "VendorID,lpep_pickup_datetime,Lpep_dropoff_datetime,Store_and_fwd_flag,RateCodeID,Pickup_longitude,Pickup_latitude,"
    "Dropoff_longitude,Dropoff_latitude,Passenger_count,Trip_distance,Fare_amount,Extra,MTA_tax,Tip_amount,Tolls_amount,"
    "Ehail_fee,Total_amount,Payment_type,Trip_type "
)
_GREEN_2015 = _GREEN_2013.replace("Ehail_fee,", "Ehail_fee,improvement_surcharge,")
_GREEN_2016 = (
    "VendorID,lpep_pickup_datetime,lpep_dropoff_datetime,store_and_fwd_flag,RatecodeID,PULocationID,DOLocationID,"
    "passenger_count,trip_distance,fare_amount,extra,mta_tax,tip_amount,tolls_amount,ehail_fee,improvement_surcharge,"
    "total_amount,payment_type,trip_type"
)
_GREEN_2019 = _GREEN_2016 + ",congestion_surcharge"
_FHV_2017 = "Dispatching_base_num,Pickup_DateTime,DropOff_datetime,PUlocationID,DOlocationID"
_FHV_2018 = (
    "Pickup_DateTime,DropOff_datetime,PUlocationID,DOlocationID,SR_Flag,Dispatching_base_number,Dispatching_base_num"
)
_FHV_2019 = "dispatching_base_num,pickup_datetime,dropoff_datetime,PULocationID,DOLocationID,SR_Flag"
_FHV_2021 = (
    "dispatching_base_num,pickup_datetime,dropOff_datetime,PUlocationID,DOlocationID,SR_Flag,Affiliated_base_number"
)
_FHVHV_2019 = (
    "hvfhs_license_num,dispatching_base_num,pickup_datetime,dropoff_datetime,PULocationID,DOLocationID,SR_Flag"
)
_FHVHV_2021 = (
    "hvfhs_license_num,dispatching_base_num,originating_base_num,request_datetime,on_scene_datetime,pickup_datetime,"
    "dropoff_datetime,PULocationID,DOLocationID,trip_miles,trip_time,base_passenger_fare,tolls,bcf,sales_tax,"
    "congestion_surcharge,airport_fee,tips,driver_pay,shared_request_flag,shared_match_flag,access_a_ride_flag,"
    "wav_request_flag,wav_match_flag"
)
_UNMETERED = ("VendorID", "payment_type")

# The last CSV file published is 2021-07: later rows are its layout with the columns that Parquet has had since.
CSV_LAYOUTS: Mapping[Color, tuple[CsvLayout, ...]] = {
    Color.YELLOW: (
        CsvLayout(
            Month(2009, 1),
            _YELLOW_2009,
            gap=_LF_BLANK,
            numbers="binary",
            empty=("Rate_Code", "store_and_forward", "mta_tax"),
            words=_WORDS_2009,
        ),
        CsvLayout(Month(2010, 1), _YELLOW_2010, gap=_LF_BLANK, numbers="binary", words=_WORDS_2010),
        CsvLayout(Month(2011, 1), _YELLOW_2010, gap=_LF_BLANK, numbers="binary", words=_WORDS_2011),
        CsvLayout(Month(2014, 1), _YELLOW_2010.replace(",", ", "), gap=_LF_BLANK, numbers="binary", words=_WORDS_2011),
        CsvLayout(Month(2015, 1), _YELLOW_2015),
        CsvLayout(Month(2015, 7), _YELLOW_2015.replace("RateCodeID", "RatecodeID")),
        CsvLayout(Month(2016, 7), _YELLOW_2016, ",,"),
        CsvLayout(Month(2017, 1), _YELLOW_2016, gap=_LF_BLANK),
        CsvLayout(Month(2019, 1), _YELLOW_2019, unmetered=_UNMETERED),
        CsvLayout(Month(2021, 8), _YELLOW_2019 + ",airport_fee"),
        CsvLayout(Month(2023, 2), _YELLOW_2019 + ",Airport_fee"),
        CsvLayout(Month(2025, 1), _YELLOW_2019 + ",Airport_fee,cbd_congestion_fee"),
        CsvLayout(Month(2026, 6), _YELLOW_2019 + ",Airport_fee,cbd_congestion_fee,request_source"),
    ),
    Color.GREEN: (
        CsvLayout(Month(2013, 8), _GREEN_2013, ",,", gap=_LF_BLANK, empty=("Trip_type ",)),
        CsvLayout(Month(2014, 1), _GREEN_2013, ",,", gap="\n" + _LF_BLANK, empty=("Trip_type ",)),
        CsvLayout(Month(2015, 1), _GREEN_2015, ",,"),
        CsvLayout(Month(2015, 7), _GREEN_2015),
        CsvLayout(Month(2016, 7), _GREEN_2016, ",,", gap=_LF_BLANK),
        CsvLayout(Month(2017, 1), _GREEN_2016, gap=_LF_BLANK),
        CsvLayout(Month(2019, 1), _GREEN_2019, unmetered=_UNMETERED),
        CsvLayout(Month(2021, 8), _GREEN_2019),
        CsvLayout(Month(2025, 1), _GREEN_2019 + ",cbd_congestion_fee"),
        CsvLayout(Month(2026, 6), _GREEN_2019 + ",cbd_congestion_fee,request_source"),
    ),
    Color.FHV: (
        CsvLayout(Month(2015, 1), "Dispatching_base_num,Pickup_date,locationID"),
        CsvLayout(Month(2017, 1), _FHV_2017),
        CsvLayout(Month(2017, 7), _FHV_2017 + ",SR_Flag", quoted=True),
        CsvLayout(Month(2018, 1), _FHV_2018, quoted=True, empty=("Dispatching_base_num",)),
        CsvLayout(Month(2019, 1), _FHV_2019),
        CsvLayout(Month(2021, 8), _FHV_2021),
    ),
    Color.FHVHV: (
        CsvLayout(Month(2019, 2), _FHVHV_2019, words=_SHARED),
        CsvLayout(Month(2021, 8), _FHVHV_2021),
        CsvLayout(Month(2025, 1), _FHVHV_2021 + ",cbd_congestion_fee"),
    ),
}


class ParquetType(NamedTuple):
    """Canonical columns (blanks between) that are of an Arrow type from a month on."""

    since: Month
    type: str
    columns: str
    colors: tuple[Color, ...] = tuple(Color)


_FIRST = Month(2009, 1)
_TIMES = "request_datetime on_scene_datetime pickup_datetime dropoff_datetime"
_ZONES = "pickup_location_id dropoff_location_id"
_CODES = "passenger_count ratecode_id payment_type trip_type sr_flag"
_WORDS = (
    "store_and_fwd_flag request_source hvfhs_license_num dispatching_base_num originating_base_num "
    "affiliated_base_number shared_request_flag shared_match_flag access_a_ride_flag wav_request_flag wav_match_flag"
)
_Y, _G, _F, _H = ((color,) for color in Color)

# Names are those of the CSV layout of the month, or of the first layout made after Parquet for months before it.
PARQUET_NAMES_SINCE = Month(2021, 8)
# As the footers of the published files tell, later rows over earlier ones; what isn't here is a double. The files of
# months before 2019 are made with the types of 2019.
PARQUET_TYPES = (
    ParquetType(_FIRST, "timestamp[us]", _TIMES),
    ParquetType(_FIRST, "string", _WORDS),
    ParquetType(_FIRST, "int64", f"vendor_id {_ZONES} trip_time", _Y + _G + _H),
    ParquetType(_FIRST, "int64", "payment_type", _Y),
    ParquetType(_FIRST, "null", "airport_fee wav_match_flag"),
    ParquetType(Month(2019, 3), "null", "sr_flag"),
    ParquetType(Month(2019, 4), "string", "wav_match_flag"),
    ParquetType(Month(2019, 5), "int64", _ZONES, _F),
    ParquetType(Month(2019, 7), "double", _ZONES, _F),
    ParquetType(Month(2019, 7), "double", "airport_fee", _H),
    ParquetType(Month(2019, 9), "null", "ehail_fee"),
    ParquetType(Month(2020, 4), "null", "airport_fee", _H),
    ParquetType(Month(2020, 5), "double", "airport_fee", _H),
    ParquetType(Month(2020, 8), "double", "airport_fee", _Y),
    ParquetType(Month(2020, 10), "null", "airport_fee"),
    ParquetType(Month(2020, 11), "double", "airport_fee"),
    ParquetType(Month(2023, 2), "large_string", _WORDS),
    ParquetType(Month(2023, 2), "int32", f"vendor_id {_ZONES}", _Y + _G + _H),
    ParquetType(Month(2023, 2), "int64", _ZONES, _F),
    ParquetType(Month(2023, 2), "int64", _CODES),
    ParquetType(Month(2023, 2), "double", "ehail_fee"),
)


def csv_layout(color: Color, month: Month) -> CsvLayout:
    """Return the layout that the colour's CSV file of that month has, the first one for months before it."""
    layouts = CSV_LAYOUTS[color]
    return next((layout for layout in reversed(layouts) if layout.since <= month), layouts[0])


def parquet_columns(color: Color, month: Month) -> tuple[tuple[str, str], ...]:
    """Return the published names and Arrow types of the colour's Parquet file of that month."""
    types = {
        name: row.type
        for row in PARQUET_TYPES
        if row.since <= month and color in row.colors
        for name in row.columns.split()
    }
    names = csv_layout(color, max(month, PARQUET_NAMES_SINCE)).header.split(",")
    return tuple((name, types.get(canonical(color, name).name, "double")) for name in names)


def canonical(color: Color, name: str) -> Column:
    """Return the dataset's column that a published name means."""
    return next(column for column in DATASETS[color].columns if key(name) in column.keys)
