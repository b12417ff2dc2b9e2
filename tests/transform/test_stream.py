"""A month is staged in its own place, in bounded memory, in the file's order, and its rejects are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from nyctaxi_etl.core.errors import SchemaDrift
from nyctaxi_etl.core.partition import Partition
from nyctaxi_etl.core.progress import Event, listening
from nyctaxi_etl.readers import csv_blocks
from nyctaxi_etl.schema.datasets import FHV, YELLOW
from nyctaxi_etl.staging import rejects
from nyctaxi_etl.transform import stream as staging
from nyctaxi_etl.transform.stream import Limits, stage
from support.command import python
from support.published import JANUARY, csv_file, raw_file, rejects_in

if TYPE_CHECKING:
    from pathlib import Path

    from nyctaxi_etl.staging.files import StagedFile

TIME = "2019-01-05 10:00:00"
TRIPS = Partition(YELLOW.color, JANUARY)


def _stage(folder: Path, counts: list[str], max_unparsable: float = 1.0) -> StagedFile:
    """Stage rows of these passenger counts; each has its line as its distance."""
    rows = "".join(f"{TIME},{count},{line}\n" for line, count in enumerate(counts, start=2))
    path = csv_file(folder, f"pickup_datetime,passenger_count,trip_distance\n{rows}", YELLOW)
    return stage(raw_file(path, TRIPS), YELLOW, folder / "work", Limits(max_unparsable))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have about four rows in a block."""
    monkeypatch.setattr(csv_blocks, "BLOCK_BYTES", 100)


@pytest.mark.usefixtures("small_blocks")
def test_rows_and_rejects_are_in_the_order_of_the_file(tmp_path: Path) -> None:
    """Blocks are cleaned side by side, and come out one after the other."""
    counts = [("1", "0", "x", "1", "2")[line % 5] for line in range(1_000)]
    staged = _stage(tmp_path, counts)
    lines = [int(line) for batch in staged.batches() for line in batch.column("trip_distance").to_pylist()]
    rejects = [reject.line for reject in rejects_in(staged.rejects)]
    assert lines == [line for line, count in enumerate(counts, start=2) if count in "12"]
    assert rejects == [line for line, count in enumerate(counts, start=2) if count in "0x"]
    assert (staged.lineage.rows_read, staged.lineage.rows_loaded, staged.lineage.rows_rejected) == (1_000, 600, 400)


@pytest.mark.usefixtures("small_blocks")
def test_rejects_are_written_in_portions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rejects never pile up in memory: each so many are written as a row group of their own."""
    monkeypatch.setattr(rejects, "REJECTS_BYTES", 2_500)
    staged = _stage(tmp_path, ["0"] * 500)
    assert staged.rejects
    groups = pq.ParquetFile(staged.rejects).metadata
    sizes = [groups.row_group(index).num_rows for index in range(groups.num_row_groups)]
    assert sum(sizes) == 500
    assert max(sizes) < 60


@pytest.mark.usefixtures("small_blocks")
def test_a_hopeless_file_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of which more than half can't be parsed after so many rows is refused there."""
    monkeypatch.setattr(staging, "_HOPELESS_ROWS", 20)
    seen: list[Event] = []
    with listening(seen.append), pytest.raises(SchemaDrift, match="line 2: passenger_count: 'x'"):
        _stage(tmp_path, ["x"] * 1_000)
    assert max(event.done for event in seen) < 50


@pytest.mark.usefixtures("small_blocks")
def test_staging_tells_how_far_it_is(tmp_path: Path) -> None:
    """Each block is told with the rows read so far."""
    seen: list[Event] = []
    with listening(seen.append):
        _stage(tmp_path, ["1"] * 100)
    done = [event.done for event in seen if event.step == "transform"]
    assert done == sorted(done)
    assert (len(done) > 10, done[-1], {event.subject for event in seen}) == (True, 100, {str(TRIPS)})


@pytest.mark.usefixtures("small_blocks")
def test_a_stop_between_two_blocks_leaves_no_thread(tmp_path: Path) -> None:
    """An interrupt of the listener ends the work at once, and the same month can be staged right after."""

    def stop(event: Event) -> None:
        if event.done > 10:
            raise KeyboardInterrupt

    with listening(stop), pytest.raises(KeyboardInterrupt):
        _stage(tmp_path, ["1"] * 1_000)
    assert _stage(tmp_path, ["1"] * 10).lineage.rows_loaded == 10


def test_a_month_says_what_shaped_it(tmp_path: Path) -> None:
    """The staged month carries the version of its declaration and its rules."""
    staged = _stage(tmp_path, ["1"])
    assert (staged.lineage.dataset_version, staged.lineage.rules) == (YELLOW.version, YELLOW.rules_id)
    assert (staged.rejects, staged.partition) == (None, TRIPS)


def test_staging_needs_no_pandas(tmp_path: Path) -> None:
    """Reading, cleaning and setting aside import no pandas, which would be half of a run's memory."""
    far = "2003-05-01 10:00:00"
    rows = f'{TIME},1.0\n{TIME},x\n{TIME},0\n{far},1\n{far},1x\n"\n\n{TIME},1\r2\nx{"y" * 5_000},1\n'
    path = csv_file(tmp_path, f"pickup_datetime,passenger_count\n{rows}", YELLOW)
    code = f"""
import sys
from pathlib import Path
from nyctaxi_etl.schema.datasets import YELLOW
from nyctaxi_etl.core.partition import Month, Partition
from nyctaxi_etl.transform.stream import Limits, stage
from support.published import raw_file
path = Path({str(path)!r})
staged = stage(raw_file(path, Partition(YELLOW.color, Month(2019, 1))), YELLOW, path.parent, Limits(1.0))
print(staged.lineage.rows_rejected, "pandas" in sys.modules)
"""
    assert python(code) == "6 False"


def test_staging_needs_no_folder_made_before(tmp_path: Path) -> None:
    """The folder to stage in is made with its parents."""
    path = csv_file(tmp_path, f"pickup_datetime,SR_Flag\n{TIME},\n", FHV)
    staged = stage(raw_file(path, Partition(FHV.color, JANUARY)), FHV, tmp_path / "a" / "b")
    assert staged.path.parent == tmp_path / "a" / "b"
