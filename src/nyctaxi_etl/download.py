"""Bring one published file over HTTP: to a ``.part``, resumed where it broke, never mistaken for a web page.

Whether the ``.part`` is whole and what becomes of it is ``extract``'s business.
"""

from __future__ import annotations

import json
import os
import re
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Literal

from nyctaxi_etl.errors import Blocked, NycTaxiError, Transient, UsageError
from nyctaxi_etl.progress import Event, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import httpx

    from nyctaxi_etl.model import Partition, RawFile

ATTEMPTS = 4
CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
LONGEST_WAIT_SECONDS = 120.0
WRITE_BYTES = 1 << 20
EVENT_SECONDS = 0.1
ERROR_BODY_BYTES = 4096

_OK, _PARTIAL, _UNCHANGED, _FORBIDDEN, _UNSATISFIABLE = 200, 206, 304, 403, 416
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


@dataclass(frozen=True)
class Want:
    """The file to bring: from ``url`` to ``part``, unless it is the same as ``kept``, a whole copy that is here."""

    partition: Partition
    url: str
    part: Path
    kept: RawFile | None = None

    def __str__(self) -> str:
        return f"{self.partition}: {self.url}"


Outcome = Published | Literal["missing", "unchanged"]


def connect() -> httpx.Client:
    """Return the client that all of a month's requests go through; proxies are those of the environment."""
    import httpx

    timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
    # identity: a transparently compressed body has another length and another ETag than the file.
    headers = {"Accept-Encoding": "identity", "User-Agent": "nyctaxi-etl"}
    try:
        return httpx.Client(follow_redirects=True, timeout=timeout, headers=headers)
    except (ImportError, ValueError):
        # Their messages quote the proxy's address, which may hold a password.
        message = "The proxy named by HTTP_PROXY, HTTPS_PROXY or ALL_PROXY can't be used."
        raise UsageError(message, "Write it as http://host:port; SOCKS needs `pip install httpx[socks]`.") from None


def download(client: httpx.Client, want: Want) -> Outcome:
    """Bring ``want`` to its ``.part``, in at most ``ATTEMPTS`` attempts, and return what the server says of it.

    ``"missing"``: the server has no such file. ``"unchanged"``: the copy that is here is the published one, nothing
    was brought. Raises ``Transient`` when no attempt succeeded, ``Blocked`` when something else than a file came.
    """
    import stamina

    growing = stamina.retry_context(pause, ATTEMPTS, timeout=None, wait_initial=1.0, wait_max=20.0, wait_jitter=1.0)
    for attempt in growing:
        with attempt:
            try:
                return _attempt(client, want)
            except Transient as broken:
                if attempt.num < ATTEMPTS:
                    wait = pause(broken)
                    seconds = attempt.next_wait if wait is True else wait
                    note = f"{broken.message} Trying again in {seconds:.0f} s."
                    tell(Event(want.partition, "extract", _size(want.part), 0, "bytes", note))
                raise
    message = f"{want}: no attempt was made."  # a deactivated stamina still makes one
    raise Transient(message, _AGAIN)


def pause(error: Exception) -> bool | float:
    """Tell whether ``error`` is worth another attempt, and after how many seconds if the server said so."""
    if not isinstance(error, Transient):
        return False
    return True if error.retry_after is None else min(error.retry_after, LONGEST_WAIT_SECONDS)


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
    with _as_ours(want), client.stream("GET", want.url, headers=headers) as response:
        verdict = _judge(want, response, begun, start)
        if verdict == "take":
            return _take(want, response, start if response.status_code == _PARTIAL else 0)
    if verdict == "restart":
        drop(want.part)
        return _attempt(client, want)
    return verdict


def _start(part: Path, begun: Published | None) -> int:
    """Return the byte to go on from: at most the last one, so that a part that is all there is still asked for."""
    size = _size(part)
    return min(size, begun.bytes - 1) if begun and begun.bytes else size


def _judge(
    want: Want, response: httpx.Response, begun: Published | None, start: int
) -> Literal["take", "restart", "missing", "unchanged"]:
    """Say what an answer to a request, for the rest from ``start`` on if something was ``begun``, is good for."""
    status = response.status_code
    if want.url.startswith("https:") and response.url.scheme != "https":
        message = f"{want}: sent on to an address that is not encrypted."
        raise Blocked(message, _LOOK)
    if begun and (status == _UNSATISFIABLE or (status == _PARTIAL and not _goes_on(response, begun, start))):
        return "restart"
    if (status == _OK or (status == _PARTIAL and begun)) and not _is_page(response):
        return "unchanged" if status == _OK and _is_same(want.kept, _published(want, response)) else "take"
    if status == _UNCHANGED and want.kept and not begun:
        return "unchanged"
    if status in _GONE or (status == _FORBIDDEN and _is_missing_in_bucket(response)):
        return "missing"
    raise _refusal(want, response)


def _refusal(want: Want, response: httpx.Response) -> NycTaxiError:
    status = f"{response.status_code} {response.reason_phrase}".strip()
    if response.status_code in _BUSY:
        return Transient(f"{want}: the server answered {status}.", _AGAIN, _retry_after(response.headers))
    if _is_page(response):
        return blocked_by_page(want.partition, want.url, status)
    return Blocked(f"{want}: refused with {status}.", _LOOK)


def _is_page(response: httpx.Response) -> bool:
    return "html" in response.headers.get("content-type", "").lower()


def blocked_by_page(partition: Partition, url: str, status: str = "200 OK") -> Blocked:
    """Return the error that says that a web page came instead of a file."""
    message = f"{partition}: {url} answered {status} with a web page, not with data."
    return Blocked(message, f"A firewall, a proxy or a log-in page is in between. {_LOOK}")


def _is_missing_in_bucket(response: httpx.Response) -> bool:
    """Tell S3's way of saying that a key doesn't exist to those who may not list the bucket."""
    body = next(response.iter_raw(ERROR_BODY_BYTES), b"")
    is_xml = "xml" in response.headers.get("content-type", "") or body.lstrip().startswith((b"<?xml", b"<Error"))
    return is_xml and b"<html" not in body.lower() and (b"AccessDenied" in body or b"NoSuchKey" in body)


def _take(want: Want, response: httpx.Response, start: int) -> Published:
    """Append the body to the ``.part``, or begin it anew where ``start`` is 0."""
    published = _published(want, response)
    if start:
        os.truncate(want.part, start)
    else:
        drop(want.part)
        _note(want.part, published)
    told = _teller(want.partition, published.bytes)
    with want.part.open("ab", buffering=WRITE_BYTES) as file:
        done = start
        for block in response.iter_raw():
            done += file.write(block)
            told(done)
    if published.bytes and done != published.bytes:
        message = f"{want}: the connection broke after {done:,} of {published.bytes:,} bytes."
        raise Transient(message, _AGAIN)
    return published


def _teller(partition: Partition, total: int) -> Callable[[int], None]:
    last = 0.0

    def told(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= EVENT_SECONDS or done == total:
            last = now
            tell(Event(partition, "extract", done, total, "bytes"))

    return told


def _published(want: Want, response: httpx.Response) -> Published:
    headers = response.headers
    total = _range_of(headers)[1] if response.status_code == _PARTIAL else _number(headers.get("content-length", ""))
    etag, modified = headers.get("etag", ""), headers.get("last-modified", "")
    return Published(want.url, etag, modified, _strong(headers), total)


def _strong(headers: Mapping[str, str]) -> str:
    """Return the validator that proves byte-for-byte sameness, as RFC 9110 13.1.5 allows it in If-Range.

    A weak ETag never does, and rules out the date; a date does if it was over for a second when the answer was made.
    """
    etag = headers.get("etag", "")
    if etag:
        return "" if etag.startswith("W/") else etag
    modified, answered = _when(headers.get("last-modified", "")), _when(headers.get("date", ""))
    old = modified and answered and answered - modified >= timedelta(seconds=1)
    return headers["last-modified"] if old else ""


def _is_same(kept: RawFile | None, published: Published) -> bool:
    if kept is None or not published.if_range:
        return False
    same_length = published.bytes in {0, kept.bytes}
    return same_length and published.if_range in {kept.etag, kept.last_modified}


def _goes_on(response: httpx.Response, begun: Published, start: int) -> bool:
    """Tell whether a 206 continues what was begun; some servers ignore If-Range."""
    first, total = _range_of(response.headers)
    etag = response.headers.get("etag", begun.etag)
    modified = response.headers.get("last-modified", begun.last_modified)
    same_file = (etag, modified) == (begun.etag, begun.last_modified)
    return same_file and first == start and begun.bytes in {0, total}


def _range_of(headers: Mapping[str, str]) -> tuple[int, int]:
    """Return first byte and total of a Content-Range; (-1, 0) if it has none, total 0 if it is not told."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("content-range", "").strip())
    return (int(found[1]), _number(found[2])) if found else (-1, 0)


def _conditional(kept: RawFile | None) -> dict[str, str]:
    asked = {"If-None-Match": kept.etag, "If-Modified-Since": kept.last_modified} if kept else {}
    return {name: value for name, value in asked.items() if value}


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text)
    when = _when(text)
    return max(0.0, (when - datetime.now(UTC)).total_seconds()) if when else None


def _when(text: str) -> datetime | None:
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _side(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _note(part: Path, published: Published) -> None:
    _side(part).write_text(json.dumps(asdict(published)), encoding="utf-8")


def _resumable(want: Want) -> Published | None:
    """Return what was begun of this very file, if the server can prove that the rest belongs to it."""
    with suppress(OSError, ValueError, TypeError):
        begun = Published(**json.loads(_side(want.part).read_text(encoding="utf-8")))
        if begun.url == want.url and begun.if_range and _size(want.part) > 1:
            return begun
    return None


@contextmanager
def _as_ours(want: Want) -> Iterator[None]:
    import httpx

    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _ours(want, error) from error


def _ours(want: Want, error: Exception) -> NycTaxiError:
    import httpx

    if _is_untrusted(error):
        message = f"{want}: the server's certificate is not trusted ({error})."
        return Blocked(message, "Is a proxy in between, or the clock wrong? SSL_CERT_FILE names your own authorities.")
    # A proxy's own "no" (407: it wants a password) stays one; 5xx is the way behind it.
    proxy_refused = isinstance(error, httpx.ProxyError) and str(error).startswith("4")
    if proxy_refused or isinstance(error, (httpx.UnsupportedProtocol, httpx.TooManyRedirects, httpx.InvalidURL)):
        return Blocked(f"{want}: the way there is blocked ({error}).", _LOOK)
    what = f"the connection broke ({error or type(error).__name__})"
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
