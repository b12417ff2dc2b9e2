"""The values that everything else speaks of: a colour, a month, the month's published file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import MAXYEAR, date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Self

from nyctaxi_etl.core.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

MONTHS_IN_YEAR = 12


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
        """Read ``2021-01``. Raises ``UsageError`` for any other text."""
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
        """Read ``yellow/2021-01``. Raises ``UsageError`` for any other text."""
        color, _, month = text.partition("/")
        if color not in set(Color):
            message = f"{text!r} is not a month of a colour."
            raise UsageError(message, "Write it as yellow/2021-01.")
        return cls(Color(color), Month.parse(month))

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
