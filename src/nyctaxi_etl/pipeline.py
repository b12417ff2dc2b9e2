"""The order of the steps, written once: fetch, look in the ledger, stage, load. Knows nothing of Prefect.

The steps are injected, so a flow runs the same order with tasks in their place.
"""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from threading import Event as Signal
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

from nyctaxi_etl import progress
from nyctaxi_etl.datasets import DATASETS
from nyctaxi_etl.errors import CorruptFile, NotPublished, NycTaxiError, Transient, UsageError
from nyctaxi_etl.model import Staged
from nyctaxi_etl.progress import Event, tell
from nyctaxi_etl.report import Failure, LoadReport, PartitionResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from nyctaxi_etl.ledger import LedgerRow
    from nyctaxi_etl.model import Partition, RawFile, Stage
    from nyctaxi_etl.report import Outcome
    from nyctaxi_etl.sources import Source
    from nyctaxi_etl.warehouses import Warehouse

LOAD_ATTEMPTS = 4
# How long Ctrl-C waits for months that look up between two blocks; one that waits for a silent server does not.
GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Job:
    """What a run is to do with each of its months; holds no secret and can be pickled.

    ``to`` is an address or ``block:NAME``; ``table`` ``None`` means the colour's own; ``run_id`` goes into the ledger.
    """

    source: Source
    to: str
    data_dir: Path
    run_id: str
    table: str | None = None
    force: bool = False
    sample_rows: int = 50_000
    max_unparsable: float = 0.05

    def table_of(self, partition: Partition) -> str:
        """Return the table that a month of this colour goes into."""
        return self.table or DATASETS[partition.color].table


class Steps(NamedTuple):
    """The three steps of a month; ``load`` is safe to repeat."""

    extract: Callable[[Job, Partition], RawFile]
    transform: Callable[[Job, RawFile, Path], Stage]
    load: Callable[[Job, Stage], int]


def extract(job: Job, partition: Partition) -> RawFile:
    """Have the month's file here, whole and checked: see ``extract.fetch``."""
    from nyctaxi_etl.extract import fetch

    return fetch(job.source, partition, job.data_dir / "raw", sample_rows=job.sample_rows)


def transform(job: Job, raw: RawFile, folder: Path) -> Staged:
    """Conform and clean the file into ``folder``: see ``staging.stage``. A damaged fetched copy is discarded."""
    from nyctaxi_etl.extract import discard
    from nyctaxi_etl.staging import stage

    try:
        with _on_disk(raw.partition, folder):
            return stage(raw, DATASETS[raw.partition.color], folder, job.max_unparsable)
    except CorruptFile:
        discard(raw)
        raise


def transform_live(job: Job, raw: RawFile, folder: Path) -> Stage:
    """Open the file, to be conformed and cleaned while it is loaded: see ``staging.LiveStage``."""
    from nyctaxi_etl.staging import LiveStage, keep_rejects

    def keep(live: LiveStage) -> None:
        keep_rejects(live, job.data_dir / "rejects")

    tell(Event(raw.partition, "transform"))
    return LiveStage(raw, DATASETS[raw.partition.color], folder, job.max_unparsable, keep)


def load(job: Job, staged: Stage, open_warehouse: Callable[[Job], Warehouse]) -> int:
    """Put the rejects where they stay, then replace the month in the warehouse: see ``Warehouse.replace``."""
    from nyctaxi_etl.extract import discard
    from nyctaxi_etl.staging import keep_rejects

    with _on_disk(staged.partition, job.data_dir):
        if isinstance(staged, Staged):
            keep_rejects(staged, job.data_dir / "rejects")
        try:
            with open_warehouse(job) as warehouse:
                table, dataset = job.table_of(staged.partition), DATASETS[staged.partition.color]
                return warehouse.replace(table, dataset, staged, job.run_id)
        except CorruptFile:
            discard(staged.raw)
            raise


def direct_steps(open_warehouse: Callable[[Job], Warehouse]) -> Steps:
    """Return the steps as plain functions; a load that failed for a passing reason is tried again.

    Transform and load overlap where the warehouse takes a month that is still being conformed.
    """
    import stamina

    def transform_for(job: Job, raw: RawFile, folder: Path) -> Stage:
        with open_warehouse(job) as warehouse:
            flows = warehouse.takes_flow
        return transform_live(job, raw, folder) if flows else transform(job, raw, folder)

    def load_again(job: Job, staged: Stage) -> int:
        for attempt in stamina.retry_context(on=Transient, attempts=LOAD_ATTEMPTS, timeout=None):
            with attempt:
                try:
                    return load(job, staged, open_warehouse)
                except Transient as error:
                    if attempt.num < LOAD_ATTEMPTS:
                        tell_retry(staged.partition, "load", error)
                    raise
        message = f"{staged.partition}: no attempt was made."  # a deactivated stamina still makes one
        raise Transient(message)

    return Steps(extract, transform_for, load_again)


def tell_retry(partition: Partition, step: str, error: Transient) -> None:
    """Say why a step is tried again."""
    tell(Event(partition, step, note=f"{error.message} Trying again."))


def prepare(job: Job) -> None:
    """See that the data folder can be written to. Raises ``UsageError`` otherwise."""
    try:
        job.data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=job.data_dir):
            pass
    except OSError as error:
        message = f"--data-dir {job.data_dir} can't be written to: {error.strerror}."
        raise UsageError(message, "Name another folder with --data-dir or NYCTAXI_DATA_DIR.") from error


def held(
    job: Job, partitions: Iterable[Partition], open_warehouse: Callable[[Job], Warehouse]
) -> dict[Partition, LedgerRow]:
    """Return what the warehouse's ledger says of these months; asked first, it shows a warehouse out of reach."""
    by_table: dict[str, list[Partition]] = {}
    for partition in partitions:
        by_table.setdefault(job.table_of(partition), []).append(partition)
    found: dict[Partition, LedgerRow] = {}
    with open_warehouse(job) as warehouse:
        for table, wanted in by_table.items():
            rows = {(row.color, row.file_month): row for row in warehouse.loaded(table)}
            keys = {partition: (str(partition.color), partition.month.first_day) for partition in wanted}
            found |= {partition: rows[key] for partition, key in keys.items() if key in rows}
    return found


def ingest_month(job: Job, partition: Partition, steps: Steps, row: LedgerRow | None) -> PartitionResult:
    """Bring one month from the source into the warehouse; ``row`` is what its ledger says of the month.

    A ``NycTaxiError`` becomes a failed or missing result, but for a ``UsageError``: that is wrong for every month.
    """
    started = time.perf_counter()
    blank = PartitionResult(partition, "failed", job.table_of(partition))
    try:
        result = _ingest(job, partition, steps, row, blank)
    except UsageError:
        raise
    except NycTaxiError as error:
        outcome: Outcome = "missing" if isinstance(error, NotPublished) else "failed"
        # The month's name stands beside it wherever a result is shown.
        failure = replace(Failure.of(error), message=error.message.removeprefix(f"{partition}: "))
        result = replace(blank, outcome=outcome, failure=failure)
    result = replace(result, seconds=time.perf_counter() - started)
    note = result.failure.message if result.failure else ""
    tell(Event(partition, result.outcome, result.rows_loaded, result.rows_read, note=note))
    return result


def _ingest(
    job: Job, partition: Partition, steps: Steps, row: LedgerRow | None, blank: PartitionResult
) -> PartitionResult:
    raw = steps.extract(job, partition)
    if row and not job.force and row.holds(raw, DATASETS[partition.color]):
        unknown = tuple(filter(None, row.unknown_columns.split(",")))
        counts = (row.rows_read, row.rows_rejected, row.rows_loaded)
        return replace(_counted(blank, counts, raw), outcome="unchanged", unknown_columns=unknown)
    with _staging(job, partition) as folder:
        staged = steps.transform(job, raw, folder)
        rows = steps.load(job, staged)
    result = _counted(blank, (staged.rows_read, staged.rows_rejected, rows), raw)
    return replace(result, outcome="loaded", flags=staged.flags, unknown_columns=staged.unknown_columns)


@contextmanager
def _staging(job: Job, partition: Partition) -> Iterator[Path]:
    from nyctaxi_etl.staging import workplace

    with ExitStack() as stack:
        with _on_disk(partition, job.data_dir):
            folder = stack.enter_context(workplace(job.data_dir / "staging"))
        yield folder


@contextmanager
def _on_disk(partition: Partition, folder: Path) -> Iterator[None]:
    """Turn what the file system refuses into an error that names the place; an error without a number is none of it."""
    try:
        yield
    except OSError as error:
        if not error.errno:
            raise
        message = f"{partition}: {error.filename or folder}: {error.strerror}."
        raise NycTaxiError(message, "Make room or give access there, or name another --data-dir.") from error


def _counted(blank: PartitionResult, counts: tuple[int, int, int], raw: RawFile) -> PartitionResult:
    read, rejected, loaded = counts
    return replace(blank, rows_read=read, rows_rejected=rejected, rows_loaded=loaded, bytes=raw.bytes)


def run_months(
    partitions: Sequence[Partition], month: Callable[[Partition], PartitionResult], jobs: int
) -> tuple[PartitionResult, ...]:
    """Run ``month`` for each partition, ``jobs`` side by side, and return the results in order.

    On Ctrl-C, and on an error that is none of a month's own, the months at work stop between two blocks and their
    transactions are rolled back, before it goes on. One that waits in vain is left behind: its thread ends with the
    process, and the warehouse rolls back what it had begun.
    """
    stop = Signal()
    todo: SimpleQueue[tuple[Partition, Future[PartitionResult]]] = SimpleQueue()
    futures = [Future[PartitionResult]() for _ in partitions]
    for item in zip(partitions, futures, strict=True):
        todo.put(item)
    with _stoppable(stop):
        for number in range(min(jobs, len(futures))):
            # A pool's threads would be waited for when the process ends.
            Thread(target=copy_context().run, args=(_work, todo, month), name=f"month-{number}", daemon=True).start()
        try:
            _await(futures)
        except BaseException:
            stop.set()
            wait([future for future in futures if not future.cancel()], timeout=GRACE_SECONDS)
            raise
    return tuple(future.result() for future in futures)


def _work(
    todo: SimpleQueue[tuple[Partition, Future[PartitionResult]]], month: Callable[[Partition], PartitionResult]
) -> None:
    """Do months as long as there are any that were not cancelled, or until one raises: that ends the run."""
    while True:
        try:
            partition, future = todo.get_nowait()
        except Empty:
            return
        if not future.set_running_or_notify_cancel():
            continue
        try:
            future.set_result(month(partition))
        except BaseException as error:  # noqa: BLE001 - raised again by run_months, where it is waited for
            future.set_exception(error)
            return


def _await(futures: Sequence[Future[PartitionResult]]) -> None:
    """Wait for all, or raise what the first that failed did; second by second, or Ctrl-C isn't heard on Windows."""
    left: Iterable[Future[PartitionResult]] = futures
    while left:
        done, left = wait(futures, timeout=1, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()


@contextmanager
def _stoppable(stop: Signal) -> Iterator[None]:
    """Have every ``tell`` raise ``KeyboardInterrupt`` once ``stop`` is set: the one place where steps look up."""
    listener = progress.listener()

    def heed(event: Event) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        listener(event)

    with progress.listening(heed):
        yield


def report(command: str, job: Job, results: Sequence[PartitionResult]) -> LoadReport:
    """Put the results of a run together."""
    return LoadReport(command, job.source.base or job.source.name, job.to, tuple(results))
