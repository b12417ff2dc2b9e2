"""What is wrong with a generated month, as it is with every real one: which share of the rows, and how."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nyctaxi_etl.core.partition import Color, Month
from nyctaxi_etl.sample.city import APPS
from nyctaxi_etl.sample.meter import CHARGES, LAST_POSITIONS, POSITIONS, total
from nyctaxi_etl.sample.trips import BASES, DAY, HOUR, NULL, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nyctaxi_etl.core.partition import Partition
    from nyctaxi_etl.sample.trips import Dice, Mask, Numbers, Trips

    _Apply = Callable[[Partition, Dice, Trips, Mask], Trips]

_METERED = (Color.YELLOW, Color.GREEN)
_EVERY = tuple(Color)
_FIRST = Month(2009, 1)
_TIMES = ("request_datetime", "on_scene_datetime", "pickup_datetime", "dropoff_datetime")


class Defect(NamedTuple):
    """What is wrong with ``share`` of the rows of some colours from one month to another.

    A month of ``SURE_ROWS`` rows has each of its defects at least once. Those that a rule of the datasets catches have
    that rule's name.
    """

    name: str
    share: float
    about: str
    colors: tuple[Color, ...] = _EVERY
    since: Month = _FIRST
    until: Month = Month(9999, 12)


SURE_ROWS = 10_000

# In the order in which they are applied. Real shares differ from month to month; these are of their size.
DEFECTS = (
    Defect("negative_fare", 0.004, "A refund: its neighbour's row again, all amounts negated.", _METERED),
    Defect("no_meter_data", 0.05, "Passengers, rate code, flag, congestion null together.", _METERED, Month(2020, 1)),
    Defect("no_passengers", 0.02, "The passenger count is 0, not null.", _METERED),
    Defect("zero_distance", 0.01, "The meter ran, the distance is 0.", _METERED),
    Defect("no_position", 0.015, "All four coordinates are 0.", _METERED, until=LAST_POSITIONS),
    Defect("no_zone", 0.3, "The base reported no pickup zone.", (Color.FHV,)),
    Defect("lower_case_base", 0.005, "The base's number is in lower case.", (Color.FHV,)),
    Defect("base_with_blanks", 0.02, "The base's number is filled up with blanks.", (Color.FHV,)),
    Defect("pickup_outside_month", 0.0003, "At most two hours before or after the month."),
    Defect("pickup_in_old_year", 0.00003, "A clock set back to 2002 or 2009."),
    Defect("dropoff_before_pickup", 0.0002, "The trip ends before it begins."),
    Defect("dropoff_in_3019", 0.00001, "A mistyped year, as in fhv 2019-02.", (Color.FHV,)),
    Defect("unparsable", 0.00002, "CSV only: a word where a number belongs, or half of the fields."),
)

WORD, TORN = 1, 2


def add_defects(partition: Partition, dice: Dice, first: int, rows: int, trips: Trips) -> Trips:
    """Give the trips from ``first`` on of a month of ``rows`` their defects.

    Adds ``unparsable``, not a column: ``WORD`` where a number is to be a word, ``TORN`` where fields are to lack.
    """
    indices = np.arange(first, first + dice.count)
    trips = trips | {"unparsable": np.zeros(dice.count, np.int64)}
    for defect in DEFECTS:
        if partition.color in defect.colors and defect.since <= partition.month <= defect.until:
            hit = dice.chance(defect.share) | (indices == _sure_index(partition, rows, defect))
            trips |= _APPLY[defect.name](partition, dice, trips, hit)
    return trips


def _sure_index(partition: Partition, rows: int, defect: Defect) -> int:
    digest = hashlib.sha256(f"{partition} {rows} {defect.name}".encode()).digest()
    return int.from_bytes(digest) % rows if rows >= SURE_ROWS else -1


def _put(value: int, *names: str) -> _Apply:
    """Return what puts one value into some columns."""
    return lambda _partition, _dice, trips, hit: {name: np.where(hit, value, trips[name]) for name in names}


def _refund(_partition: Partition, dice: Dice, trips: Trips, hit: Mask) -> Trips:
    neighbour = np.minimum(np.arange(dice.count) ^ 1, dice.count - 1)
    spoiled = {name: np.where(hit, values[neighbour], values) for name, values in trips.items()}
    for name in (*CHARGES, "total_amount"):
        spoiled[name] = np.where(hit & (spoiled[name] != NULL), -spoiled[name], spoiled[name])
    return spoiled | {"payment_type": np.where(hit, 4, spoiled["payment_type"])}


def _unmetered(partition: Partition, dice: Dice, trips: Trips, hit: Mask) -> Trips:
    """Empty what only the meter tells, and name the app that asked for the trip."""
    names = ("passenger_count", "ratecode_id", "store_and_fwd_flag", "congestion_surcharge", "airport_fee", "trip_type")
    spoiled = {name: np.where(hit, NULL, trips[name]) for name in names}
    payment = 0 if partition.color is Color.YELLOW else NULL
    return spoiled | {
        "payment_type": np.where(hit, payment, trips["payment_type"]),
        "request_source": np.where(hit, dice.below(len(APPS)), NULL),
        "total_amount": total(trips | spoiled),
    }


def _empty_taxi(_partition: Partition, _dice: Dice, trips: Trips, hit: Mask) -> Trips:
    count = trips["passenger_count"]
    return {"passenger_count": np.where(hit & (count != NULL), 0, count)}


def _respelled(times: int) -> _Apply:
    """Return what takes base numbers from a later part of their vocabulary: in lower case, or with blanks."""

    def apply(_partition: Partition, _dice: Dice, trips: Trips, hit: Mask) -> Trips:
        names = ("dispatching_base_num", "affiliated_base_number")
        return {name: np.where(hit, trips[name] % len(BASES) + times * len(BASES), trips[name]) for name in names}

    return apply


def _moved(trips: Trips, hit: Mask, pickup: Numbers) -> Trips:
    """Return the trips' times, those hit moved as a whole to begin at ``pickup``."""
    shift = np.where(hit, pickup - trips["pickup_datetime"], 0)
    return {name: np.where(trips[name] == NULL, NULL, trips[name] + shift) for name in _TIMES if name in trips}


def _outside(partition: Partition, dice: Dice, trips: Trips, hit: Mask) -> Trips:
    start, end = seconds(partition.month), seconds(partition.month.next)
    away = dice.below(4 * HOUR) - 2 * HOUR
    return _moved(trips, hit, np.where(away < 0, start + away, end + away))


def _set_back(partition: Partition, dice: Dice, trips: Trips, hit: Mask) -> Trips:
    days = np.array([seconds(Month(2003, 1)) - DAY, seconds(Month(2009, 1))])
    possible = 2 if partition.month.year > _FIRST.year else 1
    return _moved(trips, hit, days[dice.below(possible)] + trips["pickup_datetime"] % DAY)


def _backwards(_partition: Partition, dice: Dice, trips: Trips, hit: Mask) -> Trips:
    return {
        "dropoff_datetime": np.where(hit, trips["pickup_datetime"] - 1 - dice.below(HOUR), trips["dropoff_datetime"])
    }


def _in_3019(partition: Partition, _dice: Dice, trips: Trips, hit: Mask) -> Trips:
    years = seconds(Month(3019, partition.month.number)) - seconds(partition.month)
    return {"dropoff_datetime": np.where(hit, trips["pickup_datetime"] + years, trips["dropoff_datetime"])}


def _unparsable(_partition: Partition, dice: Dice, _trips: Trips, hit: Mask) -> Trips:
    return {"unparsable": np.where(hit, WORD + dice.below(2), 0)}


_APPLY: Mapping[str, _Apply] = {
    "negative_fare": _refund,
    "no_meter_data": _unmetered,
    "no_passengers": _empty_taxi,
    "zero_distance": _put(0, "trip_distance"),
    "no_position": _put(0, *POSITIONS),
    "no_zone": _put(NULL, "pickup_location_id"),
    "lower_case_base": _respelled(1),
    "base_with_blanks": _respelled(2),
    "pickup_outside_month": _outside,
    "pickup_in_old_year": _set_back,
    "dropoff_before_pickup": _backwards,
    "dropoff_in_3019": _in_3019,
    "unparsable": _unparsable,
}
