"""How copies of the TLC's files write times and numbers, made into how the TLC writes them; the rest stays as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from nyctaxi_etl.staging.arrays import array, scalar

if TYPE_CHECKING:
    from collections.abc import Sequence

_HALVES = r"(?P<hour>0?[1-9]|1[0-2]):(?P<minute>\d{2}):(?P<second>\d{2}) +(?P<half>(?i:[AP]M))$"
# NYC Open Data exports 01/31/2023 12:05:00 AM, the month first; newer exports of such portals 2023 Jan 31 12:05:00 AM.
# Only the half of the day tells that it is the first of these: what has none may as well have the day first, and is
# never guessed.
TWELVE_HOURS = (
    r"^(?P<month>\d{1,2})/(?P<day>\d{1,2})/(?P<year>\d{4}) +" + _HALVES,
    r"^(?P<year>\d{4}) (?P<month>[A-Z][a-z]{2}) (?P<day>\d{1,2}) +" + _HALVES,
)
_WHOLE = ("year", "month", "minute", "second", "half")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# BigQuery exports a TIMESTAMP with a mark of UTC, as `bq extract` and its clients write it. In its copies of the trips
# that is no zone: the clocks are New York's, as published.
UTC_MARK = r"( UTC|[+]00(:00)?)$"
# Official files have no fractions of a second, copies made with pandas do.
NANOSECONDS = r"(\.\d{6})\d+$"
# "1,234.50": a comma before each three digits, and no other.
THOUSANDS = r"^[+-]?\d{1,3}(,\d{3})+(\.\d*)?$"


def as_iso(times: pa.Array) -> pa.Array:
    """Return times of the declared notations as ISO 8601 writes them, without a zone and to the microsecond."""
    plain = pc.replace_substring_regex(times, UTC_MARK, "")
    plain = pc.replace_substring_regex(plain, NANOSECONDS, r"\1")
    for notation in TWELVE_HOURS:
        plain = _of_two_halves(plain, notation)
    return plain


def without_commas(numbers: pa.Array) -> pa.Array:
    """Return numbers with thousands separators without them."""
    grouped = pc.fill_null(pc.match_substring_regex(numbers, THOUSANDS), scalar("false", pa.bool_()))
    return pc.if_else(grouped, pc.replace_substring(numbers, ",", ""), numbers)


def _of_two_halves(times: pa.Array, notation: str) -> pa.Array:
    """Return times of a twelve-hour notation as ISO 8601 writes them; the others as they are."""
    parts = pc.extract_regex(times, notation)
    if parts.null_count == len(parts):
        return times
    year, month, minute, second, half = (pc.struct_field(parts, name) for name in _WHOLE)
    day, hour = (pc.utf8_lpad(pc.struct_field(parts, name), 2, "0") for name in ("day", "hour"))
    number = pc.add(pc.index_in(month, array(MONTHS, pa.string())), scalar("1", pa.int32()))
    month = pc.utf8_lpad(pc.coalesce(number.cast(pa.string()), month), 2, "0")
    is_late = pc.equal(pc.utf8_upper(half), scalar("PM", pa.string()))
    # The twelve comes before the one.
    since = pc.if_else(pc.equal(hour, scalar("12", pa.string())), scalar("0", pa.int8()), hour.cast(pa.int8()))
    hours = pc.add(since, pc.multiply(is_late.cast(pa.int8()), scalar("12", pa.int8())))
    clock = _joined([pc.utf8_lpad(hours.cast(pa.string()), 2, "0"), minute, second], ":")
    return pc.coalesce(_joined([_joined([year, month, day], "-"), clock], " "), times)


def _joined(parts: Sequence[pa.Array], separator: str) -> pa.Array:
    return pc.binary_join_element_wise(*parts, scalar(separator, pa.string()))
