"""One month: the order of its steps, what becomes of errors, and a plan that is sent to another process."""

from __future__ import annotations

import pickle
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import stamina

from nyctaxi_etl.core.errors import CorruptFile, NotPublished, NycTaxiError, Transient, UsageError, WarehouseError
from nyctaxi_etl.core.partition import Color, Mode, Month, Partition
from nyctaxi_etl.core.progress import Event, listening
from nyctaxi_etl.core.report import PartitionResult
from nyctaxi_etl.orchestration.connections import warehouse_of
from nyctaxi_etl.orchestration.jobs import ROUTES
from nyctaxi_etl.orchestration.runners import run_months
from nyctaxi_etl.pipelines import ingest
from nyctaxi_etl.pipelines.destination import replace_month
from nyctaxi_etl.pipelines.ingest import ingest_steps, plan_ingest
from nyctaxi_etl.pipelines.job import Job, Origin, Plan, Steps
from nyctaxi_etl.pipelines.month import ATTEMPTS, report_of, run_month
from nyctaxi_etl.pipelines.workspace import check_data_dir
from nyctaxi_etl.settings.commands import INGEST, ON_MONTHS
from nyctaxi_etl.sources.registry import resolve
from nyctaxi_etl.staging.files import StagedFile
from nyctaxi_etl.warehouses.base import Capabilities
from nyctaxi_etl.warehouses.duckdb.warehouse import DuckDB
from nyctaxi_etl.warehouses.opening import open_warehouse
from support.command import python
from support.months import publish

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nyctaxi_etl.settings.commands import Command
    from nyctaxi_etl.staging.stage import Stage
    from nyctaxi_etl.warehouses.base import Warehouse

JANUARY, FEBRUARY, MARCH = (Partition(Color.FHV, Month(2021, number)) for number in (1, 2, 3))
WAIT_SECONDS = 30


@pytest.fixture(autouse=True)
def _no_pauses() -> Iterator[None]:
    """Retry without pauses, as often as else."""
    stamina.set_testing(True, attempts=ATTEMPTS)
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

    def origin(job: Job, partition: Partition) -> Origin:
        seen.append("origin")
        return steps.origin(job, partition)

    def stage(job: Job, origin: Origin, folder: Path, capabilities: Capabilities) -> Stage:
        seen.append("stage")
        assert folder.parent == job.data_dir / "staging"
        return steps.stage(job, origin, folder, capabilities)

    def commit(job: Job, staged: Stage) -> int:
        seen.append("commit")
        assert isinstance(staged, StagedFile)
        assert staged.path.exists()
        return steps.commit(job, staged)

    steps = ingest_steps(opened)
    result = run_month(Plan(job, Steps(origin, stage, commit)), JANUARY)
    assert seen == ["origin", "stage", "commit"]
    assert (result.outcome, result.rows_read, result.rows_loaded, result.bytes > 0) == ("loaded", 20, 20, True)
    assert list((job.data_dir / "staging").iterdir()) == []


def test_unchanged_needs_no_transform(job: Job) -> None:
    """What the ledger holds of the same bytes isn't staged again, unless forced."""
    steps = ingest_steps(opened)
    run_month(Plan(job, steps), JANUARY)
    plan = plan_ingest(job, [JANUARY, FEBRUARY], steps, opened)
    assert {month: len(of_tables) for month, of_tables in plan.existing.items() if any(of_tables)} == {JANUARY: 1}

    def refused(*_: object) -> StagedFile:
        raise AssertionError

    unchanged = run_month(replace(plan, steps=steps._replace(stage=refused)), JANUARY)
    assert (unchanged.outcome, unchanged.rows_read, unchanged.rows_loaded) == ("unchanged", 20, 20)
    forced = run_month(replace(plan, job=replace(job, force=True)), JANUARY)
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

    def broken(_job: Job, _partition: Partition) -> Origin:
        raise error

    plan = Plan(job, ingest_steps(opened)._replace(origin=broken))
    results: list[PartitionResult] = []
    events = heard(lambda: results.append(run_month(plan, JANUARY)))
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
@pytest.mark.parametrize("step", ["origin", "stage", "commit"])
def test_a_bug_is_its_months(step: str, error: Exception, message: str, job: Job) -> None:
    """What nobody foresaw fails its month as a bug, with its traceback beside the report; the next month is loaded."""

    def broken(_job: Job, what: Any, *_: object) -> Any:
        if getattr(what, "partition", what) == JANUARY:
            raise error
        return getattr(good, step)(_job, what, *_)

    good = ingest_steps(opened)
    plan = Plan(job, good._replace(**{step: broken}))
    report = report_of("ingest", job, run_months([JANUARY, FEBRUARY], partial(run_month, plan), 1))
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

    def broken(_job: Job, _partition: Partition) -> Origin:
        raise error

    with pytest.raises(type(error)):
        run_month(Plan(job, ingest_steps(opened)._replace(origin=broken)), JANUARY)


def test_a_full_disk_fails_the_month(job: Job) -> None:
    """What the file system refuses while a month is staged is an error of the month's, and names the place."""
    job.data_dir.mkdir()
    (job.data_dir / "staging").write_text("a file where a folder belongs")
    result = run_month(Plan(job, ingest_steps(opened)), JANUARY)
    assert result.outcome == "failed"
    assert result.failure is not None
    assert str(job.data_dir / "staging") in result.failure.message
    assert "`data_dir=`" in result.failure.hint


def test_a_load_is_tried_again(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A load that fails for a passing reason is repeated, and the listener is told why; else it isn't."""
    attempts: list[str] = []

    def sometimes(job: Job, staged: StagedFile, open_warehouse: Any) -> int:
        attempts.append("load")
        if len(attempts) < ATTEMPTS:
            message = f"{staged.partition}: held by another."
            raise Transient(message)
        return real(job, staged, open_warehouse)

    real = replace_month
    monkeypatch.setattr(ingest, "replace_month", sometimes)
    events = heard(lambda: run_month(Plan(job, ingest_steps(opened)), JANUARY))
    assert len(attempts) == ATTEMPTS
    assert events[-1].step == "loaded"
    notes = [event.note for event in events if event.step == "load" and event.note]
    assert notes == ["fhv/2021-01: held by another. Trying again in 0 s."] * (ATTEMPTS - 1)


def test_a_load_that_never_succeeds(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the last attempt the month has failed; a lasting error has one attempt."""
    attempts: list[type[NycTaxiError]] = []

    for kind, count in ((Transient, ATTEMPTS), (WarehouseError, 1)):

        def never(*_: object, kind: type[NycTaxiError] = kind, **__: object) -> int:
            attempts.append(kind)
            message = "No."
            raise kind(message)

        monkeypatch.setattr(ingest, "replace_month", never)
        assert run_month(Plan(job, ingest_steps(opened)), JANUARY).outcome == "failed"
        assert attempts.count(kind) == count


def test_table_of_a_month(job: Job) -> None:
    """A month goes into its colour's table, or into the one that was named; with ELT into the raw one before."""
    assert job.tables_of(JANUARY) == ("fhv_taxi_data",)
    assert replace(job, table="trips").tables_of(JANUARY) == ("trips",)
    assert replace(job, mode=Mode.ELT).tables_of(JANUARY) == ("fhv_taxi_data_raw", "fhv_taxi_data")


def test_the_data_folder_is_checked(job: Job, tmp_path: Path) -> None:
    """The data folder is made; one that can't be written to is a usage error."""
    check_data_dir(replace(job, data_dir=tmp_path / "new" / "folder"))
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="can't be written to: Not a directory"):
        check_data_dir(replace(job, data_dir=tmp_path / "file" / "below"))


def test_a_warehouse_that_loads_from_the_lake_is_refused(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever names it, a block too: a source's month can't get there, and nothing is fetched for it."""
    monkeypatch.setattr(DuckDB, "capabilities", Capabilities(loads_from_uri=True))
    with pytest.raises(UsageError, match="BigQuery loads from the lake"):
        plan_ingest(job, [JANUARY], ingest_steps(opened), opened)


def test_a_failed_month_does_not_stop_the_next(job: Job) -> None:
    """March isn't there: January and February are loaded nevertheless."""
    months = [MARCH, JANUARY, FEBRUARY]
    results = run_months(months, partial(run_month, Plan(job, ingest_steps(opened))), 1)
    assert [result.outcome for result in results] == ["missing", "loaded", "loaded"]
    report = report_of("ingest", job, results)
    assert (report.exit_code, report.totals["outcomes"]) == (1, {"loaded": 2, "missing": 1})


def test_stopping_between_two_blocks_leaves_nothing(job: Job) -> None:
    """A listener that interrupts in the middle of a step: no row, no ledger entry, no staging folder."""

    def interrupt(event: Event) -> None:
        if event.step == "load":
            raise KeyboardInterrupt

    plan = Plan(job, ingest_steps(opened))
    with listening(interrupt), pytest.raises(KeyboardInterrupt):
        run_months([JANUARY], partial(run_month, plan), 1)
    assert list((job.data_dir / "staging").iterdir()) == []
    with opened(job) as warehouse:
        assert warehouse.loaded("fhv_taxi_data") == ()


def test_a_plan_survives_a_pickle(job: Job) -> None:
    """Another process does a month of it as this one would; the second run finds it unchanged."""
    for outcome in ("loaded", "unchanged"):
        plan = plan_ingest(job, [JANUARY], ROUTES[INGEST].steps, warehouse_of)
        code = "import pickle; from nyctaxi_etl.pipelines.month import run_month"
        month = f"run_month(*pickle.loads(bytes.fromhex('{pickle.dumps((plan, JANUARY)).hex()}')))"
        printed = python(f"{code}; print(pickle.dumps({month}).hex())")
        result: PartitionResult = pickle.loads(bytes.fromhex(printed))  # noqa: S301 - of the child's making
        assert (result.partition, result.outcome, result.rows_loaded) == (JANUARY, outcome, 20)
    with opened(job) as warehouse:
        assert [row.lineage.rows_loaded for row in warehouse.loaded("fhv_taxi_data")] == [20]


@pytest.mark.parametrize("command", ON_MONTHS, ids=str)
def test_every_plan_survives_a_pickle(command: Command, job: Job) -> None:
    """Whatever the route: what comes back is equal but for the functions' wrappers, which are called alike."""
    job = replace(job, lake=str(job.data_dir / "lake"), to="duckdb" if command.takes("to") else "")
    plan = ROUTES[command].plan(job, [JANUARY], ROUTES[command].steps)
    same = pickle.loads(pickle.dumps(plan))  # noqa: S301 - made a moment ago
    assert replace(same, steps=plan.steps) == plan
    assert run_month(same, JANUARY).outcome == run_month(plan, JANUARY).outcome.replace("unchanged", "loaded")
