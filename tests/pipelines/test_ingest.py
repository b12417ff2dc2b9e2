"""The order of the steps, what becomes of errors, months side by side, and how a run is stopped."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import stamina

from nyctaxi_etl.core.errors import CorruptFile, NotPublished, NycTaxiError, Transient, UsageError, WarehouseError
from nyctaxi_etl.core.partition import Color, Month, Partition, Stage, Staged
from nyctaxi_etl.core.progress import Event, listening, tell
from nyctaxi_etl.core.report import PartitionResult
from nyctaxi_etl.orchestration import runners as running
from nyctaxi_etl.pipelines import ingest as pipeline
from nyctaxi_etl.pipelines.ingest import Job, Steps
from nyctaxi_etl.sources.registry import resolve
from nyctaxi_etl.warehouses.base import Capabilities
from nyctaxi_etl.warehouses.duckdb.warehouse import DuckDB
from nyctaxi_etl.warehouses.opening import open_warehouse
from support.months import publish

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nyctaxi_etl.core.partition import RawFile
    from nyctaxi_etl.warehouses.base import Warehouse

JANUARY, FEBRUARY, MARCH = (Partition(Color.FHV, Month(2021, number)) for number in (1, 2, 3))
WAIT_SECONDS = 10


@pytest.fixture(autouse=True)
def _no_pauses() -> Iterator[None]:
    """Retry without pauses, as often as else."""
    stamina.set_testing(True, attempts=pipeline.LOAD_ATTEMPTS)
    yield
    stamina.set_testing(False)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job on a folder with January and February 2021 of fhv, into embedded DuckDB."""
    publish(tmp_path / "source", "2021-01", 20, "B00001")
    publish(tmp_path / "source", "2021-02", 30, "B00002")
    return Job(resolve(str(tmp_path / "source")), "duckdb", tmp_path / "data", "run")


def opened(job: Job) -> Warehouse:
    """Open the warehouse of a job that names no block."""
    return open_warehouse(job.to, job.data_dir)


def loaded(partition: Partition) -> PartitionResult:
    """Return the result of a month that went well."""
    return PartitionResult(partition, "loaded", "fhv_taxi_data")


def heard(month: Any) -> list[Event]:
    """Run ``month`` and return what it told."""
    events: list[Event] = []
    with listening(events.append):
        month()
    return events


# One month


def test_order_of_the_steps(job: Job) -> None:
    """Extract, transform, load; the staging folder is there for the steps and gone afterwards."""
    seen: list[str] = []

    def extract(job: Job, partition: Partition) -> RawFile:
        seen.append("extract")
        return pipeline.extract(job, partition)

    def transform(job: Job, raw: RawFile, folder: Path) -> Staged:
        seen.append("transform")
        assert folder.parent == job.data_dir / "staging"
        return pipeline.transform(job, raw, folder)

    def load(job: Job, staged: Stage) -> int:
        seen.append("load")
        assert isinstance(staged, Staged)
        assert staged.path.exists()
        return pipeline.load(job, staged, opened)

    result = pipeline.ingest_month(job, JANUARY, Steps(extract, transform, load), None)
    assert seen == ["extract", "transform", "load"]
    assert (result.outcome, result.rows_read, result.rows_loaded, result.bytes > 0) == ("loaded", 20, 20, True)
    assert list((job.data_dir / "staging").iterdir()) == []


def test_unchanged_needs_no_transform(job: Job) -> None:
    """What the ledger holds of the same bytes isn't staged again, unless forced."""
    steps = pipeline.direct_steps(opened)
    pipeline.ingest_month(job, JANUARY, steps, None)
    ledger = pipeline.held(job, [JANUARY, FEBRUARY], opened)
    assert list(ledger) == [JANUARY]

    def refused(*_: object) -> Staged:
        raise AssertionError

    unchanged = pipeline.ingest_month(job, JANUARY, steps._replace(transform=refused), ledger[JANUARY])
    assert (unchanged.outcome, unchanged.rows_read, unchanged.rows_loaded) == ("unchanged", 20, 20)
    forced = pipeline.ingest_month(replace(job, force=True), JANUARY, steps, ledger[JANUARY])
    assert forced.outcome == "loaded"


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (NotPublished("fhv/2021-01: not there.", "Later."), "missing"),
        (CorruptFile("fhv/2021-01: torn.", "Again."), "failed"),
        (WarehouseError("The warehouse refused."), "failed"),
    ],
)
def test_an_error_fails_its_month(error: NycTaxiError, outcome: str, job: Job) -> None:
    """A known error becomes the month's result, with its hint; the month isn't named twice; the listener is told."""

    def broken(_job: Job, _partition: Partition) -> RawFile:
        raise error

    steps = pipeline.direct_steps(opened)._replace(extract=broken)
    results: list[PartitionResult] = []
    events = heard(lambda: results.append(pipeline.ingest_month(job, JANUARY, steps, None)))
    (result,) = results
    assert result.outcome == outcome
    assert result.failure is not None
    assert (result.failure.type, result.failure.hint) == (type(error).__name__, error.hint)
    assert result.failure.message == error.message.removeprefix("fhv/2021-01: ")
    assert (events[-1].step, events[-1].note) == (outcome, result.failure.message)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyError("a bug"), "KeyError: 'a bug'"),
        (MemoryError(), "MemoryError"),
        (RecursionError("maximum depth"), "RecursionError: maximum depth"),
        (ValueError("\ud800"), r"ValueError: \ud800"),
    ],
)
@pytest.mark.parametrize("step", ["extract", "transform", "load"])
def test_a_bug_is_its_months(step: str, error: Exception, message: str, job: Job) -> None:
    """What nobody foresaw fails its month as a bug, with its traceback beside the report; the next month is loaded."""

    def broken(_job: Job, what: Any, *_: object) -> Any:
        if getattr(what, "partition", what) == JANUARY:
            raise error
        return getattr(good, step)(_job, what, *_)

    good = pipeline.direct_steps(opened)
    steps = good._replace(**{step: broken})
    report = pipeline.report(
        "ingest", job, running.run_months([JANUARY, FEBRUARY], lambda p: pipeline.ingest_month(job, p, steps, None), 1)
    )
    bad, well = report.results
    assert (bad.outcome, well.outcome, report.exit_code) == ("failed", "loaded", 1)
    assert bad.failure is not None
    assert (bad.failure.type, bad.failure.message) == ("Bug", message)
    assert "This is a bug in nyctaxi" in bad.failure.hint
    assert list(report.traces) == [JANUARY]
    assert "in broken" in report.traces[JANUARY]
    assert "Traceback" not in str(report.as_dict()) + report.as_text()
    assert list((job.data_dir / "staging").glob("*")) == []


@pytest.mark.parametrize("error", [UsageError("Wrong for every month."), KeyboardInterrupt()])
def test_what_is_not_the_months_own_is_raised(error: BaseException, job: Job) -> None:
    """A usage error is wrong for every month, and Ctrl-C ends them all: both go on."""

    def broken(_job: Job, _partition: Partition) -> RawFile:
        raise error

    with pytest.raises(type(error)):
        pipeline.ingest_month(job, JANUARY, pipeline.direct_steps(opened)._replace(extract=broken), None)


def test_a_full_disk_fails_the_month(job: Job) -> None:
    """What the file system refuses while a month is staged is an error of the month's, and names the place."""
    job.data_dir.mkdir()
    (job.data_dir / "staging").write_text("a file where a folder belongs")
    result = pipeline.ingest_month(job, JANUARY, pipeline.direct_steps(opened), None)
    assert result.outcome == "failed"
    assert result.failure is not None
    assert str(job.data_dir / "staging") in result.failure.message
    assert "`data_dir=`" in result.failure.hint


def test_a_load_is_tried_again(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A load that fails for a passing reason is repeated, and the listener is told why; else it isn't."""
    attempts: list[str] = []

    def sometimes(job: Job, staged: Staged, open_warehouse: Any) -> int:
        attempts.append("load")
        if len(attempts) < pipeline.LOAD_ATTEMPTS:
            message = f"{staged.partition}: held by another."
            raise Transient(message)
        return real(job, staged, open_warehouse)

    real = pipeline.load
    monkeypatch.setattr(pipeline, "load", sometimes)
    events = heard(lambda: pipeline.ingest_month(job, JANUARY, pipeline.direct_steps(opened), None))
    assert len(attempts) == pipeline.LOAD_ATTEMPTS
    assert events[-1].step == "loaded"
    notes = [event.note for event in events if event.step == "load" and event.note]
    assert notes == ["fhv/2021-01: held by another. Trying again."] * (pipeline.LOAD_ATTEMPTS - 1)


def test_a_load_that_never_succeeds(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the last attempt the month has failed; a lasting error has one attempt."""
    attempts: list[type[NycTaxiError]] = []

    for kind, count in ((Transient, pipeline.LOAD_ATTEMPTS), (WarehouseError, 1)):

        def never(*_: object, kind: type[NycTaxiError] = kind) -> int:
            attempts.append(kind)
            message = "No."
            raise kind(message)

        monkeypatch.setattr(pipeline, "load", never)
        assert pipeline.ingest_month(job, JANUARY, pipeline.direct_steps(opened), None).outcome == "failed"
        assert attempts.count(kind) == count


def test_table_of_a_month(job: Job) -> None:
    """A month goes into its colour's table, or into the one that was named."""
    assert job.table_of(JANUARY) == "fhv_taxi_data"
    assert replace(job, table="trips").table_of(JANUARY) == "trips"


def test_prepare(job: Job, tmp_path: Path) -> None:
    """The data folder is made; one that can't be written to is a usage error."""
    pipeline.prepare(replace(job, data_dir=tmp_path / "new" / "folder"))
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="can't be written to: Not a directory"):
        pipeline.prepare(replace(job, data_dir=tmp_path / "file" / "below"))


def test_a_warehouse_that_loads_from_the_lake_is_refused(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever names it, a block too: a source's month can't get there, and nothing is fetched for it."""
    monkeypatch.setattr(DuckDB, "capabilities", Capabilities(loads_from_uri=True))
    with pytest.raises(UsageError, match="BigQuery loads from the lake"):
        pipeline.held(job, [JANUARY], opened)
    assert pipeline.held(replace(job, lake="lake"), [JANUARY], opened) == {}


# Months side by side


def test_results_are_in_order() -> None:
    """Results come in the order of the partitions, whichever ends first; a listener hears the months' threads."""

    def month(partition: Partition) -> PartitionResult:
        time.sleep(0.1 if partition == JANUARY else 0)
        tell(Event(str(partition), "load"))
        return loaded(partition)

    results: list[PartitionResult] = []
    events = heard(lambda: results.extend(running.run_months([JANUARY, FEBRUARY, MARCH], month, 3)))
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
    running.run_months(months, month, 2)
    assert most == [2]


def test_no_months() -> None:
    """Nothing to do is done at once."""
    assert running.run_months([], loaded, 2) == ()


def test_a_failed_month_does_not_stop_the_next(job: Job) -> None:
    """March isn't there: January and February are loaded nevertheless."""
    steps = pipeline.direct_steps(opened)
    months = [MARCH, JANUARY, FEBRUARY]
    results = running.run_months(months, lambda p: pipeline.ingest_month(job, p, steps, None), 1)
    assert [result.outcome for result in results] == ["missing", "loaded", "loaded"]
    report = pipeline.report("ingest", job, results)
    assert (report.exit_code, report.totals["outcomes"]) == (1, {"loaded": 2, "missing": 1})


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
        running.run_months([JANUARY, FEBRUARY, MARCH], month, 2)
    assert set(begun) == {JANUARY, FEBRUARY}
    assert stopped == [FEBRUARY]


def test_a_month_that_never_looks_up_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A month that waits in vain holds up the end of a run for the time of grace, not longer."""
    monkeypatch.setattr(running, "GRACE_SECONDS", 0.2)
    release, meeting = threading.Event(), threading.Barrier(2, timeout=WAIT_SECONDS)

    def month(partition: Partition) -> PartitionResult:
        meeting.wait()
        if partition == JANUARY:
            raise KeyError(partition)
        release.wait(WAIT_SECONDS)
        return loaded(partition)

    started = time.monotonic()
    with pytest.raises(KeyError):
        running.run_months([JANUARY, FEBRUARY], month, 2)
    assert time.monotonic() - started < WAIT_SECONDS / 2
    release.set()


def test_stopping_between_two_blocks_leaves_nothing(job: Job) -> None:
    """A listener that interrupts in the middle of a step: no row, no ledger entry, no staging folder."""

    def interrupt(event: Event) -> None:
        if event.step == "load":
            raise KeyboardInterrupt

    steps = pipeline.direct_steps(opened)
    with listening(interrupt), pytest.raises(KeyboardInterrupt):
        running.run_months([JANUARY], lambda p: pipeline.ingest_month(job, p, steps, None), 1)
    assert list((job.data_dir / "staging").iterdir()) == []
    assert pipeline.held(job, [JANUARY], opened) == {}
