"""What goes wrong on the way: the month is wholly the old one or wholly the new one, and the error says what to do."""

from __future__ import annotations

import traceback
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from google.api_core import exceptions as google_errors
from google.auth.credentials import AnonymousCredentials

from nyctaxi_etl.core.errors import (
    CorruptFile,
    NotPublished,
    NycTaxiError,
    QualityError,
    Transient,
    UsageError,
    WarehouseError,
)
from nyctaxi_etl.core.progress import Event, listening
from nyctaxi_etl.warehouses.bigquery.client import bigquery_client
from nyctaxi_etl.warehouses.bigquery.errors import error_of
from nyctaxi_etl.warehouses.bigquery.jobs import Jobs
from nyctaxi_etl.warehouses.bigquery.sql import counted
from nyctaxi_etl.warehouses.bigquery.warehouse import BigQuery
from nyctaxi_etl.warehouses.ledger import LEDGER_TABLE
from support.bigquery_place import CONFLICT, JANUARY, Place, monthly
from support.bigquery_proxy import PROJECT, Answer, Fault, failed, refusal, running
from support.months import TRIPS, stage_rows, trips

if TYPE_CHECKING:
    from pathlib import Path


def test_rows_that_do_not_add_up_are_refused(place: Place, old: list[tuple[Any, ...]], tmp_path: Path) -> None:
    """An object with fewer rows than were read and kept is not committed, and its staging table is dropped.

    The emulator takes the rows back from copies it made; that BigQuery rolls back a script that ends with an error
    before its commit is its documented word.
    """
    with pytest.raises(QualityError, match=r"green/2021-01.* trips .* 4 rows .* 5 "):
        place.put(stage_rows(tmp_path, "2021-01", trips([6, 7, 8, 9]), lost=1))
    assert place.rows() == old
    assert [row.run_id for row in place.ledger()] == ["old", "old"]
    assert place.tables() == {"trips", LEDGER_TABLE}


def test_the_words_of_a_check_are_found_among_bigquerys() -> None:
    """It says where in the script it was, which the emulator doesn't."""
    text = "Query error: nyctaxi counted 4 rows in table 1 of the transaction at [5:1]"
    assert counted(text) == (1, 4)
    assert counted(CONFLICT) is None


@pytest.mark.parametrize("error", [CorruptFile("torn"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
def test_a_broken_off_wait_cancels_the_transaction(
    place: Place, old: list[tuple[Any, ...]], error: BaseException, tmp_path: Path
) -> None:
    """The error comes through as it is, BigQuery is told to stop, and a second try goes well."""
    place.fail("script", running)
    staged = stage_rows(tmp_path, "2021-01", trips(range(10, 20)))

    def listen(_event: Event) -> None:
        if place.proxy.started("script"):
            raise error

    with listening(listen), pytest.raises(type(error)) as caught:
        place.put(staged)
    assert caught.value is error
    (script,) = place.proxy.started("script")
    (cancel,) = (call.path for call in place.proxy.calls if "/cancel" in call.path)
    assert cancel.startswith(f"/bigquery/v2/projects/{PROJECT}/jobs/{script.job_id}/cancel?location=US")
    assert place.rows() == old
    assert place.put(staged) == 10


def test_a_month_that_the_lake_does_not_have_is_missing(place: Place, tmp_path: Path) -> None:
    """The object's name is told, and what to do."""
    staged = replace(stage_rows(tmp_path, "2021-01", trips([1])), uri="gs://lake/none.parquet#17")
    with BigQuery(place.client(), place.dataset) as warehouse:
        with pytest.raises(NotPublished, match=r"gs://lake/none\.parquet") as caught:
            warehouse.replace("trips", TRIPS, staged, "run")
        assert "nyctaxi upload" in caught.value.hint
    assert place.tables() == {"trips", LEDGER_TABLE}


def test_a_month_that_is_not_at_gs_is_refused(place: Place, tmp_path: Path) -> None:
    """Before BigQuery is asked for anything."""
    staged = stage_rows(tmp_path, "2021-01", trips([1]))
    assert staged.uri == ""
    with BigQuery(place.client(), place.dataset) as warehouse, pytest.raises(UsageError, match="gs://"):
        warehouse.replace("trips", TRIPS, staged, "run")
    assert place.proxy.calls == []


def test_an_object_that_is_no_parquet_is_told(place: Place, tmp_path: Path) -> None:
    """In BigQuery's words."""
    (place.bucket.root / "lake").mkdir(exist_ok=True)
    (place.bucket.root / "lake" / "page.parquet").write_text("<html>")
    staged = replace(stage_rows(tmp_path, "2021-01", trips([1])), uri="gs://lake/page.parquet")
    with (
        BigQuery(place.client(), place.dataset) as warehouse,
        pytest.raises(WarehouseError, match="refused: Error while reading data"),
    ):
        warehouse.replace("trips", TRIPS, staged, "run")


# As Google wrote them: github.com/GoogleCloudPlatform/data-science-on-gcp/issues/170 (a load job),
# Likewise github.com/tuva-health/tuva-core/issues/1319 and github.com/airbytehq/airbyte/issues/17013.
# With "500" before and "reason: bytesBilledLimitExceeded" after it, github.com/exmergo/dex/issues/320.
# At the last two, github.com/google-github-actions/auth/issues/250, googleapis/google-cloud-python/issues/4674.
FILE_DENIED = "Access Denied: File gs://ds-on-gcp-401703-cf-staging/flights/raw/201603.csv.gz: Access Denied"
GLOB_DENIED = (
    "Access Denied: BigQuery BigQuery: Permission denied while globbing file pattern. Caller does not have "
    "storage.objects.get access to the Google Cloud Storage object. Permission 'storage.objects.get' denied on "
    "resource (or it may not exist). Please make sure gs://b/k is accessible via appropriate IAM roles, e.g. Storage "
    "Object Viewer or Storage Object Creator."
)
# The same sentence with the bucket's right, as Cloud Storage says it of itself:
# "...@developer.gserviceaccount.com does not have storage.buckets.get access to the Google Cloud Storage bucket."
BUCKET_DENIED = GLOB_DENIED.replace("storage.objects.get", "storage.buckets.get")
ELSEWHERE = "Cannot read and write in different locations: source: US, destination: us-east4"
OVER_LIMIT = "Query exceeded limit for bytes billed: 163595928. 164626432 or higher required."
NO_QUOTA_PROJECT = (
    "Caller does not have required permission to use project xxx-yyy. Grant the caller the "
    "roles/serviceusage.serviceUsageConsumer role, or a custom role with the serviceusage.services.use permission, "
    "by visiting https://console.developers.google.com/iam-admin/iam/project?project=xxx-yyy and then retry."
)
REQUESTER_PAYS = "Bucket is requester pays bucket but no user project provided."
OFF = (
    "BigQuery API has not been used in project 17 before or it is disabled. Enable it by visiting "
    "https://console.developers.google.com/apis/api/bigquery.googleapis.com/overview?project=17 then retry."
)


@pytest.mark.parametrize(
    ("status", "reason", "text", "kind", "hint"),
    [
        (403, "accessDenied", "Access Denied: Table p:d.t", WarehouseError, "roles/bigquery.dataEditor"),
        (403, "accessDenied", "x does not have storage.objects.get access", WarehouseError, "storage.objectViewer"),
        (403, "accessDenied", FILE_DENIED, WarehouseError, "roles/storage.objectViewer on the lake's bucket"),
        (403, "accessDenied", GLOB_DENIED, WarehouseError, "roles/storage.objectViewer on the lake's bucket"),
        (403, "accessDenied", BUCKET_DENIED, WarehouseError, "roles/storage.legacyBucketReader"),
        (403, "forbidden", NO_QUOTA_PROJECT, WarehouseError, "set-quota-project"),
        (403, "accessNotConfigured", OFF, WarehouseError, "gcloud services enable bigquery.googleapis.com"),
        (400, "required", REQUESTER_PAYS, WarehouseError, "--no-requester-pays"),
        (400, "invalid", ELSEWHERE, UsageError, "NYCTAXI_GCS_LOCATION"),
        (500, "bytesBilledLimitExceeded", OVER_LIMIT, WarehouseError, "NYCTAXI_BIGQUERY_MAX_BYTES"),
        (500, "notImplemented", "Unheard of.", WarehouseError, "what it was before"),
        (500, "internalError", "An internal error occurred", Transient, "Run again"),
        (502, "somethingNew", "Bad gateway", Transient, "Run again"),
        (403, "forbidden", "No.", WarehouseError, "roles/bigquery.jobUser"),
        (403, "billingNotEnabled", "Billing has not been enabled for this project.", WarehouseError, "billing"),
        (403, "quotaExceeded", "Quota exceeded: your table exceeded quota", WarehouseError, "quota"),
        (400, "bytesBilledLimitExceeded", "Query exceeded limit.", WarehouseError, "NYCTAXI_BIGQUERY_MAX_BYTES"),
        (400, "invalidQuery", "Syntax error", WarehouseError, "what it was before"),
        (401, "authError", "Invalid Credentials", UsageError, "gcloud auth application-default login"),
        (404, "notFound", "Not found: Dataset p:d", UsageError, "bq mk --location"),
        (404, "notFound", "Not found: Job p:US.17", Transient, "Run again"),
        (404, "notFound", "Not found: Table p:d.trips_2021_01_staging_17", Transient, "Run again"),
        (429, "rateLimitExceeded", "Exceeded rate limits", Transient, "Run again"),
        (503, "backendError", "Try again", Transient, "Run again"),
    ],
)
def test_what_google_refuses_has_a_next_move(  # noqa: PLR0913, PLR0917 - a row of the table above
    place: Place, status: int, reason: str, text: str, kind: type[NycTaxiError], hint: str
) -> None:
    """Each of its errors becomes one of ours that says where it was and what to do."""
    place.fail("statement", lambda _call, _answer: refusal(status, reason, text), times=100)
    with (
        BigQuery(place.client(), place.dataset, retry_seconds=0.2) as warehouse,
        pytest.raises(NycTaxiError) as caught,
    ):
        warehouse.query("SELECT 1")
    assert type(caught.value) is kind
    assert hint in caught.value.hint
    assert kind is UsageError or place.dataset in caught.value.message
    assert "127.0.0.1" not in "".join(traceback.format_exception(caught.value))


def test_a_job_over_its_limit_is_not_tried_again(place: Place, tmp_path: Path) -> None:
    """Google's library makes a 500 of every reason of a failed job that it doesn't know, and this is one."""
    place.fail("script", lambda call, _answer: failed(call, "bytesBilledLimitExceeded", OVER_LIMIT), times=100)
    with pytest.raises(WarehouseError, match="164626432 or higher") as caught:
        place.put(stage_rows(tmp_path, "2021-01", trips([1])), max_bytes=10**8)
    assert "NYCTAXI_BIGQUERY_MAX_BYTES" in caught.value.hint
    assert place.tables() == {"trips", LEDGER_TABLE}


@pytest.mark.parametrize("errors", [None, "text", {"reason": "x"}, ["text"], [None], [{"reason": None, "message": 5}]])
def test_errors_of_any_shape_are_error_of(errors: object) -> None:
    """What a server sends as its errors is anything: it is read into words or none."""
    error = google_errors.BadRequest("No.", errors=errors)  # type: ignore[no-untyped-call]
    assert isinstance(error_of(error, "here"), WarehouseError)


@pytest.mark.parametrize("body", [["a"], {"a": 1}, {"error": "text"}, {"error": ["a"]}, {"datasetReference": 5}])
@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("kind", ["GET", "POST"])
def test_an_answer_that_is_none_of_bigquerys(place: Place, kind: str, status: int, body: Any, tmp_path: Path) -> None:
    """A proxy in between may say anything: the month fails, and it is no bug."""
    place.proxy.faults.append(Fault(lambda call: call.method == kind, lambda *_: Answer(status, body), times=100))
    with pytest.raises(NycTaxiError):
        place.put(stage_rows(tmp_path, "2021-01", trips([1])))


def test_our_own_mistakes_stay_bugs(place: Place) -> None:
    """Only what fails within Google's library is laid to an answer."""
    with pytest.raises(AttributeError), Jobs(place.client(), place.dataset).translated_errors():
        getattr(place, "no_such")  # noqa: B009 - that it isn't there is the point


def test_a_dataset_that_is_not_there(place: Place) -> None:
    """The hint makes one, with a location."""
    with BigQuery(place.client(), "nowhere") as warehouse, pytest.raises(UsageError, match="nowhere") as caught:
        warehouse.loaded("trips")
    assert "bq mk --location" in caught.value.hint


def test_a_server_that_does_not_answer(place: Place) -> None:
    """It is asked again for a while; then the month fails for a passing reason."""
    client = bigquery_client(PROJECT, "127.0.0.1:9")
    with BigQuery(client, place.dataset, retry_seconds=0.5) as warehouse, pytest.raises(Transient, match="did not"):
        warehouse.loaded("trips")


def test_without_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Google's library finds none on this machine, or knows of no project: the hints say what to do."""
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "BIGQUERY_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(UsageError, match="no usable Google credentials") as caught:
        bigquery_client("p", None)
    assert "gcloud auth application-default login" in caught.value.hint
    nobody = AnonymousCredentials()  # type: ignore[no-untyped-call]
    monkeypatch.setattr("google.auth.default", lambda **_: (nobody, None))
    with pytest.raises(UsageError, match="no project"):
        bigquery_client("", None)


def test_a_retry_adopts_the_load_job(place: Place, tmp_path: Path) -> None:
    """The answer to the start of a load job is lost: the second try finds the job done and takes its rows."""
    staged = stage_rows(tmp_path, "2021-01", trips([1, 2, 3]))
    place.fail("load", lambda _call, _answer: refusal(409, "duplicate", "Already Exists: Job"), late=True)
    assert place.put(staged) == 3
    (load,) = place.proxy.started("load")
    assert any(f"/jobs/{load.job_id}" in call.path for call in place.proxy.calls if call.method == "GET")
    assert place.rows() == monthly(JANUARY, [1, 2, 3])


def test_a_retry_adopts_what_was_staged_before_the_commit_failed(place: Place, tmp_path: Path) -> None:
    """After a failure that may pass the staging table stays, and the next run moves no byte into it."""
    staged = stage_rows(tmp_path, "2021-01", trips([1, 2, 3]))
    place.fail("script", lambda call, _answer: failed(call, "backendError", "Backend error."))
    with pytest.raises(Transient):
        place.put(staged)
    assert place.put(staged) == 3
    one, two = place.proxy.started("load")
    assert one.job_id == two.job_id  # refused with 409, and found done
    assert place.tables() == {"trips", LEDGER_TABLE}


def test_a_failed_load_job_is_not_adopted(place: Place, tmp_path: Path) -> None:
    """Its id is used up: the next attempt has the next number."""
    staged = stage_rows(tmp_path, "2021-01", trips(range(3)))
    path = place.bucket.root / place.bucket.put(staged).removeprefix("gs://")
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    with pytest.raises(WarehouseError):
        place.put(staged)
    path.write_bytes(whole)
    assert place.put(staged) == 3
    first, again, second = (call.job_id for call in place.proxy.started("load"))
    assert first == again == f"{second.removesuffix('_2')}_1"


def test_a_month_forced_again_is_loaded_again(place: Place, tmp_path: Path) -> None:
    """The job of the first time is done, but its rows are gone with the staging table."""
    staged = stage_rows(tmp_path, "2021-01", trips([1, 2, 3]))
    assert [place.put(staged) for _ in range(3)] == [3, 3, 3]
    assert place.rows() == monthly(JANUARY, [1, 2, 3])
    attempts = [call.job_id.rpartition("_")[2] for call in place.proxy.started("load")]
    assert attempts == ["1", "1", "2", "1", "2", "3"]


def test_other_content_has_another_job(place: Place, tmp_path: Path) -> None:
    """A changed file, declaration, rule or generation is loaded by a job, and into a staging table, of its own."""
    staged = stage_rows(tmp_path, "2021-01", trips([1]))
    uri = place.bucket.put(staged)
    others = [
        replace(staged, lineage=replace(staged.lineage, source_sha256="0" * 64)),
        replace(staged, lineage=replace(staged.lineage, dataset_version="new")),
        replace(staged, lineage=replace(staged.lineage, rules="new")),
    ]
    for generation, month in [("", staged), ("#1", staged), ("#2", staged), *(("", other) for other in others)]:
        with BigQuery(place.client(), place.dataset) as warehouse:
            warehouse.replace("trips", TRIPS, replace(month, uri=uri + generation), "run")
    loads = place.proxy.started("load")
    assert len({call.job_id for call in loads}) == 6
    assert {tuple(call.body["configuration"]["load"]["sourceUris"]) for call in loads} == {(uri,)}
    assert len({call.body["configuration"]["load"]["destinationTable"]["tableId"] for call in loads}) == 6
