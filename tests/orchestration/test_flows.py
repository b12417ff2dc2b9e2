"""The flow on a real Prefect: names, states, retries, cache, artifacts, and what is asked before anything moves."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from prefect import get_client

from nyctaxi_etl.core.addresses import PATTERN
from nyctaxi_etl.core.errors import IncompleteRun, NotPublished, Transient, UsageError
from nyctaxi_etl.core.partition import Color, Partition
from nyctaxi_etl.core.progress import Event, listening
from nyctaxi_etl.orchestration import tasks
from nyctaxi_etl.pipelines import ingest
from nyctaxi_etl.settings import SETTINGS
from nyctaxi_etl.settings.commands import ON_MONTHS
from support.months import publish
from support.web import serving

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nyctaxi_etl.core.errors import NycTaxiError
    from nyctaxi_etl.core.partition import RawFile
    from nyctaxi_etl.core.report import LoadReport
    from nyctaxi_etl.pipelines.job import Job
    from nyctaxi_etl.settings.commands import Command
    from nyctaxi_etl.staging.files import StagedFile
    from support.prefect import PrefectServer

WAIT_SECONDS = 60


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a flow runs: with the folder ``source``, which holds January and February 2021 of fhv."""
    monkeypatch.chdir(tmp_path)
    publish(tmp_path / "source", "2021-01", 20, "B00001")
    publish(tmp_path / "source", "2021-02", 30, "B00002")
    return tmp_path


def run(months: list[int], source: str = "source", **more: Any) -> tuple[Any, LoadReport]:
    """Run the flow for months of 2021 of fhv; return its state and its report, or the error it was refused by."""
    from nyctaxi_etl.orchestration import flows

    given: dict[str, Any] = {"year": [2021], "months": months, "source": source, **more}
    state: Any = flows.ingest(color=[Color.FHV], return_state=True, **given)
    outcome = state.result(raise_on_failure=False)
    return state, outcome.report if isinstance(outcome, IncompleteRun) else outcome


def call(months: list[int], **more: Any) -> LoadReport:
    """Call the flow as a function, for months of 2021 of fhv."""
    from nyctaxi_etl.orchestration import flows

    given: dict[str, Any] = {"year": [2021], "months": months, "source": "source", **more}
    report: LoadReport = flows.ingest(color=[Color.FHV], **given)
    return report


def flows_parameters() -> dict[str, Any]:
    """Return the schema that Prefect's server has of the flow's parameters."""
    from nyctaxi_etl.orchestration import flows

    return dict(flows.ingest.parameters.model_dump())


def logged(server: PrefectServer, flow_run: dict[str, Any], *words: str) -> list[str]:
    """Return the lines of a flow run's log, once each word is in one of them: they come a moment after its end."""
    end = time.monotonic() + WAIT_SECONDS
    while True:
        lines = [one["message"] for one in server.ask("logs", logs={"flow_run_id": {"any_": [flow_run["id"]]}})]
        if all(any(word in line for line in lines) for word in words):
            return lines
        assert time.monotonic() < end, lines
        time.sleep(0.2)


def outcomes(report: LoadReport) -> list[str]:
    """Return the outcomes of a report's months."""
    return [result.outcome for result in report.results]


def test_a_run_as_prefect_shows_it(prefect_here: PrefectServer, folder: Path) -> None:
    """Names carry the partition, the plan comes first with the real table, and the numbers are left as artifacts."""
    state, report = run([1, 2])
    assert (state.name, state.message, outcomes(report)) == ("Completed", "2 loaded", ["loaded", "loaded"])
    flow_run = prefect_here.flow_run("ingest")
    assert flow_run["name"] == "ingest fhv 2021 1-2 to duckdb"
    tasks = prefect_here.task_runs(flow_run, 7)
    steps = {f"{step} fhv/2021-0{number}" for step in ("extract", "transform", "load") for number in (1, 2)}
    assert set(tasks) == steps | {"plan fhv_taxi_data"}
    assert tasks["plan fhv_taxi_data"]["end_time"] < min(tasks[step]["start_time"] for step in steps)
    assert {"nyctaxi", "ingest", "fhv", "folder", "duckdb"} == set(flow_run["tags"])
    assert {tag for task in tasks.values() for tag in task["tags"]} == set()
    artifacts = prefect_here.artifacts(flow_run)
    assert {key: artifact["type"] for key, artifact in artifacts.items()} == {
        "load-report": "table",
        "month-fhv-2021-01": "markdown",
        "month-fhv-2021-02": "markdown",
    }
    january, february = json.loads(artifacts["load-report"]["data"])
    assert (january["month"], january["loaded"], february["outcome"]) == ("fhv/2021-01", "20", "loaded")
    told = f"ingest from {folder / 'source'} to duckdb: 2 loaded; 50 rows in "
    assert artifacts["load-report"]["description"].startswith(told)
    file = folder / "source" / "fhv_tripdata_2021-02.csv"
    page = artifacts["month-fhv-2021-02"]["data"].splitlines()
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    assert {
        "# fhv/2021-02: loaded",
        "| source | folder |",
        f"| URL | {file} |",
        f"| SHA-256 | {sha256} |",
        "| destination | fhv_taxi_data in duckdb |",
        "| loaded | 30 |",
    } <= set(page)
    (line,) = (
        line for line in logged(prefect_here, flow_run, "fhv/2021-02 loaded: ") if line.startswith("fhv/2021-02")
    )
    assert line.startswith("fhv/2021-02 loaded: 30 rows read, 0 rejected, 30 loaded in ")
    assert line.endswith(f"SHA-256 {sha256}) to fhv_taxi_data in duckdb")
    logged(prefect_here, flow_run, "fhv_taxi_data: fhv/2021-01, fhv/2021-02", "30 rows in fhv_taxi_data of duckdb")
    with duckdb.connect(str(folder / "data" / "nyctaxi.duckdb")) as connection:
        run_ids = connection.execute("SELECT DISTINCT run_id FROM nyctaxi_loads").fetchall()
    assert run_ids == [(flow_run["id"],)]


@pytest.mark.usefixtures("folder")
def test_each_month_is_a_chain_of_its_own(prefect_here: PrefectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect's graph has no arrow from one month to another, though their steps are given the same small values."""
    monkeypatch.setenv("NYCTAXI_SAMPLE_ROWS", "50")
    assert outcomes(run([1, 2, 3], "sample", jobs=2)[1]) == ["loaded"] * 3
    flow_run = prefect_here.flow_run("ingest")
    prefect_here.task_runs(flow_run, 10)
    assert {label: before for label, before in prefect_here.graph(flow_run).items() if before} == {
        f"{step} fhv/2021-0{number}": {f"{earlier} fhv/2021-0{number}" for earlier in before}
        for number in (1, 2, 3)
        for step, before in (("transform", ["extract"]), ("load", ["extract", "transform"]))
    }


def test_an_unchanged_month_keeps_its_flags(prefect_here: PrefectServer, folder: Path) -> None:
    """What was flagged when a month was loaded is told again by the run that finds it unchanged."""
    file = folder / "source" / "fhv_tripdata_2021-01.csv"
    file.write_text(file.read_text() + "B00001,2020-12-31 23:00:00,2021-01-01 00:10:00,1,265,\n")
    first, second = (run([1])[1].results[0] for _ in range(2))
    assert (first.outcome, second.outcome) == ("loaded", "unchanged")
    assert first.flags == second.flags == {"pickup_outside_month": 1}
    page = prefect_here.artifacts(prefect_here.flow_run("ingest"))["month-fhv-2021-01"]["data"]
    assert "| flagged | 1 pickup_outside_month |" in page


@pytest.mark.usefixtures("folder")
def test_missing_months_fail_the_run(prefect_here: PrefectServer) -> None:
    """Months that are not there fail the run by a message that counts; the others are loaded; a re-run is quick."""
    state, report = run([1, 2, 3])
    assert (state.type.value, state.message) == ("FAILED", "2 loaded, 1 missing")
    assert outcomes(report) == ["loaded", "loaded", "missing"]
    flow_run = prefect_here.flow_run("ingest")
    assert (flow_run["state_type"], flow_run["state"]["message"]) == ("FAILED", "2 loaded, 1 missing")
    artifacts = prefect_here.artifacts(flow_run)
    assert "not in the folder" in artifacts["load-report"]["data"]
    assert "not in the folder" in artifacts["month-fhv-2021-03"]["data"]
    assert outcomes(run([1, 2])[1]) == ["unchanged", "unchanged"]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("step", ["extract", "load"])
def test_a_bug_is_its_months(step: str, prefect_here: PrefectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody foresaw in a task fails its month, once; its traceback is in the run's log; the others go on."""

    def broken(job: Job, what: Any, *rest: Any) -> Any:
        partition = getattr(what, "partition", what)
        made.append(partition)
        if partition.month.number == 1:
            message = "no such thing"
            raise KeyError(message)
        return real(job, what, *rest)

    made: list[Partition] = []
    module, name = {"extract": (ingest, "fetch_file"), "load": (tasks, "replace_month")}[step]
    real = getattr(module, name)
    monkeypatch.setattr(module, name, broken)
    state, report = run([1, 2])
    assert (state.message, outcomes(report)) == ("1 failed, 1 loaded", ["failed", "loaded"])
    assert len(made) == 2
    bad = report.results[0].as_dict()["error"]
    assert (bad["type"], bad["message"]) == ("Bug", "KeyError: 'no such thing'")
    assert prefect_here.logged(prefect_here.flow_run("ingest"), "fhv/2021-01: Traceback", "in broken")


@pytest.mark.usefixtures("folder")
def test_a_call_returns_the_report(prefect_here: PrefectServer) -> None:
    """A call from Python gives the report if every month is in, and raises one error that carries it if not."""
    assert outcomes(call([1])) == ["loaded"]
    with pytest.raises(IncompleteRun, match=r"^1 missing, 1 unchanged$") as caught:
        call([1, 3])
    error = caught.value
    assert outcomes(error.report) == ["unchanged", "missing"]
    assert error.hint.startswith("fhv/2021-03: not in the folder")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - made here
    assert (again.message, again.hint, again.report) == (error.message, error.hint, error.report)
    flow_run = prefect_here.flow_run("ingest")
    lines = logged(prefect_here, flow_run, "Finished in state", error.message, f"Hint: {error.hint}")
    assert not any("Traceback" in line for line in lines)


@pytest.mark.usefixtures("folder")
def test_a_flow_of_the_users_own(prefect_here: PrefectServer) -> None:
    """A flow that calls ours ends by our error, kept by Prefect, its log without a traceback."""
    from prefect import flow

    @flow(name="mine", persist_result=True)
    def mine() -> None:
        call([3])

    with pytest.raises(IncompleteRun, match="1 missing"):
        mine()
    flow_run = prefect_here.flow_run("mine")
    assert flow_run["state"]["message"] == "Flow run encountered an exception: IncompleteRun: 1 missing"
    lines = logged(prefect_here, flow_run, "Finished in state")
    assert not any("Traceback" in line or "Failed to write result" in line for line in lines)
    state = get_client(sync_client=True).read_flow_run(flow_run["id"]).state
    assert state is not None
    with pytest.raises(IncompleteRun) as caught:
        state.result()
    assert outcomes(caught.value.report) == ["missing"]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"source": "nowhere"}, "source=nowhere: there is no such folder."), ({"table": "a b"}, "table='a b' can't name")],
)
def test_a_wrong_argument_is_told_in_python(prefect_here: PrefectServer, wrong: dict[str, Any], says: str) -> None:
    """The run's log has our message and hint, in the words of the parameters, and no traceback; so has the error."""
    with pytest.raises(UsageError, match=f"^{re.escape(says)}") as caught:
        call([1], **wrong)
    flow_run = prefect_here.flow_run("ingest")
    assert flow_run["state"]["message"] == str(caught.value)
    lines = logged(prefect_here, flow_run, "Finished in state", str(caught.value), f"Hint: {caught.value.hint}")
    assert not any("--" in line or "Traceback" in line for line in lines)


@pytest.mark.usefixtures("prefect_here")
def test_months_run_side_by_side(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With two jobs both months are in the same step at once."""
    meeting = threading.Barrier(2, timeout=WAIT_SECONDS)

    def meet(job: Job, raw: RawFile, folder: Path) -> StagedFile:
        meeting.wait()
        return real(job, raw, folder)

    real = ingest.stage_file
    monkeypatch.setattr(ingest, "stage_file", meet)
    assert outcomes(run([1, 2], jobs=2, to=f"duckdb:///{folder / 'side.duckdb'}")[1]) == ["loaded", "loaded"]


@pytest.mark.usefixtures("prefect_here", "folder")
@pytest.mark.parametrize(
    ("kind", "attempts", "outcome"),
    [(Transient, 4, "failed"), (NotPublished, 1, "missing"), (partial(Transient, retry_after=7.0), 1, "failed")],
)
def test_only_what_may_pass_is_tried_again(
    kind: Callable[[str], NycTaxiError], attempts: int, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three retries for a passing error, none for another; each retry is told, so that the pause is explained.

    Where a server said how long to wait, the step itself did, as long as it may: Prefect does not begin anew.
    """
    made: list[Partition] = []
    events: list[Event] = []

    def broken(_job: Job, partition: Partition) -> RawFile:
        made.append(partition)
        message = f"{partition}: no."
        raise kind(message)

    monkeypatch.setattr(ingest, "fetch_file", broken)
    monkeypatch.setattr(tasks.extract, "retry_delay_seconds", 0)
    with listening(events.append):
        _, report = run([1])
    assert len(made) == attempts
    assert outcomes(report) == [outcome]
    assert sum("Trying again" in event.note for event in events) == attempts - 1


def test_retries_are_spread() -> None:
    """The pauses between attempts grow, and are never the same for two months."""
    for task in (tasks.extract, tasks.load_month, tasks.put, tasks.put_raw, tasks.get):
        assert task.retries == 3
        delays = task.retry_delay_seconds
        assert isinstance(delays, list)
        assert delays == sorted(set(delays))
        assert len(delays) == 3
        assert task.retry_jitter_factor
    assert tasks.extract.cache_expiration is not None
    assert tasks.extract.cache_expiration.total_seconds() == 24 * 3600


@pytest.mark.usefixtures("prefect_here")
def test_extract_is_cached_while_its_file_is_there(folder: Path) -> None:
    """A second run asks nobody for a file that it has; gone, changed or forced, the file is fetched again."""
    with serving(folder / "source") as site:

        def requests(action: Callable[[], object]) -> int:
            before = len(site.hits)
            action()
            return len(site.hits) - before

        assert requests(lambda: run([1], site.url)) > 0
        (raw,) = (folder / "data" / "raw").rglob("fhv_tripdata_2021-01.csv")
        assert requests(lambda: run([1], site.url)) == 0
        raw.unlink()
        assert requests(lambda: run([1], site.url)) > 0
        assert raw.exists()
        raw.write_bytes(raw.read_bytes() + b"B00001,2021-01-01 00:00:00,2021-01-01 00:10:00,1,265,\n")
        assert requests(lambda: run([1], site.url)) > 0
        assert raw.read_text().count("\n") == 21
        assert requests(lambda: run([1], site.url, force=True)) > 0
        assert requests(lambda: run([1], site.url, data_dir=folder / "elsewhere")) > 0


def test_parameters_are_choices() -> None:
    """What Prefect's UI asks for: colours of the four, months from 1 to 12."""
    from nyctaxi_etl.orchestration import flows

    schema = flows.ingest.parameters.model_dump()
    assert schema["required"] == ["color", "year", "months"]
    assert schema["definitions"]["Color"]["enum"] == ["yellow", "green", "fhv", "fhvhv"]
    months = schema["properties"]["months"]["items"]
    assert (months["type"], months["minimum"], months["maximum"]) == ("integer", 1, 12)
    assert all(schema["properties"][name].get("description") for name in schema["properties"])


@pytest.mark.parametrize("command", ON_MONTHS, ids=str)
def test_parameters_are_the_settings_of_their_names(command: Command) -> None:
    """A flow takes what its command does, but for how to answer, with the same defaults, bounds and meanings."""
    from nyctaxi_etl.orchestration import flows

    schema = getattr(flows, command.name).parameters.model_dump()
    assert set(schema["properties"]) == set(command.options) - {"dry_run", "json", "direct", "verbose", "debug"}
    for name, told in schema["properties"].items():
        row = SETTINGS[name]
        assert told["description"] == (row.about_list or row.about_for(command.name))
        assert (told.get("minimum"), told.get("maximum")) == (row.low, row.high)
        if name not in schema["required"]:
            assert str(told.get("default") or "") == (str(row.default) if row.default else "")


@pytest.mark.parametrize("name", ["ingest", "upload", "warehouse"])
def test_a_served_flow_keeps_its_types(name: str) -> None:
    """A flow that is served goes to the process of its run as a pickle, and still reads its parameters there."""
    import cloudpickle  # type: ignore[import-untyped]

    from nyctaxi_etl.orchestration import flows

    there = cloudpickle.loads(cloudpickle.dumps(getattr(flows, name)))
    read = there.validate_parameters({"color": ["fhv"], "year": [2021], "months": [1]})
    assert (read["color"], read["jobs"]) == ([Color.FHV], 2)


@pytest.mark.usefixtures("prefect_here", "folder")
@pytest.mark.parametrize("wrong", [{"color": ["pink"]}, {"months": [13]}, {"year": []}, {"jobs": 0}])
def test_wrong_parameters_are_refused(wrong: dict[str, Any]) -> None:
    """A parameter that is no choice never becomes a run of a task."""
    from prefect.exceptions import ParameterTypeError

    from nyctaxi_etl.orchestration import flows

    given: dict[str, Any] = {"color": ["fhv"], "year": [2021], "months": [1], "source": "source"}
    with pytest.raises(ParameterTypeError):
        flows.ingest(**{**given, **wrong})


@pytest.mark.usefixtures("prefect_here", "folder")
def test_a_wrong_destination_is_found_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that isn't registered is refused before anything is fetched."""

    def fetched(*_: object) -> RawFile:
        raise AssertionError

    monkeypatch.setattr(ingest, "fetch_file", fetched)
    state, error = run([1], to="block:not-registered")
    assert state.is_failed()
    assert isinstance(error, UsageError)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("name", ["to", "source"])
def test_a_password_is_refused_before_prefect_keeps_it(prefect_here: PrefectServer, name: str) -> None:
    """A call with a password in an address makes no run, and is told in the words of the parameters."""
    before = prefect_here.ask("flow_runs")
    with pytest.raises(UsageError, match=rf"^{name}=postgresql://\.\.\.: the address holds") as caught:
        call([1], **{name: "postgresql://me:s3cr3t-pw@host/x"})
    assert "s3cr3t-pw" not in f"{caught.value} {caught.value.hint}"
    assert prefect_here.ask("flow_runs") == before
    schema = flows_parameters()
    assert schema["properties"][name]["pattern"] == PATTERN
    assert schema["properties"][name]["description"]


@pytest.mark.usefixtures("prefect_here", "folder")
def test_notes_of_months_left_out_are_logged(prefect_here: PrefectServer) -> None:
    """The plan holds the months that there are; those left out don't fail the run."""
    from nyctaxi_etl.orchestration import flows

    state = flows.ingest(
        color=[Color.FHV, Color.FHVHV], year=[2019], months=[1], source="sample", data_dir="data", return_state=True
    )
    assert state.is_completed()
    logged(prefect_here, prefect_here.flow_run("ingest"), "fhv_taxi_data: fhv/2019-01")
    assert prefect_here.flow_run("ingest")["name"] == "ingest fhv+fhvhv 2019 1 to duckdb"
