"""Months in a bucket, against two servers that stand in for Google's, with a gate before them that breaks things."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import traceback
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import stamina
from google.auth.credentials import Credentials
from google.auth.exceptions import RefreshError, TransportError

from nyctaxi_etl.core.errors import LakeError, NotPublished, NycTaxiError, Transient, UsageError
from nyctaxi_etl.core.partition import Color, Month, Partition
from nyctaxi_etl.core.progress import Event, listening
from nyctaxi_etl.core.retry import Pauses
from nyctaxi_etl.lakes.gcs import CHUNK_MULTIPLE, SESSIONS, GcsLake, gcs_client
from nyctaxi_etl.lakes.gcs_refusals import ROLE, refusal
from nyctaxi_etl.lakes.gcs_upload import ATTEMPTS, checksum
from nyctaxi_etl.lakes.keys import trips_key
from nyctaxi_etl.lakes.opening import open_lake
from support.gcs import fake_gcs, storage_emulator
from support.proxy import Asked, Fault, Gate, gate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

JANUARY = Partition(Color.YELLOW, Month(2021, 1))
KEY = trips_key(JANUARY)
CHUNK = CHUNK_MULTIPLE
SIZE = 4 * CHUNK + 1000
OLD, NEW = {"run": "old", "source_url": "https://example.org/März?"}, {"run": "new"}
BUSY = (408, 429, 500, 502, 503, 504)

PUTTING = """
import sys
from pathlib import Path
from nyctaxi_etl.lakes.gcs import GcsLake, gcs_client
from nyctaxi_etl.core.partition import Color, Month, Partition
url, bucket, key, path, chunk, into = sys.argv[1:]
january = Partition(Color.YELLOW, Month(2021, 1))
lake = GcsLake(gcs_client(url), bucket, "nyc", int(chunk))
def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024
lake.metadata(key)
before = peak()
lake.put(key, Path(path), {"run": "child"}, january)
print(peak() - before)
if into:
    lake.get(key, Path(into), january)
    print(peak() - before)
"""


@dataclass(frozen=True)
class Place:
    """A bucket of its own: ``lake`` goes through ``gate``, ``other`` is another run that doesn't."""

    gate: Gate
    bucket: str
    lake: GcsLake
    other: GcsLake

    def put_old(self, path: Path) -> None:
        """Put what is to be replaced, past the gate."""
        self.other.put(KEY, path, OLD, str(JANUARY))

    def bytes(self, into: Path) -> bytes:
        """Return what the object holds now, past the gate."""
        return self.other.get(KEY, into, str(JANUARY)).read_bytes()


@pytest.fixture(autouse=True)
def _alone_with_the_loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No pause between attempts, and no proxy of the machine's in between."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    stamina.set_testing(True, attempts=ATTEMPTS)
    yield
    stamina.set_testing(False)


@pytest.fixture(scope="session")
def fake_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where fake-gcs-server keeps objects as files."""
    return tmp_path_factory.mktemp("gcs")


@pytest.fixture(scope="session")
def fake_url(fake_root: Path) -> Iterator[str]:
    """fake-gcs-server."""
    with fake_gcs(fake_root) as url:
        yield url


@pytest.fixture(scope="session")
def emulator_url() -> Iterator[str]:
    """gcp-storage-emulator."""
    with storage_emulator() as url:
        yield url


def _place(url: str, passage: Gate) -> Place:
    bucket = f"trips-{uuid.uuid4().hex}"
    client = gcs_client(url)
    client.create_bucket(bucket)
    lake = GcsLake(gcs_client(passage.url), bucket, "nyc", CHUNK)
    return Place(passage, bucket, lake, GcsLake(client, bucket, "nyc"))


@pytest.fixture
def fake(fake_url: str) -> Iterator[Place]:
    """A bucket at fake-gcs-server."""
    with gate(fake_url) as passage:
        yield _place(fake_url, passage)


@pytest.fixture
def strict(emulator_url: str) -> Iterator[Place]:
    """A bucket at gcp-storage-emulator, which knows broken uploads and checks checksums."""
    with gate(emulator_url) as passage:
        yield _place(emulator_url, passage)


@pytest.fixture(params=["fake", "strict"])
def place(request: pytest.FixtureRequest) -> Place:
    """A bucket at each."""
    found: Place = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A file that was put by an earlier run."""
    return _noise(tmp_path / "old", CHUNK + 7, "old")


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """A file of five chunks."""
    return _noise(tmp_path / "new", SIZE, "new")


def _noise(path: Path, size: int, seed: str) -> Path:
    path.write_bytes(hashlib.shake_256(seed.encode()).digest(size))
    return path


def _put(asked: Asked) -> bool:
    return asked.method == "PUT"


def _upload(asked: Asked) -> bool:
    return asked.method == "POST"


def _chunk(number: int) -> Callable[[Asked], bool]:
    """Tell the request that first sends a chunk, the first being 0."""
    return lambda asked: asked.method == "PUT" and asked.span.startswith(f"bytes {number * CHUNK}-")


def _last_chunk(asked: Asked) -> bool:
    return asked.method == "PUT" and asked.span.startswith("bytes ") and f"-{SIZE - 1}/{SIZE}" in asked.span


def _status(asked: Asked) -> bool:
    return asked.method == "PUT" and asked.span == f"bytes */{SIZE}"


def _media(asked: Asked) -> bool:
    return asked.method == "GET" and "alt=media" in asked.path


def _words(status: int, message: str) -> bytes:
    return json.dumps({"error": {"code": status, "message": message}}).encode()


def _generation(place: Place) -> str:
    found = place.other._info(KEY)
    return str(found.generation if found else 0)


def _spans(place: Place) -> list[str]:
    return [asked.span.removeprefix("bytes ") for asked in place.gate.asked if asked.method == "PUT"]


# --- the normal way --------------------------------------------------------------------------------------------------


def test_what_is_put_comes_back(place: Place, new: Path, tmp_path: Path) -> None:
    """Bytes and facts, by any name and character; the copy is in the folder asked for, and nothing else."""
    place.lake.put(KEY, new, OLD, str(JANUARY))
    assert place.lake.metadata(KEY) == OLD
    copy = place.lake.get(KEY, tmp_path / "into", str(JANUARY))
    assert copy == tmp_path / "into" / f"{JANUARY.stem}.parquet"
    assert copy.read_bytes() == new.read_bytes()
    assert list(copy.parent.iterdir()) == [copy]
    assert place.lake.uri(KEY) == f"gs://{place.bucket}/nyc/{KEY}"


def test_put_again_replaces_object_and_facts(place: Place, old: Path, new: Path, tmp_path: Path) -> None:
    """Nothing of the former facts remains."""
    place.lake.put(KEY, old, OLD, str(JANUARY))
    place.lake.put(KEY, new, NEW, str(JANUARY))
    assert place.lake.metadata(KEY) == NEW
    assert place.lake.get(KEY, tmp_path / "into", str(JANUARY)).read_bytes() == new.read_bytes()


def test_an_empty_fact_is_left_out(place: Place, new: Path) -> None:
    """A missing one means the same, and what was put is found to be there after a lost answer."""
    place.lake.put(KEY, new, {"source": "folder", "source_etag": ""}, str(JANUARY))
    (begun,) = [asked for asked in place.gate.asked if _upload(asked)]
    assert place.lake.metadata(KEY) == {"source": "folder"}
    place.gate.faults.append(Fault(_last_chunk, meanwhile=lambda: None, status=412))
    place.lake.put(KEY, new, {"source": "folder", "source_etag": ""}, str(JANUARY))
    assert begun.status == 200


def test_what_is_not_there(place: Place, tmp_path: Path) -> None:
    """Absent is no error until it is wanted, and then it is a month that is missing."""
    assert place.lake.metadata(KEY) is None
    place.lake.remove(KEY)
    with pytest.raises(NotPublished, match=JANUARY.stem):
        place.lake.get(KEY, tmp_path, str(JANUARY))


def test_remove(place: Place, new: Path) -> None:
    """Gone is gone."""
    place.put_old(new)
    place.lake.remove(KEY)
    assert place.other.metadata(KEY) is None


def test_an_empty_file_is_an_object(place: Place, tmp_path: Path) -> None:
    """There is no chunk to send, and still something to finish."""
    place.lake.put(KEY, _noise(tmp_path / "empty", 0, ""), NEW, str(JANUARY))
    assert place.lake.metadata(KEY) == NEW
    assert place.lake.get(KEY, tmp_path / "into", str(JANUARY)).read_bytes() == b""


def test_objects_are_files_of_the_fake_server(fake: Place, fake_root: Path, new: Path) -> None:
    """What reads the server's folder, as a warehouse in the tests does, finds them by bucket and key."""
    fake.lake.put(KEY, new, NEW, str(JANUARY))
    assert (fake_root / fake.bucket / "nyc" / KEY).read_bytes() == new.read_bytes()


def test_the_bucket_itself_is_never_asked_for(place: Place, new: Path, tmp_path: Path) -> None:
    """That would take another role than object rights; the library does it in the background if it is let."""
    place.lake.put(KEY, new, OLD, str(JANUARY))
    place.lake.get(KEY, tmp_path / "into", str(JANUARY))
    place.lake.remove(KEY)
    place.lake.metadata(KEY)
    for thread in threading.enumerate():
        if "background" in thread.name:
            thread.join(10)
    assert not [asked.path for asked in place.gate.asked if re.search(r"/b/[^/]+/?(\?|$)", asked.path)]


def test_sends_in_chunks_with_a_precondition(place: Place, new: Path) -> None:
    """One request a chunk; first in place of nothing, then in place of what was there."""
    place.lake.put(KEY, new, OLD, str(JANUARY))
    before = _generation(place)
    spans = [f"{start}-{min(start + CHUNK, SIZE) - 1}/{SIZE}" for start in range(0, SIZE, CHUNK)]
    assert _spans(place) == spans
    place.lake.put(KEY, new, NEW, str(JANUARY))
    begun = [asked.path for asked in place.gate.asked if _upload(asked)]
    assert [re.findall(r"ifGenerationMatch=(\d+)", path) for path in begun] == [["0"], [before]]


def test_tells_how_far_it_is(place: Place, new: Path, tmp_path: Path) -> None:
    """Bytes there and back, more often than a chunk goes."""
    events: list[Event] = []
    with listening(events.append):
        place.lake.put(KEY, new, NEW, str(JANUARY))
        place.lake.get(KEY, tmp_path / "into", str(JANUARY))
    for step in ("put", "get"):
        told = [event.done for event in events if event.step == step]
        assert told == sorted(told)
        assert told[-1] == SIZE
        assert len(told) >= SIZE // CHUNK
    assert {(event.total, event.unit, event.subject) for event in events} == {(SIZE, "bytes", str(JANUARY))}


# --- what breaks and is mended ---------------------------------------------------------------------------------------


def test_a_broken_upload_goes_on_where_it_stopped(strict: Place, new: Path, tmp_path: Path) -> None:
    """The bucket is asked what it holds, and no byte that it holds is sent again."""
    stored = 2 * CHUNK + 100_000
    strict.gate.faults.append(Fault(_chunk(2), cut=100_000))
    events: list[Event] = []
    with listening(events.append):
        strict.lake.put(KEY, new, NEW, str(JANUARY))
    assert strict.gate.sent() == SIZE
    after = [f"*/{SIZE}", f"{stored}-{stored + CHUNK - 1}/{SIZE}", f"{stored + CHUNK}-{SIZE - 1}/{SIZE}"]
    assert _spans(strict)[2:] == [f"{2 * CHUNK}-{3 * CHUNK - 1}/{SIZE}", *after]
    assert strict.bytes(tmp_path / "into") == new.read_bytes()
    assert any("Trying again" in event.note for event in events)


def test_a_line_that_breaks_all_the_time_still_gets_there(strict: Place, tmp_path: Path) -> None:
    """Attempts count while nothing further comes, not for the whole object."""
    large = _noise(tmp_path / "large", 3 * ATTEMPTS * CHUNK, "large")
    strict.gate.faults.append(Fault(lambda asked: "-" in asked.span, times=3 * ATTEMPTS, cut=CHUNK // 2))
    strict.lake.put(KEY, large, NEW, str(JANUARY))
    assert strict.gate.sent() == 3 * ATTEMPTS * CHUNK
    assert strict.bytes(tmp_path / "into") == large.read_bytes()


def test_a_lost_answer_to_the_last_chunk_is_asked_for(strict: Place, new: Path, tmp_path: Path) -> None:
    """Google's answer to a status request is the object, once it is finished."""
    resource = {"size": str(SIZE), "crc32c": checksum(new)}
    strict.gate.faults.append(Fault(_last_chunk, lost=True))
    strict.gate.faults.append(Fault(_status, status=200, body=json.dumps(resource).encode()))
    strict.lake.put(KEY, new, NEW, str(JANUARY))
    assert strict.gate.sent() == SIZE
    assert strict.bytes(tmp_path / "into") == new.read_bytes()


def test_a_finished_upload_that_was_forgotten_is_not_sent_twice(strict: Place, new: Path) -> None:
    """The emulator forgets a session with its end: then the object is looked at."""
    strict.gate.faults.append(Fault(_last_chunk, lost=True))
    strict.lake.put(KEY, new, NEW, str(JANUARY))
    assert strict.gate.sent() == SIZE
    assert strict.other.metadata(KEY) == NEW


@pytest.mark.parametrize("status", [404, 410])
def test_a_forgotten_upload_is_begun_anew(strict: Place, old: Path, new: Path, tmp_path: Path, status: int) -> None:
    """A few times; the object that is there stays."""
    strict.put_old(old)
    strict.gate.faults.append(Fault(_chunk(2), times=SESSIONS, status=status))
    with pytest.raises(LakeError, match="forgot"):
        strict.lake.put(KEY, new, NEW, str(JANUARY))
    assert strict.bytes(tmp_path / "into") == old.read_bytes()
    strict.gate.faults.append(Fault(_chunk(2), times=SESSIONS - 1, status=status))
    strict.lake.put(KEY, new, NEW, str(JANUARY))
    assert strict.bytes(tmp_path / "into") == new.read_bytes()


@pytest.mark.parametrize("status", BUSY)
def test_a_busy_bucket_is_asked_again(strict: Place, new: Path, tmp_path: Path, status: int) -> None:
    """Whatever the request, and told meanwhile."""
    for method in ("GET", "POST", "DELETE"):
        busy = Fault(lambda asked, method=method: asked.method == method, times=2, status=status)  # type: ignore[misc]
        strict.gate.faults.append(busy)
    strict.gate.faults.append(Fault(lambda asked: _chunk(1)(asked) or _status(asked), times=2, status=status))
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
    strict.gate.faults.append(Fault(_chunk(0), status=503))
    strict.gate.faults.append(Fault(_status, status=308))
    strict.lake.put(KEY, new, NEW, str(JANUARY))
    assert _spans(strict)[:3] == [f"0-{CHUNK - 1}/{SIZE}", f"*/{SIZE}", f"0-{CHUNK - 1}/{SIZE}"]
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
    assert len(_spans(strict)) == ATTEMPTS
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

    strict.gate.faults.append(Fault(_chunk(3), meanwhile=hold))
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


# --- what is refused -------------------------------------------------------------------------------------------------


def test_bytes_changed_on_the_way_are_refused(strict: Place, old: Path, new: Path, tmp_path: Path) -> None:
    """By the bucket, which was told the checksum beforehand: they are never seen, and the old object stays."""
    strict.put_old(old)
    strict.gate.faults.append(Fault(_chunk(1), flip=1000))
    with pytest.raises(LakeError, match="changed on the way"):
        strict.lake.put(KEY, new, NEW, str(JANUARY))
    assert strict.bytes(tmp_path / "into") == old.read_bytes()
    assert strict.other.metadata(KEY) == OLD


def test_a_bucket_that_took_other_bytes_is_told_of(fake: Place, new: Path) -> None:
    """Where a server doesn't compare, we do; nothing is removed, and the message says what is there."""
    fake.gate.faults.append(Fault(_chunk(1), flip=1000))
    with pytest.raises(LakeError, match="other bytes than were sent") as caught:
        fake.lake.put(KEY, new, NEW, str(JANUARY))
    assert "damaged" in caught.value.hint
    assert fake.other.metadata(KEY) == NEW


@pytest.mark.parametrize("when", [_upload, _last_chunk])
def test_an_object_replaced_meanwhile_is_left_alone(
    strict: Place, old: Path, new: Path, tmp_path: Path, when: Callable[[Asked], bool]
) -> None:
    """Google refuses the start or the end of an upload whose generation is over: 412, as no emulator does here."""
    strict.put_old(old)
    before = _generation(strict)
    theirs = _noise(tmp_path / "theirs", 5000, "theirs")
    put = lambda: strict.other.put(KEY, theirs, {"run": "theirs"}, str(JANUARY))  # noqa: E731
    strict.gate.faults.append(Fault(when, meanwhile=put, status=412, body=_words(412, "conditionNotMet")))
    with pytest.raises(LakeError, match="another run put it meanwhile"):
        strict.lake.put(KEY, new, NEW, str(JANUARY))
    (begun,) = [asked.path for asked in strict.gate.asked if _upload(asked)]
    assert f"ifGenerationMatch={before}&" in f"{begun}&"
    assert strict.bytes(tmp_path / "into") == theirs.read_bytes()


def test_the_same_put_by_another_run_is_as_good(strict: Place, old: Path, new: Path, tmp_path: Path) -> None:
    """Both wanted the same bytes with the same facts there: nobody has anything to understand."""
    strict.put_old(old)
    put = lambda: strict.other.put(KEY, new, NEW, str(JANUARY))  # noqa: E731
    strict.gate.faults.append(Fault(_last_chunk, meanwhile=put, status=412))
    strict.lake.put(KEY, new, NEW, str(JANUARY))
    assert strict.bytes(tmp_path / "into") == new.read_bytes()


def test_a_bucket_that_is_not_there_is_named(fake: Place, new: Path, tmp_path: Path) -> None:
    """When something is put, and in Google's words also when something is looked for."""
    lake = GcsLake(gcs_client(fake.gate.url), "not-there")
    with pytest.raises(LakeError, match="no bucket gs://not-there") as caught:
        lake.put(KEY, new, NEW, str(JANUARY))
    assert "`lake=`" in caught.value.hint
    said = _words(404, "The specified bucket does not exist.")
    fake.gate.faults.append(Fault(lambda asked: asked.method == "GET", times=2, status=404, body=said))
    with pytest.raises(LakeError, match="no bucket gs://not-there"):
        lake.metadata(KEY)
    with pytest.raises(LakeError, match="no bucket gs://not-there"):
        lake.get(KEY, tmp_path, str(JANUARY))


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_what_is_forbidden_names_the_role(strict: Place, new: Path, method: str) -> None:
    """With Google's own words, which name the account and what it lacks."""
    said = _words(403, "loader@trips.iam.gserviceaccount.com does not have storage.objects.create access.")
    strict.gate.faults.append(Fault(lambda asked: asked.method == method, times=9, status=403, body=said))
    step = strict.lake.remove if method == "DELETE" else lambda key: strict.lake.put(key, new, NEW, str(JANUARY))
    with pytest.raises(LakeError, match=r"not allowed.*loader@trips") as caught:
        step(KEY)
    assert ROLE in caught.value.hint
    assert f"gs://{strict.bucket}." in caught.value.hint
    assert sum(asked.method == method for asked in strict.gate.asked) == 1


def test_other_refusals_keep_their_words(strict: Place, new: Path) -> None:
    """Credentials that are not accepted, and rules of the bucket that nobody could foresee."""
    strict.gate.faults.append(Fault(_chunk(0), status=401))
    with pytest.raises(LakeError, match="credentials are not accepted"):
        strict.lake.put(KEY, new, NEW, str(JANUARY))
    strict.gate.faults.append(Fault(_upload, status=400, body=_words(400, "Object is under retention.")))
    with pytest.raises(LakeError, match=r"refused with 400.*retention"):
        strict.lake.put(KEY, new, NEW, str(JANUARY))


# As Cloud Storage wrote them; each was published with status 403, but for the last.
# Retention: in a public repository's notes on Terraform's state, "googleapi: Error 403: Object ...,
# retentionPolicyNotMet"; its reason is that of docs.cloud.google.com/storage/docs/bucket-lock ("403 -
# retentionPolicyNotMet").
RETENTION = (
    "Object 'tf-states-de-zoom/terraform/state/default.tflock' is subject to bucket's retention policy and cannot be "
    "deleted, overwritten or archived until 2023-08-03T22:52:52.086111-07:00"
)
# Holds: Google's own sample test, storage/cloud-client/bucket_lock_test.py of GoogleCloudPlatform/python-docs-samples.
HOLD = (
    "Object 'b/k' is under active Event-Based hold and cannot be deleted, overwritten or archived until hold is "
    "removed."
)
# github.com/googleapis/google-cloud-ruby/issues/6456 has its beginning.
QUOTA_PROJECT = (
    "name@email.com does not have serviceusage.services.use access to the Google Cloud project. "
    "Permission 'serviceusage.services.use' denied on resource (or it may not exist)."
)
# github.com/Superbalist/laravel-google-cloud-storage/issues/44, with the reason `required` and 400.
REQUESTER_PAYS = "Bucket is requester pays bucket but no user project provided."


@pytest.mark.parametrize(
    ("status", "reason", "said", "told", "hint"),
    [
        (403, "retentionPolicyNotMet", RETENTION, "retention policy keeps", "without a retention policy"),
        (403, "retentionPolicyNotMet", "No.", "retention policy keeps", "without a retention policy"),
        (403, "forbidden", HOLD, "a hold keeps", "gcloud storage objects update gs://{bucket}/nyc/"),
        (403, "forbidden", QUOTA_PROJECT, "not one that you may use", "set-quota-project"),
        (400, "required", REQUESTER_PAYS, "name a project that pays", "gs://{bucket} --no-requester-pays"),
    ],
)
def test_what_google_refuses_has_its_own_next_move(  # noqa: PLR0913, PLR0917 - a row of the table above
    strict: Place, new: Path, status: int, reason: str, said: str, told: str, hint: str
) -> None:
    """The role isn't what is lacking; Google's words and its reason follow."""
    error = {"code": status, "message": said, "errors": [{"domain": "global", "reason": reason, "message": said}]}
    strict.gate.faults.append(Fault(_last_chunk, status=status, body=json.dumps({"error": error}).encode()))
    with pytest.raises(LakeError, match=re.escape(told)) as caught:
        strict.lake.put(KEY, new, NEW, str(JANUARY))
    assert hint.format(bucket=strict.bucket) in caught.value.hint
    assert said in caught.value.message
    assert reason in caught.value.message
    assert ROLE not in caught.value.hint


RESOURCE = {"generation": "17", "size": str(SIZE), "crc32c": "AAAAAA=="}


@pytest.mark.parametrize(
    "body",
    [
        "<html>",
        "[]",
        "5",
        "{}",
        '{"error": "text"}',
        json.dumps(RESOURCE | {"size": "9" * 5000}),
        json.dumps(RESOURCE | {"size": "many"}),
        json.dumps(RESOURCE | {"generation": {}}),
        json.dumps(RESOURCE | {"metadata": ["a"]}),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_an_answer_that_is_none_of_googles_fails_its_month(strict: Place, new: Path, method: str, body: str) -> None:
    """A proxy in between may say anything: it is read into values, or the month fails for a passing reason."""
    strict.gate.faults.append(Fault(lambda asked: asked.method == method, times=100, status=200, body=body.encode()))
    with pytest.raises((Transient, LakeError)):
        strict.lake.put(KEY, new, NEW, str(JANUARY))


@pytest.mark.parametrize("status", [308, 429])
@pytest.mark.parametrize(
    "value", ["bytes=0-" + "9" * 5000, "bytes=0-9999999999", "bytes=0-²", "9" * 5000, "é", "-1", "1e9", "٣"]
)
def test_headers_of_any_shape_are_read(strict: Place, new: Path, status: int, value: str) -> None:
    """Those that are no number of bytes or seconds are as none."""
    headers = {"Range": value, "Retry-After": value} if value.isascii() else {}
    strict.gate.faults.append(Fault(_put, times=100, status=status, headers=headers))
    with pytest.raises(Transient):
        strict.lake.put(KEY, new, NEW, str(JANUARY))
    assert Pauses()(refusal("gs://b/k", 429, "", {"Retry-After": value})) is True


@pytest.mark.parametrize(
    "address", ["", "x", "ftp://127.0.0.1/", "http://" + "a" * 200 + ".example/", "http://[x", "http://x:99999/"]
)
def test_an_upload_is_sent_to_no_strange_address(strict: Place, new: Path, address: str) -> None:
    """What the bucket names as the session's address is one, or nothing is sent."""
    headers = {"Location": address} if address else {}
    strict.gate.faults.append(Fault(_upload, times=100, status=200, headers=headers, body=b"{}"))
    with pytest.raises(Transient):
        strict.lake.put(KEY, new, NEW, str(JANUARY))


def test_a_traceback_has_no_sessions_address(strict: Place, new: Path) -> None:
    """Python chains what an error came from, and a library's words hold the address that was asked."""
    address = "http://127.0.0.1:9/upload?upload_id=SECRET"
    strict.gate.faults.append(Fault(_upload, times=9, status=200, headers={"Location": address}, body=b"{}"))
    with pytest.raises(Transient, match="connection broke") as caught:
        strict.lake.put(KEY, new, NEW, str(JANUARY))
    assert "SECRET" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("said", [b"", b"[]", b"null", b"<html>", b"[" * 100_000], ids=repr)
def test_an_answer_that_makes_no_sense_is_asked_for_again(
    strict: Place, new: Path, tmp_path: Path, said: bytes
) -> None:
    """The object is there; only what the bucket said of it was rubbish."""
    strict.gate.faults.append(Fault(_last_chunk, status=308, headers={"Range": f"bytes=0-{'9' * 5000}"}))
    strict.gate.faults.append(Fault(_status, status=200, body=said))
    strict.lake.put(KEY, new, NEW, str(JANUARY))
    assert strict.bytes(tmp_path / "into") == new.read_bytes()


@pytest.mark.parametrize("said", [{"size": "x"}, {"size": "9" * 5000}, {"metadata": 5}, {"generation": []}])
def test_an_object_described_in_nonsense_is_asked_for_again(
    strict: Place, new: Path, tmp_path: Path, said: dict[str, Any]
) -> None:
    """What the bucket says of an object is values, or the question is put again."""
    strict.lake.put(KEY, new, NEW, str(JANUARY))
    whole = {"generation": "1", "size": "5", "crc32c": "AAAAAA==", "name": "x"} | said
    body = json.dumps(whole).encode()
    headers = {"Content-Type": "application/json"}
    strict.gate.faults.append(
        Fault(lambda asked: asked.method == "GET" and not _media(asked), status=200, headers=headers, body=body)
    )
    assert strict.lake.metadata(KEY) == NEW
    assert strict.bytes(tmp_path / "into") == new.read_bytes()


def test_the_upload_sessions_address_stays_here(strict: Place, new: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever knows it may send: it is in no event, no error and no log."""
    caplog.set_level(logging.INFO)
    strict.gate.faults.append(Fault(_chunk(1), cut=1000))
    strict.gate.faults.append(Fault(_chunk(3), status=400, body=_words(400, "no")))
    events: list[Event] = []
    stored = 1000 + CHUNK
    strict.gate.faults.append(Fault(lambda asked: f"bytes {stored + CHUNK}-" in asked.span, status=400))
    with listening(events.append), pytest.raises(LakeError) as caught:
        strict.lake.put(KEY, new, NEW, str(JANUARY))
    told = [caplog.text, str(caught.value), caught.value.hint, *(event.note for event in events)]
    assert not [text for text in told if "upload_id" in text or "127.0.0.1" in text]


# --- bringing it back ------------------------------------------------------------------------------------------------


def test_a_broken_download_goes_on_where_it_stopped(place: Place, new: Path, tmp_path: Path) -> None:
    """With the rest of the very same generation."""
    place.put_old(new)
    place.gate.faults.append(Fault(_media, times=2, short=300_000))
    assert place.lake.get(KEY, tmp_path / "into", str(JANUARY)).read_bytes() == new.read_bytes()
    asked = [asked for asked in place.gate.asked if _media(asked)]
    assert [one.headers["range"] for one in asked] == ["bytes=0-", "bytes=300000-", "bytes=600000-"]
    assert all(f"generation={_generation(place)}" in one.path for one in asked)


@pytest.mark.parametrize(("status", "told"), [(503, "503"), (206, "nothing came")])
def test_a_download_that_brings_nothing_is_given_up(
    strict: Place, new: Path, tmp_path: Path, status: int, told: str
) -> None:
    """Whether refused or empty; no file that could be taken for the object is left."""
    strict.put_old(new)
    strict.gate.faults.append(Fault(_media, times=1000, status=status))
    with pytest.raises(Transient, match=told):
        strict.lake.get(KEY, tmp_path / "into", str(JANUARY))
    assert sum(_media(asked) for asked in strict.gate.asked) == ATTEMPTS
    assert not [path for path in (tmp_path / "into").iterdir() if path.suffix != ".part"]


def test_damaged_bytes_are_not_taken(place: Place, new: Path, tmp_path: Path) -> None:
    """The checksum is compared with the bucket's; the next attempt brings the right ones."""
    place.put_old(new)
    wrong = bytearray(new.read_bytes())
    wrong[1000] ^= 1
    place.gate.faults.append(Fault(_media, status=200, body=bytes(wrong)))
    with pytest.raises(Transient, match="damaged"):
        place.lake.get(KEY, tmp_path / "into", str(JANUARY))
    assert list((tmp_path / "into").iterdir()) == []
    assert place.lake.get(KEY, tmp_path / "into", str(JANUARY)).read_bytes() == new.read_bytes()


def test_an_object_replaced_while_it_is_read_is_not_mixed(strict: Place, old: Path, new: Path, tmp_path: Path) -> None:
    """Its generation is gone: Google answers 404, and reading it anew gives the other one."""
    strict.put_old(new)
    put = lambda: strict.other.put(KEY, old, NEW, str(JANUARY))  # noqa: E731
    strict.gate.faults.append(Fault(_media, short=300_000))
    strict.gate.faults.append(
        Fault(_media, meanwhile=put, times=ATTEMPTS, status=404, body=_words(404, "No such object"))
    )
    with pytest.raises(Transient, match="replaced it while it was read"):
        strict.lake.get(KEY, tmp_path / "into", str(JANUARY))
    assert sum(_media(asked) for asked in strict.gate.asked) == 2  # what is gone is not asked for again
    strict.gate.faults.clear()
    assert strict.lake.get(KEY, tmp_path / "into", str(JANUARY)).read_bytes() == old.read_bytes()


def test_an_object_that_is_open_is_read_from_any_place(place: Place, new: Path) -> None:
    """As a file is."""
    place.put_old(new)
    whole = new.read_bytes()
    with place.lake.open(KEY) as file:
        assert file.seek(-8, io.SEEK_END) == SIZE - 8
        assert file.read() == whole[-8:]
        file.seek(1000)
        assert (file.read(10), file.tell()) == (whole[1000:1010], 1010)
        file.seek(0)
        assert file.read() == whole


@pytest.mark.parametrize(
    ("status", "said", "kind", "told"),
    [
        (404, "No such object", Transient, "another run replaced it while it was read"),
        (403, "does not have storage.objects.get access", LakeError, "not allowed"),
    ],
)
def test_an_object_that_is_open_and_goes_is_told(  # noqa: PLR0913, PLR0917 - a row of the table above
    strict: Place, new: Path, status: int, said: str, kind: type[NycTaxiError], told: str
) -> None:
    """Replaced, or no longer to be read: in our words, at once."""
    strict.put_old(new)
    strict.gate.faults.append(Fault(_media, times=99, status=status, body=_words(status, said)))
    with strict.lake.open(KEY) as file, pytest.raises(kind, match=told):
        file.read(10)
    assert sum(_media(asked) for asked in strict.gate.asked) == 1


def test_a_full_disk_is_told(place: Place, new: Path, tmp_path: Path) -> None:
    """As an error that names the place."""
    place.put_old(new)
    with pytest.raises(LakeError, match="old"):
        place.lake.get(KEY, _noise(tmp_path / "old", 1, ""), str(JANUARY))


# --- who may enter ---------------------------------------------------------------------------------------------------


def test_no_credentials_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is moved, with the command that gives some."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="No credentials") as caught:
        open_lake("gs://trips-of-ours", tmp_path)
    assert "gcloud auth" in caught.value.hint


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (RefreshError("secret"), LakeError),  # type: ignore[no-untyped-call]
        (RefreshError("secret", retryable=True), Transient),  # type: ignore[no-untyped-call]
        (TransportError("secret"), Transient),  # type: ignore[no-untyped-call]
    ],
)
def test_credentials_that_fail_are_not_quoted(strict: Place, failure: Exception, kind: type[NycTaxiError]) -> None:
    """What an authority says of a key is its own business, and may hold it."""

    class Expired(Credentials):
        def refresh(self, _request: Any) -> None:
            raise failure

    lake = GcsLake(gcs_client(strict.gate.url, credentials=Expired()), strict.bucket)  # type: ignore[no-untyped-call]
    with pytest.raises(kind, match=type(failure).__name__) as caught:
        lake.metadata(KEY)
    assert "secret" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("size", [0, -CHUNK, CHUNK + 1, 1000])
def test_chunks_are_multiples_of_googles(size: int) -> None:
    """Google takes no others, and would say so only at the second one."""
    with pytest.raises(UsageError, match="chunks") as caught:
        GcsLake(gcs_client("127.0.0.1:1"), "trips-of-ours", chunk_bytes=size)
    assert "256 KiB" in caught.value.hint


def test_every_refusal_is_ours() -> None:
    """Whatever the status, it is an error with a next move."""
    for status in (0, 400, 401, 403, 404, 405, 409, 410, 411, 412, 413, 416, 418, 501):
        found = refusal("gs://trips-of-ours/nyc/key", status, "", {})
        assert isinstance(found, NycTaxiError)
        assert not isinstance(found, Transient)
        assert found.hint
