"""Months loaded in a process of its own, as the command does it, one event at a time if a test wants it so."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from nyctaxi_etl.core.progress import Event, listening
from nyctaxi_etl.pipelines.ingest import ingest_steps
from nyctaxi_etl.pipelines.job import Job, Plan
from nyctaxi_etl.pipelines.month import run_month
from nyctaxi_etl.sources.registry import resolve
from nyctaxi_etl.warehouses.opening import open_warehouse

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from nyctaxi_etl.core.partition import Partition
    from nyctaxi_etl.core.report import PartitionResult
    from nyctaxi_etl.warehouses.base import Warehouse

TESTS = Path(__file__).parents[1]


def job_of(folder: Path, address: str, data_dir: Path, run_id: str = "run") -> Job:
    """Return the job of loading the months published in ``folder``."""
    return Job(resolve(str(folder)), address, data_dir, run_id)


def ingest(job: Job, partition: Partition) -> PartitionResult:
    """Load a month in this process, the ledger unasked."""
    with _opened(job) as warehouse:
        plan = Plan(job, ingest_steps(_opened), warehouse.capabilities)
    return run_month(plan, partition)


@dataclass
class Loading:
    """A process that loads ``partitions`` of ``job``; it stops at each event until it is told to go on."""

    job: Job
    partitions: Sequence[Partition]
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        """Start the process; it says that it is ready and waits."""
        paths = os.pathsep.join([str(TESTS), *filter(None, sys.path)])
        self.process = subprocess.Popen(
            [sys.executable, __file__, pickle.dumps((self.job, tuple(self.partitions))).hex()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave no process behind, whatever became of the test."""
        with self.process:
            self.process.kill()

    def until(self, step: str, rows: int = 0) -> None:
        """Go on to the first event of ``step`` with at least so many rows done, and stop there."""
        while True:
            said = self._out.readline().decode().split()
            assert said, self._err.read().decode()
            if said[0] == step and int(said[1]) >= rows:
                return
            self._in.write(b"\n")
            self._in.flush()

    def go(self) -> None:
        """Go on to the end without a stop."""
        self._in.close()

    def end(self) -> str:
        """Wait for the end, and return what was written to the error stream."""
        self._out.read()
        self.process.wait()
        return self._err.read().decode()

    def kill(self) -> None:
        """Kill the process, as the machine does when memory runs out."""
        self.process.kill()
        self.process.wait()

    @property
    def _in(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    @property
    def _out(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout

    @property
    def _err(self) -> IO[bytes]:
        assert self.process.stderr is not None
        return self.process.stderr


def _opened(job: Job) -> Warehouse:
    return open_warehouse(job.to, job.data_dir)


def _stop(event: Event) -> None:
    """Say what happens and wait for a line, or the end of all lines."""
    sys.stdout.write(f"{event.step} {event.done}\n")
    sys.stdout.flush()
    sys.stdin.readline()


def _main(job: Job, partitions: tuple[Partition, ...]) -> None:
    with listening(_stop):
        _stop(Event(str(partitions[0]), "ready"))
        for partition in partitions:
            result = ingest(job, partition)
            if result.failure:
                sys.stderr.write(f"{partition}: {result.failure.type}: {result.failure.message}\n")


if __name__ == "__main__":
    _main(*pickle.loads(bytes.fromhex(sys.argv[1])))  # noqa: S301 - of the parent's making
