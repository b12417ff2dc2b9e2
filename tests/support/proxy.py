"""A gate on the loopback before a server: it notes what is asked, and lets things go wrong on demand."""

from __future__ import annotations

import http.client
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

BLOCK_BYTES = 64 * 1024
SECONDS = 30
# Headers of one connection, not of the message.
_OWN = frozenset({"connection", "host", "keep-alive", "transfer-encoding", "date", "server"})


@dataclass
class Asked:
    """A request: ``taken`` counts the bytes of its body that the server got, ``status`` is 0 where no answer came."""

    method: str
    path: str
    headers: Mapping[str, str]
    taken: int = 0
    status: int = 0

    @property
    def span(self) -> str:
        """What of a file the request is about."""
        return self.headers.get("content-range", "")


@dataclass
class Fault:
    """What goes wrong with the next ``times`` requests that ``when`` is true for.

    ``status`` answers in the server's place, with ``headers`` and ``body``. ``meanwhile`` is called before the request
    is passed on. ``flip``: a byte of the request's body is changed there. ``cut``: after so many bytes of the request's
    body both connections are closed. ``lost``: the server gets everything, and its answer goes nowhere.
    ``short``: after so many bytes of the answer's body the connection is closed.
    """

    when: Callable[[Asked], bool]
    times: int = 1
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    meanwhile: Callable[[], object] | None = None
    flip: int | None = None
    cut: int | None = None
    lost: bool = False
    short: int | None = None


class Gate(ThreadingHTTPServer):
    """Passes requests on to ``server``; ``asked`` is what came so far, ``faults`` what is still to go wrong."""

    daemon_threads = True

    def __init__(self, server: str) -> None:
        super().__init__(("127.0.0.1", 0), _Passage)
        self.behind = urlsplit(server).netloc
        self.asked: list[Asked] = []
        self.faults: list[Fault] = []
        self.guard = threading.Lock()

    @property
    def url(self) -> str:
        """The address to ask at."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def sent(self, method: str = "PUT") -> int:
        """Bytes of bodies that the server got so far."""
        return sum(asked.taken for asked in self.asked if asked.method == method)

    def fault(self, asked: Asked) -> Fault:
        """Note a request and take the first fault that is meant for it."""
        with self.guard:
            self.asked.append(asked)
            found = next((fault for fault in self.faults if fault.times and fault.when(asked)), None)
            if found is None:
                return Fault(lambda _asked: True)
            found.times -= 1
            return found


@contextmanager
def gate(server: str) -> Iterator[Gate]:
    """Stand before ``server`` until the block ends."""
    with Gate(server) as passage:
        thread = threading.Thread(target=passage.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield passage
        finally:
            passage.shutdown()
            thread.join()


class _Passage(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Gate
    timeout = SECONDS

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, self.path, headers)
        fault = self.server.fault(asked)
        with suppress(OSError, http.client.HTTPException):
            if fault.meanwhile:
                fault.meanwhile()
            if fault.status:
                self._refuse(asked, fault)
            else:
                self._pass_on(asked, fault)

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - the names are http.server's

    def log_message(self, *_args: object) -> None:
        """Say nothing: ``asked`` is the log."""

    def _refuse(self, asked: Asked, fault: Fault) -> None:
        for _ in self._body():
            pass
        asked.status = fault.status
        self._answer(fault.status, {"Content-Type": "application/json", **fault.headers}, len(fault.body))
        self.wfile.write(fault.body)

    def _body(self) -> Iterator[bytes]:
        left = int(self.headers.get("Content-Length", 0))
        while left and (block := self.rfile.read(min(BLOCK_BYTES, left))):
            left -= len(block)
            yield block

    def _pass_on(self, asked: Asked, fault: Fault) -> None:
        behind = http.client.HTTPConnection(self.server.behind, timeout=SECONDS)
        try:
            self._ask(behind, asked, fault)
            # Cut on purpose, or by a client that is gone: else the server would wait for the rest.
            if fault.cut is not None or asked.taken < int(self.headers.get("Content-Length", 0)):
                self.close_connection = True
                return
            answer = behind.getresponse()
            if fault.lost:
                answer.read()
                self.close_connection = True
                return
            asked.status = answer.status
            self._bring(answer, fault)
        finally:
            behind.close()

    def _ask(self, behind: http.client.HTTPConnection, asked: Asked, fault: Fault) -> None:
        behind.putrequest(asked.method, asked.path, skip_accept_encoding=True)
        for name, value in asked.headers.items():
            if name not in _OWN:
                behind.putheader(name, value)
        behind.endheaders()
        for whole in self._body():
            block = whole if fault.cut is None else whole[: fault.cut - asked.taken]
            if fault.flip is not None and asked.taken <= fault.flip < asked.taken + len(block):
                place = fault.flip - asked.taken
                block = block[:place] + bytes([block[place] ^ 1]) + block[place + 1 :]
            behind.send(block)
            asked.taken += len(block)
            if asked.taken == fault.cut:
                return

    def _bring(self, answer: http.client.HTTPResponse, fault: Fault) -> None:
        length = int(answer.headers.get("Content-Length", -1))
        # So that an upload session comes by here again.
        own = self.server.url.removeprefix("http://")
        headers = {
            name: value.replace(self.server.behind, own) if name.lower() == "location" else value
            for name, value in answer.headers.items()
        }
        # So do the links of what is told of an object.
        is_told = "json" in answer.headers.get("Content-Type", "")
        whole = answer.read() if length < 0 or is_told else None
        if whole and is_told:
            whole = whole.replace(self.server.behind.encode(), own.encode())
        self._answer(answer.status, headers, length if whole is None else len(whole))
        left = fault.short
        for block in [whole] if whole is not None else iter(lambda: answer.read(BLOCK_BYTES), b""):
            self.wfile.write(block if left is None else block[:left])
            left = None if left is None else left - min(left, len(block))
            if left == 0:
                self.close_connection = True
                return

    def _answer(self, status: int, headers: Mapping[str, str], length: int) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in _OWN | {"content-length"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
