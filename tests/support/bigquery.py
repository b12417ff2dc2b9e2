"""A BigQuery for tests: bqemulator in a process of its own, and a folder that it takes for buckets."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from nyctaxi_etl.lakes.parquet import staged_parquet
from nyctaxi_etl.schema.datasets import DATASETS
from support.ports import HOST, free_port
from support.venvs import environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nyctaxi_etl.staging.files import StagedFile

START_SECONDS = 60
STOP_SECONDS = 60
# Runs the server until standard input closes, which it also does when the test session is killed outright.
_KEEPER = 'exec 3<&0 </dev/null; "$@" 3<&- & server=$!; read -r _ <&3; kill "$server"; wait "$server"'
_IMPORT = "from duckdb_extensions import import_extension; import_extension('spatial')"


@contextmanager
def emulator(bucket_root: Path, log: Path) -> Iterator[int]:
    """Run bqemulator until the block ends, and give its port; ``gs://b/k`` is the file ``bucket_root/b/k``."""
    python, port = environment("bqemulator"), free_port()
    # DuckDB keeps extensions in the home folder, and the emulator wants one: here it has a home of its own.
    settings = {**os.environ, "HOME": str(python.parents[1]), "BQEMU_GCS_LOCAL_ROOT": str(bucket_root)}
    subprocess.run([python, "-c", _IMPORT], check=True, env=settings, capture_output=True)
    listens = ["--rest-host", HOST, "--rest-port", str(port), "--grpc-port", str(free_port())]
    command = [str(python.with_name("bqemulator")), "start", *listens, "--log-level", "warning"]
    with log.open("wb") as output:
        keeper = subprocess.Popen(
            ["sh", "-c", _KEEPER, "sh", *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=settings,
            start_new_session=True,  # Ctrl-C in the terminal is for the tests, which then stop the server themselves
        )
    try:
        _wait_ready(port, log)
        yield port
    finally:
        if keeper.stdin:
            keeper.stdin.close()
        keeper.wait(STOP_SECONDS)


def _wait_ready(port: int, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        connection = HTTPConnection(HOST, port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except (OSError, HTTPException):  # not listening yet
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    message = f"bqemulator did not start: {log.read_text(errors='replace')}"
    raise RuntimeError(message)


@dataclass(frozen=True)
class Bucket:
    """A bucket as a folder: what ``gs://name/key`` is for the emulator is the file ``root/name/key``."""

    root: Path
    name: str

    def put(self, staged: StagedFile) -> str:
        """Put a staged month into the bucket as the lake does, if it isn't there, and return where."""
        key = f"trips/{staged.partition.color}/{staged.path.stem}.parquet"
        path = self.root / self.name / key
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            if staged.lineage.dataset_version == DATASETS[staged.partition.color].version:
                staged_parquet(staged, path)
            else:  # a test's own dataset
                table = pa.Table.from_batches(staged.batches(), schema=staged.schema)
                pq.write_table(table, path, compression="zstd")
        return f"gs://{self.name}/{key}"
