"""Months side by side: their order, how many at once, and how a run is stopped."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from nyctaxi_etl.core.errors import UsageError
from nyctaxi_etl.core.partition import Color, Month, Partition
from nyctaxi_etl.core.progress import Event, listening, tell
from nyctaxi_etl.core.report import PartitionResult
from nyctaxi_etl.orchestration import runners
from support.command import nyctaxi
from support.months import publish
from support.ports import free_port
from support.web import serving

if TYPE_CHECKING:
    from pathlib import Path

JANUARY, FEBRUARY, MARCH = (Partition(Color.FHV, Month(2021, number)) for number in (1, 2, 3))
WAIT_SECONDS = 30


def loaded(partition: Partition) -> PartitionResult:
    """Return the result of a month that went well."""
    return PartitionResult(partition, "loaded", "fhv_taxi_data")


def heard(month: Any) -> list[Event]:
    """Run ``month`` and return what it told."""
    events: list[Event] = []
    with listening(events.append):
        month()
    return events


def test_results_are_in_order() -> None:
    """Results come in the order of the partitions, whichever ends first; a listener hears the months' threads."""
    others = threading.Barrier(3, timeout=WAIT_SECONDS)

    def month(partition: Partition) -> PartitionResult:
        if partition == JANUARY:
            others.wait()
        tell(Event(str(partition), "load"))
        if partition != JANUARY:
            others.wait()
        return loaded(partition)

    results: list[PartitionResult] = []
    events = heard(lambda: results.extend(runners.run_months([JANUARY, FEBRUARY, MARCH], month, 3)))
    assert [result.partition for result in results] == [JANUARY, FEBRUARY, MARCH]
    assert {event.subject for event in events} == {str(JANUARY), str(FEBRUARY), str(MARCH)}
    assert events[-1].subject == str(JANUARY)


def test_jobs_bounds_how_many_run() -> None:
    """Two jobs: two months meet, never three."""
    meeting, at_work, most = threading.Barrier(2, timeout=WAIT_SECONDS), [0], [0]
    lock = threading.Lock()

    def month(partition: Partition) -> PartitionResult:
        with lock:
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
        meeting.wait()
        with lock:
            at_work[0] -= 1
        return loaded(partition)

    months = [Partition(Color.FHV, Month(2021, number)) for number in range(1, 7)]
    runners.run_months(months, month, 2)
    assert most == [2]


def test_no_months() -> None:
    """Nothing to do is done at once."""
    assert runners.run_months([], loaded, 2) == ()


@pytest.mark.parametrize("error", [KeyError("a bug"), UsageError("Wrong for all."), KeyboardInterrupt()])
def test_an_error_of_no_month_stops_the_others(error: BaseException) -> None:
    """The month at work stops when it next looks up, those that wait never begin, and the error goes on."""
    begun, stopped, meeting = [], [], threading.Barrier(2, timeout=WAIT_SECONDS)

    def month(partition: Partition) -> PartitionResult:
        begun.append(partition)
        meeting.wait()
        if partition == JANUARY:
            raise error
        try:
            end = time.monotonic() + WAIT_SECONDS
            while time.monotonic() < end:
                tell(Event(str(partition), "load"))
                time.sleep(0.01)
        except KeyboardInterrupt:
            stopped.append(partition)
            raise
        return loaded(partition)

    with pytest.raises(type(error)):
        runners.run_months([JANUARY, FEBRUARY, MARCH], month, 2)
    assert set(begun) == {JANUARY, FEBRUARY}
    assert stopped == [FEBRUARY]


def test_a_month_that_never_looks_up_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A month that waits in vain holds up the end of a run for the time of grace, not longer."""
    monkeypatch.setattr(runners, "GRACE_SECONDS", 0.2)
    release, meeting = threading.Event(), threading.Barrier(2, timeout=WAIT_SECONDS)

    def month(partition: Partition) -> PartitionResult:
        meeting.wait()
        if partition == JANUARY:
            raise KeyError(partition)
        release.wait(WAIT_SECONDS)
        return loaded(partition)

    started = time.monotonic()
    with pytest.raises(KeyError):
        runners.run_months([JANUARY, FEBRUARY], month, 2)
    assert time.monotonic() - started < WAIT_SECONDS / 2
    release.set()


def test_fetching_begins_while_prefect_starts(tmp_path: Path) -> None:
    """The month is asked for, and kept, though Prefect's server can't be reached in the end."""
    publish(tmp_path / "source", "2021-01", 20, "B00001")
    settings = {"PREFECT_API_URL": f"http://127.0.0.1:{free_port()}/api", "NO_PROXY": "127.0.0.1"}
    with serving(tmp_path / "source") as site:
        command = ("ingest", "--color", "fhv", "--year", "2021", "--months", "1", "--source", site.url)
        done = nyctaxi(*command, folder=tmp_path, settings=settings)
        assert (done.code, site.hits[-1].path) == (2, "fhv_tripdata_2021-01.csv")
    assert "Prefect's server can't be reached" in done.error
    assert [path.name for path in (tmp_path / "data" / "raw").rglob("*.csv")] == ["fhv_tripdata_2021-01.csv"]
