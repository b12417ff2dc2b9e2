"""Send one file to a bucket in chunks, go on after a break where the bucket stopped, and never send a byte twice.

The address of an upload session lets anyone send who knows it: it stands in no message and in no log above DEBUG.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from nyctaxi_etl.core import retry
from nyctaxi_etl.core.errors import Transient
from nyctaxi_etl.core.progress import Event, tell
from nyctaxi_etl.lakes.gcs_refusals import RUN_AGAIN, SessionGoneError, broken, explanation, refusal, unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from requests import Response, Session


ATTEMPTS = 6  # without a byte of progress
LONGEST_PAUSE_SECONDS = 30.0
# A block must go, and an answer begin, within these seconds; there is no limit for a whole object.
CONNECT_SECONDS, READ_SECONDS = 30.0, 60.0
BLOCK_BYTES = 64 << 10
_READ_BYTES = 1 << 20

_STORED, _INCOMPLETE = frozenset({200, 201}), 308
_GONE = frozenset({404, 410})
_STORED_RANGE = re.compile(r"bytes=0-(\d{1,18})", re.ASCII)

Result = TypeVar("Result")


class Stored(NamedTuple):
    """What the bucket says of an object that is there."""

    size: int
    crc32c: str


@dataclass(frozen=True)
class FileUpload:
    """A file on its way to ``uri``: ``crc32c`` is Google's way of writing the checksum, ``size`` counts bytes."""

    subject: str
    uri: str
    path: Path
    size: int
    crc32c: str


@dataclass(frozen=True)
class _Slice:
    """A part of a file as the body of a request; a body with a length is sent as it is read."""

    upload: FileUpload
    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start

    def __iter__(self) -> Iterator[bytes]:
        done = self.start
        with self.upload.path.open("rb") as file:
            file.seek(done)
            while block := file.read(min(BLOCK_BYTES, self.end - done)):
                yield block
                done += len(block)
                tell(Event(self.upload.subject, "put", done, self.upload.size, "bytes"))


def checksum(path: Path) -> str:
    """Return a file's crc32c as Google writes it: base64 of four bytes, the highest first."""
    import google_crc32c

    crc = 0
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            crc = google_crc32c.extend(crc, block)
    return base64.b64encode(crc.to_bytes(4, "big")).decode()


def send_file(http: Session, url: str, upload: FileUpload, chunk_bytes: int) -> Stored:
    """Send ``upload`` to the upload session at ``url`` and return what the bucket says of the finished object.

    Each chunk is tried until ``ATTEMPTS`` in a row brought nothing further. Raises ``SessionGoneError``,
    ``ReplacedError``, ``LakeError`` if the bucket refuses, ``Transient`` if no attempt brought anything further.
    """
    stored: int | Stored = 0
    while isinstance(stored, int):
        stored = _send_chunk(http, url, upload, stored, chunk_bytes)
    return stored


def with_retries(work: Callable[[int], Result], subject: str = "", step: str = "") -> Result:
    """Return ``work(attempt)``, tried again with growing pauses while it raises ``Transient``, and say so meanwhile."""

    def say(note: str) -> None:
        if subject:
            tell(Event(subject, step, unit="bytes", note=note))

    return retry.with_retries(work, ATTEMPTS, LONGEST_PAUSE_SECONDS, say)


def _send_chunk(http: Session, url: str, upload: FileUpload, start: int, chunk_bytes: int) -> int | Stored:
    """Return how many bytes the bucket has, more than ``start``, or what it says of the object if that is all."""

    def attempt(number: int) -> int | Stored:
        stored: int | Stored = start
        if number > 1 or start == upload.size:
            stored = _put(http, url, upload, f"bytes */{upload.size}", b"")
        if stored == start < upload.size:
            end = min(start + chunk_bytes, upload.size)
            about = f"bytes {start}-{end - 1}/{upload.size}"
            stored = _put(http, url, upload, about, _Slice(upload, start, end))
        if isinstance(stored, int) and not start < stored <= upload.size:
            message = f"{upload.uri}: the bucket holds {stored:,} bytes where {start:,} of {upload.size:,} were sent."
            raise Transient(message, RUN_AGAIN)
        return stored

    return with_retries(attempt, upload.subject, "put")


def _put(http: Session, url: str, upload: FileUpload, about: str, body: bytes | _Slice) -> int | Stored:
    """Send a chunk, or ask how far it is if there is none, and return what the bucket has of it."""
    import requests
    import urllib3

    limits = (CONNECT_SECONDS, READ_SECONDS)
    try:
        answer = http.put(url, data=body, headers={"Content-Range": about}, timeout=limits, allow_redirects=False)
    except (requests.RequestException, urllib3.exceptions.HTTPError, UnicodeError) as error:
        raise broken(upload.uri, error) from None  # its words hold the session's address
    if answer.status_code in _STORED:
        return _stored(answer, upload)
    if answer.status_code == _INCOMPLETE:
        # No Range at all: nothing is stored yet.
        stored = _STORED_RANGE.fullmatch(answer.headers.get("Range", "").strip())
        return int(stored[1]) + 1 if stored else 0
    if answer.status_code in _GONE:
        message = f"{upload.uri}: the bucket forgot the upload that was begun."
        raise SessionGoneError(message, RUN_AGAIN)
    raise refusal(upload.uri, answer.status_code, explanation(answer), answer.headers)


def _stored(answer: Response, upload: FileUpload) -> Stored:
    try:
        resource = answer.json()
        return Stored(int(resource["size"]), str(resource["crc32c"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise unreadable(upload.uri, error) from None
