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
from nyctaxi_etl.sample import city

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nyctaxi_etl.core.partition import Partition

Numbers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
# Canonical column -> values: seconds since 1970, cents, hundredths of a mile, millionths of a degree, codes, and for
# text the index in ``VOCABULARY``.
Trips = dict[str, Numbers]

NULL = int(np.iinfo(np.int64).min)
HOUR, DAY = 3_600, 86_400
_TABLE = 1 << 16

# fhv had the large fleets in it, and told which rides were shared, until they got files of their own.
_SHARED_RIDES = (Month(2017, 7), Month(2019, 1))

_FLEET_BASES = tuple(tuple(bases.split()) for _share, bases in city.FLEETS.values())
_FHV_BASES = tuple(city.BASES.split())
BASES = (*_FHV_BASES, *(base for bases in _FLEET_BASES for base in bases))
_WRITTEN = (*BASES, *(base.lower() for base in BASES), *(base.ljust(city.BASE_WIDTH) for base in BASES))
_FLAGS = ("N", "Y", " ")
_NO, _YES, _BLANK = range(3)
VOCABULARY: Mapping[str, tuple[str, ...]] = {
    "hvfhs_license_num": tuple(city.FLEETS),
    "request_source": city.APPS,
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
        # Each 64 bits are two numbers of 32. Multiplied and shifted, they fill the range as evenly as a remainder does,
        # and up to a limit of 2 ** 31 the product fits into 63 bits.
        raw = self._bits.random_raw((self.count + 1) // 2).astype("<u8", copy=False).view("<u4")
        return raw[: self.count].astype(np.int64) * limit >> 32

    def chance(self, share: float) -> Mask:
        """Return true for about that share."""
        return self.below(1 << 31) < int(share * (1 << 31))

    def pick(self, table: Numbers) -> Numbers:
        """Return entries of a table, each as often as the table has it."""
        return table[self.below(len(table))]


def journeys(partition: Partition, dice: Dice, first: int, rows: int) -> Trips:
    """Draw the ``dice.count`` trips from ``first`` on of a month of ``rows``: hour after hour, in any order within."""
    pickup = _pickups(partition.month, dice, first, rows)
    zones = _zones(city.PICKUPS[partition.color])
    start = dice.pick(zones)
    end = np.where(dice.chance(city.SAME_ZONE), start, dice.pick(zones))
    airport = in_zones(city.AIRPORTS, start) ^ in_zones(city.AIRPORTS, end)
    miles = np.where(airport, dice.pick(_curve(city.AIRPORT_MILES)), dice.pick(_curve(city.TOWN_MILES)))
    miles = np.where(start == end, miles // 3, miles)
    percent = np.array(city.PACE_BY_DISTANCE)[np.searchsorted(city.PACE_EDGES, miles)]
    # Seconds for a mile by the hour, times two per cents.
    pace = np.array(city.PACE)[pickup // HOUR % 24] * percent * dice.pick(_curve(city.LUCK)) // 10_000
    return {
        "pickup_datetime": pickup,
        "dropoff_datetime": pickup + 60 + miles * np.maximum(pace, city.FASTEST) // 100,
        "pickup_location_id": start,
        "dropoff_location_id": end,
        "trip_distance": miles,
    }


def dispatched(partition: Partition, dice: Dice, trips: Trips) -> Trips:
    """Send the trips of fhv to bases."""
    # The busiest first: each base's share falls with its rank.
    bases = weighted_table({rank: 10_000 // (rank + 8) for rank in range(len(_FHV_BASES))})
    base = dice.pick(bases)
    tells_shared = _SHARED_RIDES[0] <= partition.month < _SHARED_RIDES[1]
    return trips | {
        "dispatching_base_num": base,
        "affiliated_base_number": np.where(dice.chance(city.OWN_BASE), base, dice.pick(bases)),
        "sr_flag": np.where(dice.chance(city.SHARED_FHV if tells_shared else 0), 1, NULL),
    }


def hailed_by_app(partition: Partition, dice: Dice, trips: Trips) -> Trips:
    """Give the trips of fhvhv to fleets, with their fares, taxes and flags."""
    pickup, duration = trips["pickup_datetime"], trips["dropoff_datetime"] - trips["pickup_datetime"]
    fleet, base = _fleets(partition.month, dice)
    uber, wait = fleet == 0, dice.below(120)
    shared, wheelchair = dice.chance(city.SHARED_FHVHV), dice.chance(city.WHEELCHAIR)
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
            "shared_match_flag": np.where(shared & dice.chance(city.MATCHED), _YES, _NO),
            "access_a_ride_flag": np.where(uber, _BLANK, _NO),
            "wav_request_flag": np.where(wheelchair, _YES, _NO),
            "wav_match_flag": np.where(wheelchair | dice.chance(city.WHEELCHAIR_CAME), _YES, _NO),
        }
    )


def _app_fares(partition: Partition, dice: Dice, trips: Trips, duration: Numbers) -> Trips:
    """Work out what passengers pay and drivers get in fhvhv, in cents."""
    start, end = trips["pickup_location_id"], trips["dropoff_location_id"]
    drop, mile, minute = city.FHVHV_FARE
    fare = drop + trips["trip_distance"] * mile // 100 + duration * minute // 60
    at_airport = in_zones(city.AIRPORTS, start) | in_zones(city.AIRPORTS, end)
    airport = city.FHVHV_AIRPORT if partition.month >= city.FHVHV_AIRPORT_SINCE else None
    cbd = city.FHVHV_CBD if partition.month >= city.FHVHV_CBD_SINCE else None
    toll = dice.chance(city.TOLL_IN_TOWN) | at_airport & dice.chance(city.TOLL_TO_AIRPORT)
    tip = dice.chance(city.TIPPED_FHVHV)
    return {
        "base_passenger_fare": fare,
        "tolls": charge_where(tariff(partition).toll, toll),
        "bcf": fare * city.FHVHV_FUND // 10_000,
        "sales_tax": fare * city.FHVHV_TAX // 10_000,
        "congestion_surcharge": charge_where(
            city.FHVHV_CONGESTION, in_zones(city.CONGESTED, start) | in_zones(city.CONGESTED, end)
        ),
        "airport_fee": charge_where(airport, at_airport),
        "cbd_congestion_fee": charge_where(cbd, in_zones(city.CBD, start) | in_zones(city.CBD, end)),
        "tips": np.where(tip, 100 * (1 + dice.below(8)), 0),
        "driver_pay": fare * city.FHVHV_DRIVER // 10_000,
    }


def _fleets(month: Month, dice: Dice) -> tuple[Numbers, Numbers]:
    """Draw the fleet of each trip and a base of it, each as its index in ``VOCABULARY``."""
    weights = {
        index: share
        for index, (name, (share, _bases)) in enumerate(city.FLEETS.items())
        if not (until := city.FLEETS_UNTIL.get(name)) or month <= until
    }
    fleet = dice.pick(weighted_table(weights))
    # The bases of all fleets follow those of fhv in the vocabulary, one fleet's after the other's.
    sizes = np.array([len(bases) for bases in _FLEET_BASES])
    base = len(_FHV_BASES) + (np.cumsum(sizes) - sizes)[fleet] + dice.below(1 << 20) % sizes[fleet]
    return fleet, base


def tariff(partition: Partition) -> city.Tariff:
    """Return what a trip costs in that month."""
    row = next(row for row in reversed(city.TARIFFS) if row.since <= partition.month)
    if partition.color is Color.GREEN:
        return row._replace(congestion=row.congestion and city.GREEN_CONGESTION, airport=None)
    return row


def charge_where(cents: int | None, where: Mask) -> Numbers:
    """Return a charge where it is due and 0 elsewhere; null everywhere if there is no such charge."""
    return np.full(len(where), NULL) if cents is None else np.where(where, cents, 0)


def in_zones(zones: str, ids: Numbers) -> Mask:
    """Tell which ids are among ``zones``, written with blanks between."""
    table = np.zeros(city.OUTSIDE_ZONE + 1, np.bool_)
    table[[int(zone) for zone in zones.split()]] = True
    return table[ids]


def weighted_table(weights: Mapping[int, int]) -> Numbers:
    """Return a table of ``_TABLE`` entries to pick from, in which each value is as often as its weight says.

    The ends of the shares are rounded, not the shares: so they always fill the table.
    """
    ends = np.cumsum([0, *weights.values()], dtype=np.int64)
    return np.repeat(np.array(list(weights), np.int64), np.diff(ends * _TABLE // ends[-1]))


def seconds(month: Month) -> int:
    """Return the month's first second, as trips count them."""
    return int(datetime(month.year, month.number, 1, tzinfo=UTC).timestamp())


def _pickups(month: Month, dice: Dice, first: int, rows: int) -> Numbers:
    """Lay ``rows`` over the month's hours as they are in demand, and return the pickups of those from ``first`` on."""
    start, end = seconds(month), seconds(month.next)
    weekdays = [second // DAY + 3 for second in range(start, end, DAY)]  # 1970-01-01 was a Thursday, 3 from Monday
    # Hours' demand put end to end makes a line. Each row has as long a piece of it as any other, and its hour is where
    # the middle of that piece lies: a month of ten rows has the same shape as one of ten million.
    demand = [city.DAYS[day % 7] * share for day in weekdays for share in city.HOURS[day % 7 >= city.SATURDAY]]
    ends = np.cumsum(demand, dtype=np.int64)
    middles = (2 * np.arange(first, first + dice.count, dtype=np.int64) + 1) * ends[-1] // (2 * rows)
    hours: Numbers = np.searchsorted(ends, middles, side="right")
    return start + hours * HOUR + dice.below(HOUR)


def _zones(pickups: str) -> Numbers:
    """Return a table of zones to pick from; those that are not listed share what is left of 10,000.

    Weights are of a million, so that the smallest of these shares is still a whole number.
    """
    weights = {int(zone): 100 * int(share) for zone, share in (pair.split(":") for pair in pickups.split())}
    others = [zone for zone in range(1, city.LAST_ZONE + 1) if zone not in weights]
    left = 1_000_000 - sum(weights.values())
    fading = {zone: len(others) - rank for rank, zone in enumerate(others)}
    return weighted_table(weights | {zone: left * part // sum(fading.values()) for zone, part in fading.items()})


def _curve(points: Sequence[int]) -> Numbers:
    """Return a table to pick from, made of quantiles at equal distances, with straight lines between them."""
    step = _TABLE // (len(points) - 1)
    edges: Numbers = np.array(points, np.int64)[:, None]
    table: Numbers = edges[:-1] + (edges[1:] - edges[:-1]) * np.arange(step, dtype=np.int64) // step
    return table.ravel()
