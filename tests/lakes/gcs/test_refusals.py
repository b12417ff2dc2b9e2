"""What a bucket, its keeper or its proxy refuses, and who may enter: said in our words, without a secret."""

from __future__ import annotations

import json
import logging
import re
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from google.auth.credentials import Credentials
from google.auth.exceptions import RefreshError, TransportError

from nyctaxi_etl.core.errors import LakeError, NycTaxiError, Transient, UsageError
from nyctaxi_etl.core.progress import Event, listening
from nyctaxi_etl.core.retry import Pauses
from nyctaxi_etl.lakes.gcs import GcsLake, gcs_client
from nyctaxi_etl.lakes.gcs_refusals import ROLE, refusal
from nyctaxi_etl.lakes.opening import open_lake
from support.bucket_place import (
    CHUNK,
    JANUARY,
    KEY,
    NEW,
    OLD,
    SIZE,
    Place,
    generation_of,
    google_error,
    is_chunk,
    is_last_chunk,
    is_media,
    is_put,
    is_status,
    is_upload,
)
from support.lake_files import noise
from support.proxy import Asked, Fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_bytes_changed_on_the_way_are_refused(strict: Place, old: Path, new: Path, tmp_path: Path) -> None:
    """By the bucket, which was told the checksum beforehand: they are never seen, and the old object stays."""
    strict.put_old(old)
    strict.gate.faults.append(Fault(is_chunk(1), flip=1000))
    with pytest.raises(LakeError, match="changed on the way"):
        strict.lake.put(KEY, new, NEW, str(JANUARY))
    assert strict.bytes(tmp_path / "into") == old.read_bytes()
    assert strict.other.metadata(KEY) == OLD


def test_a_bucket_that_took_other_bytes_is_told_of(fake: Place, new: Path) -> None:
    """Where a server doesn't compare, we do; nothing is removed, and the message says what is there."""
    fake.gate.faults.append(Fault(is_chunk(1), flip=1000))
    with pytest.raises(LakeError, match="other bytes than were sent") as caught:
        fake.lake.put(KEY, new, NEW, str(JANUARY))
    assert "damaged" in caught.value.hint
    assert fake.other.metadata(KEY) == NEW


@pytest.mark.parametrize("when", [is_upload, is_last_chunk])
def test_an_object_replaced_meanwhile_is_left_alone(
    strict: Place, old: Path, new: Path, tmp_path: Path, when: Callable[[Asked], bool]
) -> None:
    """Google refuses the start or the end of an upload whose generation is over: 412, as no emulator does here."""
    strict.put_old(old)
    before = generation_of(strict)
    theirs = noise(tmp_path / "theirs", 5000, "theirs")
    put = lambda: strict.other.put(KEY, theirs, {"run": "theirs"}, str(JANUARY))  # noqa: E731
    strict.gate.faults.append(Fault(when, meanwhile=put, status=412, body=google_error(412, "conditionNotMet")))
    with pytest.raises(LakeError, match="another run put it meanwhile"):
        strict.lake.put(KEY, new, NEW, str(JANUARY))
    (begun,) = [asked.path for asked in strict.gate.asked if is_upload(asked)]
    assert f"ifGenerationMatch={before}&" in f"{begun}&"
    assert strict.bytes(tmp_path / "into") == theirs.read_bytes()


def test_the_same_put_by_another_run_is_as_good(strict: Place, old: Path, new: Path, tmp_path: Path) -> None:
    """Both wanted the same bytes with the same facts there: nobody has anything to understand."""
    strict.put_old(old)
    put = lambda: strict.other.put(KEY, new, NEW, str(JANUARY))  # noqa: E731
    strict.gate.faults.append(Fault(is_last_chunk, meanwhile=put, status=412))
    strict.lake.put(KEY, new, NEW, str(JANUARY))
    assert strict.bytes(tmp_path / "into") == new.read_bytes()


def test_a_bucket_that_is_not_there_is_named(fake: Place, new: Path, tmp_path: Path) -> None:
    """When something is put, and in Google's words also when something is looked for."""
    lake = GcsLake(gcs_client(fake.gate.url), "not-there")
    with pytest.raises(LakeError, match="no bucket gs://not-there") as caught:
        lake.put(KEY, new, NEW, str(JANUARY))
    assert "`lake=`" in caught.value.hint
    said = google_error(404, "The specified bucket does not exist.")
    fake.gate.faults.append(Fault(lambda asked: asked.method == "GET", times=2, status=404, body=said))
    with pytest.raises(LakeError, match="no bucket gs://not-there"):
        lake.metadata(KEY)
    with pytest.raises(LakeError, match="no bucket gs://not-there"):
        lake.get(KEY, tmp_path, str(JANUARY))


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_what_is_forbidden_names_the_role(strict: Place, new: Path, method: str) -> None:
    """With Google's own words, which name the account and what it lacks."""
    said = google_error(403, "loader@trips.iam.gserviceaccount.com does not have storage.objects.create access.")
    strict.gate.faults.append(Fault(lambda asked: asked.method == method, times=9, status=403, body=said))
    step = strict.lake.remove if method == "DELETE" else lambda key: strict.lake.put(key, new, NEW, str(JANUARY))
    with pytest.raises(LakeError, match=r"not allowed.*loader@trips") as caught:
        step(KEY)
    assert ROLE in caught.value.hint
    assert f"gs://{strict.bucket}." in caught.value.hint
    assert sum(asked.method == method for asked in strict.gate.asked) == 1


def test_other_refusals_keep_their_words(strict: Place, new: Path) -> None:
    """Credentials that are not accepted, and rules of the bucket that nobody could foresee."""
    strict.gate.faults.append(Fault(is_chunk(0), status=401))
    with pytest.raises(LakeError, match="credentials are not accepted"):
        strict.lake.put(KEY, new, NEW, str(JANUARY))
    strict.gate.faults.append(Fault(is_upload, status=400, body=google_error(400, "Object is under retention.")))
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
    strict.gate.faults.append(Fault(is_last_chunk, status=status, body=json.dumps({"error": error}).encode()))
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
    strict.gate.faults.append(Fault(is_put, times=100, status=status, headers=headers))
    with pytest.raises(Transient):
        strict.lake.put(KEY, new, NEW, str(JANUARY))
    assert Pauses()(refusal("gs://b/k", 429, "", {"Retry-After": value})) is True


@pytest.mark.parametrize(
    "address", ["", "x", "ftp://127.0.0.1/", "http://" + "a" * 200 + ".example/", "http://[x", "http://x:99999/"]
)
def test_an_upload_is_sent_to_no_strange_address(strict: Place, new: Path, address: str) -> None:
    """What the bucket names as the session's address is one, or nothing is sent."""
    headers = {"Location": address} if address else {}
    strict.gate.faults.append(Fault(is_upload, times=100, status=200, headers=headers, body=b"{}"))
    with pytest.raises(Transient):
        strict.lake.put(KEY, new, NEW, str(JANUARY))


def test_a_traceback_has_no_sessions_address(strict: Place, new: Path) -> None:
    """Python chains what an error came from, and a library's words hold the address that was asked."""
    address = "http://127.0.0.1:9/upload?upload_id=SECRET"
    strict.gate.faults.append(Fault(is_upload, times=9, status=200, headers={"Location": address}, body=b"{}"))
    with pytest.raises(Transient, match="connection broke") as caught:
        strict.lake.put(KEY, new, NEW, str(JANUARY))
    assert "SECRET" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("said", [b"", b"[]", b"null", b"<html>", b"[" * 100_000], ids=repr)
def test_an_answer_that_makes_no_sense_is_asked_for_again(
    strict: Place, new: Path, tmp_path: Path, said: bytes
) -> None:
    """The object is there; only what the bucket said of it was rubbish."""
    strict.gate.faults.append(Fault(is_last_chunk, status=308, headers={"Range": f"bytes=0-{'9' * 5000}"}))
    strict.gate.faults.append(Fault(is_status, status=200, body=said))
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
        Fault(lambda asked: asked.method == "GET" and not is_media(asked), status=200, headers=headers, body=body)
    )
    assert strict.lake.metadata(KEY) == NEW
    assert strict.bytes(tmp_path / "into") == new.read_bytes()


def test_the_upload_sessions_address_stays_here(strict: Place, new: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever knows it may send: it is in no event, no error and no log."""
    caplog.set_level(logging.INFO)
    strict.gate.faults.append(Fault(is_chunk(1), cut=1000))
    strict.gate.faults.append(Fault(is_chunk(3), status=400, body=google_error(400, "no")))
    events: list[Event] = []
    stored = 1000 + CHUNK
    strict.gate.faults.append(Fault(lambda asked: f"bytes {stored + CHUNK}-" in asked.span, status=400))
    with listening(events.append), pytest.raises(LakeError) as caught:
        strict.lake.put(KEY, new, NEW, str(JANUARY))
    told = [caplog.text, str(caught.value), caught.value.hint, *(event.note for event in events)]
    assert not [text for text in told if "upload_id" in text or "127.0.0.1" in text]


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
