"""Whether a file is what its name says: its published names show the colour, its pickups the month."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from nyctaxi_etl.core.errors import WrongFile
from nyctaxi_etl.schema.columns import key
from nyctaxi_etl.schema.datasets import ESSENTIAL, SIGNS
from nyctaxi_etl.staging.arrays import scalar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nyctaxi_etl.core.partition import Color, Month, Partition

PICKUP = "pickup_datetime"
MAX_OUTSIDE_MONTH = 0.5
_HINT = "The month stays what it was. Is the file under another's name? Look at what its source holds."


@dataclass(frozen=True)
class Pickups:
    """How many rows have a pickup, and how many of them are outside the file's month, by month (2021-01)."""

    total: int = 0
    outside: Counter[str] = field(default_factory=Counter)

    def plus(self, other: Pickups) -> Pickups:
        """Return the sum of these and the others."""
        return Pickups(self.total + other.total, self.outside + other.outside)


def count_pickups(batch: pa.RecordBatch, month: Month) -> Pickups:
    """Count the pickups of canonical rows, all of them: those that a rule drops are of the month, too."""
    if PICKUP not in batch.schema.names:
        return Pickups()
    times = batch.column(PICKUP)
    start, end = (scalar(str(edge), times.type) for edge in (month.start, month.next.start))
    # Most months have none or a few outside: only these are counted by their month.
    away = times.filter(pc.or_(pc.less(times, start), pc.greater_equal(times, end)))
    outside = Counter[str]()
    if len(away):
        twelve, one = (scalar(number, pa.int64()) for number in ("12", "1"))
        months = pc.add(pc.multiply(pc.year(away), twelve), pc.subtract(pc.month(away), one))
        for group in pc.value_counts(months).to_pylist():
            year, index = divmod(group["values"], 12)
            outside[f"{year:04d}-{index + 1:02d}"] = group["counts"]
    return Pickups(len(times) - times.null_count, outside)


def check_names(names: Sequence[str], partition: Partition, file: str) -> None:
    """Refuse a file with names that only another colour was published with. Raises ``WrongFile``.

    Names that the colour has for itself outweigh them: then the others are columns that somebody has added.
    """
    color, published = partition.color, {key(name): name.strip() for name in names}
    # By colour, the names that this file has of those that show the colour.
    signs = {one: [published[sign] for sign in map(key, SIGNS[one]) if sign in published] for one in SIGNS}
    foreign = [name for one in signs for name in signs[one] if name not in signs[color]]
    own = [name for name in signs[color] if all(name not in signs[one] for one in signs if one != color)]
    lacking = [name for name in ESSENTIAL.get(color, ()) if key(name) not in published]
    if lacking:
        message = f"{file} is not {color}: it has no {lacking[0]}, which every file of that colour has."
        raise WrongFile(message + _likeness(signs, color), _HINT)
    if foreign and not own:
        message = f"{file} is not {color}: it has {foreign[0]}, which {color} was never published with."
        raise WrongFile(message + _likeness(signs, color), _HINT)


def check_pickups(pickups: Pickups, partition: Partition, file: str, most: float = MAX_OUTSIDE_MONTH) -> None:
    """Refuse a file of which more than a share of ``most`` of the pickups are outside. Raises ``WrongFile``."""
    outside = pickups.outside.total()
    if outside <= most * pickups.total:
        return
    (month, count), *_ = pickups.outside.most_common(1)
    message = (
        f"{file} is not {partition.month}: {outside / pickups.total:.1%} of its pickups are outside of that month, "
        f"{count:,} of {pickups.total:,} in {month}."
    )
    raise WrongFile(message, f"{_HINT} At most {most:.0%} may be outside (NYCTAXI_MAX_OUTSIDE_MONTH).")


def _likeness(signs: Mapping[Color, Sequence[str]], color: Color) -> str:
    """Say which other colour has most of the names."""
    others = {one: names for one, names in signs.items() if one != color and names}
    if not others:
        return ""
    best = max(others, key=lambda one: len(others[one]))
    return f" It looks like {best}, with {', '.join(others[best][:3])}."
