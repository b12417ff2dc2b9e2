"""The four colours and the zones, declared: every column, every name it was published under, old code and rule.

Sources: the TLC's data dictionaries (2025-03-18), the headers of its files since 2009, and what years of users found
in them. A column's aliases are in the order in which they appeared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nyctaxi_etl.core.partition import Color, Month
from nyctaxi_etl.schema.columns import Column, Dataset, Predicate, Rule, key

if TYPE_CHECKING:
    from collections.abc import Mapping

# CMT and VTS were the two vendors of 2009-2014; DDS is the third, in 2009 and 2010 only.
VENDORS = {"CMT": "1", "VTS": "2", "DDS": "3"}
# 2009 writes words, 2010-2014 three letters, and both in any case.
PAYMENTS = {
    "CRD": "1", "CRE": "1", "CREDIT": "1",
    "CSH": "2", "CAS": "2", "CASH": "2",
    "NOC": "3", "NO": "3", "NO CHARGE": "3",
    "DIS": "4", "DISPUTE": "4",
    "UNK": "5", "NA": "5", "UNKNOWN": "5",
}  # fmt: skip
# 2010 writes 0 and 1; re-saved Parquet writes 0.0 and 1.0; booleans come from other people's copies.
FLAGS = {"Y": "Y", "N": "N", "1": "Y", "0": "N", "1.0": "Y", "0.0": "N", "TRUE": "Y", "FALSE": "N"}

# Columns that say nothing of a trip: pandas writes its index (yellow 2010-02 and 2010-03, and many copies), BigQuery's
# public data set the month of the file that a row came in.
ADDED_COLUMNS = frozenset(
    key(name) for name in ("__index_level_0__", "Unnamed: 0", "index", "", "data_file_year", "data_file_month")
)

_PICKUP_TIME = ("Trip_Pickup_DateTime", "tpep_pickup_datetime", "lpep_pickup_datetime", "Pickup_date")
_DROPOFF_TIME = ("Trip_Dropoff_DateTime", "tpep_dropoff_datetime", "lpep_dropoff_datetime", "DropOff_datetime")


def _pickup(about: str) -> Column:
    return Column("pickup_datetime", "time", _PICKUP_TIME, about=about, required=True)


def _dropoff(about: str) -> Column:
    return Column("dropoff_datetime", "time", _DROPOFF_TIME, about=about)


# locationID alone is what fhv called the pickup zone in 2015 and 2016.
_ZONES = (
    Column("pickup_location_id", "id", ("PULocationID", "locationID"), about="Taxi zone of the pickup (see zones)."),
    Column("dropoff_location_id", "id", ("DOLocationID",), about="Taxi zone of the drop-off (see zones)."),
)
_METER = (
    Column("fare_amount", "money", ("Fare_Amt",), about="Time-and-distance fare by the meter, USD."),
    Column("extra", "money", ("surcharge",), about="Rush-hour, overnight and other extras, USD; `surcharge` to 2014."),
    Column("mta_tax", "money", about="MTA tax, USD."),
    Column("tip_amount", "money", ("Tip_Amt",), about="Tip by card, USD; cash tips are not recorded."),
    Column("tolls_amount", "money", ("Tolls_Amt",), about="Tolls, USD."),
)
_COORDINATES = (
    Column("pickup_longitude", "degrees", ("Start_Lon",), about="Longitude of the pickup, WGS 84; to 2016-06."),
    Column("pickup_latitude", "degrees", ("Start_Lat",), about="Latitude of the pickup, WGS 84; to 2016-06."),
    Column("dropoff_longitude", "degrees", ("End_Lon",), about="Longitude of the drop-off, WGS 84; to 2016-06."),
    Column("dropoff_latitude", "degrees", ("End_Lat",), about="Latitude of the drop-off, WGS 84; to 2016-06."),
)
_IMPROVEMENT = Column(
    "improvement_surcharge", "money", ("imp_surcharge",), about="Improvement surcharge, USD; since 2015."
)
_TOTAL = Column("total_amount", "money", ("Total_Amt",), about="What the passenger was charged but cash tips, USD.")
_CONGESTION = Column("congestion_surcharge", "money", about="New York State congestion surcharge, USD; since 2019-02.")
_AIRPORT = Column(
    "airport_fee", "money", about="Fee for pickups at LaGuardia and JFK, USD; `Airport_fee` since 2023-02."
)
_CBD = Column("cbd_congestion_fee", "money", about="MTA congestion relief zone fee, USD; since 2025-01-05.")
_REQUEST_SOURCE = Column(
    "request_source", "text", about="App that sent a Flex Fare trip (A, CC, EH..., HV...); since 2026-06, undocumented."
)
_VENDOR = Column(
    "vendor_id",
    "code",
    ("vendor_name", "VendorID"),
    VENDORS,
    "1 CMT, 2 Curb (was VTS), 3 DDS, 6 Myle, 7 Helix; 4 (in 2019) and 5 (in 2022) are in no dictionary of the TLC's.",
)
_PASSENGERS = Column("passenger_count", "count", about="Passengers as the driver entered them; null: not entered.")
_DISTANCE = Column("trip_distance", "miles", about="Distance by the taximeter, miles.")
_RATECODE = Column(
    "ratecode_id",
    "code",
    ("Rate_Code", "RateCodeID"),
    about="1 standard, 2 JFK, 3 Newark, 4 Nassau or Westchester, 5 negotiated, 6 group, 99 unknown.",
)
_STORED = Column(
    "store_and_fwd_flag", "flag", ("store_and_forward",), FLAGS, "Y: held in the vehicle's memory before it was sent."
)
_PAYMENT = Column(
    "payment_type",
    "code",
    codes=PAYMENTS,
    about="0 Flex Fare, 1 credit card, 2 cash, 3 no charge, 4 dispute, 5 unknown, 6 voided.",
)

# What every colour with a drop-off is checked for. Out-of-month and backward trips are real rows with a wrong clock.
_CLOCK_RULES = (
    Rule(
        "pickup_outside_month",
        Predicate("pickup_datetime", "outside month"),
        "flag",
        "The pickup is not in the file's month: a wrong clock, or a trip reported late.",
    ),
    Rule(
        "dropoff_before_pickup",
        Predicate("dropoff_datetime", "<", "pickup_datetime"),
        "flag",
        "The trip ends before it begins: a wrong clock.",
    ),
)
_METER_RULES = (
    Rule(
        "no_passengers",
        Predicate("passenger_count", "=", 0),
        "drop",
        "Nobody is paid for carrying nobody. A null count is not zero and is kept.",
    ),
    *_CLOCK_RULES,
    # Of the 272 such rows in 5,000 of yellow 2025-02, 181 are Flex Fare, all with a positive total.
    Rule(
        "negative_fare",
        Predicate("fare_amount", "<", 0),
        "flag",
        "A refund or a correction of another row; a Flex Fare trip (payment_type 0) whose total is positive, too.",
    ),
    Rule("zero_distance", Predicate("trip_distance", "=", 0), "flag", "The meter ran but the wheels did not."),
)

YELLOW = Dataset(
    Color.YELLOW,
    (
        _VENDOR,
        _pickup("When the meter was engaged, New York local time."),
        _dropoff("When the meter was disengaged, New York local time."),
        _PASSENGERS,
        _DISTANCE,
        _RATECODE,
        _STORED,
        *_ZONES,
        _PAYMENT,
        *_METER,
        _IMPROVEMENT,
        _TOTAL,
        _CONGESTION,
        _AIRPORT,
        _CBD,
        _REQUEST_SOURCE,
        *_COORDINATES,
    ),
    _METER_RULES,
    Month(2009, 1),
    "Yellow taxis: the medallion cabs that may be hailed anywhere in the city.",
)

GREEN = Dataset(
    Color.GREEN,
    (
        _VENDOR,
        _pickup("When the meter was engaged, New York local time."),
        _dropoff("When the meter was disengaged, New York local time."),
        _PASSENGERS,
        _DISTANCE,
        _RATECODE,
        _STORED,
        *_ZONES,
        _PAYMENT,
        *_METER,
        Column("ehail_fee", "money", about="E-hail fee, USD; never filled."),
        _IMPROVEMENT,
        _TOTAL,
        Column("trip_type", "code", about="1 street hail, 2 dispatch."),
        _CONGESTION,
        _CBD,
        _REQUEST_SOURCE,
        *_COORDINATES,
    ),
    _METER_RULES,
    Month(2013, 8),
    "Green taxis: street-hail liveries, hailed outside of central Manhattan and the airports.",
)

FHV = Dataset(
    Color.FHV,
    (
        # 2018 fills Dispatching_base_number and leaves Dispatching_base_num empty.
        Column(
            "dispatching_base_num", "text", ("Dispatching_base_number",), about="TLC licence of the dispatching base."
        ),
        _pickup("When the trip began, New York local time."),
        _dropoff("When the trip ended, New York local time; since 2017."),
        *_ZONES,
        Column("sr_flag", "code", about="1: part of a shared-ride chain; null: not shared."),
        Column("affiliated_base_number", "text", about="TLC licence of the base that the vehicle is affiliated with."),
    ),
    _CLOCK_RULES,
    Month(2015, 1),
    "For-hire vehicles: community cars, black cars and limousines, dispatched by a base.",
)

FHVHV = Dataset(
    Color.FHVHV,
    (
        Column("hvfhs_license_num", "text", about="HV0002 Juno, HV0003 Uber, HV0004 Via, HV0005 Lyft."),
        Column("dispatching_base_num", "text", about="TLC licence of the dispatching base."),
        Column("originating_base_num", "text", about="TLC licence of the base that got the request."),
        Column("request_datetime", "time", about="When the passenger asked, New York local time."),
        Column("on_scene_datetime", "time", about="When the vehicle arrived, New York local time."),
        _pickup("When the trip began, New York local time."),
        _dropoff("When the trip ended, New York local time."),
        *_ZONES,
        Column("trip_miles", "miles", about="Distance of the trip, miles."),
        Column("trip_time", "seconds", about="Duration of the trip, seconds."),
        Column("base_passenger_fare", "money", about="Fare before tolls, tips, taxes and fees, USD."),
        Column("tolls", "money", about="Tolls, USD."),
        Column("bcf", "money", about="Black Car Fund, USD."),
        Column("sales_tax", "money", about="New York State sales tax, USD."),
        _CONGESTION,
        _AIRPORT,
        Column("tips", "money", about="Tips, USD."),
        Column("driver_pay", "money", about="What the driver got but tolls and tips, USD."),
        # The CSV files of 2019-2021 have one SR_Flag. Lyft set it for every shared request, the others only for those
        # matched, so all that it says for sure is that sharing was asked for.
        Column("shared_request_flag", "flag", ("SR_Flag",), FLAGS, "Y: the passenger agreed to share."),
        Column("shared_match_flag", "flag", (), FLAGS, "Y: the passenger did share."),
        Column("access_a_ride_flag", "flag", (), FLAGS, "Y: run for the MTA's Access-A-Ride; blank in most rows."),
        Column("wav_request_flag", "flag", (), FLAGS, "Y: a wheelchair-accessible vehicle was asked for."),
        Column("wav_match_flag", "flag", (), FLAGS, "Y: a wheelchair-accessible vehicle came."),
        _CBD,
    ),
    (
        *_CLOCK_RULES,
        Rule("negative_fare", Predicate("base_passenger_fare", "<", 0), "flag", "A refund or a correction."),
        Rule("zero_distance", Predicate("trip_miles", "=", 0), "flag", "The trip went nowhere."),
    ),
    Month(2019, 2),
    "High-volume for-hire vehicles: Uber, Lyft, and Via and Juno while they lasted.",
)

ZONES_TABLE = "taxi_zone_lookup"
ZONES = (
    Column("location_id", "id", ("LocationID",), about="The id that trips refer to, 1 to 265.", required=True),
    Column("borough", "text", about="Borough, EWR, Unknown or N/A (which is text)."),
    Column("zone", "text", about="Name of the zone."),
    Column("service_zone", "text", about="Yellow Zone, Boro Zone, Airports, EWR or N/A (which is text)."),
)

_METERED = ("passenger_count", "payment_type", "store_and_fwd_flag", "total_amount")
# By these published names a file is known as one of its colour: those that don't list a name were never published
# with it. People's copies with canonical names have few of them.
SIGNS: Mapping[Color, tuple[str, ...]] = {
    Color.YELLOW: (
        *("tpep_pickup_datetime", "tpep_dropoff_datetime"),
        *("Trip_Pickup_DateTime", "Trip_Dropoff_DateTime"),  # 2009
        "surcharge",  # to 2014, then extra
        *_METERED,
    ),
    Color.GREEN: ("lpep_pickup_datetime", "lpep_dropoff_datetime", "trip_type", "ehail_fee", *_METERED),
    Color.FHV: ("dispatching_base_num", "Dispatching_base_number", "affiliated_base_number"),
    Color.FHVHV: (
        *("hvfhs_license_num", "dispatching_base_num", "originating_base_num", "on_scene_datetime"),
        *("base_passenger_fare", "driver_pay", "access_a_ride_flag"),
    ),
}
# What every file of a colour has, under whatever other names: without the licence it is a month of fhv.
ESSENTIAL: Mapping[Color, tuple[str, ...]] = {Color.FHVHV: ("hvfhs_license_num",)}

DATASETS: Mapping[Color, Dataset] = {dataset.color: dataset for dataset in (YELLOW, GREEN, FHV, FHVHV)}
FIRST_MONTHS: Mapping[Color, Month] = {color: dataset.first_month for color, dataset in DATASETS.items()}
# The largest file of a month that was ever published: fhvhv 2019-03, some 583 MB (23.9 million rows), as the TLC's
# server announces https://d37ci6vzurychx.cloudfront.net/trip-data/fhvhv_tripdata_2019-03.parquet.
LARGEST_MONTH_BYTES = 583_000_000
