"""The promise of every lake: a folder, and a bucket at each of two servers that stand in for Google's."""

from __future__ import annotations

import io
import os
import uuid
from typing import TYPE_CHECKING

import pytest

from nyctaxi_etl.core.errors import NotPublished
from nyctaxi_etl.core.partition import Color, Month, Partition
from nyctaxi_etl.core.progress import Event, listening
from nyctaxi_etl.lakes.gcs import CHUNK_MULTIPLE, GcsLake, gcs_client
from nyctaxi_etl.lakes.keys import raw_key, rejects_key, trips_key
from nyctaxi_etl.lakes.local import LocalLake
from support.lake_files import FACTS, JANUARY, KEY, noise, parquet

if TYPE_CHECKING:
    from pathlib import Path

    from nyctaxi_etl.lakes.base import Lake

SERVERS = {"fake": "fake_url", "strict": "emulator_url"}
# A bucket is sent three chunks and a rest of it.
SIZE = 3 * CHUNK_MULTIPLE + 1000


@pytest.fixture(params=["folder", *SERVERS])
def lake(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """An empty lake of each kind; no proxy of the machine's is in between."""
    if request.param == "folder":
        return LocalLake(tmp_path / "lake")
    for name in [name for name in os.environ if name.upper() in {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"}]:
        monkeypatch.delenv(name)
    client = gcs_client(request.getfixturevalue(SERVERS[request.param]))
    bucket = f"trips-{uuid.uuid4().hex}"
    client.create_bucket(bucket)
    return GcsLake(client, bucket, "nyc", CHUNK_MULTIPLE)


def test_what_is_put_comes_back(lake: Lake, tmp_path: Path) -> None:
    """Bytes and metadata, of any key and character; what was put is left where it is."""
    for key in (raw_key("tlc", "a.csv.gz"), KEY):
        new = noise(tmp_path / "new", SIZE, key)
        lake.put(key, new, FACTS, str(JANUARY))
        assert lake.metadata(key) == FACTS
        assert lake.get(key, tmp_path / "into", str(JANUARY)).read_bytes() == new.read_bytes()
        assert lake.uri(key) == f"{lake.address}/{key}"


def test_a_month_of_parquet(lake: Lake, tmp_path: Path) -> None:
    """Metadata inside the file are those that it is known by."""
    new = parquet(tmp_path / "new", 3, FACTS)
    lake.put(KEY, new, FACTS, str(JANUARY))
    assert lake.metadata(KEY) == FACTS
    assert lake.get(KEY, tmp_path / "into", str(JANUARY)).read_bytes() == new.read_bytes()


def test_put_for_the_second_time_replaces_object_and_metadata(lake: Lake, tmp_path: Path) -> None:
    """Nothing of the former remains, longer or shorter, and no other object changes."""
    lake.put(rejects_key(JANUARY), noise(tmp_path / "other", 7), {"run": "other"}, str(JANUARY))
    for size in (5000, SIZE, 10):
        lake.put(KEY, noise(tmp_path / "new", size), {"run": str(size)}, str(JANUARY))
        assert lake.metadata(KEY) == {"run": str(size)}
        assert lake.get(KEY, tmp_path / "into", str(JANUARY)).stat().st_size == size
    assert lake.metadata(rejects_key(JANUARY)) == {"run": "other"}


def test_what_is_not_there(lake: Lake, tmp_path: Path) -> None:
    """Absent is no error until it is wanted, and then it is a month that is missing."""
    assert lake.metadata(KEY) is None
    lake.remove(KEY)
    with pytest.raises(NotPublished, match=JANUARY.stem):
        lake.get(KEY, tmp_path, str(JANUARY))


def test_remove(lake: Lake, tmp_path: Path) -> None:
    """Gone is gone, and another month stays."""
    february = trips_key(Partition(Color.YELLOW, Month(2021, 2)))
    for key in (KEY, february):
        lake.put(key, noise(tmp_path / "new", 5), FACTS, str(JANUARY))
    lake.remove(KEY)
    assert lake.metadata(KEY) is None
    assert lake.metadata(february) == FACTS


def test_an_empty_file_is_an_object(lake: Lake, tmp_path: Path) -> None:
    """There is nothing to send, and still something to finish."""
    lake.put(KEY, noise(tmp_path / "empty", 0), FACTS, str(JANUARY))
    assert lake.metadata(KEY) == FACTS
    assert lake.get(KEY, tmp_path / "into", str(JANUARY)).read_bytes() == b""


def test_tells_how_far_a_put_is(lake: Lake, tmp_path: Path) -> None:
    """Bytes, never fewer than before, to all of them."""
    events: list[Event] = []
    with listening(events.append):
        lake.put(KEY, noise(tmp_path / "new", SIZE), FACTS, str(JANUARY))
    done = [event.done for event in events]
    assert done == sorted(done)
    assert done[-1] == SIZE
    assert {(event.step, event.total, event.unit, event.subject) for event in events} == {
        ("put", SIZE, "bytes", str(JANUARY))
    }


def test_an_object_that_is_open_is_read_from_any_place(lake: Lake, tmp_path: Path) -> None:
    """As a file is."""
    new = noise(tmp_path / "new", SIZE)
    lake.put(KEY, new, FACTS, str(JANUARY))
    whole = new.read_bytes()
    with lake.open(KEY) as file:
        assert file.seek(-8, io.SEEK_END) == SIZE - 8
        assert file.read() == whole[-8:]
        file.seek(1000)
        assert (file.read(10), file.tell()) == (whole[1000:1010], 1010)
        file.seek(0)
        assert file.read() == whole
