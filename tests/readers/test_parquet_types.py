"""Whatever type a Parquet column was saved in, each step takes it: its rows load, are set aside, or are refused."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from nyctaxi_etl.core.errors import SchemaDrift
from nyctaxi_etl.schema.datasets import YELLOW
from nyctaxi_etl.staging.arrow_types import in_common_type
from support.published import stage_parquet

if TYPE_CHECKING:
    from collections.abc import Sequence

START = datetime(2019, 1, 5, 10)  # noqa: DTZ001 - published without a zone
# One row to load, one that a rule drops, two that can't be parsed, one of nothing but a time.
TEXTS: dict[str, list[str | None]] = {
    "tpep_pickup_datetime": ["2019-01-05 10:00:00", "2019-01-05 10:00:01", "never", "2019-01-05 10:00:02", str(START)],
    "passenger_count": ["1", "0", "1", "2", None],
    "store_and_fwd_flag": ["N", "Y", "N", "Y", None],
    "fare_amount": ["5.5", "5.5", "5.5", "much", None],
    "VendorID": ["1", "CMT", "2", "2", None],
    "request_source": ["A", "B\u00fc", "C", "D", None],
}
TEXT_KINDS = (
    pa.large_string(),
    pa.string_view(),
    pa.binary(),
    pa.large_binary(),
    pa.binary_view(),
    pa.dictionary(pa.int8(), pa.string()),
    pa.dictionary(pa.int32(), pa.large_string()),
    pa.dictionary(pa.int32(), pa.binary()),
)
COLUMNS = ("pickup_datetime", "passenger_count", "store_and_fwd_flag", "fare_amount", "vendor_id", "request_source")


def _as(texts: Sequence[str | None], kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(kind):
        encoded = pa.array(texts, pa.string()).dictionary_encode()
        words = encoded.dictionary.cast(pa.binary()).cast(kind.value_type)
        return pa.DictionaryArray.from_arrays(encoded.indices.cast(kind.index_type), words)
    return pa.array([text and text.encode() for text in texts], pa.binary()).cast(kind)


@pytest.mark.parametrize("kind", TEXT_KINDS, ids=str)
@pytest.mark.parametrize("only", [None, *TEXTS])
def test_text_of_every_type_is_read_and_set_aside_alike(kind: pa.DataType, only: str | None) -> None:
    """The rows and the rejects of text, in all columns or in one, are those of plain strings, to the letter."""
    wanted = stage_parquet({name: pa.array(texts, pa.string()) for name, texts in TEXTS.items()}, YELLOW)
    columns = {name: _as(texts, kind if only in {None, name} else pa.string()) for name, texts in TEXTS.items()}
    outcome = stage_parquet(columns, YELLOW)
    assert outcome.table.equals(wanted.table)
    assert [reject.line for reject in outcome.rejects] == [2, 3, 4]
    assert outcome.rejects == wanted.rejects


OTHERS = (
    pa.array([True, None, False]),
    *(pa.array([1, None, 2], kind) for kind in (pa.int8(), pa.uint16(), pa.int64(), pa.uint64())),
    *(pa.array([1.0, None, 2.0], kind) for kind in (pa.float16(), pa.float32(), pa.float64())),
    *(
        pa.array([Decimal("1.5"), None, Decimal(2)], kind)
        for kind in (pa.decimal32(5, 2), pa.decimal64(9, 2), pa.decimal128(9, 2), pa.decimal256(50, 2))
    ),
    pa.array([START, None, START], pa.timestamp("ms")),
    pa.array([START, None, START], pa.timestamp("ns", "UTC")),
    pa.array([START.date(), None, date(2019, 1, 6)]),
    pa.array([time(1), None, time(2)], pa.time32("ms")),
    pa.array([time(1), None, time(2)], pa.time64("ns")),
    pa.array([timedelta(1), None, timedelta(2)]),
    pa.array([b"12", None, b"21"], pa.binary(2)),
    pa.array([[1], None, [2]]),
    pa.array([{"a": 1}, None, {"a": 2}]),
    pa.array([[(1, 2)], None, []], pa.map_(pa.int8(), pa.int8())),
    pa.array(['"1"', None, "2"], pa.json_()),
    pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, None, 0], pa.int8())),
    pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16, None, b"1" * 16], pa.binary(16))),
    pa.nulls(3),
)


@pytest.mark.parametrize("values", OTHERS, ids=lambda values: str(values.type))
@pytest.mark.parametrize("name", COLUMNS)
def test_every_type_is_read_or_refused(name: str, values: pa.Array) -> None:
    """No type is a surprise: all rows are accounted for, one of them set aside, or the file is refused."""
    columns: dict[str, pa.Array | Sequence[object]] = {
        "pickup_datetime": pa.array([START] * 3),
        "passenger_count": pa.array([1, 1, 0]),
    }
    try:
        outcome = stage_parquet(columns | {name: values}, YELLOW)
    except SchemaDrift as error:
        assert name in error.message  # noqa: PT017 - one of two answers
        return
    staged = outcome.staged
    assert staged.lineage.rows_read == staged.lineage.rows_loaded + staged.lineage.rows_rejected == 3
    assert len(outcome.rejects) == staged.lineage.rows_rejected >= (name != "passenger_count")
    assert all(reject.raw.startswith("{") for reject in outcome.rejects)


@pytest.mark.parametrize("kind", [pa.string_view(), pa.binary_view()], ids=str)
def test_views_in_a_dictionary_become_a_common_type(kind: pa.DataType) -> None:
    """Other writers than ours can put views into a dictionary: no function of Arrow's takes them."""
    words = pa.array([b"a", b"b"], pa.binary()).cast(kind)
    encoded = pa.DictionaryArray.from_arrays(pa.array([1, None, 0], pa.int32()), words)
    array = in_common_type(encoded)
    assert array.dictionary_decode().cast(pa.string()).to_pylist() == ["b", None, "a"]
    assert array.take(pa.array([0])).to_pylist() in (["b"], [b"b"])
