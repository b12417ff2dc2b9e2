"""What the meter of a yellow or green taxi says of a generated trip: fare, extras, tip, payment, passengers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nyctaxi_etl.core.partition import Month
from nyctaxi_etl.sample import city
from nyctaxi_etl.sample.trips import DAY, HOUR, NULL, charge_where, in_zones, tariff, weighted_table

if TYPE_CHECKING:
    from nyctaxi_etl.core.partition import Partition
    from nyctaxi_etl.sample.city import Tariff
    from nyctaxi_etl.sample.trips import Dice, Numbers, Trips

CHARGES = (
    "fare_amount",
    "extra",
    "mta_tax",
    "tip_amount",
    "tolls_amount",
    "improvement_surcharge",
    "congestion_surcharge",
    "airport_fee",
    "cbd_congestion_fee",
)
POSITIONS = ("pickup_longitude", "pickup_latitude", "dropoff_longitude", "dropoff_latitude")
LAST_POSITIONS = Month(2016, 6)
# Vendor 1 measures tenths of a mile. Others wrote whole minutes until 2014.
_LAST_MINUTES = Month(2014, 12)
_STANDARD, _TO_JFK, _TO_NEWARK, _AGREED = 1, 2, 3, 5
_CARD = 1


def metered(partition: Partition, dice: Dice, trips: Trips) -> Trips:
    """Add to journeys what the meter says of them."""
    trips = trips | _entered(partition, dice, trips)
    if partition.month <= LAST_POSITIONS:
        trips |= _positions(dice, trips)
    trips["trip_distance"] = np.where(
        trips["vendor_id"] == 1, trips["trip_distance"] // 10 * 10, trips["trip_distance"]
    )
    trips |= _charges(partition, dice, trips)
    if partition.month <= _LAST_MINUTES:
        others = trips["vendor_id"] != 1
        for name in ("pickup_datetime", "dropoff_datetime"):
            trips[name] = np.where(others, trips[name] // 60 * 60, trips[name])
    return trips | {"total_amount": total(trips)}


def total(trips: Trips) -> Numbers:
    """Return the sum of the charges that the trips have and that are not null."""
    charges = [trips[name] for name in CHARGES if name in trips]
    summed: Numbers = np.sum([np.where(charge == NULL, 0, charge) for charge in charges], axis=0)
    return summed


def _entered(partition: Partition, dice: Dice, trips: Trips) -> Trips:
    """Draw what the driver enters or the meter knows by itself: vendor, passengers, rate, payment."""
    start, end = trips["pickup_location_id"], trips["dropoff_location_id"]
    vendors = [row for row in city.VENDORS if row.color is partition.color and row.since <= partition.month]
    cards = int(9900 * tariff(partition).card)
    to_jfk = (end == city.JFK) & in_zones(city.CONGESTED, start) | (start == city.JFK) & in_zones(city.CONGESTED, end)
    agreed = dice.chance(city.AGREED[partition.color])
    none = np.full(dice.count, NULL)
    return {
        "vendor_id": dice.pick(weighted_table(vendors[-1].shares)),
        "passenger_count": dice.pick(weighted_table(city.PASSENGERS)),
        "ratecode_id": np.select([agreed, to_jfk, end == city.EWR], [_AGREED, _TO_JFK, _TO_NEWARK], _STANDARD),
        "store_and_fwd_flag": dice.chance(city.STORED).astype(np.int64),
        "payment_type": dice.pick(weighted_table({_CARD: cards, 2: 9900 - cards, 3: 50, 4: 40, 5: 10})),
        "trip_type": np.where(agreed, 2, 1),
        "ehail_fee": none,
        "request_source": none,
    }


def _positions(dice: Dice, trips: Trips) -> Trips:
    """Lay both ends of a trip near its zone's centre, or anywhere in a box if the zone has none."""
    ends = ("pickup_location_id", "pickup_location_id", "dropoff_location_id", "dropoff_location_id")
    positions: Trips = {}
    for number, (name, zone) in enumerate(zip(POSITIONS, ends, strict=True)):
        boxes = np.array([city.OUTER_BOX[number % 2]] * (city.OUTSIDE_ZONE + 1), np.int64)
        for zone_id, centre in city.CENTRES.items():
            boxes[zone_id] = centre[number % 2] - city.NEAR, 2 * city.NEAR
        low, width = boxes[trips[zone]].T
        positions[name] = low * 1000 + dice.below(1000) * width
    return positions


def _charges(partition: Partition, dice: Dice, trips: Trips) -> Trips:
    """Work out fare, extras, taxes, tolls and tip in cents."""
    start, end, prices = trips["pickup_location_id"], trips["dropoff_location_id"], tariff(partition)
    to_airport = in_zones(city.AIRPORTS, start) | in_zones(city.AIRPORTS, end)
    toll = to_airport & dice.chance(city.TOLL_TO_AIRPORT) | dice.chance(city.TOLL_IN_TOWN)
    charges = {
        "fare_amount": _fares(prices, dice, trips),
        "extra": _extras(prices, trips),
        "mta_tax": charge_where(prices.mta, trips["ratecode_id"] != _AGREED),
        "tolls_amount": charge_where(prices.toll, toll),
        "improvement_surcharge": charge_where(prices.improvement, start > 0),
        "congestion_surcharge": charge_where(
            prices.congestion, in_zones(city.CONGESTED, start) | in_zones(city.CONGESTED, end)
        ),
        "airport_fee": charge_where(prices.airport, in_zones(city.AIRPORTS, start)),
        "cbd_congestion_fee": charge_where(prices.cbd, in_zones(city.CBD, start) | in_zones(city.CBD, end)),
    }
    return charges | {"tip_amount": _tips(dice, trips["payment_type"], total(charges))}


def _fares(prices: Tariff, dice: Dice, trips: Trips) -> Numbers:
    """Work out fares in cents: by distance and time, flat to JFK, or agreed on."""
    miles, rate = trips["trip_distance"], trips["ratecode_id"]
    minutes = (trips["dropoff_datetime"] - trips["pickup_datetime"]) // 60
    # A mile in three minutes is paid by distance alone; what it takes longer is paid by time.
    units = miles // 20 + np.maximum(0, minutes - miles * 3 // 100)
    least, steps = city.AGREED_STEPS
    agreed = city.AGREED_STEP * (least + dice.below(steps))
    fares: Numbers = np.select(
        [rate == _TO_JFK, rate == _AGREED], [prices.jfk, agreed], prices.drop + prices.unit * units
    )
    return np.minimum(fares, city.MOST_FARE)


def _extras(prices: Tariff, trips: Trips) -> Numbers:
    hour, weekday = trips["pickup_datetime"] // HOUR % 24, (trips["pickup_datetime"] // DAY + 3) % 7
    night = (hour >= city.NIGHT[0]) | (hour < city.NIGHT[1])
    rush = (hour >= city.RUSH[0]) & (hour < city.RUSH[1]) & (weekday < city.SATURDAY)
    extras = np.select([night, rush], [prices.night, prices.rush], 0)
    return np.where(trips["ratecode_id"] == _STANDARD, extras, 0)


def _tips(dice: Dice, payment: Numbers, charged: Numbers) -> Numbers:
    tips = charged * dice.pick(weighted_table(city.TIP_PERCENTS)) // 100
    tips = np.where(dice.chance(city.ROUND_TIPS), (tips + 50) // 100 * 100, tips)
    return np.where(payment == _CARD, tips, 0)
