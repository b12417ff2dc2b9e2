"""Months side by side, each in a thread of its own, and how a run is stopped."""

from __future__ import annotations

from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import contextmanager
from contextvars import copy_context
from queue import Empty, SimpleQueue
from threading import Event as Signal
from threading import Thread
from typing import TYPE_CHECKING

from nyctaxi_etl import progress
from nyctaxi_etl.report import PartitionResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from nyctaxi_etl.model import Partition
    from nyctaxi_etl.progress import Event

# How long Ctrl-C waits for months that look up between two blocks; one that waits for a silent server does not.
GRACE_SECONDS = 5.0


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
