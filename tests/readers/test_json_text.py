"""Many values written as JSON at once are written as each alone."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nyctaxi_etl.readers.json_text import as_json
from nyctaxi_etl.readers.layout import for_people

TIMES = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999))  # noqa: DTZ001 - as published
VALUES: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "int64": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "uint8": (pa.uint8(), st.integers(0, 255)),
    "double": (pa.float64(), st.floats()),
    "float": (pa.float32(), st.floats(width=32)),
    "bool": (pa.bool_(), st.booleans()),
    "string": (pa.string(), st.text()),
    "us": (pa.timestamp("us"), TIMES),
    "usual us": (pa.timestamp("us"), st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1))),  # noqa: DTZ001
    "ms": (pa.timestamp("ms"), TIMES.map(lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000))),
    "s": (pa.timestamp("s"), TIMES.map(lambda time: time.replace(microsecond=0))),
    "date": (pa.date32(), st.dates()),
    "null": (pa.null(), st.none()),
    "decimal": (pa.decimal128(6, 2), st.decimals(-9999, 9999, places=2)),
}


@pytest.mark.parametrize("name", VALUES)
@given(data=st.data())
def test_each_is_written_as_alone(name: str, data: st.DataObject) -> None:
    """Whatever the type, nulls among them, in dictionaries or not."""
    kind, values = VALUES[name]
    array = pa.array(data.draw(st.lists(st.none() | values, max_size=6)), kind)
    wanted = [json.dumps(value, default=str) for value in for_people(array)]
    assert as_json(array).to_pylist() == wanted
    if name not in {"null", "decimal"}:
        assert as_json(array.dictionary_encode()).to_pylist() == wanted


def test_times_that_python_cannot_hold() -> None:
    """They are written as Arrow writes them."""
    array = pa.array([2**62, None, 0], pa.int64()).cast(pa.timestamp("us"))
    first, second, third = as_json(array).to_pylist()
    assert (first[0], second, third) == ('"', "null", '"1970-01-01 00:00:00"')
