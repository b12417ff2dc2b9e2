"""Which months a request names: texts become colours, years and months, and these become partitions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nyctaxi_etl.core.errors import UsageError
from nyctaxi_etl.core.partition import MONTHS_IN_YEAR, Color, Month, Partition
from nyctaxi_etl.core.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import date

FIRST_FOUR_DIGITS = 1000


def parse_years(text: str) -> tuple[int, ...]:
    """Return the years of ``2021``, ``2019-2021`` or a comma-separated mix: ascending, each once.

    Raises:
        UsageError: It is none of these, or a year has not four digits.
    """
    hint = "Write it as 2021, 2019-2021 or 2019,2021."
    years = _numbers(text, "year", hint)
    if years[0] < FIRST_FOUR_DIGITS:
        message = f"{text}: a year has four digits."
        raise UsageError(message, hint, about="year")
    return years


def parse_months(text: str) -> tuple[int, ...]:
    """Return the months of ``1-3`` or ``1,3,5-7``: ascending, each once, 1 to 12.

    Raises:
        UsageError: It is none of these, or a number is no month.
    """
    hint = "Write it as 1-3 or 1,3,5-7; months are 1 to 12."
    months = _numbers(text, "months", hint)
    wrong = [number for number in months if not 1 <= number <= MONTHS_IN_YEAR]
    if wrong:
        message = f"{text}: {wrong[0]} is not a month."
        raise UsageError(message, hint, about="months")
    return months


def parse_colors(texts: Iterable[str]) -> tuple[Color, ...]:
    """Return the colours of texts, each one or several with commas between: in the order given, each once.

    Raises:
        UsageError: A word is no colour, or there is none.
    """
    names = [name.strip().lower() for text in texts for name in text.split(",") if name.strip()]
    wrong = [name for name in names if name not in set(Color)]
    if wrong or not names:
        message = f"{','.join(names) or '(empty)'}: {wrong[0] if wrong else 'nothing'} is not a colour."
        meant = did_you_mean(wrong[0], Color) if wrong else ""
        raise UsageError(message, f"{meant}Choose of {', '.join(Color)}.", about="color")
    return tuple(dict.fromkeys(Color(name) for name in names))


def select(  # noqa: PLR0913 - a request has these parts, and its source two bounds
    colors: Iterable[Color],
    years: Iterable[int],
    months: Iterable[int],
    first: Mapping[Color, Month],
    today: date,
    *,
    last: Mapping[Color, Month] | None = None,
) -> tuple[tuple[Partition, ...], tuple[str, ...]]:
    """Return the partitions of a request, and notes on those left out.

    Left out are months before the colour's ``first`` published one, months after the ``last`` one that its source will
    ever have, and months that have not begun.

    Raises:
        UsageError: None remains.
    """
    asked = [
        Partition(color, Month(year, number)) for color in colors for year in sorted(set(years)) for number in months
    ]
    now = Month.of(today)
    early = [partition for partition in asked if partition.month < first[partition.color]]
    late = [partition for partition in asked if partition.month > now]
    ends = last or {}
    after = [one for one in asked if one not in late and one.color in ends and one.month > ends[one.color]]
    left_out = {*early, *late, *after}
    kept = tuple(partition for partition in asked if partition not in left_out)
    notes = (*_early_notes(early, first), *_after_notes(after, ends), *_late_notes(late))
    if not kept:
        message = "No month remains: " + " ".join(notes)
        raise UsageError(message, "Choose a month that has been published.")
    return kept, notes


def _early_notes(early: list[Partition], first: Mapping[Color, Month]) -> Iterable[str]:
    for color in dict.fromkeys(partition.color for partition in early):
        count = sum(partition.color == color for partition in early)
        yield f"Left out {_months(count)} of {color} before {first[color]}, its first published one."


def _after_notes(after: list[Partition], last: Mapping[Color, Month]) -> Iterable[str]:
    for color in dict.fromkeys(partition.color for partition in after):
        count = sum(partition.color == color for partition in after)
        yield f"Left out {_months(count)} of {color} after {last[color]}, the last one that this source has."


def _late_notes(late: list[Partition]) -> Iterable[str]:
    for color in dict.fromkeys(partition.color for partition in late):
        count = sum(partition.color == color for partition in late)
        yield f"Left out {_months(count)} of {color} not begun yet."


def _months(count: int) -> str:
    return "1 month" if count == 1 else f"{count} months"


def _numbers(text: str, about: str, hint: str) -> tuple[int, ...]:
    numbers: set[int] = set()
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d{1,4})\s*(?:-\s*(\d{1,4})\s*)?", part, re.ASCII)
        low, high = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if high < low:
            message = f"{text}: {part.strip() or 'nothing'!r} is not a number or an ascending range."
            raise UsageError(message, hint, about=about)
        numbers.update(range(low, high + 1))
    return tuple(sorted(numbers))
