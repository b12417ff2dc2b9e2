"""What a Parquet file would take in memory is known before it is unpacked, and what would take too much is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nyctaxi_etl.core.errors import CorruptFile
from nyctaxi_etl.core.limits import BATCH_ROWS
from nyctaxi_etl.staging.pages import open_published, rows_at_once

if TYPE_CHECKING:
    from pathlib import Path

LONG = "x" * (1 << 20)


def _write(path: Path, texts: list[str] | pa.Array, **options: bool | int | str) -> Path:
    pq.write_table(pa.table({"text": texts, "number": range(len(texts))}), path, **{"compression": "zstd", **options})
    return path


def test_ordinary_rows_are_read_many_at_once(tmp_path: Path) -> None:
    """Values of a few bytes are no reason for small batches, in pages of either version, with statistics or not."""
    for version in ("1.0", "2.0"):
        for statistics in (True, False):
            texts = [f"B{number:05d}" for number in range(1000)]
            path = _write(tmp_path / "a.parquet", texts, data_page_version=version, write_statistics=statistics)
            assert rows_at_once(path) == BATCH_ROWS


def test_long_values_are_read_a_few_at_once(tmp_path: Path) -> None:
    """Rows of a mebibyte, a kilobyte all in all when packed, are read some sixty at once."""
    path = _write(tmp_path / "a.parquet", [LONG] * 80, use_dictionary=False, row_group_size=20)
    assert path.stat().st_size < 50_000
    assert rows_at_once(path) < 70


def test_a_page_of_gigabytes_is_refused(tmp_path: Path) -> None:
    """A page that unpacks to more than any writer makes is refused by its header, unread."""
    path = _write(tmp_path / "a.parquet", [LONG] * 70, use_dictionary=False, data_page_size=1 << 30)
    with pytest.raises(CorruptFile, match=r"a\.parquet: a page of column text is said to have 73,\d\d\d,\d\d\d bytes"):
        rows_at_once(path)


def test_a_text_that_is_written_once_is_one_in_memory(tmp_path: Path) -> None:
    """Texts are read as dictionaries: a thousand rows of one long text hold one."""
    indices = pa.array([0] * 1000, pa.int32())
    path = _write(tmp_path / "a.parquet", pa.DictionaryArray.from_arrays(indices, pa.array([LONG])))
    with open_published(path) as file:
        assert next(file.iter_batches()).nbytes < 2 * len(LONG)


@pytest.mark.parametrize("damage", [slice(-8, -4), slice(-4, None), slice(-200, -8), slice(0, -8)])
def test_a_damaged_footer_is_refused(tmp_path: Path, damage: slice) -> None:
    """A footer of another length, without its mark, or that says nothing is damaged, and Arrow is not asked."""
    path = _write(tmp_path / "a.parquet", ["B1"] * 10)
    data = bytearray(path.read_bytes())
    data[damage] = b"\xff" * len(data[damage])
    path.write_bytes(data)
    with pytest.raises(CorruptFile, match=r"a\.parquet"):
        rows_at_once(path)


def test_an_empty_row_group_has_no_pages(tmp_path: Path) -> None:
    """A row group without rows is nothing to refuse."""
    path = tmp_path / "a.parquet"
    table = pa.table({"text": ["B1"]})
    with pq.ParquetWriter(path, table.schema) as writer:
        for rows in (table, table[:0], table):
            writer.write_table(rows)
    assert rows_at_once(path) == BATCH_ROWS
