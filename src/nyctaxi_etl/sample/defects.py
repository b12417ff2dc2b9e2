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
    from nyctaxi_etl.sample.trips import Dice, Hits, Numbers, Trips

    _Way = Callable[[Partition, Dice, Trips, Hits], Trips]

_METERED = (Color.YELLOW, Color.GREEN)
_EVERY = tuple(Color)
_FIRST = Month(2009, 1)
_TIMES = ("request_datetime", "on_scene_datetime", "pickup_datetime", "dropoff_datetime")


class Wart(NamedTuple):
    """What is wrong with ``share`` of the rows of some colours from one month to another.

    A month of ``SURE_ROWS`` rows has each of its warts at least once. Those that a rule of the datasets catches have
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
WARTS = (
    Wart("negative_fare", 0.004, "A refund: its neighbour's row again, all amounts negated.", _METERED),
    Wart("no_meter_data", 0.05, "Passengers, rate code, flag, congestion null together.", _METERED, Month(2020, 1)),
    Wart("no_passengers", 0.02, "The passenger count is 0, not null.", _METERED),
    Wart("zero_distance", 0.01, "The meter ran, the distance is 0.", _METERED),
    Wart("no_position", 0.015, "All four coordinates are 0.", _METERED, until=LAST_POSITIONS),
    Wart("no_zone", 0.3, "The base reported no pickup zone.", (Color.FHV,)),
    Wart("lower_case_base", 0.005, "The base's number is in lower case.", (Color.FHV,)),
    Wart("base_with_blanks", 0.02, "The base's number is filled up with blanks.", (Color.FHV,)),
    Wart("pickup_outside_month", 0.0003, "At most two hours before or after the month."),
    Wart("pickup_in_old_year", 0.00003, "A clock set back to 2002 or 2009."),
    Wart("dropoff_before_pickup", 0.0002, "The trip ends before it begins."),
    Wart("dropoff_in_3019", 0.00001, "A mistyped year, as in fhv 2019-02.", (Color.FHV,)),
    Wart("unparsable", 0.00002, "CSV only: a word where a number belongs, or half of the fields."),
)

WORD, TORN = 1, 2


def spoil(partition: Partition, dice: Dice, first: int, rows: int, trips: Trips) -> Trips:
    """Give the trips from ``first`` on of a month of ``rows`` their warts.

    Adds ``unparsable``, not a column: ``WORD`` where a number is to be a word, ``TORN`` where fields are to lack.
    """
    places = np.arange(first, first + dice.count)
    trips = trips | {"unparsable": np.zeros(dice.count, np.int64)}
    for wart in WARTS:
        if partition.color in wart.colors and wart.since <= partition.month <= wart.until:
            hit = dice.chance(wart.share) | (places == _sure_place(partition, rows, wart))
            trips |= _WAYS[wart.name](partition, dice, trips, hit)
    return trips


def _sure_place(partition: Partition, rows: int, wart: Wart) -> int:
    digest = hashlib.sha256(f"{partition} {rows} {wart.name}".encode()).digest()
    return int.from_bytes(digest) % rows if rows >= SURE_ROWS else -1


def _put(value: int, *names: str) -> _Way:
    """Return a way of spoiling that puts one value into some columns."""
    return lambda _partition, _dice, trips, hit: {name: np.where(hit, value, trips[name]) for name in names}


def _refund(_partition: Partition, dice: Dice, trips: Trips, hit: Hits) -> Trips:
    neighbour = np.minimum(np.arange(dice.count) ^ 1, dice.count - 1)
    spoiled = {name: np.where(hit, values[neighbour], values) for name, values in trips.items()}
    for name in (*CHARGES, "total_amount"):
        spoiled[name] = np.where(hit & (spoiled[name] != NULL), -spoiled[name], spoiled[name])
    return spoiled | {"payment_type": np.where(hit, 4, spoiled["payment_type"])}


def _unmetered(partition: Partition, dice: Dice, trips: Trips, hit: Hits) -> Trips:
    names = ("passenger_count", "ratecode_id", "store_and_fwd_flag", "congestion_surcharge", "airport_fee", "trip_type")
    spoiled = {name: np.where(hit, NULL, trips[name]) for name in names}
    payment = 0 if partition.color is Color.YELLOW else NULL
    return spoiled | {
        "payment_type": np.where(hit, payment, trips["payment_type"]),
        "request_source": np.where(hit, dice.below(len(APPS)), NULL),
        "total_amount": total(trips | spoiled),
    }


def _empty_taxi(_partition: Partition, _dice: Dice, trips: Trips, hit: Hits) -> Trips:
    count = trips["passenger_count"]
    return {"passenger_count": np.where(hit & (count != NULL), 0, count)}


def _respelled(times: int) -> _Way:
    """Return a way of spoiling that takes base numbers from a later part of their vocabulary."""

    def way(_partition: Partition, _dice: Dice, trips: Trips, hit: Hits) -> Trips:
        names = ("dispatching_base_num", "affiliated_base_number")
        return {name: np.where(hit, trips[name] % len(BASES) + times * len(BASES), trips[name]) for name in names}

    return way


def _moved(trips: Trips, hit: Hits, pickup: Numbers) -> Trips:
    """Return the trips' times, those hit moved as a whole to begin at ``pickup``."""
    shift = np.where(hit, pickup - trips["pickup_datetime"], 0)
    return {name: np.where(trips[name] == NULL, NULL, trips[name] + shift) for name in _TIMES if name in trips}


def _outside(partition: Partition, dice: Dice, trips: Trips, hit: Hits) -> Trips:
    start, end = seconds(partition.month), seconds(partition.month.next)
    away = dice.below(4 * HOUR) - 2 * HOUR
    return _moved(trips, hit, np.where(away < 0, start + away, end + away))


def _set_back(partition: Partition, dice: Dice, trips: Trips, hit: Hits) -> Trips:
    days = np.array([seconds(Month(2003, 1)) - DAY, seconds(Month(2009, 1))])
    possible = 2 if partition.month.year > _FIRST.year else 1
    return _moved(trips, hit, days[dice.below(possible)] + trips["pickup_datetime"] % DAY)


def _backwards(_partition: Partition, dice: Dice, trips: Trips, hit: Hits) -> Trips:
    return {
        "dropoff_datetime": np.where(hit, trips["pickup_datetime"] - 1 - dice.below(HOUR), trips["dropoff_datetime"])
    }


def _in_3019(partition: Partition, _dice: Dice, trips: Trips, hit: Hits) -> Trips:
    years = seconds(Month(3019, partition.month.number)) - seconds(partition.month)
    return {"dropoff_datetime": np.where(hit, trips["pickup_datetime"] + years, trips["dropoff_datetime"])}


def _unparsable(_partition: Partition, dice: Dice, _trips: Trips, hit: Hits) -> Trips:
    return {"unparsable": np.where(hit, WORD + dice.below(2), 0)}


_WAYS: Mapping[str, _Way] = {
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
