"""Months in a folder: whole or not at all, with what is known of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from nyctaxi_etl.core.errors import LakeError
from nyctaxi_etl.core.progress import Event, listening
from nyctaxi_etl.lakes.keys import raw_key, rejects_key
from nyctaxi_etl.lakes.local import LocalLake
from support.lake_files import FACTS, JANUARY, KEY, noise, parquet
from support.limits import largest_file

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


@pytest.fixture
def lake(tmp_path: Path) -> LocalLake:
    """A lake whose folder isn't there yet."""
    return LocalLake(tmp_path / "lake")


def left(lake: LocalLake) -> list[str]:
    """Return the names of all files of the lake."""
    return sorted(path.name for path in lake.folder.rglob("*") if path.is_file())


def test_parquet_carries_its_facts(lake: LocalLake, tmp_path: Path) -> None:
    """They are in the file itself, and nothing lies beside it."""
    lake.put(KEY, parquet(tmp_path / "new", 3, FACTS), FACTS, str(JANUARY))
    assert lake.metadata(KEY) == FACTS
    assert left(lake) == [f"{JANUARY.stem}.parquet"]
    assert lake.get(KEY, tmp_path / "unused", str(JANUARY)) == Path(lake.uri(KEY))
    assert pq.read_table(lake.uri(KEY)).num_rows == 3
    assert not (tmp_path / "unused").exists()


@pytest.mark.parametrize("name", ["yellow.csv.gz", "yellow.parquet"])
def test_other_objects_keep_their_bytes(lake: LocalLake, tmp_path: Path, name: str) -> None:
    """A file as published, Parquet too, is not touched: what is known of it is noted beside it."""
    published = noise(tmp_path / name, 5000)
    lake.put(raw_key("tlc", name), published, FACTS, str(JANUARY))
    assert Path(lake.uri(raw_key("tlc", name))).read_bytes() == published.read_bytes()
    assert lake.metadata(raw_key("tlc", name)) == FACTS
    assert left(lake) == sorted([f".{name}.json", name])


def test_facts_put_with_an_object_come_before_those_it_brought(lake: LocalLake, tmp_path: Path) -> None:
    """A month of another lake, taken as a published file, is known by what it is here."""
    key = raw_key("folder", "a.parquet")
    lake.put(key, parquet(tmp_path / "a.parquet", 3, {"run": "theirs"}), FACTS, str(JANUARY))
    assert lake.metadata(key) == FACTS


def test_a_note_of_another_file_does_not_count(lake: LocalLake, tmp_path: Path) -> None:
    """Facts are those of these bytes or none."""
    key = raw_key("tlc", "a.csv")
    lake.put(key, noise(tmp_path / "a", 5000), FACTS, str(JANUARY))
    noise(Path(lake.uri(key)), 5000, "changed by hand")
    assert lake.metadata(key) == {}
    for damaged in ("{", "[]", "[" * 100_000, '{"bytes": 1, "mtime_ns": 1, "facts": {"run": 7}}', "\x00"):
        Path(lake.uri(key)).with_name(".a.csv.json").write_text(damaged)
        assert lake.metadata(key) == {}


def test_put_again_replaces_object_and_facts(lake: LocalLake, tmp_path: Path) -> None:
    """From facts beside it to facts inside it, too."""
    key = rejects_key(JANUARY)
    lake.put(key, parquet(tmp_path / "old", 3), {"run": "1"}, str(JANUARY))
    assert lake.metadata(key) == {"run": "1"}
    lake.put(key, parquet(tmp_path / "new", 5, {"run": "2"}), {"run": "2"}, str(JANUARY))
    assert lake.metadata(key) == {"run": "2"}
    assert pq.read_table(lake.uri(key)).num_rows == 5
    assert len(left(lake)) == 1


def test_remove_leaves_nothing(lake: LocalLake, tmp_path: Path) -> None:
    """The note goes with the object."""
    key = raw_key("tlc", "a.csv")
    lake.put(key, noise(tmp_path / "a", 5), FACTS, str(JANUARY))
    lake.remove(key)
    assert left(lake) == []


def test_a_damaged_object_is_one_of_which_nothing_is_known(lake: LocalLake, tmp_path: Path) -> None:
    """So that the next run mends it."""
    lake.put(KEY, parquet(tmp_path / "new", 3, FACTS), FACTS, str(JANUARY))
    os.truncate(lake.uri(KEY), 100)
    assert lake.metadata(KEY) == {}


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    """The error names the place and the next move."""
    noise(tmp_path / "lake", 1)
    lake = LocalLake(tmp_path / "lake")
    with pytest.raises(LakeError, match="lake/trips") as caught:
        lake.put(KEY, parquet(tmp_path / "new", 3), FACTS, str(JANUARY))
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
        lake.put(KEY, noise(tmp_path / "a", 5000), FACTS, str(JANUARY))
    told = [(event.step, event.done, event.total, event.unit) for event in events]
    assert told == [("put", 0, 5000, "bytes"), ("put", 5000, 5000, "bytes")]


def test_killed_before_the_rename_leaves_the_old_object(lake: LocalLake, tmp_path: Path) -> None:
    """What the killed process left is not seen as an object, and is gone with the next put."""
    key = raw_key("tlc", "a.csv")
    lake.put(key, noise(tmp_path / "old", 5000), {"run": "1"}, str(JANUARY))
    new = noise(tmp_path / "new", 9000)
    killed = subprocess.run([sys.executable, "-c", KILLED, lake.folder, key, new], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert lake.metadata(key) == {"run": "1"}
    assert Path(lake.uri(key)).read_bytes() == (tmp_path / "old").read_bytes()
    part, _side = sorted(Path(lake.uri(key)).parent.glob("*.part"), key=lambda left: ".json." in left.name)
    assert part.read_bytes() == new.read_bytes()
    lake.put(key, tmp_path / "old", {"run": "2"}, str(JANUARY))
    assert left(lake) == [".a.csv.json", "a.csv"]


def test_two_processes_never_mix(lake: LocalLake, tmp_path: Path) -> None:
    """Whoever reads meanwhile finds one run's file with that run's facts inside."""
    runs = {run: parquet(tmp_path / run, rows, {"run": run}) for run, rows in (("one", 1000), ("two", 90_000))}
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
    assert left(lake) == [f"{JANUARY.stem}.parquet"]
