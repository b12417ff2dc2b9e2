"""A proxy before bqemulator: it records what BigQuery is asked, repairs what the emulator lacks, and goes wrong.

What it repairs is where the emulator differs from BigQuery's documentation:

- ``ALTER TABLE`` may add several columns (DuckDB beneath adds one at a time).
- The id of a load job can be used once (the emulator runs the job again): 409.
- A load from a missing object is answered with ``notFound`` (the emulator says ``invalid``).
- An estimate is ``bytes_read`` (the emulator says 0), and one of several statements says that they are a script (the
  emulator runs them).
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOST = "127.0.0.1"
PROJECT = "test-project"

Json = dict[str, Any]

_JOBS = re.compile(r"/jobs(\?.*)?$")


@dataclass
class Call:
    """A request as the client sent it."""

    method: str
    path: str
    body: Json

    @property
    def job(self) -> str:
        """What kind of job it starts: ``load``, ``script``, ``statement``, ``estimate``, or none."""
        configuration = self.body.get("configuration", {})
        if self.method != "POST" or not _JOBS.search(self.path):
            return ""
        if "load" in configuration:
            return "load"
        if configuration.get("dryRun"):
            return "estimate"
        return "script" if "BEGIN TRANSACTION" in self.sql else "statement"

    @property
    def job_id(self) -> str:
        """The id of the job that it starts."""
        return str(self.body.get("jobReference", {}).get("jobId", ""))

    @property
    def sql(self) -> str:
        """The statements of a query job."""
        return str(self.body.get("configuration", {}).get("query", {}).get("query", ""))


@dataclass
class Answer:
    """What is answered to a request."""

    status: int
    body: Json


@dataclass(frozen=True)
class Fault:
    """What goes wrong with the next ``times`` calls that ``of`` holds for.

    ``answer`` makes the answer of what the emulator answered; unless ``late`` the emulator isn't asked, and ``answer``
    gets an empty one.
    """

    of: Callable[[Call], bool]
    answer: Callable[[Call, Answer], Answer]
    times: int = 1
    late: bool = False


@dataclass
class Proxy:
    """Passes requests on to the emulator's ``port``.

    ``calls`` is the record, and ``scripts_at_once`` how many scripts were underway together at most. ``bytes_read`` is
    what every statement is estimated at.
    """

    port: int
    calls: list[Call] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    bytes_read: int = 0
    scripts_at_once: int = 0
    _scripts: int = 0
    _lock: Lock = field(default_factory=Lock)
    _load_ids: set[str] = field(default_factory=set)
    _taken: dict[int, int] = field(default_factory=dict)

    def started(self, job: str) -> list[Call]:
        """Return the calls that started jobs of this kind, in order."""
        return [call for call in self.calls if call.job == job]

    def answer(self, call: Call) -> Answer:
        """Answer a call as BigQuery would, or as the next fault of its kind wants it."""
        self.calls.append(call)
        for fault in self.faults:
            if fault.of(call) and self._taken.get(id(fault), 0) < fault.times:
                self._taken[id(fault)] = self._taken.get(id(fault), 0) + 1
                return fault.answer(call, self._ask(call) if fault.late else Answer(200, {}))
        return self._ask(call)

    def _ask(self, call: Call) -> Answer:
        if call.job == "load":
            if call.job_id in self._load_ids:
                return refusal(409, "duplicate", f"Already Exists: Job {PROJECT}:US.{call.job_id}")
            self._load_ids.add(call.job_id)
        if call.job == "estimate" and ";" in call.sql.rstrip("; "):
            return Answer(200, _job(call) | {"statistics": {"query": {"statementType": "SCRIPT"}}})
        with self._counted(call):
            answer = self._forward(call)
        if call.job == "estimate" and answer.status == 200:
            answer.body["statistics"]["query"]["totalBytesProcessed"] = str(self.bytes_read)
        result = answer.body.get("status", {}).get("errorResult") or {} if call.job == "load" else {}
        if "No files found" in result.get("message", ""):
            uri = call.body["configuration"]["load"]["sourceUris"][0]
            result.update(reason="notFound", message=f"Not found: URI {uri}")
        return answer

    @contextmanager
    def _counted(self, call: Call) -> Iterator[None]:
        one = int(call.job == "script")
        with self._lock:
            self._scripts += one
            self.scripts_at_once = max(self.scripts_at_once, self._scripts)
        try:
            yield
        finally:
            with self._lock:
                self._scripts -= one

    def _forward(self, call: Call) -> Answer:
        connection = HTTPConnection(HOST, self.port, timeout=120)
        body = json.dumps(repaired(call)) if call.body else None
        try:
            connection.request(call.method, call.path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        return Answer(response.status, json.loads(text) if text else {})


def repaired(call: Call) -> Json:
    """Return the body of a call as the emulator understands it."""
    if not call.sql:
        return call.body
    copy: Json = json.loads(json.dumps(call.body))
    query = copy["configuration"]["query"]
    query["query"] = re.sub(
        r"(ALTER TABLE \S+ )(ADD COLUMN .*)",
        lambda found: "; ".join(found[1] + one for one in re.split(r", (?=ADD COLUMN)", found[2])),
        call.sql,
    )
    return copy


def refusal(status: int, reason: str, message: str) -> Answer:
    """Return Google's way to refuse a request."""
    error = {"code": status, "message": message, "errors": [{"reason": reason, "message": message}]}
    return Answer(status, {"error": error})


def failed(call: Call, reason: str, message: str) -> Answer:
    """Return Google's way to say that a job was started and failed."""
    error = {"reason": reason, "message": message}
    return Answer(200, _job(call) | {"status": {"state": "DONE", "errorResult": error, "errors": [error]}})


def running(call: Call, _answer: Answer) -> Answer:
    """Return Google's way to say that a job was started."""
    return Answer(200, _job(call) | {"status": {"state": "RUNNING"}})


def _job(call: Call) -> Json:
    return {"jobReference": call.body["jobReference"], "configuration": call.body["configuration"], "statistics": {}}


@contextmanager
def proxied(port: int) -> Iterator[tuple[Proxy, str]]:
    """Run a proxy before the emulator at ``port`` until the block ends; give it and its address."""
    proxy = Proxy(port)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet: each by itself waits for the other's receipt

        def _pass(self) -> None:
            text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = proxy.answer(Call(self.command, self.path, json.loads(text) if text else {}))
            body = json.dumps(answer.body).encode() if answer.body else b""
            self.send_response(answer.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass  # noqa: N815 - the names that the base class calls

        def log_message(self, *_args: object) -> None:
            """Say nothing: ``calls`` is the log."""

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield proxy, f"http://{HOST}:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
