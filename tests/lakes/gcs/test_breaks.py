"""What breaks while a month is put into a bucket, and how it is mended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from nyctaxi_etl.core.errors import LakeError, Transient
from nyctaxi_etl.core.progress import Event, listening
from nyctaxi_etl.core.retry import Pauses
from nyctaxi_etl.lakes.gcs import SESSIONS, GcsLake, gcs_client
from nyctaxi_etl.lakes.gcs_refusals import refusal
from nyctaxi_etl.lakes.gcs_upload import ATTEMPTS, checksum
from support.bucket_place import (
    BUSY,
    CHUNK,
    JANUARY,
    KEY,
    NEW,
    OLD,
    PUTTING,
    SIZE,
    Place,
    is_chunk,
    is_last_chunk,
    is_status,
    sent_spans,
)
from support.lake_files import noise
from support.proxy import Fault

if TYPE_CHECKING:
    from pathlib import Path


def test_a_broken_upload_goes_on_where_it_stopped(strict: Place, new: Path, tmp_path: Path) -> None:
    """The bucket is asked what it holds, and no byte that it holds is sent again."""
    stored = 2 * CHUNK + 100_000
    strict.gate.faults.append(Fault(is_chunk(2), cut=100_000))
    events: list[Event] = []
    with listening(events.append):
        strict.lake.put(KEY, new, NEW, str(JANUARY))
    assert strict.gate.sent() == SIZE
    after = [f"*/{SIZE}", f"{stored}-{stored + CHUNK - 1}/{SIZE}", f"{stored + CHUNK}-{SIZE - 1}/{SIZE}"]
    assert sent_spans(strict)[2:] == [f"{2 * CHUNK}-{3 * CHUNK - 1}/{SIZE}", *after]
    assert strict.bytes(tmp_path / "into") == new.read_bytes()
    assert any("Trying again" in event.note for event in events)


def test_a_line_that_breaks_all_the_time_still_gets_there(strict: Place, tmp_path: Path) -> None:
    """Attempts count while nothing further comes, not for the whole object."""
    large = noise(tmp_path / "large", 3 * ATTEMPTS * CHUNK, "large")
    strict.gate.faults.append(Fault(lambda asked: "-" in asked.span, times=3 * ATTEMPTS, cut=CHUNK // 2))
    strict.lake.put(KEY, large, NEW, str(JANUARY))
    assert strict.gate.sent() == 3 * ATTEMPTS * CHUNK
    assert strict.bytes(tmp_path / "into") == large.read_bytes()


def test_a_lost_answer_to_the_last_chunk_is_asked_for(strict: Place, new: Path, tmp_path: Path) -> None:
    """Google's answer to a status request is the object, once it is finished."""
    resource = {"size": str(SIZE), "crc32c": checksum(new)}
    strict.gate.faults.append(Fault(is_last_chunk, lost=True))
    strict.gate.faults.append(Fault(is_status, status=200, body=json.dumps(resource).encode()))
    strict.lake.put(KEY, new, NEW, str(JANUARY))
    assert strict.gate.sent() == SIZE
    assert strict.bytes(tmp_path / "into") == new.read_bytes()


def test_a_finished_upload_that_was_forgotten_is_not_sent_twice(strict: Place, new: Path) -> None:
    """The emulator forgets a session with its end: then the object is looked at."""
    strict.gate.faults.append(Fault(is_last_chunk, lost=True))
    strict.lake.put(KEY, new, NEW, str(JANUARY))
    assert strict.gate.sent() == SIZE
    assert strict.other.metadata(KEY) == NEW


@pytest.mark.parametrize("status", [404, 410])
def test_a_forgotten_upload_is_begun_anew(strict: Place, old: Path, new: Path, tmp_path: Path, status: int) -> None:
    """A few times; the object that is there stays."""
    strict.put_old(old)
    strict.gate.faults.append(Fault(is_chunk(2), times=SESSIONS, status=status))
    with pytest.raises(LakeError, match="forgot"):
        strict.lake.put(KEY, new, NEW, str(JANUARY))
    assert strict.bytes(tmp_path / "into") == old.read_bytes()
    strict.gate.faults.append(Fault(is_chunk(2), times=SESSIONS - 1, status=status))
    strict.lake.put(KEY, new, NEW, str(JANUARY))
    assert strict.bytes(tmp_path / "into") == new.read_bytes()


@pytest.mark.parametrize("status", BUSY)
def test_a_busy_bucket_is_asked_again(strict: Place, new: Path, tmp_path: Path, status: int) -> None:
    """Whatever the request, and told meanwhile."""
    for method in ("GET", "POST", "DELETE"):
        busy = Fault(lambda asked, method=method: asked.method == method, times=2, status=status)  # type: ignore[misc]
        strict.gate.faults.append(busy)
    strict.gate.faults.append(Fault(lambda asked: is_chunk(1)(asked) or is_status(asked), times=2, status=status))
    events: list[Event] = []
    with listening(events.append):
        strict.lake.put(KEY, new, NEW, str(JANUARY))
    assert strict.bytes(tmp_path / "into") == new.read_bytes()
    strict.lake.remove(KEY)
    assert strict.other.metadata(KEY) is None
    assert not any(fault.times for fault in strict.gate.faults)
    assert any(str(status) in event.note for event in events)


def test_a_first_chunk_that_did_not_arrive_is_sent_again(strict: Place, new: Path, tmp_path: Path) -> None:
    """Google says so by a 308 without a Range; the emulator would say that it holds one byte."""
    strict.gate.faults.append(Fault(is_chunk(0), status=503))
    strict.gate.faults.append(Fault(is_status, status=308))
    strict.lake.put(KEY, new, NEW, str(JANUARY))
    assert sent_spans(strict)[:3] == [f"0-{CHUNK - 1}/{SIZE}", f"*/{SIZE}", f"0-{CHUNK - 1}/{SIZE}"]
    assert strict.bytes(tmp_path / "into") == new.read_bytes()


def test_retry_after_is_heeded() -> None:
    """The pause is the one that was asked for, as a number or a date; what makes no sense is as none."""
    pauses = Pauses()
    assert pauses(refusal("gs://b/k", 429, "", {"Retry-After": "7"})) == 7
    assert pauses(refusal("gs://b/k", 503, "", {"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"})) == 0
    assert pauses(refusal("gs://b/k", 503, "", {"Retry-After": "9" * 5000})) is True


def test_a_bucket_that_stays_busy_is_given_up(strict: Place, old: Path, new: Path, tmp_path: Path) -> None:
    """After so many attempts that brought nothing; the object that is there stays."""
    strict.put_old(old)
    strict.gate.faults.append(Fault(lambda asked: asked.method == "PUT", times=1000, status=503))
    with pytest.raises(Transient, match="503"):
        strict.lake.put(KEY, new, NEW, str(JANUARY))
    assert len(sent_spans(strict)) == ATTEMPTS
    assert strict.bytes(tmp_path / "into") == old.read_bytes()


def test_a_bucket_that_takes_nothing_is_given_up(strict: Place, new: Path) -> None:
    """An answer of "go on" without a byte stored is not gone on with for ever; no Range means none."""
    strict.gate.faults.append(Fault(lambda asked: asked.method == "PUT", times=1000, status=308))
    with pytest.raises(Transient, match="holds 0 bytes"):
        strict.lake.put(KEY, new, NEW, str(JANUARY))


def test_no_server_at_all(new: Path, tmp_path: Path) -> None:
    """A refused connection is worth another attempt, later."""
    lake = GcsLake(gcs_client("http://127.0.0.1:1"), "nowhere")
    for step in (
        lambda: lake.put(KEY, new, NEW, str(JANUARY)),
        lambda: lake.metadata(KEY),
        lambda: lake.get(KEY, tmp_path, str(JANUARY)),
        lambda: lake.remove(KEY),
    ):
        with pytest.raises(Transient, match="gs://nowhere"):
            step()


def test_killed_half_way_leaves_the_old_object(strict: Place, old: Path, new: Path, tmp_path: Path) -> None:
    """SIGKILL while a chunk is on its way: the bucket holds what it held, and the next run puts the new one."""
    strict.put_old(old)
    arrived, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        arrived.set()
        go_on.wait(30)

    strict.gate.faults.append(Fault(is_chunk(3), meanwhile=hold))
    arguments = [strict.gate.url, strict.bucket, KEY, str(new), str(CHUNK), ""]
    child = subprocess.Popen([sys.executable, "-c", PUTTING, *arguments])
    assert arrived.wait(30)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    go_on.set()
    assert strict.bytes(tmp_path / "into") == old.read_bytes()
    assert strict.other.metadata(KEY) == OLD
    strict.lake.put(KEY, new, NEW, str(JANUARY))
    assert strict.bytes(tmp_path / "into") == new.read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="Only Linux tells a process' own peak.")
def test_a_large_object_does_not_fill_the_memory(fake: Place, fake_url: str, tmp_path: Path) -> None:
    """There and back, in chunks of 8 MiB."""
    large = tmp_path / "large"
    large.touch()
    os.truncate(large, 64 << 20)
    arguments = [fake_url, fake.bucket, KEY, str(large), str(8 << 20), str(tmp_path / "into")]
    done = subprocess.run([sys.executable, "-c", PUTTING, *arguments], check=True, capture_output=True, text=True)
    assert all(float(grown) < 16 for grown in done.stdout.split())
