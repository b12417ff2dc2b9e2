"""Bring one published file over HTTP: to a ``.part``, resumed where it broke, never mistaken for a web page.

Whether the ``.part`` is whole and what becomes of it is the caller's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from nyctaxi_etl.core.answer import PARTIAL, parsed
from nyctaxi_etl.core.errors import Blocked, NycTaxiError, Transient
from nyctaxi_etl.core.pace import Pace
from nyctaxi_etl.core.progress import Event, tell
from nyctaxi_etl.core.retry import with_retries
from nyctaxi_etl.core.signatures import XML, kind_of
from nyctaxi_etl.sources.connection import answering, connection_errors
from nyctaxi_etl.sources.partial import drop_part, part_size, resumable, write_part
from nyctaxi_etl.sources.request import LOOK, RESUME, Published, blocked_by_page

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from nyctaxi_etl.core.answer import Answer
    from nyctaxi_etl.core.partition import RawFile
    from nyctaxi_etl.sources.request import DownloadRequest

ATTEMPTS = 4
LONGEST_PAUSE_SECONDS = 20.0
ERROR_BODY_BYTES = 4096

_OK, _UNCHANGED, _FORBIDDEN, _UNSATISFIABLE = 200, 304, 403, 416
_GONE = frozenset({404, 410})
_BUSY = frozenset({408, 429, 500, 502, 503, 504})

Outcome = Published | Literal["missing", "unchanged"]


def download(client: httpx.Client, request: DownloadRequest) -> Outcome:
    """Bring the file to its ``.part``, in at most ``ATTEMPTS`` attempts, and return what the server says of it.

    ``"missing"``: the server has no such file. ``"unchanged"``: the copy that is here is the published one, nothing
    was brought. Raises ``Transient`` when no attempt succeeded, ``Blocked`` when something else than a file came,
    ``CorruptFile`` for more bytes than a file can have, ``NycTaxiError`` where the disk has no room.
    """

    def say(note: str) -> None:
        tell(Event(request.subject, "extract", part_size(request.part), 0, "bytes", note))

    return with_retries(lambda _attempt_number: _attempt(client, request), ATTEMPTS, LONGEST_PAUSE_SECONDS, say)


def _attempt(client: httpx.Client, request: DownloadRequest) -> Outcome:
    """Ask once for what is missing of the file; from its first byte where what was begun doesn't go on."""
    begun = resumable(request)
    if begun is None:
        drop_part(request.part)
    start = part_size(request.part)
    if begun and begun.bytes:  # at most the last byte, so that a part that is all there is still asked for
        start = min(start, begun.bytes - 1)
    headers = {"Range": f"bytes={start}-", "If-Range": begun.if_range} if begun else _conditions(request.copy)
    with (
        Pace(request.floor) as pace,
        connection_errors(request, pace),
        answering(client, request, headers, pace) as response,
    ):
        answer = parsed(response.status_code, response.reason_phrase, response.headers)
        verdict = _judge(request, answer, response, begun, start)
        if verdict == "take":
            return _take(request, answer, _counted(response, pace), start if answer.status == PARTIAL else 0)
    if verdict == "restart":
        drop_part(request.part)
        return _attempt(client, request)
    return verdict


def _conditions(copy: RawFile | None) -> dict[str, str]:
    asked = {"If-None-Match": copy.etag, "If-Modified-Since": copy.last_modified} if copy else {}
    return {name: value for name, value in asked.items() if value}


def _counted(response: httpx.Response, pace: Pace) -> Iterator[bytes]:
    for block in response.iter_raw():
        pace.count(len(block))
        yield block


def _judge(
    request: DownloadRequest, answer: Answer, response: httpx.Response, begun: Published | None, start: int
) -> Literal["take", "restart", "missing", "unchanged"]:
    """Say what an answer to a request, for the rest from ``start`` on if something was ``begun``, is good for."""
    status = answer.status
    if begun and (status == _UNSATISFIABLE or (status == PARTIAL and not _continues(answer, begun, start))):
        return "restart"
    if (status == _OK or (status == PARTIAL and begun)) and not answer.is_page:
        return "unchanged" if status == _OK and _is_same(request.copy, answer) else "take"
    if status == _UNCHANGED and request.copy and not begun:
        return "unchanged"
    if status in _GONE or (status == _FORBIDDEN and _is_missing_in_bucket(answer, response)):
        return "missing"
    raise _refusal(request, answer)


def _continues(answer: Answer, begun: Published, start: int) -> bool:
    """Tell whether a 206 continues what was begun; some servers ignore If-Range."""
    etag = begun.etag if answer.etag is None else answer.etag
    modified = begun.last_modified if answer.last_modified is None else answer.last_modified
    same_file = (etag, modified) == (begun.etag, begun.last_modified)
    return same_file and answer.start == start and begun.bytes in {0, answer.bytes}


def _is_same(copy: RawFile | None, answer: Answer) -> bool:
    """Tell whether a server that is deaf to conditions is about to send what is here."""
    if copy is None or not answer.if_range:
        return False
    same_length = answer.bytes in {0, copy.bytes}
    return same_length and answer.if_range in {copy.etag, copy.last_modified}


def _is_missing_in_bucket(answer: Answer, response: httpx.Response) -> bool:
    """Tell S3's way of saying that a key doesn't exist to those who may not list the bucket."""
    body = next(response.iter_raw(ERROR_BODY_BYTES), b"")
    is_xml = "xml" in answer.content_type or kind_of(body) == XML or body.lstrip().startswith(b"<Error")
    # A firewall's page may begin as XML does, and say AccessDenied as well.
    return is_xml and b"<html" not in body.lower() and (b"AccessDenied" in body or b"NoSuchKey" in body)


def _refusal(request: DownloadRequest, answer: Answer) -> NycTaxiError:
    if answer.status in _BUSY:
        return Transient(f"{request}: the server answered {answer.words}.", RESUME, answer.retry_after)
    if answer.is_page:
        return blocked_by_page(request.subject, request.url, answer.words)
    return Blocked(f"{request}: refused with {answer.words}.", LOOK)


def _take(request: DownloadRequest, answer: Answer, blocks: Iterator[bytes], start: int) -> Published:
    """Write the body to the ``.part`` from byte ``start`` on. Raises ``Transient`` if the connection broke before."""
    published = Published(request.url, answer.etag or "", answer.last_modified or "", answer.if_range, answer.bytes)
    done = write_part(request, published, blocks, start)
    if published.bytes and done != published.bytes:
        message = f"{request}: the connection broke after {done:,} of {published.bytes:,} bytes."
        raise Transient(message, RESUME)
    return published
