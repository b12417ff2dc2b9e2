"""Flow runs whose process was killed: the next run tells Prefect that they are over, and leaves living ones alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.command import nyctaxi, start

if TYPE_CHECKING:
    from pathlib import Path

    from support.prefect import PrefectServer

INGEST = ("ingest", "--color", "fhv", "--year", "2019", "--source", "sample", "--months")


def test_a_killed_run_is_ended_by_the_next(prefect_running: PrefectServer, tmp_path: Path) -> None:
    """While its process lives it is running, whatever other runs do; once that is killed, it and its tasks crashed."""
    settings = {**prefect_running.environment(), "NYCTAXI_SAMPLE_ROWS": "500"}

    def state() -> Any:
        return next(run for run in prefect_running.ask("flow_runs") if run["id"] == run_id)["state_type"]

    def load(months: str) -> None:
        done = nyctaxi(*INGEST, months, folder=tmp_path, settings=settings)
        assert done.code == 0, done.err

    long = {**settings, "NYCTAXI_SAMPLE_ROWS": "9000000"}
    with start(*INGEST, "7", folder=tmp_path, settings=long) as process:
        try:
            assert process.stderr is not None
            assert any(" extract" in line for line in process.stderr)
            run_id = prefect_running.flow_run("ingest")["id"]
            load("8")
            assert state() == "RUNNING"
        finally:
            process.kill()
    load("8")
    assert state() == "CRASHED"
    tasks = prefect_running.ask("task_runs", flow_runs={"id": {"any_": [run_id]}})
    assert {run["state_type"] for run in tasks} <= {"CRASHED", "COMPLETED"}
