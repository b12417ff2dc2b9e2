"""What a bucket answers when it does not do what it was asked, in words that tell what to do."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nyctaxi_etl.core.answer import retry_after
from nyctaxi_etl.core.errors import LakeError, NycTaxiError, Transient

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from requests import Response

ROLE = "roles/storage.objectUser"
RUN_AGAIN = "Run the same command again: months that are there are left as they are."
CREDENTIALS = "Run `gcloud auth application-default login`, or register a service account (`nyctaxi blocks-init`)."
_FINE = range(200, 400)
_BUSY = frozenset({408, 429, 500, 502, 503, 504})
_EXPLANATION_CHARACTERS = 300


class MissingError(LakeError):
    """The bucket isn't there; where an object was asked for, it may be the object."""


class SessionGoneError(LakeError):
    """The bucket knows nothing of the upload any more: it is to be begun anew."""


class ReplacedError(LakeError):
    """The object is no longer the one that was to be replaced."""


_MISSING = (
    MissingError,
    "there is no bucket {bucket}.",
    "Create it (`gcloud storage buckets create`), or name another with `lake=`.",
)
# What an answer means, and the next move.
_REFUSALS: Mapping[int, tuple[type[LakeError], str, str]] = {
    401: (
        LakeError,
        "the credentials are not accepted.",
        "Log in again (`gcloud auth application-default login`), or register the block gcp-credentials anew.",
    ),
    403: (LakeError, "not allowed.", f"Give the account the role {ROLE} on the bucket {{bucket}}."),
    404: _MISSING,
    410: _MISSING,
    412: (
        ReplacedError,
        "another run put it meanwhile; that one stays.",
        "Run the same command again: it compares with what is there now.",
    ),
}
# The same by what is said with it, which is more exact.
_WORDS: Sequence[tuple[int, re.Pattern[str], str, str]] = (
    (
        400,
        re.compile("crc32c", re.IGNORECASE),
        "its bytes were changed on the way, and refused; the object is what it was.",
        "Run the same command again; if it persists, test this machine's memory and network.",
    ),
    (
        400,
        re.compile("requester pays|UserProjectMissing", re.IGNORECASE),
        "whoever asks this bucket has to name a project that pays, and nyctaxi names none.",
        "Turn that off (`gcloud storage buckets update {bucket} --no-requester-pays`), or use a bucket of your own.",
    ),
    (
        403,
        re.compile("retentionPolicyNotMet|retention policy|object retention", re.IGNORECASE),
        "the bucket's retention policy keeps what is there: it can't be replaced yet.",
        "Use a bucket without a retention policy for the lake, or wait until then.",
    ),
    (
        403,
        re.compile("objectUnderActiveHold|under active .{1,20} hold", re.IGNORECASE),
        "a hold keeps what is there from being replaced.",
        "Release it: gcloud storage objects update {uri} --no-event-based-hold --no-temporary-hold",
    ),
    (
        403,
        re.compile(r"serviceusage\.services\.use|UserProjectAccessDenied|permission to use project", re.IGNORECASE),
        "the project that your login's requests are counted for is not one that you may use.",
        "Name one that you may: gcloud auth application-default set-quota-project PROJECT",
    ),
)


@contextmanager
def google_errors(uri: str) -> Iterator[None]:
    """Turn what Google's libraries raise in the block into ``LakeError`` or ``Transient``; ``uri`` was asked for.

    What they quote may be secret, but for the bucket's own explanation. An answer that can't be read fails in Google's
    library in many ways: only its calls belong in the block.
    """
    import requests
    import urllib3
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import GoogleAuthError, TransportError

    try:
        yield
    except GoogleAPICallError as error:
        answer, status = error.response, int(error.code or 0)
        words, headers = (explanation(answer), answer.headers) if answer is not None else ("", {})
        if status in _FINE:  # it lacks what was asked for
            raise unreadable(uri, error) from None
        raise refusal(uri, status, words, headers) from None
    except GoogleAuthError as error:
        if error.retryable or isinstance(error, TransportError):
            raise broken(uri, error) from None
        message = f"{uri}: Google refused the credentials ({type(error).__name__})."
        raise LakeError(message, CREDENTIALS) from None
    except (requests.RequestException, urllib3.exceptions.HTTPError, ConnectionError) as error:
        raise broken(uri, error) from None
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise unreadable(uri, error) from None


def refusal(uri: str, status: int, explained: str, headers: Mapping[str, str]) -> NycTaxiError:
    """Return what the bucket's answer means; ``explained`` is its own explanation, ``uri`` what was asked for."""
    words = f" It said: {explained}" if explained else ""
    if status in _BUSY:
        after = retry_after(headers.get("Retry-After", ""))
        return Transient(f"{uri}: the bucket answered {status}.{words}", RUN_AGAIN, after)
    kind, meaning, hint = _meaning(status, explained)
    bucket = "/".join(uri.split("/")[:3])
    return kind(f"{uri}: {meaning.format(bucket=bucket)}{words}", hint.format(bucket=bucket, uri=uri))


def _meaning(status: int, explained: str) -> tuple[type[LakeError], str, str]:
    for code, sign, meaning, hint in _WORDS:
        if code == status and sign.search(explained):
            return LakeError, meaning, hint
    return _REFUSALS.get(status, (LakeError, f"refused with {status}.", "See what it says."))


def unreadable(uri: str, error: Exception) -> Transient:
    """Return the error for an answer that is none of the bucket's, so that no part of it can be taken."""
    return Transient(f"{uri}: what came is no answer of a bucket ({type(error).__name__}).", RUN_AGAIN)


def broken(uri: str, error: Exception) -> Transient:
    """Return the error for a connection that broke; the library's own words may hold addresses, so only its kind."""
    return Transient(f"{uri}: the connection broke ({type(error).__name__}).", RUN_AGAIN)


def explanation(answer: Response) -> str:
    """Return Google's own words on a refusal, if the answer has them: they name the account and what it lacks.

    Its word for the reason follows in brackets, where it isn't in them.
    """
    try:
        error = answer.json()["error"]
        words = " ".join(str(error["message"]).split())[:_EXPLANATION_CHARACTERS]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    try:
        reason = str(error["errors"][0]["reason"])[:_EXPLANATION_CHARACTERS]
    except (LookupError, TypeError):
        return words
    return words if reason in words else f"{words} ({reason})"
