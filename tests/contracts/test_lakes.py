"""Months in a folder: whole or not at all, with what is known of them, in Parquet that anything reads."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nyctaxi_etl.core.errors import CorruptFile, LakeError, NotPublished, UsageError
from nyctaxi_etl.core.partition import Color, Month, Partition, RawFile
from nyctaxi_etl.core.progress import Event, listening
from nyctaxi_etl.lakes.keys import conformed_key, raw_key, rejects_key, trips_key
from nyctaxi_etl.lakes.local import LocalLake
from nyctaxi_etl.lakes.metadata import read_lineage
from nyctaxi_etl.lakes.opening import open_lake
from nyctaxi_etl.lakes.parquet import ROW_GROUP_BYTES, ROW_GROUP_ROWS, read_metadata, staged_parquet, write_parquet
from nyctaxi_etl.sample.months import write_month
from nyctaxi_etl.schema.datasets import DATASETS
from nyctaxi_etl.staging.files import arrow_schema
from nyctaxi_etl.transform.stream import stage
from support.limits import largest_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nyctaxi_etl.staging.files import StagedFile

JANUARY = Partition(Color.YELLOW, Month(2021, 1))
KEY = trips_key(JANUARY)
FACTS = {"source_sha256": "ab" * 32, "rows_loaded": "3", "source_url": "https://example.org/März?"}
NUMBERS = pa.schema([("id", pa.int16()), ("fare", pa.float64()), ("note", pa.string())])

KILLED = """
import os, signal, sys
from pathlib import Path
from nyctaxi_etl.lakes.local import LocalLake
from nyctaxi_etl.core.partition import Color, Month, Partition
Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
january = Partition(Color.YELLOW, Month(2021, 1))
LocalLake(Path(sys.argv[1])).put(sys.argv[2], Path(sys.argv[3]), {"run": "killed"}, january)
"""
PUTTING = """
import sys
from pathlib import Path
from nyctaxi_etl.lakes.local import LocalLake
from nyctaxi_etl.core.partition import Color, Month, Partition
lake, key, path = LocalLake(Path(sys.argv[1])), sys.argv[2], Path(sys.argv[3])
for _ in range(60):
    lake.put(key, path, {"run": path.stem}, Partition(Color.YELLOW, Month(2021, 1)))
"""
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


@pytest.fixture
def lake(tmp_path: Path) -> LocalLake:
    """A lake whose folder isn't there yet."""
    return LocalLake(tmp_path / "lake")


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> StagedFile:
    """A staged month of 30,000 yellow trips."""
    folder = tmp_path_factory.mktemp("staged")
    path = folder / f"{JANUARY.stem}.csv.gz"
    write_month(JANUARY, path, 30_000)
    found = path.stat()
    raw = RawFile(JANUARY, path, "sample", "sample:", "", "", found.st_size, "ab" * 32, found.st_mtime_ns)
    return stage(raw, DATASETS[Color.YELLOW], folder)


def _parquet(path: Path, numbers: int, facts: dict[str, str] | None = None) -> Path:
    batch = pa.record_batch([[1] * numbers, [2.5] * numbers, [None] * numbers], schema=NUMBERS)
    write_parquet([batch], NUMBERS, path, facts or {})
    return path


def _noise(path: Path, size: int, seed: str = "taxi") -> Path:
    path.write_bytes(hashlib.shake_256(seed.encode()).digest(size))
    return path


def _left(lake: LocalLake) -> list[str]:
    return sorted(path.name for path in lake.folder.rglob("*") if path.is_file())


# --- where things are ------------------------------------------------------------------------------------------------


def test_keys_are_the_lakes_layout() -> None:
    """The layout that others read is fixed; a source that is a host can't leave its folder."""
    assert KEY == "trips/yellow/yellow_tripdata_2021-01.parquet"
    assert conformed_key(JANUARY) == "conformed/yellow/yellow_tripdata_2021-01.parquet"
    assert rejects_key(JANUARY) == "rejects/yellow/yellow_tripdata_2021-01.parquet"
    assert raw_key("tlc", "a.parquet") == "raw/tlc/a.parquet"
    assert raw_key("127.0.0.1:80", "a.csv") == "raw/127.0.0.1_80/a.csv"
    assert raw_key("..", "a.csv") == "raw/_/a.csv"


def test_a_lake_is_named_by_its_address(tmp_path: Path) -> None:
    """The default is beside the rest of the data; a folder will do; a bucket at an emulator asks for nothing."""
    for address in ("", "lake"):
        assert open_lake(address, tmp_path).address == str(tmp_path / "lake")
    assert open_lake(str(tmp_path / "other"), tmp_path).uri("a/b") == str(tmp_path / "other" / "a" / "b")
    for address in ("gs://trips-of-ours/nyc/", "gs://trips-of-ours/nyc"):
        bucket = open_lake(address, tmp_path, emulator="127.0.0.1:1")
        assert (bucket.address, bucket.uri("a/b")) == ("gs://trips-of-ours/nyc", "gs://trips-of-ours/nyc/a/b")
    assert open_lake("gs://trips-of-ours", tmp_path, emulator="127.0.0.1:1").uri("a") == "gs://trips-of-ours/a"


@pytest.mark.parametrize("address", ["s3://bucket/x", "gs://", "gs://Not A Bucket", "block:mine", "https://h/?t=1"])
def test_an_address_that_is_no_lake_is_refused(tmp_path: Path, address: str) -> None:
    """Neither a folder called ``s3:`` nor a surprise."""
    with pytest.raises(UsageError, match="not a lake"):
        open_lake(address, tmp_path)


# --- the folder ------------------------------------------------------------------------------------------------------


def test_parquet_carries_its_facts(lake: LocalLake, tmp_path: Path) -> None:
    """They are in the file itself, and nothing lies beside it."""
    lake.put(KEY, _parquet(tmp_path / "new", 3, FACTS), FACTS, str(JANUARY))
    assert lake.metadata(KEY) == FACTS
    assert _left(lake) == [f"{JANUARY.stem}.parquet"]
    assert lake.get(KEY, tmp_path / "unused", str(JANUARY)) == Path(lake.uri(KEY))
    assert pq.read_table(lake.uri(KEY)).num_rows == 3
    assert not (tmp_path / "unused").exists()


@pytest.mark.parametrize("name", ["yellow.csv.gz", "yellow.parquet"])
def test_other_objects_keep_their_bytes(lake: LocalLake, tmp_path: Path, name: str) -> None:
    """A file as published, Parquet too, is not touched: what is known of it is noted beside it."""
    published = _noise(tmp_path / name, 5000)
    lake.put(raw_key("tlc", name), published, FACTS, str(JANUARY))
    assert Path(lake.uri(raw_key("tlc", name))).read_bytes() == published.read_bytes()
    assert lake.metadata(raw_key("tlc", name)) == FACTS
    assert _left(lake) == sorted([f".{name}.json", name])


def test_facts_put_with_an_object_come_before_those_it_brought(lake: LocalLake, tmp_path: Path) -> None:
    """A month of another lake, taken as a published file, is known by what it is here."""
    key = raw_key("folder", "a.parquet")
    lake.put(key, _parquet(tmp_path / "a.parquet", 3, {"run": "theirs"}), FACTS, str(JANUARY))
    assert lake.metadata(key) == FACTS


def test_a_note_of_another_file_does_not_count(lake: LocalLake, tmp_path: Path) -> None:
    """Facts are those of these bytes or none."""
    key = raw_key("tlc", "a.csv")
    lake.put(key, _noise(tmp_path / "a", 5000), FACTS, str(JANUARY))
    _noise(Path(lake.uri(key)), 5000, "changed by hand")
    assert lake.metadata(key) == {}
    for damaged in ("{", "[]", "[" * 100_000, '{"bytes": 1, "mtime_ns": 1, "facts": {"run": 7}}', "\x00"):
        Path(lake.uri(key)).with_name(".a.csv.json").write_text(damaged)
        assert lake.metadata(key) == {}


def test_put_again_replaces_object_and_facts(lake: LocalLake, tmp_path: Path) -> None:
    """From facts beside it to facts inside it, too."""
    key = rejects_key(JANUARY)
    lake.put(key, _parquet(tmp_path / "old", 3), {"run": "1"}, str(JANUARY))
    assert lake.metadata(key) == {"run": "1"}
    lake.put(key, _parquet(tmp_path / "new", 5, {"run": "2"}), {"run": "2"}, str(JANUARY))
    assert lake.metadata(key) == {"run": "2"}
    assert pq.read_table(lake.uri(key)).num_rows == 5
    assert len(_left(lake)) == 1


def test_what_is_not_there(lake: LocalLake, tmp_path: Path) -> None:
    """Absent is no error until it is wanted, and then it is a month that is missing."""
    assert lake.metadata(KEY) is None
    lake.remove(KEY)
    with pytest.raises(NotPublished, match=JANUARY.stem):
        lake.get(KEY, tmp_path, str(JANUARY))


def test_remove_leaves_nothing(lake: LocalLake, tmp_path: Path) -> None:
    """The note goes with the object."""
    key = raw_key("tlc", "a.csv")
    lake.put(key, _noise(tmp_path / "a", 5), FACTS, str(JANUARY))
    lake.remove(key)
    assert _left(lake) == []


def test_a_damaged_object_is_one_of_which_nothing_is_known(lake: LocalLake, tmp_path: Path) -> None:
    """So that the next run mends it."""
    lake.put(KEY, _parquet(tmp_path / "new", 3, FACTS), FACTS, str(JANUARY))
    os.truncate(lake.uri(KEY), 100)
    assert lake.metadata(KEY) == {}


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    """The error names the place and the next move."""
    _noise(tmp_path / "lake", 1)
    lake = LocalLake(tmp_path / "lake")
    with pytest.raises(LakeError, match="lake/trips") as caught:
        lake.put(KEY, _parquet(tmp_path / "new", 3), FACTS, str(JANUARY))
    assert "folder" in caught.value.hint


@pytest.mark.parametrize("spare", [0, 40])
def test_a_full_disk_leaves_the_old_object(lake: LocalLake, tmp_path: Path, spare: int) -> None:
    """Neither the object nor its facts change, also if only what is noted of it has no room; nothing is left."""
    key, path = raw_key("tlc", "a.csv.gz"), tmp_path / "new"
    path.write_bytes(b"")
    lake.put(key, path, FACTS, str(JANUARY))
    path.write_bytes(b"a" * spare)
    before = sorted(name.name for name in (lake.folder / "raw" / "tlc").iterdir())
    with largest_file(spare), pytest.raises(LakeError, match=r"a\.csv\.gz") as caught:
        lake.put(key, path, {"run": "x" * 100}, str(JANUARY))
    assert "room" in caught.value.hint
    assert lake.metadata(key) == FACTS
    assert (lake.folder / key).read_bytes() == b""
    assert sorted(name.name for name in (lake.folder / "raw" / "tlc").iterdir()) == before


def test_tells_how_far_it_is(lake: LocalLake, tmp_path: Path) -> None:
    """Bytes, from none to all."""
    events: list[Event] = []
    with listening(events.append):
        lake.put(KEY, _noise(tmp_path / "a", 5000), FACTS, str(JANUARY))
    told = [(event.step, event.done, event.total, event.unit) for event in events]
    assert told == [("put", 0, 5000, "bytes"), ("put", 5000, 5000, "bytes")]


def test_killed_before_the_rename_leaves_the_old_object(lake: LocalLake, tmp_path: Path) -> None:
    """What the killed process left is not seen as an object, and is gone with the next put."""
    key = raw_key("tlc", "a.csv")
    lake.put(key, _noise(tmp_path / "old", 5000), {"run": "1"}, str(JANUARY))
    new = _noise(tmp_path / "new", 9000)
    killed = subprocess.run([sys.executable, "-c", KILLED, lake.folder, key, new], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert lake.metadata(key) == {"run": "1"}
    assert Path(lake.uri(key)).read_bytes() == (tmp_path / "old").read_bytes()
    part, _side = sorted(Path(lake.uri(key)).parent.glob("*.part"), key=lambda left: ".json." in left.name)
    assert part.read_bytes() == new.read_bytes()
    lake.put(key, tmp_path / "old", {"run": "2"}, str(JANUARY))
    assert _left(lake) == [".a.csv.json", "a.csv"]


def test_two_processes_never_mix(lake: LocalLake, tmp_path: Path) -> None:
    """Whoever reads meanwhile finds one run's file with that run's facts inside."""
    runs = {run: _parquet(tmp_path / run, rows, {"run": run}) for run, rows in (("one", 1000), ("two", 90_000))}
    lake.put(KEY, runs["one"], {"run": "one"}, str(JANUARY))
    rows = {"one": 1000, "two": 90_000}
    children = [subprocess.Popen([sys.executable, "-c", PUTTING, lake.folder, KEY, path]) for path in runs.values()]
    seen: set[str] = set()
    while any(child.poll() is None for child in children):
        with pq.ParquetFile(lake.uri(KEY)) as file:
            run = file.metadata.metadata[b"nyctaxi.run"].decode()
            assert file.metadata.num_rows == rows[run]
            seen.add(run)
    assert [child.returncode for child in children] == [0, 0]
    assert seen == {"one", "two"}
    assert _left(lake) == [f"{JANUARY.stem}.parquet"]


# --- Parquet ---------------------------------------------------------------------------------------------------------


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
        read_metadata(_noise(tmp_path / "noise", 500))


def test_a_disk_that_refuses_is_told(tmp_path: Path) -> None:
    """As an error of the lake, not of the program."""
    with pytest.raises(LakeError, match="no-folder"):
        _parquet(tmp_path / "no-folder" / "x", 3)


def _groups(path: Path) -> list[int]:
    found = pq.read_metadata(path)
    return [found.row_group(number).num_rows for number in range(found.num_row_groups)]
