"""Months side by side, each in a thread of its own, and how a run is stopped."""

from __future__ import annotations

from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from queue import Empty, SimpleQueue
from threading import Event as Signal
from threading import Thread
from typing import TYPE_CHECKING, TypeVar

from nyctaxi_etl.core import progress
from nyctaxi_etl.core.errors import NycTaxiError
from nyctaxi_etl.core.report import PartitionResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from nyctaxi_etl.core.partition import Partition
    from nyctaxi_etl.core.progress import Event
    from nyctaxi_etl.pipelines.job import Job

Outcome = TypeVar("Outcome")

# How long Ctrl-C waits for months that look up between two blocks; one that waits for a silent server does not.
GRACE_SECONDS = 3.0
# How long it waits then for the thread that the run is in, which may have a server to tell.
_TELL_SECONDS = 1.0
_POLL_SECONDS = 0.2
_NAME = "nyctaxi-"


class RunAbandoned(Exception):  # noqa: N818 - a state of the run
    """The run's months are done; it itself waits for something that is gone, and is abandoned."""


class Run:
    """A run in a thread of its own: Ctrl-C is heard at once, whatever the run waits for, and its months are known."""

    def __init__(self) -> None:
        self.stop = Signal()
        self.results: tuple[PartitionResult, ...] | None = None

    def in_thread(self, work: Callable[[], Outcome], is_lost: Callable[[], bool]) -> Outcome:
        """Return what ``work`` does, which calls ``run_months``.

        Raises ``RunAbandoned`` if its months are done and ``is_lost`` says that what it still waits for won't come.
        """
        future, context = Future[Outcome](), copy_context()
        context.run(_RUN.set, self)
        Thread(target=context.run, args=(_settle, future, work), name=f"{_NAME}run", daemon=True).start()
        try:
            while not wait([future], timeout=_POLL_SECONDS).done:
                if self.results is not None and is_lost():
                    raise RunAbandoned
        except KeyboardInterrupt:
            self.stop.set()
            wait([future], timeout=GRACE_SECONDS + _TELL_SECONDS)
            raise
        return future.result()


_RUN: ContextVar[Run | None] = ContextVar("run", default=None)


def is_ours(thread: Thread) -> bool:
    """Tell whether a thread is at work on a run or a month."""
    return thread.name.startswith(_NAME)


def _settle(future: Future[Outcome], work: Callable[[], Outcome]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
        future.set_exception(error)


def fetch_ahead(job: Job, partitions: Sequence[Partition]) -> None:
    """Begin to fetch these months from a source on the network, each in a thread of its own, and don't wait for them.

    What goes wrong is not told: the extract step asks again, and finds what has come meanwhile.
    """
    if job.source.is_remote:
        for partition in partitions:
            work = copy_context().run
            Thread(target=work, args=(_fetch, job, partition), name=f"{_NAME}ahead", daemon=True).start()


def _fetch(job: Job, partition: Partition) -> None:
    from nyctaxi_etl.pipelines.ingest import fetch_file

    with suppress(NycTaxiError):
        fetch_file(job, partition)


def run_months(
    partitions: Sequence[Partition], month: Callable[[Partition], PartitionResult], jobs: int
) -> tuple[PartitionResult, ...]:
    """Run ``month`` for each partition, ``jobs`` side by side, and return the results in order.

    On Ctrl-C, and on an error that is none of a month's own, the months at work stop between two blocks and their
    transactions are rolled back, before it goes on. One that waits in vain is left behind: its thread ends with the
    process, and the warehouse rolls back what it had begun.
    """
    run = _RUN.get() or Run()
    stop = run.stop
    todo: SimpleQueue[tuple[Partition, Future[PartitionResult]]] = SimpleQueue()
    futures = [Future[PartitionResult]() for _ in partitions]
    for item in zip(partitions, futures, strict=True):
        todo.put(item)
    with _stoppable(stop):
        for number in range(min(jobs, len(futures))):
            # A pool's threads would be waited for when the process ends.
            Thread(target=copy_context().run, args=(_work, todo, month), name=f"{_NAME}{number}", daemon=True).start()
        try:
            _await(futures, stop)
        except BaseException:
            stop.set()
            wait([future for future in futures if not future.cancel()], timeout=GRACE_SECONDS)
            raise
    run.results = tuple(future.result() for future in futures)
    return run.results


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
        _settle(future, lambda: month(partition))  # noqa: B023 - called at once
        if future.exception():
            return


def _await(futures: Sequence[Future[PartitionResult]], stop: Signal) -> None:
    """Wait for all, or raise what the first that failed did; look up now and then, to see whether to ``stop``."""
    left: Iterable[Future[PartitionResult]] = futures
    while left:
        done, left = wait(futures, timeout=_POLL_SECONDS, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
        if stop.is_set():
            raise KeyboardInterrupt


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
