"""Rules that every database judges as the transform step does, and those that it may not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nyctaxi_etl.schema.columns import Column, Predicate, Rule
from support.months import TRIPS, trips

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nyctaxi_etl.schema.columns import Dataset

NOBODY = Rule("nobody", Predicate("passengers", "=", 0), "drop", "Nobody pays.")
# A column of a rule, as yellow and green have it.
RULED = replace(TRIPS, columns=(*TRIPS.columns, Column("passengers", "count")), rules=(NOBODY,))


def ruled(numbers: Sequence[int]) -> list[tuple[Any, ...]]:
    """Return trips with 0, 1 or unknown passengers in turn."""
    return [(*row, (0, 1, None)[row[0] % 3]) for row in trips(numbers)]


PLAIN = [
    Predicate("passengers", "=", 1),
    Predicate("passengers", "<", 1),
    Predicate("fare_amount", "<", 1.1),
    Predicate("fare_amount", "=", 1e-7),
    Predicate("fare_amount", "<", -1e300),
    Predicate("fare_amount", "<", "trip"),
    Predicate("passengers", "=", "trip"),
    Predicate("pickup_datetime", "outside month"),
    Predicate("pickup_datetime", "<", "pickup_datetime"),
]
# What databases may judge otherwise than Arrow does, or not at all.
UNSURE = [
    Predicate("zone", "=", "zone"),
    Predicate("zone", "<", "zone"),
    Predicate("zone", "=", 0),
    Predicate("zone", "outside month"),
    Predicate("pickup_datetime", "=", 0),
    Predicate("fare_amount", "outside month"),
    Predicate("fare_amount", "<", float("inf")),
    Predicate("fare_amount", "=", float("nan")),
    Predicate("fare_amount", "="),
    Predicate("fare_amount", "<", "zone"),
    Predicate("fare_amount", "=", "nothing"),
    Predicate("nothing", "=", 0),
]


def in_words(value: Predicate | Sequence[Predicate]) -> str:
    """Return what a test of these predicates is called."""
    predicates = (value,) if isinstance(value, Predicate) else value
    return " or ".join(" ".join(str(word) for word in one if word is not None) for one in predicates) or "never"


def ruled_by(*predicates: Predicate) -> Dataset:
    """Return trips of which rules drop those that fulfil a predicate."""
    rules = (Rule(f"rule_{index}", predicate, "drop", "A test's.") for index, predicate in enumerate(predicates))
    return replace(RULED, rules=tuple(rules))
