"""How a transaction is committed: in turn within this process, and again if BigQuery cancels it for another's sake.

BigQuery has no locks to wait for: of two transactions that change one table at the same time it cancels one, and every
month changes the ledger. So the months of a process queue, and processes make way for each other with growing pauses.
"""

from __future__ import annotations

import random
import time
from contextlib import contextmanager
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING

from google.api_core.exceptions import GoogleAPICallError

from nyctaxi_etl.core.progress import tell
from nyctaxi_etl.warehouses.bigquery.errors import is_conflict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nyctaxi_etl.core.progress import Event
    from nyctaxi_etl.warehouses.bigquery.jobs import Jobs

# Seconds between attempts at most, and half as many at least; two to four minutes in all. A month's transaction takes
# some seconds, so that several processes which began together find a gap.
PAUSES = (1, 2, 4, 8, 16, 32, 60, 60, 60)
_COMMITTING = Lock()


def commit(jobs: Jobs, sql: str, event: Event) -> None:
    """Run a transaction to its end, once for each of ``PAUSES`` and once more while others' changes cancel it.

    Raises what Google's library does.
    """
    for pause in PAUSES:
        try:
            with commit_turn(event):
                jobs.query(sql, event)
        except GoogleAPICallError as error:
            if not is_conflict(error):
                raise
        else:
            return
        _pause(random.randint(max(1, pause // 2), pause), event)  # noqa: S311 - no secret: two are not to meet again
    with commit_turn(event):
        jobs.query(sql, event)


@contextmanager
def commit_turn(event: Event) -> Iterator[None]:
    """Wait until no other month of this process commits, and hold the others up meanwhile."""
    while not _COMMITTING.acquire(timeout=1):
        tell(replace(event, note="waiting for another month's commit"))
    try:
        yield
    finally:
        _COMMITTING.release()


def _pause(seconds: int, event: Event) -> None:
    """Wait, telling of it every second: whoever listens may stop the run."""
    for _ in range(seconds):
        tell(replace(event, note=f"canceled for another program's commit, trying again in {seconds} s"))
        time.sleep(1)
