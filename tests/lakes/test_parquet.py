"""Months as Parquet that anything reads."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nyctaxi_etl.core.errors import CorruptFile, LakeError
from nyctaxi_etl.core.partition import Color, RawFile
from nyctaxi_etl.core.progress import Event, listening
from nyctaxi_etl.lakes.metadata import read_lineage
from nyctaxi_etl.lakes.parquet import ROW_GROUP_BYTES, ROW_GROUP_ROWS, read_metadata, staged_parquet, write_parquet
from nyctaxi_etl.sample.months import write_month
from nyctaxi_etl.schema.datasets import DATASETS
from nyctaxi_etl.staging.files import arrow_schema
from nyctaxi_etl.transform.stream import stage
from support.lake_files import FACTS, JANUARY, NUMBERS, noise, parquet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nyctaxi_etl.staging.files import StagedFile


WRITING = """
import sys
from pathlib import Path
import numpy as np
import pyarrow as pa
from nyctaxi_etl.lakes.parquet import write_parquet
dice, rows = np.random.default_rng(2021), 8192
schema = pa.schema([(f"c{n}", pa.float64()) for n in range(25)])
def batches():
    for _ in range(int(sys.argv[2])):
        yield pa.record_batch([pa.array(dice.integers(0, 5000, rows) / 100) for _ in range(25)], schema=schema)
write_parquet(batches(), schema, Path(sys.argv[1]), {})
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> StagedFile:
    """A staged month of 30,000 yellow trips."""
    folder = tmp_path_factory.mktemp("staged")
    path = folder / f"{JANUARY.stem}.csv.gz"
    write_month(JANUARY, path, 30_000)
    found = path.stat()
    raw = RawFile(JANUARY, path, "sample", "sample:", "", "", found.st_size, "ab" * 32, found.st_mtime_ns)
    return stage(raw, DATASETS[Color.YELLOW], folder)


def test_a_staged_month_becomes_parquet(staged: StagedFile, tmp_path: Path) -> None:
    """Rows, types and nulls are those that were staged, for every reader; the facts are in the footer."""
    path = tmp_path / "month.parquet"
    events: list[Event] = []
    with listening(events.append):
        staged_parquet(staged, path)
    put = pq.read_table(path).replace_schema_metadata(None)
    assert put.schema == arrow_schema(DATASETS[JANUARY.color].columns)
    held = pa.Table.from_batches(staged.batches())
    assert put.select(held.column_names).equals(held)
    lacking = set(put.column_names) - set(held.column_names)
    assert lacking
    assert all(put.column(name).null_count == put.num_rows for name in lacking)
    assert read_lineage(read_metadata(path)) == staged.lineage
    assert pq.read_metadata(path).row_group(0).column(0).compression == "ZSTD"
    with duckdb.connect() as reader:
        totals = reader.execute("SELECT count(*), typeof(any_value(vendor_id)) FROM read_parquet(?)", [str(path)])
        assert totals.fetchall() == [(staged.lineage.rows_loaded, "SMALLINT")]
    rows = staged.lineage.rows_loaded
    assert (events[-1].step, events[-1].done, events[-1].total) == ("transform", rows, rows)


def test_a_month_without_rows_is_a_file(tmp_path: Path) -> None:
    """All rows rejected is a month, too."""
    write_parquet([], NUMBERS, tmp_path / "none", FACTS)
    assert pq.read_table(tmp_path / "none").num_rows == 0
    assert read_metadata(tmp_path / "none") == FACTS


def test_row_groups_are_large_but_bounded(tmp_path: Path) -> None:
    """At most a million rows, and less where a million would not fit into memory; a batch of any size is split."""
    narrow = pa.record_batch([pa.array(range(400_000), pa.int64())], names=["id"])
    write_parquet([narrow] * 6, narrow.schema, tmp_path / "narrow", {})
    assert _groups(tmp_path / "narrow") == [800_000, 800_000, 800_000]
    huge = pa.record_batch([pa.array(range(2_500_000), pa.int64())], names=["id"])
    write_parquet([huge], huge.schema, tmp_path / "huge", {})
    assert max(_groups(tmp_path / "huge")) == ROW_GROUP_ROWS
    wide = pa.record_batch([pa.array(range(100_000), pa.int64())] * 40, names=[f"c{n}" for n in range(40)])
    write_parquet([wide] * 5, wide.schema, tmp_path / "wide", {})
    assert _groups(tmp_path / "wide") == [ROW_GROUP_BYTES // wide.nbytes * 100_000] * 2 + [100_000]


def test_columns_of_nulls_weigh_nothing(tmp_path: Path) -> None:
    """Columns that an era didn't know don't make its row groups smaller, and are still there."""

    def rows() -> Iterator[pa.RecordBatch]:
        for size in (100_000, 300_000, 200_000, 1):
            blank = [pa.nulls(size, pa.float64())] * 30 + [pa.nulls(size, pa.string())]
            yield pa.record_batch([pa.array(range(size), pa.int64()), *blank], names=[f"c{n}" for n in range(32)])

    write_parquet(rows(), next(rows()).schema, tmp_path / "blank", {})
    assert _groups(tmp_path / "blank") == [600_001]
    assert pq.read_table(tmp_path / "blank").equals(pa.Table.from_batches(rows()))


@pytest.mark.skipif(sys.platform != "linux", reason="Only Linux tells a process' own peak.")
def test_memory_does_not_grow_with_the_month(tmp_path: Path) -> None:
    """Six times as many rows of 25 columns take a tenth more memory at most."""
    peaks = []
    for count in (60, 360):
        command = [sys.executable, "-c", WRITING, str(tmp_path / "large"), str(count)]
        kilobytes = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peaks.append(int(kilobytes) / 1024)
    assert peaks[1] < 1.1 * peaks[0]
    assert peaks[1] < 300


def test_facts_of_other_files(tmp_path: Path) -> None:
    """Another program's Parquet has none; what isn't Parquet is said to be damaged."""
    pq.write_table(pa.table({"id": [1]}), tmp_path / "theirs")
    assert read_metadata(tmp_path / "theirs") == {}
    with pytest.raises(CorruptFile, match="noise"):
        read_metadata(noise(tmp_path / "noise", 500))


def test_a_disk_that_refuses_is_told(tmp_path: Path) -> None:
    """As an error of the lake, not of the program."""
    with pytest.raises(LakeError, match="no-folder"):
        parquet(tmp_path / "no-folder" / "x", 3)


def _groups(path: Path) -> list[int]:
    found = pq.read_metadata(path)
    return [found.row_group(number).num_rows for number in range(found.num_row_groups)]
