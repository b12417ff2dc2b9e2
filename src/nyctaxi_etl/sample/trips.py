"""Draws the trips of a generated month: who rides when, from where to where, how far, with whom.

Every value is an integer made of a bit generator's raw output by integer arithmetic. NumPy promises those bits to be
the same in every version and on every machine, but not its distributions, nor a logarithm to the last digit.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nyctaxi_etl.core.partition import Color, Month
from nyctaxi_etl.sample import city as habits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nyctaxi_etl.core.partition import Partition

Numbers = npt.NDArray[np.int64]
Hits = npt.NDArray[np.bool_]
# Canonical column -> values: seconds since 1970, cents, hundredths of a mile, millionths of a degree, codes, and for
# text the place in ``VOCABULARY``.
Trips = dict[str, Numbers]

NULL = int(np.iinfo(np.int64).min)
HOUR, DAY = 3_600, 86_400
_TABLE = 1 << 16

# fhv had its large fleets in it, and said which rides were shared, until they got files of their own.
_SHARED_RIDES = (Month(2017, 7), Month(2019, 1))

_FLEET_BASES = tuple(tuple(bases.split()) for _share, bases in habits.FLEETS.values())
_FHV_BASES = tuple(habits.BASES.split())
BASES = (*_FHV_BASES, *(base for bases in _FLEET_BASES for base in bases))
_WRITTEN = (*BASES, *(base.lower() for base in BASES), *(base.ljust(habits.BASE_WIDTH) for base in BASES))
_FLAGS = ("N", "Y", " ")
_NO, _YES, _BLANK = range(3)
VOCABULARY: Mapping[str, tuple[str, ...]] = {
    "hvfhs_license_num": tuple(habits.FLEETS),
    "request_source": habits.APPS,
    **dict.fromkeys(("dispatching_base_num", "originating_base_num", "affiliated_base_number"), _WRITTEN),
    **dict.fromkeys(("store_and_fwd_flag", "shared_request_flag", "shared_match_flag"), _FLAGS),
    **dict.fromkeys(("access_a_ride_flag", "wav_request_flag", "wav_match_flag"), _FLAGS),
}


class Dice:
    """Throws ``count`` numbers at a time; the same ``seed``, the same throws."""

    def __init__(self, seed: str, count: int) -> None:
        self._bits = np.random.PCG64(int.from_bytes(hashlib.sha256(seed.encode()).digest()))
        self.count = count

    def below(self, limit: int) -> Numbers:
        """Return integers of 0 to ``limit - 1``; ``limit`` is at most 2 ** 31."""
        raw = self._bits.random_raw((self.count + 1) // 2).astype("<u8", copy=False).view("<u4")
        return raw[: self.count].astype(np.int64) * limit >> 32

    def chance(self, share: float) -> Hits:
        """Return true for about that share."""
        return self.below(1 << 31) < int(share * (1 << 31))

    def pick(self, table: Numbers) -> Numbers:
        """Return entries of a table, each as often as it is in there."""
        return table[self.below(len(table))]


def journeys(partition: Partition, dice: Dice, first: int, rows: int) -> Trips:
    """Draw the ``dice.count`` trips from ``first`` on of a month of ``rows``: hour after hour, in any order within."""
    pickup = _pickups(partition.month, dice, first, rows)
    zones = _zones(habits.PICKUPS[partition.color])
    start = dice.pick(zones)
    end = np.where(dice.chance(habits.SAME_ZONE), start, dice.pick(zones))
    airport = among(habits.AIRPORTS, start) ^ among(habits.AIRPORTS, end)
    miles = np.where(airport, dice.pick(_curve(habits.AIRPORT_MILES)), dice.pick(_curve(habits.TOWN_MILES)))
    miles = np.where(start == end, miles // 3, miles)
    percent = np.array(habits.PACE_BY_DISTANCE)[np.searchsorted(habits.PACE_EDGES, miles)]
    pace = np.array(habits.PACE)[pickup // HOUR % 24] * percent * dice.pick(_curve(habits.LUCK)) // 10_000
    return {
        "pickup_datetime": pickup,
        "dropoff_datetime": pickup + 60 + miles * np.maximum(pace, habits.FASTEST) // 100,
        "pickup_location_id": start,
        "dropoff_location_id": end,
        "trip_distance": miles,
    }


def dispatched(partition: Partition, dice: Dice, trips: Trips) -> Trips:
    """Send the trips of fhv to bases."""
    bases = shares({place: 10_000 // (place + 8) for place in range(len(_FHV_BASES))})
    base = dice.pick(bases)
    said = _SHARED_RIDES[0] <= partition.month < _SHARED_RIDES[1]
    return trips | {
        "dispatching_base_num": base,
        "affiliated_base_number": np.where(dice.chance(habits.OWN_BASE), base, dice.pick(bases)),
        "sr_flag": np.where(dice.chance(habits.SHARED_FHV if said else 0), 1, NULL),
    }


def hailed_by_app(partition: Partition, dice: Dice, trips: Trips) -> Trips:
    """Give the trips of fhvhv to fleets, with their fares, taxes and flags."""
    pickup, duration = trips["pickup_datetime"], trips["dropoff_datetime"] - trips["pickup_datetime"]
    fleet, base = _fleets(partition.month, dice)
    uber, wait = fleet == 0, dice.below(120)
    shared, wheelchair = dice.chance(habits.SHARED_FHVHV), dice.chance(habits.WHEELCHAIR)
    return (
        trips
        | _app_fares(partition, dice, trips, duration)
        | {
            "hvfhs_license_num": fleet,
            "dispatching_base_num": base,
            "originating_base_num": np.where(uber, base, NULL),
            "request_datetime": pickup - wait - 60 - dice.below(480),
            "on_scene_datetime": np.where(uber, pickup - wait, NULL),
            "trip_miles": trips["trip_distance"],
            "trip_time": duration,
            "shared_request_flag": np.where(shared, _YES, _NO),
            "shared_match_flag": np.where(shared & dice.chance(habits.MATCHED), _YES, _NO),
            "access_a_ride_flag": np.where(uber, _BLANK, _NO),
            "wav_request_flag": np.where(wheelchair, _YES, _NO),
            "wav_match_flag": np.where(wheelchair | dice.chance(habits.WHEELCHAIR_CAME), _YES, _NO),
        }
    )


def _app_fares(partition: Partition, dice: Dice, trips: Trips, duration: Numbers) -> Trips:
    start, end = trips["pickup_location_id"], trips["dropoff_location_id"]
    drop, mile, minute = habits.FHVHV_FARE
    fare = drop + trips["trip_distance"] * mile // 100 + duration * minute // 60
    at_airport = among(habits.AIRPORTS, start) | among(habits.AIRPORTS, end)
    airport = habits.FHVHV_AIRPORT if partition.month >= habits.FHVHV_AIRPORT_SINCE else None
    cbd = habits.FHVHV_CBD if partition.month >= habits.FHVHV_CBD_SINCE else None
    toll = dice.chance(habits.TOLL_IN_TOWN) | at_airport & dice.chance(habits.TOLL_TO_AIRPORT)
    tip = dice.chance(habits.TIPPED_FHVHV)
    return {
        "base_passenger_fare": fare,
        "tolls": due(tariff(partition).toll, toll),
        "bcf": fare * habits.FHVHV_FUND // 10_000,
        "sales_tax": fare * habits.FHVHV_TAX // 10_000,
        "congestion_surcharge": due(
            habits.FHVHV_CONGESTION, among(habits.CONGESTED, start) | among(habits.CONGESTED, end)
        ),
        "airport_fee": due(airport, at_airport),
        "cbd_congestion_fee": due(cbd, among(habits.CBD, start) | among(habits.CBD, end)),
        "tips": np.where(tip, 100 * (1 + dice.below(8)), 0),
        "driver_pay": fare * habits.FHVHV_DRIVER // 10_000,
    }


def _fleets(month: Month, dice: Dice) -> tuple[Numbers, Numbers]:
    """Draw the fleet of each trip and a base of it, each as its place in ``VOCABULARY``."""
    there = [not (until := habits.FLEETS_UNTIL.get(name)) or month <= until for name in habits.FLEETS]
    weights = [share for share, _bases in habits.FLEETS.values()]
    fleet = dice.pick(shares({place: weights[place] for place, here in enumerate(there) if here}))
    sizes = np.array([len(bases) for bases in _FLEET_BASES])
    base = len(_FHV_BASES) + (np.cumsum(sizes) - sizes)[fleet] + dice.below(1 << 20) % sizes[fleet]
    return fleet, base


def tariff(partition: Partition) -> habits.Tariff:
    """Return what a trip costs in that month."""
    row = next(row for row in reversed(habits.TARIFFS) if row.since <= partition.month)
    if partition.color is Color.GREEN:
        return row._replace(congestion=row.congestion and habits.GREEN_CONGESTION, airport=None)
    return row


def due(cents: int | None, where: Hits) -> Numbers:
    """Return a charge where it is due and 0 elsewhere; null everywhere if there is no such charge."""
    return np.full(len(where), NULL) if cents is None else np.where(where, cents, 0)


def among(zones: str, places: Numbers) -> Hits:
    """Tell which places are in the zones, ids with blanks between."""
    table = np.zeros(habits.OUTSIDE_ZONE + 1, np.bool_)
    table[[int(zone) for zone in zones.split()]] = True
    return table[places]


def shares(weights: Mapping[int, int]) -> Numbers:
    """Make a table to pick from, in which each value is as often as its weight says."""
    ends = np.cumsum([0, *weights.values()], dtype=np.int64)
    return np.repeat(np.array(list(weights), np.int64), np.diff(ends * _TABLE // ends[-1]))


def seconds(month: Month) -> int:
    """Return the month's first second, as trips count them."""
    return int(datetime(month.year, month.number, 1, tzinfo=UTC).timestamp())


def _pickups(month: Month, dice: Dice, first: int, rows: int) -> Numbers:
    """Lay ``rows`` over the month's hours as they are in demand, and return the pickups of those from ``first`` on."""
    start, end = seconds(month), seconds(month.next)
    weekdays = [second // DAY + 3 for second in range(start, end, DAY)]  # 1970-01-01 was a Thursday, 3 from Monday
    demand = [habits.DAYS[day % 7] * share for day in weekdays for share in habits.HOURS[day % 7 >= habits.SATURDAY]]
    ends = np.cumsum(demand, dtype=np.int64)
    places = (2 * np.arange(first, first + dice.count, dtype=np.int64) + 1) * ends[-1] // (2 * rows)
    hours: Numbers = np.searchsorted(ends, places, side="right")
    return start + hours * HOUR + dice.below(HOUR)


def _zones(pickups: str) -> Numbers:
    """Make a table of zones to pick from; those that are not listed share what is left of 10,000."""
    weights = {int(zone): 100 * int(share) for zone, share in (pair.split(":") for pair in pickups.split())}
    others = [zone for zone in range(1, habits.LAST_ZONE + 1) if zone not in weights]
    left = 1_000_000 - sum(weights.values())
    fading = {zone: len(others) - place for place, zone in enumerate(others)}
    return shares(weights | {zone: left * part // sum(fading.values()) for zone, part in fading.items()})


def _curve(points: Sequence[int]) -> Numbers:
    """Make a table to pick from of the quantiles of something, straight between two of them."""
    step = _TABLE // (len(points) - 1)
    edges: Numbers = np.array(points, np.int64)[:, None]
    table: Numbers = edges[:-1] + (edges[1:] - edges[:-1]) * np.arange(step, dtype=np.int64) // step
    return table.ravel()
