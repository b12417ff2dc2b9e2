"""Values of a column written as JSON, for rows of Parquet that are set aside: many at once, each text as one alone."""

from __future__ import annotations

import json
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from nyctaxi_etl.readers.layout import for_people
from nyctaxi_etl.staging.arrays import array as array_of
from nyctaxi_etl.staging.arrays import scalar

# Python's datetime can't hold others, and Arrow writes years before 1000 with fewer digits.
_YEARS = (datetime(1000, 1, 1), datetime(9999, 1, 1))  # noqa: DTZ001 - published without a zone


def as_json(column: pa.Array) -> pa.Array:
    """Return values as JSON texts, each as ``json.dumps(value, default=str)`` writes it.

    A value that is there several times is written once: most of a month's rejects differ in few columns.
    """
    values = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    if _are_plain_times(values):
        return _times(values)
    try:
        encoded = values.dictionary_encode(null_encoding="encode")
    except pa.ArrowNotImplementedError:  # decimals of few digits
        return array_of([json.dumps(value, default=str) for value in for_people(values)], pa.string())
    words = encoded.dictionary
    # One call for all numbers takes a twentieth of the time of one for each; no number has a comma.
    texts = (
        json.dumps(words.to_pylist())[1:-1].split(", ")
        if len(words) and _are_numbers(words.type)
        else [json.dumps(value, default=str) for value in for_people(words)]
    )
    return array_of(texts, pa.string()).take(encoded.indices)


def _are_numbers(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_float32(kind) or pa.types.is_float64(kind) or pa.types.is_boolean(kind)
    )


def _are_plain_times(values: pa.Array) -> bool:
    """Tell whether Arrow writes these times as Python does: no zone, nothing finer than microseconds, usual years."""
    kind = values.type
    if not pa.types.is_timestamp(kind) or kind.tz or kind.unit == "ns":
        return False
    first, last = (scalar(str(year), kind) for year in _YEARS)
    return bool(pc.all(pc.and_(pc.greater_equal(values, first), pc.less(values, last)), min_count=0).as_py())


def _times(values: pa.Array) -> pa.Array:
    """Write times, of which nearly every one is another: a whole second has no fraction, any other six digits."""
    seconds = values.cast(pa.timestamp("s"), safe=False)
    if pc.all(pc.equal(seconds.cast(values.type), values), min_count=0).as_py():
        texts = seconds.cast(pa.string())
    else:
        texts = pc.replace_substring_regex(values.cast(pa.timestamp("us")).cast(pa.string()), r"\.000000$", "")
    quoted = pc.binary_join_element_wise(
        scalar('"', pa.string()), texts, scalar('"', pa.string()), scalar("", pa.string())
    )
    return pc.fill_null(quoted, scalar("null", pa.string()))
