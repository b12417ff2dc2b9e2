"""The values that everything else speaks of: a colour, a month, the month's file, the month made ready."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import MAXYEAR, date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, Self

from nyctaxi_etl.core.errors import UsageError
from nyctaxi_etl.core.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

MONTHS_IN_YEAR = 12
FIRST_FOUR_DIGITS = 1000


class Color(StrEnum):
    """The four kinds of trip record that the TLC publishes."""

    YELLOW = "yellow"
    GREEN = "green"
    FHV = "fhv"
    FHVHV = "fhvhv"


class Mode(StrEnum):
    """Where the rules drop rows: before the lake, or in the warehouse, with SQL made of the same rules."""

    ETL = "etl"
    ELT = "elt"


@dataclass(frozen=True, order=True)
class Month:
    """A calendar month; ``Month.parse`` is the inverse of ``str``."""

    year: int
    number: int

    def __post_init__(self) -> None:
        if not 1 <= self.year <= MAXYEAR:
            message = f"{self.year} is not a year."
            raise UsageError(message, "Write all four digits, as in 2021.")
        if not 1 <= self.number <= MONTHS_IN_YEAR:
            message = f"{self.number} is not a month."
            raise UsageError(message, "Months are 1 to 12.")

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.number:02d}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``2021-01``."""
        found = re.fullmatch(r"(\d{4})-(\d{2})", text, re.ASCII)
        if not found:
            message = f"{text!r} is not a month."
            raise UsageError(message, "Write it as 2021-01.")
        return cls(int(found[1]), int(found[2]))

    @classmethod
    def of(cls, day: date) -> Self:
        """Return the month that ``day`` is in."""
        return cls(day.year, day.month)

    @property
    def first_day(self) -> date:
        """The day that ``file_month`` carries in every loaded row."""
        return date(self.year, self.number, 1)

    @property
    def start(self) -> datetime:
        """The first instant of the month, New York local time."""
        return datetime(self.year, self.number, 1)  # noqa: DTZ001 - published without a zone

    @property
    def next(self) -> Month:
        """The month after this one."""
        years, index = divmod(self.number, MONTHS_IN_YEAR)
        return Month(self.year + years, index + 1)


@dataclass(frozen=True, order=True)
class Partition:
    """One month of one colour: what is fetched, replaced and reported as a whole."""

    color: Color
    month: Month

    def __str__(self) -> str:
        return f"{self.color}/{self.month}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``yellow/2021-01``."""
        color, _, month = text.partition("/")
        return cls(parse_colors([color])[0], Month.parse(month))

    @property
    def stem(self) -> str:
        """The published file's name without its ending: ``yellow_tripdata_2021-01``."""
        return f"{self.color}_tripdata_{self.month}"


@dataclass(frozen=True)
class RawFile:
    """A month's file as published, whole and checked, on this machine.

    ``etag`` and ``last_modified`` are the server's own words, empty for a local file. ``bytes`` is the
    file's size, ``mtime_ns`` its time of change when it was hashed: together they tell whether ``sha256`` still holds.
    """

    partition: Partition
    path: Path
    source: str
    url: str
    etag: str
    last_modified: str
    bytes: int
    sha256: str
    mtime_ns: int

    def is_current(self) -> bool:
        """Tell whether the file is still there and unchanged since it was hashed."""
        try:
            found = self.path.stat()
        except OSError:
            return False
        return (found.st_size, found.st_mtime_ns) == (self.bytes, self.mtime_ns)


class Stage(Protocol):
    """A month that a warehouse can take in: staged in a file, or conformed while it is taken in."""

    @property
    def raw(self) -> RawFile:
        """The file that it was published in."""

    @property
    def partition(self) -> Partition:
        """The month that its rows are of."""

    @property
    def dataset_version(self) -> str:
        """The declaration that they are conformed to."""

    @property
    def rules(self) -> str:
        """The rules that they are cleaned by."""

    @property
    def rows_expected(self) -> int:
        """How many rows a warehouse will be given; 0: not known yet."""

    @property
    def rows_read(self) -> int:
        """Rows of the file: final, as the other counts, when the last batch has been taken."""

    @property
    def rows_rejected(self) -> int:
        """Rows set aside."""

    @property
    def rows_loaded(self) -> int:
        """Rows given."""

    @property
    def flags(self) -> Mapping[str, int]:
        """Rows that a rule marks but keeps, by rule."""

    @property
    def unknown_columns(self) -> tuple[str, ...]:
        """Published columns that nothing is declared for."""


@dataclass(frozen=True)
class Staged:
    """A month conformed to its dataset and cleaned by its rules, ready to be loaded.

    ``path`` is an Arrow IPC file with ``rows_loaded`` rows in those canonical columns that the published file has, or
    a Parquet file of the lake's; ``uri`` is where the lake has it, for a warehouse that fetches it from there itself.
    ``rows_read = rows_loaded + rows_rejected``. ``flags`` counts rows that a rule marks
    but keeps; ``rejects`` is the Parquet file of the others, if there are any.
    """

    raw: RawFile
    path: Path
    dataset_version: str
    rules: str
    rows_read: int
    rows_rejected: int
    rows_loaded: int
    flags: Mapping[str, int] = field(default_factory=dict)
    unknown_columns: tuple[str, ...] = ()
    rejects: Path | None = None
    uri: str = ""

    @property
    def partition(self) -> Partition:
        """The month that these rows are of."""
        return self.raw.partition

    @property
    def rows_expected(self) -> int:
        """How many rows a warehouse will be given."""
        return self.rows_loaded


def parse_years(text: str) -> tuple[int, ...]:
    """Read ``2021`` or ``2019-2021`` or a comma-separated mix; ascending, each year once."""
    hint = "Write it as 2021, 2019-2021 or 2019,2021."
    years = _numbers(text, "year", hint)
    if years[0] < FIRST_FOUR_DIGITS:
        message = f"{text}: a year has four digits."
        raise UsageError(message, hint, about="year")
    return years


def parse_months(text: str) -> tuple[int, ...]:
    """Read ``1-3`` or ``1,3,5-7``; ascending, each month once, 1 to 12."""
    hint = "Write it as 1-3 or 1,3,5-7; months are 1 to 12."
    months = _numbers(text, "months", hint)
    wrong = [number for number in months if not 1 <= number <= MONTHS_IN_YEAR]
    if wrong:
        message = f"{text}: {wrong[0]} is not a month."
        raise UsageError(message, hint, about="months")
    return months


def parse_colors(texts: Iterable[str]) -> tuple[Color, ...]:
    """Read colours, each text one or several with commas between; in the order given, each once."""
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
    """Lay out the partitions of a request, and notes on those left out.

    Left out are months before the colour's ``first`` published one, months after the ``last`` one that its source will
    ever have, and months that have not begun. Raises ``UsageError`` if none remains.
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
