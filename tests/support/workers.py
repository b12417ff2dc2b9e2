"""Which of pytest-xdist's workers runs which tests: the tests of ``tests/orchestration`` one, each other test any.

The tests there share a Prefect server, which takes ten seconds of a core to start, and ask it for its last run.
What other tests need is made or started in three seconds at most, by each worker that comes to need it.
"""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

PREFECT = "tests/orchestration/"


class Scheduler(LoadScopeScheduling):  # type: ignore[misc] # xdist has no type hints
    """Gives out the largest unit first, which is that of Prefect's tests, then single tests in their order."""

    def _split_scope(self, nodeid: str) -> str:
        return PREFECT if nodeid.startswith(PREFECT) else nodeid
