"""A Prefect server for one process, as Prefect starts one itself, but one that ends with it, however it ends."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import prefect
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import get_current_settings

if TYPE_CHECKING:
    from typing import IO

_KEEPER = Path(__file__).with_name("keeper.py")
# What Prefect tells a server that is there for one process: no pages, no settings of its own.
_EPHEMERAL = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
_STOP_SECONDS = 2.0
_POLL_SECONDS = 0.1
# A port is chosen before the server binds it: another process may be quicker.
_PORTS_TRIED = 5
_PORT_TAKEN = "error while attempting to bind on address"


class EphemeralServer(SubprocessASGIServer):
    """Prefect's own, but for how its process is started and stopped.

    Prefect's would outlive a command that is killed, hold the caller's pipes open as long, and be started again without
    an end if its database can't be opened. Prefect's clients find this one as they would find theirs.
    """

    def start(self, timeout: int | None = None) -> None:
        """Start the server unless it runs, and wait for it. Raises ``RuntimeError`` if it doesn't come."""
        if self.running:
            return
        end = time.monotonic() + (timeout or get_current_settings().server.ephemeral.startup_timeout_seconds)
        for _ in range(_PORTS_TRIED):
            self.port = self.find_available_port()
            # A file, not a pipe: nobody would read it, and not the caller's own, which would wait for this process.
            with tempfile.TemporaryFile() as log:
                self.server_process = _started(self.port, log)
                if self._answers(end):
                    self.running = True
                    return
                self.stop()
                log.seek(0)
                said = log.read().decode(errors="replace")
            if _PORT_TAKEN not in said:
                break
        last = (said.strip().splitlines() or ["it did not answer in time"])[-1]
        message = f"Prefect API server did not start: {last}"
        raise RuntimeError(message)

    def stop(self) -> None:
        """End the server's process, if there is one."""
        self.running = False
        process, self.server_process = self.server_process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _answers(self, end: float) -> bool:
        process = self.server_process
        with httpx.Client(timeout=5) as client:
            while process and process.poll() is None and time.monotonic() < end:
                try:
                    if client.get(f"{self.api_url}/health").is_success:
                        return True
                except httpx.TransportError:
                    time.sleep(_POLL_SECONDS)
        return False


def _started(port: int, log: IO[bytes]) -> subprocess.Popen[Any]:
    """Start the process of the server: with a pipe that tells it when this process is gone, and out of Ctrl-C's way.

    Ctrl-C in a terminal goes to every process of its group; the server must outlive the flow run, which asks for it to
    the end.
    """
    arguments = ["--app-dir", str(prefect.__module_path__.parent), "--factory", "prefect.server.api.server:create_app"]
    listens = ["--host", "127.0.0.1", "--port", str(port), "--log-level", "error", "--lifespan", "on"]
    return subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-P", str(_KEEPER), *arguments, *listens],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=log,
        start_new_session=True,
        env={**os.environ, **_EPHEMERAL, **get_current_settings().to_environment_variables(exclude_unset=True)},
    )
