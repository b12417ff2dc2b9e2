"""Bring one published file over HTTP: to a ``.part``, resumed where it broke, never mistaken for a web page.

Whether the ``.part`` is whole and what becomes of it is ``extract``'s business.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from nyctaxi_etl.core.answer import PARTIAL, is_host, is_sendable, parsed, printable
from nyctaxi_etl.core.errors import Blocked, CorruptFile, NycTaxiError, Transient, UsageError
from nyctaxi_etl.core.pace import FLOOR_BYTES, FLOOR_SECONDS, Pace
from nyctaxi_etl.core.progress import Event, tell
from nyctaxi_etl.core.retry import trying
from nyctaxi_etl.core.side_files import is_count, is_text, read_side
from nyctaxi_etl.schema.datasets import LARGEST_MONTH_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import Any

    import httpx

    from nyctaxi_etl.core.answer import Answer
    from nyctaxi_etl.core.partition import RawFile

ATTEMPTS = 4
CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
LONGEST_PAUSE_SECONDS = 20.0
WRITE_BYTES = 1 << 20
EVENT_SECONDS = 0.1
ERROR_BODY_BYTES = 4096
HOPS = 20
LAST_PORT = 65_535
# A file without an announced length goes on until this at most, and so does one of any announced length.
CEILING_BYTES = 64 * LARGEST_MONTH_BYTES
# Left free for others; the room is looked at anew after so many bytes, because others write, too.
RESERVE_BYTES = 256 << 20
ROOM_BYTES = 64 << 20

_OK, _UNCHANGED, _FORBIDDEN, _UNSATISFIABLE = 200, 304, 403, 416
_GONE = frozenset({404, 410})
_BUSY = frozenset({408, 429, 500, 502, 503, 504})

_AGAIN = "Run the same command again: it goes on where it stopped."
_LOOK = "Open the address in a browser; behind a proxy set HTTPS_PROXY, or name another --source."


@dataclass(frozen=True)
class Published:
    """What the server says of a file: validators in its own words; ``bytes`` is 0 where it didn't tell.

    ``if_range`` is the validator that a resumed download may rely on, empty if there is none.
    """

    url: str
    etag: str
    last_modified: str
    if_range: str
    bytes: int


_PART_FIELDS: Mapping[str, Callable[[Any], bool]] = {
    "url": is_text,
    "etag": is_sendable,
    "last_modified": is_sendable,
    "if_range": is_sendable,
    "bytes": is_count,
}


@dataclass(frozen=True)
class Want:
    """The file to bring: from ``url`` to ``part``, unless it is the same as ``kept``, a whole copy that is here.

    ``floor`` is how many bytes a second must come, over a minute; ``ceiling`` the most bytes that it may have.
    """

    subject: str
    url: str
    part: Path
    kept: RawFile | None = None
    floor: int = FLOOR_BYTES
    ceiling: int = CEILING_BYTES

    def __str__(self) -> str:
        return f"{self.subject}: {self.url}"


Outcome = Published | Literal["missing", "unchanged"]


def connect() -> httpx.Client:
    """Return the client that all of a month's requests go through; proxies are those of the environment."""
    import httpx

    timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
    # identity: a transparently compressed body has another length and another ETag than the file.
    headers = {"Accept-Encoding": "identity", "User-Agent": "nyctaxi-etl"}
    try:
        # No connection is used twice: a request's pace is that of the connection it made.
        return httpx.Client(timeout=timeout, headers=headers, limits=httpx.Limits(max_keepalive_connections=0))
    except (ImportError, ValueError, httpx.InvalidURL):
        # Their messages quote the proxy's address, which may hold a password.
        message = "The proxy named by HTTP_PROXY, HTTPS_PROXY or ALL_PROXY can't be used."
        raise UsageError(message, "Write it as http://host:port; SOCKS needs `pip install httpx[socks]`.") from None


def download(client: httpx.Client, want: Want) -> Outcome:
    """Bring ``want`` to its ``.part``, in at most ``ATTEMPTS`` attempts, and return what the server says of it.

    ``"missing"``: the server has no such file. ``"unchanged"``: the copy that is here is the published one, nothing
    was brought. Raises ``Transient`` when no attempt succeeded, ``Blocked`` when something else than a file came.
    """

    def say(note: str) -> None:
        tell(Event(want.subject, "extract", _size(want.part), 0, "bytes", note))

    return trying(lambda _attempt_number: _attempt(client, want), ATTEMPTS, LONGEST_PAUSE_SECONDS, say)


def drop(part: Path) -> None:
    """Remove a ``.part`` and what is known of it: the bytes first, they are nothing without it."""
    part.unlink(missing_ok=True)
    _side(part).unlink(missing_ok=True)


def _attempt(client: httpx.Client, want: Want) -> Outcome:
    begun = _resumable(want)
    if begun is None:
        drop(want.part)
    start = _start(want.part, begun)
    headers = {"Range": f"bytes={start}-", "If-Range": begun.if_range} if begun else _conditional(want.kept)
    with Pace(want.floor) as pace, _as_ours(want, pace), _answering(client, want, headers, pace) as response:
        answer = parsed(response.status_code, response.reason_phrase, response.headers)
        verdict = _judge(want, answer, response, begun, start)
        if verdict == "take":
            blocks = _counted(response, pace)
            return _take(want, answer, blocks, start if answer.status == PARTIAL else 0)
    if verdict == "restart":
        drop(want.part)
        return _attempt(client, want)
    return verdict


def _start(part: Path, begun: Published | None) -> int:
    """Return the byte to go on from: at most the last one, so that a part that is all there is still asked for."""
    size = _size(part)
    return min(size, begun.bytes - 1) if begun and begun.bytes else size


@contextmanager
def _answering(client: httpx.Client, want: Want, headers: dict[str, str], pace: Pace) -> Iterator[httpx.Response]:
    """Ask for the file, and go where the server sends on to; what else it says on the way is not read."""
    request = client.build_request("GET", want.url, headers=headers, extensions={"trace": pace.trace})
    for _ in range(HOPS):
        response = client.send(request, stream=True)
        try:
            if response.next_request is None:
                yield response
                return
            _check_hop(want, request.url, response.next_request.url)
            request = response.next_request
        finally:
            response.close()
    message = f"{want}: more than {HOPS} redirects, one after the other."
    raise Blocked(message, _LOOK)


def _check_hop(want: Want, here: httpx.URL, there: httpx.URL) -> None:
    """Refuse to be sent from an encrypted address to one that isn't, and to what can't be an address."""
    if here.scheme == "https" and there.scheme != "https":
        message = f"{want}: sent on to an address that is not encrypted."
        raise Blocked(message, _LOOK)
    host = there.raw_host.decode("ascii", "replace")
    if not is_host(f"[{host}]" if ":" in host else host) or (there.port or 1) > LAST_PORT:
        message = f"{want}: sent on to what can't be an address."
        raise Blocked(message, _LOOK)


def _counted(response: httpx.Response, pace: Pace) -> Iterator[bytes]:
    for block in response.iter_raw():
        pace.count(len(block))
        yield block


def _judge(
    want: Want, answer: Answer, response: httpx.Response, begun: Published | None, start: int
) -> Literal["take", "restart", "missing", "unchanged"]:
    """Say what an answer to a request, for the rest from ``start`` on if something was ``begun``, is good for."""
    status = answer.status
    if begun and (status == _UNSATISFIABLE or (status == PARTIAL and not _goes_on(answer, begun, start))):
        return "restart"
    if (status == _OK or (status == PARTIAL and begun)) and not answer.is_page:
        return "unchanged" if status == _OK and _is_same(want.kept, answer) else "take"
    if status == _UNCHANGED and want.kept and not begun:
        return "unchanged"
    if status in _GONE or (status == _FORBIDDEN and _is_missing_in_bucket(answer, response)):
        return "missing"
    raise _refusal(want, answer)


def _refusal(want: Want, answer: Answer) -> NycTaxiError:
    if answer.status in _BUSY:
        return Transient(f"{want}: the server answered {answer.words}.", _AGAIN, answer.retry_after)
    if answer.is_page:
        return blocked_by_page(want.subject, want.url, answer.words)
    return Blocked(f"{want}: refused with {answer.words}.", _LOOK)


def blocked_by_page(subject: str, url: str, status: str = "200 OK") -> Blocked:
    """Return the error that says that a web page came instead of a file."""
    message = f"{subject}: {url} answered {status} with a web page, not with data."
    return Blocked(message, f"A firewall, a proxy or a log-in page is in between. {_LOOK}")


def _is_missing_in_bucket(answer: Answer, response: httpx.Response) -> bool:
    """Tell S3's way of saying that a key doesn't exist to those who may not list the bucket."""
    body = next(response.iter_raw(ERROR_BODY_BYTES), b"")
    is_xml = "xml" in answer.content_type or body.lstrip().startswith((b"<?xml", b"<Error"))
    return is_xml and b"<html" not in body.lower() and (b"AccessDenied" in body or b"NoSuchKey" in body)


def _take(want: Want, answer: Answer, blocks: Iterator[bytes], start: int) -> Published:
    """Append the body to the ``.part``, or begin it anew where ``start`` is 0. What is too much is not kept."""
    published = Published(want.url, answer.etag or "", answer.last_modified or "", answer.if_range, answer.bytes)
    told = _teller(want.subject, published.bytes)
    try:
        _check_ceiling(want, published.bytes, start)
        roomy = _room(want, published.bytes, start)
        if start:
            os.truncate(want.part, start)
        else:
            drop(want.part)
            _note(want.part, published)
        with want.part.open("ab", buffering=WRITE_BYTES) as file:
            done = start
            for block in blocks:
                _check_ceiling(want, published.bytes, done + len(block))
                if done + len(block) > roomy:
                    roomy = _room(want, published.bytes, done)
                done += file.write(block)
                told(done)
    except CorruptFile:
        drop(want.part)
        raise
    if published.bytes and done != published.bytes:
        message = f"{want}: the connection broke after {done:,} of {published.bytes:,} bytes."
        raise Transient(message, _AGAIN)
    return published


def _check_ceiling(want: Want, announced: int, done: int) -> None:
    """Refuse a file larger than any can be, or than the server itself announced."""
    if max(announced, done) > want.ceiling:
        message = f"{want}: larger than {want.ceiling:,} bytes, which nothing published comes near to."
        raise CorruptFile(message, "Nothing of it was kept. Is it the right address? Or name another --source.")
    if announced and done > announced:
        message = f"{want}: goes on behind the {announced:,} bytes that the server announced."
        raise CorruptFile(
            message, "Nothing of it was kept. Run the command again; if it stays so, ask who runs the server."
        )


def _room(want: Want, announced: int, done: int) -> int:
    """Return up to which byte the disk has room, looked at anew every ``ROOM_BYTES``: others write to it, too.

    Raises ``NycTaxiError`` where it has none, ``CorruptFile`` where a body of no announced length is what fills it.
    """
    free = shutil.disk_usage(want.part.parent).free - RESERVE_BYTES
    if free >= max(announced - done, 1):
        return done + min(free, ROOM_BYTES)
    if not announced and done > LARGEST_MONTH_BYTES:
        message = f"{want}: {done:,} bytes came without an end, more than any month has, and the disk has no more room."
        raise CorruptFile(message, "Nothing of it was kept. Name another --source.")
    wants = f"the {announced - done:,} bytes that are missing" if announced else "more of it"
    message = f"{want}: {want.part.parent}: no room for {wants}; {RESERVE_BYTES >> 20} MiB are left free."
    raise NycTaxiError(message, "Make room there, or name another folder with --data-dir.")


def _teller(subject: str, total: int) -> Callable[[int], None]:
    last = 0.0

    def told(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= EVENT_SECONDS or done == total:
            last = now
            tell(Event(subject, "extract", done, total, "bytes"))

    return told


def _is_same(kept: RawFile | None, answer: Answer) -> bool:
    if kept is None or not answer.if_range:
        return False
    same_length = answer.bytes in {0, kept.bytes}
    return same_length and answer.if_range in {kept.etag, kept.last_modified}


def _goes_on(answer: Answer, begun: Published, start: int) -> bool:
    """Tell whether a 206 continues what was begun; some servers ignore If-Range."""
    etag = begun.etag if answer.etag is None else answer.etag
    modified = begun.last_modified if answer.last_modified is None else answer.last_modified
    same_file = (etag, modified) == (begun.etag, begun.last_modified)
    return same_file and answer.start == start and begun.bytes in {0, answer.bytes}


def _conditional(kept: RawFile | None) -> dict[str, str]:
    asked = {"If-None-Match": kept.etag, "If-Modified-Since": kept.last_modified} if kept else {}
    return {name: value for name, value in asked.items() if value}


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _side(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _note(part: Path, published: Published) -> None:
    _side(part).write_text(json.dumps(asdict(published)), encoding="utf-8")


def _resumable(want: Want) -> Published | None:
    """Return what was begun of this very file, if the server can prove that the rest belongs to it."""
    known = read_side(_side(want.part), _PART_FIELDS)
    begun = Published(**known) if known else None
    return begun if begun and begun.url == want.url and begun.if_range and _size(want.part) > 1 else None


@contextmanager
def _as_ours(want: Want, pace: Pace) -> Iterator[None]:
    import httpx

    try:
        yield
        if pace.is_slow:  # a body of no announced length ends like any other
            raise _too_slow(want)
    except Transient as broken:
        raise (_too_slow(want) if pace.is_slow else broken) from None
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise (_too_slow(want) if pace.is_slow else _ours(want, error)) from error


def _too_slow(want: Want) -> Transient:
    message = f"{want}: less than {want.floor:,} bytes a second came, for {FLOOR_SECONDS:.0f} s."
    return Transient(message, f"{_AGAIN} A slower line needs a lower NYCTAXI_MIN_SPEED.")


def _ours(want: Want, error: Exception) -> NycTaxiError:
    import httpx

    said = printable(str(error))
    if _is_untrusted(error):
        message = f"{want}: the server's certificate is not trusted ({said})."
        return Blocked(message, "Is a proxy in between, or the clock wrong? SSL_CERT_FILE names your own authorities.")
    # A proxy's own "no" (407: it wants a password) stays one; 5xx is the way behind it.
    proxy_refused = isinstance(error, httpx.ProxyError) and str(error).startswith("4")
    no_address = isinstance(error, (UnicodeError, httpx.InvalidURL)) or isinstance(error.__context__, httpx.InvalidURL)
    if no_address:  # the words may quote it
        return Blocked(f"{want}: sent on to what can't be an address.", _LOOK)
    if proxy_refused or isinstance(error, httpx.UnsupportedProtocol):
        return Blocked(f"{want}: the way there is blocked ({said}).", _LOOK)
    what = f"the connection broke ({said or type(error).__name__})"
    if isinstance(error, httpx.TimeoutException):
        is_connecting = isinstance(error, httpx.ConnectTimeout)
        what = f"no connection within {CONNECT_SECONDS:.0f} s" if is_connecting else f"silent for {READ_SECONDS:.0f} s"
    return Transient(f"{want}: {what}.", _AGAIN)


def _is_untrusted(error: BaseException | None) -> bool:
    import ssl

    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
