"""Send one file to a bucket in chunks, go on after a break where the bucket stopped, and never send a byte twice.

The address of an upload session lets anyone send who knows it: it stands in no message and in no log above DEBUG.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from nyctaxi_etl.download import pause
from nyctaxi_etl.errors import LakeError, NycTaxiError, Transient
from nyctaxi_etl.progress import Event, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from requests import Response, Session

    from nyctaxi_etl.model import Partition

ATTEMPTS = 6  # without a byte of progress
ROLE = "roles/storage.objectUser"
# A block must go, and an answer begin, within these seconds; there is no limit for a whole object.
CONNECT_SECONDS, READ_SECONDS = 30.0, 60.0
BLOCK_BYTES = 64 << 10
_READ_BYTES = 1 << 20

_STORED, _INCOMPLETE = frozenset({200, 201}), 308
_GONE = frozenset({404, 410})
_BUSY = frozenset({408, 429, 500, 502, 503, 504})
_AGAIN = "Run the same command again: months that are there are left as they are."

Resource = dict[str, Any]
Result = TypeVar("Result")


class MissingError(LakeError):
    """The bucket isn't there; where an object was asked for, it may be the object."""


class SessionGoneError(LakeError):
    """The bucket knows nothing of the upload any more: it is to be begun anew."""


class ReplacedError(LakeError):
    """The object is no longer the one that was to be replaced."""


_MISSING = (
    MissingError,
    "there is no bucket {bucket}.",
    "Create it (`gcloud storage buckets create`), or name another with --lake.",
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
_CHANGED = (
    LakeError,
    "its bytes were changed on the way, and refused; the object is what it was.",
    "Run the same command again; if it persists, test this machine's memory and network.",
)


@dataclass(frozen=True)
class Parcel:
    """A file on its way to ``uri``: ``crc32c`` is Google's way of writing the checksum, ``size`` counts bytes."""

    partition: Partition
    uri: str
    path: Path
    size: int
    crc32c: str


@dataclass(frozen=True)
class _Slice:
    """A part of a file as the body of a request; a body with a length is sent as it is read."""

    parcel: Parcel
    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start

    def __iter__(self) -> Iterator[bytes]:
        done = self.start
        with self.parcel.path.open("rb") as file:
            file.seek(done)
            while block := file.read(min(BLOCK_BYTES, self.end - done)):
                yield block
                done += len(block)
                tell(Event(self.parcel.partition, "put", done, self.parcel.size, "bytes"))


def checksum(path: Path) -> str:
    """Return a file's crc32c as Google writes it: base64 of four bytes, the highest first."""
    import google_crc32c

    crc = 0
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            crc = google_crc32c.extend(crc, block)
    return base64.b64encode(crc.to_bytes(4, "big")).decode()


def send(http: Session, url: str, parcel: Parcel, chunk_bytes: int) -> Resource:
    """Send ``parcel`` to the upload session at ``url`` and return what the bucket says of the finished object.

    Each chunk is tried until ``ATTEMPTS`` in a row brought nothing further. Raises ``SessionGoneError``,
    ``ReplacedError``, ``LakeError`` if the bucket refuses, ``Transient`` if no attempt brought anything further.
    """
    stored: int | Resource = 0
    while isinstance(stored, int):
        stored = _further(http, url, parcel, stored, chunk_bytes)
    return stored


def trying(work: Callable[[int], Result], partition: Partition | None = None, step: str = "") -> Result:
    """Return ``work(attempt)``, tried again with growing pauses while it raises ``Transient``, and say so meanwhile."""
    import stamina

    growing = stamina.retry_context(pause, ATTEMPTS, timeout=None, wait_initial=1.0, wait_max=30.0, wait_jitter=1.0)
    for attempt in growing:
        with attempt:
            try:
                return work(attempt.num)
            except Transient as broken:
                if partition and attempt.num < ATTEMPTS:
                    wait = pause(broken)
                    seconds = attempt.next_wait if wait is True else wait
                    note = f"{broken.message} Trying again in {seconds:.0f} s."
                    tell(Event(partition, step, unit="bytes", note=note))
                raise
    message = "No attempt was made."  # a deactivated stamina still makes one
    raise Transient(message, _AGAIN)


def refusal(uri: str, status: int, said: str, headers: Mapping[str, str]) -> NycTaxiError:
    """Return what the bucket's answer means; ``said`` is its own explanation, ``uri`` what was asked for."""
    words = f" It said: {said}" if said else ""
    if status in _BUSY:
        wait = headers.get("Retry-After", "")
        after = float(wait) if wait.isdecimal() else None
        return Transient(f"{uri}: the bucket answered {status}.{words}", _AGAIN, after)
    other = _CHANGED if "crc32c" in said.lower() else (LakeError, f"refused with {status}.", "See what it says.")
    kind, meaning, hint = _REFUSALS.get(status, other)
    bucket = "/".join(uri.split("/")[:3])
    return kind(f"{uri}: {meaning.format(bucket=bucket)}{words}", hint.format(bucket=bucket))


def broken(uri: str, error: Exception) -> Transient:
    """Return the error for a connection that broke; the library's own words may hold addresses, so only its kind."""
    return Transient(f"{uri}: the connection broke ({type(error).__name__}).", _AGAIN)


def _further(http: Session, url: str, parcel: Parcel, start: int, chunk_bytes: int) -> int | Resource:
    """Return how many bytes the bucket holds, more than ``start``, or what it says of the object if that is all."""

    def attempt(number: int) -> int | Resource:
        stored: int | Resource = start
        if number > 1 or start == parcel.size:
            stored = _ask(http, url, parcel, f"bytes */{parcel.size}", b"")
        if stored == start < parcel.size:
            end = min(start + chunk_bytes, parcel.size)
            about = f"bytes {start}-{end - 1}/{parcel.size}"
            stored = _ask(http, url, parcel, about, _Slice(parcel, start, end))
        if isinstance(stored, int) and stored <= start:
            message = f"{parcel.uri}: the bucket holds {stored:,} bytes where {start:,} were sent."
            raise Transient(message, _AGAIN)
        return stored

    return trying(attempt, parcel.partition, "put")


def _ask(http: Session, url: str, parcel: Parcel, about: str, body: bytes | _Slice) -> int | Resource:
    """Send a chunk, or ask how far it is if there is none, and return what the bucket holds."""
    import requests

    headers = {"Content-Range": about}
    limits = (CONNECT_SECONDS, READ_SECONDS)
    try:
        answer = http.put(url, data=body, headers=headers, timeout=limits, allow_redirects=False)
        if answer.status_code in _STORED:
            return dict(answer.json())
    except requests.RequestException as error:
        raise broken(parcel.uri, error) from error
    if answer.status_code == _INCOMPLETE:
        # No Range at all: nothing is stored yet.
        found = re.fullmatch(r"bytes=0-(\d+)", answer.headers.get("Range", "").strip())
        return int(found[1]) + 1 if found else 0
    if answer.status_code in _GONE:
        message = f"{parcel.uri}: the bucket forgot the upload that was begun."
        raise SessionGoneError(message, _AGAIN)
    raise refusal(parcel.uri, answer.status_code, explanation(answer), answer.headers)


def explanation(answer: Response) -> str:
    """Return Google's own words on a refusal, if the answer has them: they name the account and what it lacks."""
    try:
        return str(answer.json()["error"]["message"])[:300]
    except (ValueError, KeyError, TypeError):
        return ""
