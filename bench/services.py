"""The servers that groups of ways need beside Postgres, for as long as a ``with`` block lasts."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.commands import say
from bench.destinations import BUCKET, buckets

from support.gcs import fake_gcs
from support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from contextlib import AbstractContextManager

    from bench.workbench import Workbench

SERVER_SECONDS = 120
STOP_SECONDS = 20
NEEDS_STORAGE = "csv-lake-gcs"


@contextlib.contextmanager
def storage(bench: Workbench, ways: Collection[str]) -> Iterator[Workbench]:
    """Run the stand-in for Google Cloud Storage, with a bucket, if one of the ways writes to it."""
    if NEEDS_STORAGE not in ways:
        yield bench
        return
    (buckets(bench) / BUCKET).mkdir(parents=True)
    with fake_gcs(buckets(bench)) as url:
        yield replace(bench, environment={**bench.environment, "STORAGE_EMULATOR_HOST": url})


@contextlib.contextmanager
def prefect(bench: Workbench, _ways: Collection[str]) -> Iterator[Workbench]:
    """Run a Prefect server with a home of its own."""
    say("Starting Prefect's server ...")
    port = str(free_port())
    url = f"http://127.0.0.1:{port}/api"
    quiet = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_HOME": str(bench.folder / "prefect-server")}
    environment = {**bench.environment, **quiet, "PREFECT_API_URL": url}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port]
    with (bench.folder / "prefect.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_healthy(f"{url}/health", process)
        yield replace(bench, environment=environment)
    finally:
        for way_out in (signal.SIGINT, signal.SIGKILL):  # the second for what the first has left of the group
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, way_out)
                process.wait(STOP_SECONDS)


@contextlib.contextmanager
def nothing(bench: Workbench, _ways: Collection[str]) -> Iterator[Workbench]:
    """Run no server."""
    yield bench


def wait_healthy(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until the server answers; its first start makes a database, which takes a while."""
    end = time.monotonic() + SERVER_SECONDS
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - always http
            return
        time.sleep(0.2)
    message = f"Prefect's server did not start within {SERVER_SECONDS} s."
    raise SystemExit(message)


# What each group of ways runs beside, in the order in which they are measured.
GROUPS: Mapping[str, Callable[[Workbench, Collection[str]], AbstractContextManager[Workbench]]] = {
    "month": storage,
    "start": nothing,
    "prefect": prefect,
    "large": nothing,
}
