"""A site on the loopback that serves a folder as the published ones do, and goes wrong on demand."""

from __future__ import annotations

import hashlib
import re
import socket
import struct
import threading
import time
from collections import defaultdict
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping
    from pathlib import Path

BLOCK_BYTES = 64 * 1024
# How a bucket says that a key isn't there to those who may not list it.
NO_SUCH_KEY = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'
)
PAGE = b"\n  <!DOCTYPE html>\n<html><body>Please log in to the hotel's network.</body></html>"


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one answer; several of it may be combined.

    ``status`` with ``headers`` and ``body`` replaces the answer. ``cut``: the connection is closed after so many bytes
    of the body, with a reset if ``reset``. ``more``: so many bytes more are promised than there are. ``without``:
    headers left out, as servers do that don't know them. ``deaf``: request headers (in lower case) that the server
    doesn't understand. ``hold``: waited for after ``cut`` bytes instead of closing. ``drip``: what comes after ``cut``
    bytes comes byte by byte, with so many seconds between; so do headers without an end if ``drips_head``.
    ``endless``: the body is followed by zeros, without an end.
    """

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    cut: int | None = None
    reset: bool = False
    more: int = 0
    without: frozenset[str] = frozenset()
    deaf: frozenset[str] = frozenset()
    hold: threading.Event | None = None
    drip: float = 0
    drips_head: bool = False
    endless: bool = False


@dataclass
class Hit:
    """A request, and what was answered: ``sent`` counts bytes of the body."""

    path: str
    headers: Mapping[str, str]
    status: int = 0
    sent: int = 0


class Site(ThreadingHTTPServer):
    """Serves ``folder``; ``once[path]`` are faults of the next answers, ``always[path]`` of all after them."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.folder = folder
        self.scheme = "http"
        self.once: dict[str, list[Fault]] = defaultdict(list)
        self.always: dict[str, Fault] = {}
        self.hits: list[Hit] = []

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that hang up: that is what some tests are about."""

    @property
    def url(self) -> str:
        """The base address, without a slash at its end."""
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}"

    @property
    def statuses(self) -> list[int]:
        """The status of every answer so far."""
        return [hit.status for hit in self.hits]

    @property
    def sent(self) -> int:
        """Bytes of bodies sent so far."""
        return sum(hit.sent for hit in self.hits)

    def fault(self, path: str) -> Fault:
        """Take the fault that the next answer for ``path`` has."""
        queue = self.once[path]
        return queue.pop(0) if queue else self.always.get(path, Fault())


@contextmanager
def serving(folder: Path, tls: ssl.SSLContext | None = None) -> Iterator[Site]:
    """Serve ``folder`` until the block ends, over TLS if a context is given."""
    with Site(folder) as site:
        if tls:
            site.scheme = "https"
            site.socket = tls.wrap_socket(site.socket, server_side=True)
        thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield site
        finally:
            site.shutdown()
            thread.join()


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Site

    def do_GET(self) -> None:
        path = self.path.lstrip("/")
        fault = self.server.fault(path)
        asked = {name.lower(): value for name, value in self.headers.items()}
        hit = Hit(path, asked)
        self.server.hits.append(hit)
        with suppress(ConnectionError):
            self._answer(hit, fault, {name: value for name, value in asked.items() if name not in fault.deaf})

    def log_message(self, *_args: object) -> None:
        """Say nothing: ``hits`` is the log."""

    def _answer(self, hit: Hit, fault: Fault, asked: Mapping[str, str]) -> None:
        file = self.server.folder / hit.path
        if fault.status:
            hit.status, headers, body = fault.status, dict(fault.headers), fault.body or b""
        elif file.is_file():
            hit.status, headers, body = _serve(file, asked)
            headers |= fault.headers
        else:
            hit.status, headers, body = 404, {"Content-Type": "text/plain"}, b"Not Found"
        if fault.drips_head:
            self._drip(hit, b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * BLOCK_BYTES, fault.drip)
        headers.setdefault("Content-Length", str(len(body) + fault.more))
        self.send_response(hit.status)
        for name, value in headers.items():
            if name not in fault.without:
                self.send_header(name, value)
        self.end_headers()
        self._send(hit, fault, body)

    def _send(self, hit: Hit, fault: Fault, body: bytes) -> None:
        self.close_connection = bool(fault.more or fault.cut is not None or "Content-Length" in fault.without)
        end = len(body) if fault.cut is None else min(fault.cut, len(body))
        self._write(hit, body[:end])
        if fault.drip:
            self._drip(hit, body[end:], fault.drip)
        while fault.endless:
            self._write(hit, bytes(BLOCK_BYTES))
        if fault.hold:
            fault.hold.wait(30)
            self._write(hit, body[end:])
        if fault.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def _drip(self, hit: Hit, body: bytes, seconds: float) -> None:
        for byte in body:
            time.sleep(seconds)
            self._write(hit, bytes([byte]))

    def _write(self, hit: Hit, body: bytes) -> None:
        for start in range(0, len(body), BLOCK_BYTES):
            block = body[start : start + BLOCK_BYTES]
            self.wfile.write(block)
            hit.sent += len(block)


def _serve(file: Path, asked: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
    """Answer as a careful server does: conditions first, then the range if its own condition holds."""
    body, modified = file.read_bytes(), formatdate(file.stat().st_mtime, usegmt=True)
    etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    headers = {"ETag": etag, "Last-Modified": modified, "Accept-Ranges": "bytes", "Content-Type": "binary/octet-stream"}
    if _is_unchanged(asked, etag, modified):
        return 304, headers | {"Content-Length": "0"}, b""
    found = re.fullmatch(r"bytes=(\d+)-", asked.get("range", ""))
    if not found or asked.get("if-range", etag) not in {etag, modified}:
        return 200, headers, body
    start = int(found[1])
    if start >= len(body):
        return 416, {"Content-Range": f"bytes */{len(body)}"}, b""
    return 206, headers | {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}, body[start:]


def _is_unchanged(asked: Mapping[str, str], etag: str, modified: str) -> bool:
    if "if-none-match" in asked:
        return asked["if-none-match"].removeprefix("W/") == etag
    since = asked.get("if-modified-since")
    return bool(since) and parsedate_to_datetime(modified) <= parsedate_to_datetime(since or modified)
