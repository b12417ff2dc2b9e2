"""What Google's libraries raise, in words that tell what to do. None of it repeats a credential."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import requests
from google.api_core import exceptions as google
from google.auth import exceptions as auth

from nyctaxi_etl.core.errors import NotPublished, NycTaxiError, Transient, UsageError, WarehouseError

if TYPE_CHECKING:
    from collections.abc import Sequence

# What the calls to BigQuery may raise; anything else is a bug.
GOOGLE_ERRORS = (google.GoogleAPIError, auth.GoogleAuthError, requests.RequestException, TimeoutError)
LIMIT_SETTING = "NYCTAXI_BIGQUERY_MAX_BYTES"
# "Transaction is aborted due to concurrent update against table p:d.t. Transaction ID: ..." of a transaction, "Could
# not serialize access to table p:d.t due to concurrent update" of a statement.
_CONFLICT = "due to concurrent update"
_PASSING = frozenset(
    {
        "backendError",
        "badGateway",
        "internalError",
        "jobBackendError",
        "jobInternalError",
        "jobRateLimitExceeded",
        "rateLimitExceeded",
        "tableUnavailable",
    }
)
_TEXT_CHARACTERS = 1000
_UNCHANGED = "The month is what it was before."


class _Fault(NamedTuple):
    """An error that is known by a sign in ``reason: text`` of Google's, and what we say to it."""

    sign: str
    kind: type[NycTaxiError]
    hint: str


_ROLES = "The account needs roles/bigquery.dataEditor on the dataset and roles/bigquery.jobUser on the project."
_OBJECTS = "The account needs roles/storage.objectViewer on the lake's bucket: BigQuery reads it in the account's name."
# The first row with a sign that is found is taken.
_FAULTS: Sequence[_Fault] = (
    _Fault(_CONFLICT, Transient, f"Another load was committed at the same moment. {_UNCHANGED} Run again."),
    _Fault(r"Not found: Table \S+_staging_", Transient, f"Another run cleared it away. {_UNCHANGED} Run again."),
    # Seen after a job was refused as a duplicate: googleapis/python-bigquery#2134.
    _Fault("Not found: Job", Transient, f"{_UNCHANGED} Run again."),
    _Fault("Not found: URI", NotPublished, "The lake doesn't have this month: put it there with `nyctaxi upload`."),
    _Fault(
        "requester pays",
        WarehouseError,
        "nyctaxi pays for no requests of others: turn it off (gcloud storage buckets update --no-requester-pays).",
    ),
    _Fault(
        r"serviceusage\.services\.use|permission to use project",
        WarehouseError,
        "Name a project that you may use: gcloud auth application-default set-quota-project PROJECT",
    ),
    _Fault(
        "accessNotConfigured|has not been used in project",
        WarehouseError,
        "Turn the service on, and wait some minutes: gcloud services enable bigquery.googleapis.com",
    ),
    # Denied though it is in no Google page on loading: a bucket's own role has it, those for objects don't.
    _Fault(
        r"storage\.buckets\.get",
        WarehouseError,
        "The account needs roles/storage.legacyBucketReader on the lake's bucket as well.",
    ),
    # "Access Denied: File gs://b/k: Access Denied", "Access Denied: BigQuery BigQuery: Permission denied while globbing
    # file pattern. A does not have storage.objects.get access to the Google Cloud Storage object."
    _Fault(r"Access Denied: File gs://|globbing file pattern|storage\.objects\.", WarehouseError, _OBJECTS),
    # Google names both: "Cannot read and write in different locations: source: US, destination: us-east4".
    _Fault(
        "different locations",
        UsageError,
        "Use a bucket and a dataset of one place: docs/lake.md has the pairs that fit. "
        "With NYCTAXI_GCS_LOCATION they are compared before anything moves.",
    ),
    _Fault(
        "Not found: Dataset",
        UsageError,
        "Make it where the bucket is: bq mk --location=LOCATION --dataset PROJECT:DATASET",
    ),
    _Fault(
        "billingNotEnabled|Billing has not been enabled",
        WarehouseError,
        "BigQuery's sandbox can't change rows: turn on billing for the project. A tebibyte read a month is free.",
    ),
    _Fault("bytesBilledLimitExceeded", WarehouseError, f"{_UNCHANGED} Raise {LIMIT_SETTING} if that is meant."),
    _Fault("quotaExceeded", WarehouseError, f"{_UNCHANGED} Wait until the quota is filled again, or have it raised."),
    _Fault("accessDenied", WarehouseError, _ROLES),
)


def error_of(error: Exception, dataset: str) -> NycTaxiError:
    """Return the error of ours that says what ``error`` of BigQuery's at ``dataset`` means."""
    if isinstance(error, google.GoogleAPICallError):
        return _of_call(error, dataset)
    if isinstance(error, auth.GoogleAuthError) and not isinstance(error, auth.TransportError):
        return no_credentials(error)
    cause = error.cause if isinstance(error, google.RetryError) and error.cause else error
    if isinstance(cause, google.GoogleAPICallError):
        return _of_call(cause, dataset)
    message = f"{dataset} did not answer ({type(cause).__name__})."
    return Transient(message, f"Is the network up? {_UNCHANGED} Run again.")


def unreadable_answer(error: Exception, dataset: str) -> Transient | None:
    """Return what is said of an answer that Google's library can't read; none if the error is of another code."""
    frames = error.__traceback__
    while frames and frames.tb_next:
        frames = frames.tb_next
    if frames is None or not str(frames.tb_frame.f_globals.get("__name__", "")).startswith("google."):
        return None
    return Transient(
        f"{dataset}: what came is no answer of BigQuery's ({type(error).__name__}).", f"{_UNCHANGED} Run again."
    )


def no_credentials(error: Exception) -> UsageError:
    """Return what is said when Google doesn't know who is asking; Google's own words could repeat the credential."""
    message = f"BigQuery can't be asked: no usable Google credentials ({type(error).__name__})."
    return UsageError(message, "Run `gcloud auth application-default login`, or configure a service account's key.")


def is_conflict(error: Exception) -> bool:
    """Tell whether a transaction was rolled back because another one changed the same table."""
    return isinstance(error, google.GoogleAPICallError) and _CONFLICT in str(error)


def text_of(error: google.GoogleAPICallError) -> str:
    """Return Google's message in one line, without the request's address and the job's id."""
    text = _first_value(error, "message") or str(error.message)
    return text.strip().partition("\n")[0][:_TEXT_CHARACTERS]


def _of_call(error: google.GoogleAPICallError, dataset: str) -> NycTaxiError:
    text, reason = text_of(error), _reason(error)
    message = f"{dataset}: {text}"
    if isinstance(error, google.Unauthorized):
        return no_credentials(error)
    if reason in _PASSING:
        return Transient(message, f"{_UNCHANGED} Run again.")
    for fault in _FAULTS:
        if re.search(fault.sign, f"{reason}: {text}", re.IGNORECASE):
            return fault.kind(message, fault.hint)
    if _is_passing(error, reason):
        return Transient(message, f"{_UNCHANGED} Run again.")
    return WarehouseError(f"{dataset} refused: {text}", _ROLES if isinstance(error, google.Forbidden) else _UNCHANGED)


def _is_passing(error: google.GoogleAPICallError, reason: str) -> bool:
    """Tell by the status alone; a 500 only without a reason, for Google's library makes one of any it doesn't know."""
    if isinstance(error, google.InternalServerError):
        return not reason
    return isinstance(error, google.ServerError | google.TooManyRequests)


def _reason(error: google.GoogleAPICallError) -> str:
    return _first_value(error, "reason")


def _first_value(error: google.GoogleAPICallError, name: str) -> str:
    """Return the first value of that name among Google's errors, which is whatever a server has sent."""
    try:
        return next((str(one[name]) for one in error.errors if isinstance(one, dict) and one.get(name)), "")
    except TypeError:  # the library makes a list of what isn't any
        return ""
