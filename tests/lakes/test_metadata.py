"""What is known of a month in the lake, read from texts that anyone may have written."""

from __future__ import annotations

import pytest

from nyctaxi_etl.lakes.metadata import file_metadata, month_metadata, read_lineage

WHOLE = {
    "source": "folder",
    "source_url": "there/yellow_tripdata_2021-01.csv",
    "source_etag": "",
    "source_last_modified": "",
    "source_bytes": "17",
    "source_sha256": "0" * 64,
    "dataset_version": "1",
    "rules": "none#1",
    "rows_read": "5",
    "rows_rejected": "2",
    "rows_loaded": "3",
    "flags": '{"zero_distance": 1}',
    "unknown_columns": '["left", "right"]',
}


def test_lineage_are_read_as_they_were_written() -> None:
    """And what else a lake says of an object is nobody's business."""
    lineage = read_lineage(WHOLE | {"goog-reserved-file-mtime": "1"})
    assert lineage is not None
    assert month_metadata(lineage) == WHOLE
    assert file_metadata(lineage) == {name: text for name, text in WHOLE.items() if name.startswith("source")}


def test_a_missing_fact_is_an_empty_one_where_it_may_be_empty() -> None:
    """A bucket is not given what is empty."""
    assert read_lineage({name: text for name, text in WHOLE.items() if text}) == read_lineage(WHOLE)


@pytest.mark.parametrize("name", sorted(set(WHOLE) - {"source_url", "source_etag", "source_last_modified"}))
def test_a_missing_fact_is_of_another_program(name: str) -> None:
    """The object isn't ours then."""
    assert read_lineage({other: text for other, text in WHOLE.items() if other != name}) is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("rows_read", text) for text in ("", "-1", "1.5", "٣", "9" * 5000, "9" * 19, " 1", "1_0")),
        *(("flags", text) for text in ("", "[]", "5", '{"a": "b"}', '{"a": true}', "[" * 100_000)),
        *(("unknown_columns", text) for text in ("", "{}", '"ab"', "[5]", "null")),
    ],
)
def test_a_fact_of_another_shape_is_of_another_program(name: str, text: str) -> None:
    """It is read into values or not at all."""
    assert read_lineage(WHOLE | {name: text}) is None
