"""A real Prefect server for as long as a ``with`` block lasts, and what it knows of the runs that it saw."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_SECONDS = 120
STOP_SECONDS = 20
# Task runs reach the server as events, a moment after they ended.
SETTLE_SECONDS = 60
QUIET = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_LOGGING_LEVEL": "ERROR"}

# Becomes the server, beside which a watcher stops it, a halted one too, when standard input closes: in the end, or when
# the test session is killed outright.
_KEEPER = 'exec 3<&0 </dev/null; (read -r _ <&3; kill "$$"; kill -CONT "$$") & exec "$@" 3<&-'


@dataclass(frozen=True)
class PrefectServer:
    """A running server: the address of its API, the folder that it and its clients keep things in, its process."""

    api: str
    home: Path
    pid: int = 0

    def environment(self) -> dict[str, str]:
        """Return what a command needs in its environment to use this server."""
        return {"PREFECT_API_URL": self.api, "PREFECT_HOME": str(self.home)}

    def ask(self, kind: str, **where: Any) -> list[dict[str, Any]]:
        """Return what the server has of ``flow_runs``, ``task_runs``, ``artifacts``, ``logs``, filtered, by time."""
        end = time.monotonic() + SETTLE_SECONDS
        while True:
            answer = httpx.post(f"{self.api}/{kind}/filter", json=where, timeout=30)
            # Its database may be busy for a moment; Prefect's own clients ask again as well.
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE or time.monotonic() > end:
                break
            time.sleep(0.2)
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()
        return sorted(found, key=lambda one: str(one.get("timestamp") or one["created"]))

    def flow_run(self, name: str) -> dict[str, Any]:
        """Return the last run of the flow ``name``."""
        return self.ask("flow_runs", flows={"name": {"any_": [name]}})[-1]

    def task_runs(self, flow_run: dict[str, Any], count: int) -> dict[str, dict[str, Any]]:
        """Return the flow run's task runs by name, once there are ``count`` of them, all ended."""
        end = time.monotonic() + SETTLE_SECONDS
        while True:
            runs = self.ask("task_runs", flow_runs={"id": {"any_": [flow_run["id"]]}})
            if len(runs) >= count and all(run["end_time"] for run in runs):
                return {run["name"]: run for run in runs}
            assert time.monotonic() < end, [(run["name"], run["state_name"]) for run in runs]
            time.sleep(0.2)

    def logged(self, flow_run: dict[str, Any], *words: str) -> bool:
        """Tell whether the flow run's own log has a line with all these words, once it has come."""
        end = time.monotonic() + SETTLE_SECONDS
        where = {"flow_run_id": {"any_": [flow_run["id"]]}, "task_run_id": {"is_null_": True}}
        while time.monotonic() < end:
            lines = [line["message"] for line in self.ask("logs", logs=where)]
            if any(all(word in line for word in words) for line in lines):
                return True
            time.sleep(0.2)
        return False

    def graph(self, flow_run: dict[str, Any]) -> dict[str, set[str]]:
        """Return what the flow run's graph shows: for each task run its name, and the names of those before it."""
        answer = httpx.get(f"{self.api}/flow_runs/{flow_run['id']}/graph-v2", timeout=30)
        answer.raise_for_status()
        nodes = dict(answer.json()["nodes"])
        return {node["label"]: {nodes[one["id"]]["label"] for one in node["parents"]} for node in nodes.values()}

    def artifacts(self, flow_run: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the flow run's artifacts by key, but for the results that Prefect lists among them."""
        found = self.ask("artifacts", artifacts={"flow_run_id": {"any_": [flow_run["id"]]}})
        return {artifact["key"]: artifact for artifact in found if artifact["key"]}


@contextmanager
def prefect_server(home: Path) -> Iterator[PrefectServer]:
    """Start ``prefect server start`` on a free port, its database in ``home``, and stop it in the end."""
    port = free_port()
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(
            ["sh", "-c", _KEEPER, "keeper", *command],
            env={**environment, **QUIET, "PREFECT_HOME": str(home), "PREFECT_UI_ENABLED": "false"},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    server = PrefectServer(f"http://127.0.0.1:{port}/api", home, process.pid)
    try:
        _wait_ready(process, server)
        yield server
    finally:
        if process.stdin:
            process.stdin.close()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_ready(process: subprocess.Popen[bytes], server: PrefectServer) -> None:
    end = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        try:
            if httpx.get(f"{server.api}/health", timeout=5).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    process.kill()
    message = f"Prefect did not start: {(server.home / 'server.log').read_text()}"
    raise RuntimeError(message)


@contextmanager
def client_of(server: PrefectServer) -> Iterator[None]:
    """Let flows of this process run at ``server``, and keep what they keep beside its database."""
    from prefect import context
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_HOME,
        PREFECT_LOCAL_STORAGE_PATH,
        PREFECT_LOGGING_LEVEL,
        temporary_settings,
    )

    ours: dict[Any, Any] = {
        PREFECT_API_URL: server.api,
        PREFECT_HOME: server.home,
        PREFECT_LOCAL_STORAGE_PATH: server.home / "storage",
        PREFECT_LOGGING_LEVEL: "INFO",
    }
    # Threads that begin without this one's context have these settings too, as in Prefect's own test harness.
    with temporary_settings(updates=ours), context._temporary_global_settings_context(context.get_settings_context()):
        yield
        _drain()


def _drain() -> None:
    """Wait until the server has what this process had to tell it: afterwards it would be told to nobody."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    EventsWorker.drain_all()
    with suppress(RuntimeError):  # nothing was ever logged
        APILogWorker.instance().drain()
