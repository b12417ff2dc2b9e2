"""The flows of the lake on a real Prefect: a month is put into a lake, and from there into a warehouse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nyctaxi_etl.core.partition import Color, Month, Partition
from nyctaxi_etl.sample.months import write_month
from support.command import Done, nyctaxi

if TYPE_CHECKING:
    from pathlib import Path

    from support.prefect import PrefectServer

MONTH = ("--color", "green", "--year", "2021", "--months", "1", "--json")
JANUARY = Partition(Color.GREEN, Month(2021, 1))
STEM = "green_tripdata_2021-01"
ARTIFACTS = {"load-report", "month-green-2021-01"}


def test_runs_as_prefect_shows_them(prefect_running: PrefectServer, tmp_path: Path) -> None:
    """Names carry the partition, plans name the lake and the table, and the numbers are left as artifacts."""
    (tmp_path / "source").mkdir()
    write_month(JANUARY, tmp_path / "source" / f"{STEM}.csv.gz", 3_000)

    def run(command: str, *arguments: str) -> Done:
        return nyctaxi(command, *MONTH, *arguments, folder=tmp_path, settings=prefect_running.environment())

    def outcome(done: Done) -> tuple[int, str]:
        (result,) = done.json["results"]
        return done.code, result["outcome"]

    assert outcome(run("upload", "--source", "source", "--raw")) == (0, "loaded")
    flow_run = prefect_running.flow_run("upload")
    assert flow_run["name"] == "upload green 2021 1 to lake"
    steps = {f"{step} green/2021-01" for step in ("extract", "put raw", "transform", "put")}
    assert steps <= set(prefect_running.task_runs(flow_run, 5))
    assert "plan data/lake" in prefect_running.graph(flow_run)
    assert set(prefect_running.artifacts(flow_run)) == ARTIFACTS
    lake = tmp_path / "data" / "lake"
    objects = {path.relative_to(lake).as_posix() for path in lake.rglob("[!.]*") if path.is_file()}
    assert objects == {
        f"trips/green/{STEM}.parquet",
        f"rejects/green/{STEM}.parquet",
        f"raw/folder/{STEM}.csv.gz",
    }
    assert outcome(run("upload", "--source", "source")) == (0, "unchanged")

    assert outcome(run("warehouse")) == (0, "loaded")
    flow_run = prefect_running.flow_run("warehouse")
    assert flow_run["name"] == "warehouse green 2021 1 to duckdb"
    assert {f"{step} green/2021-01" for step in ("get", "load")} <= set(prefect_running.task_runs(flow_run, 3))
    assert "plan green_taxi_data" in prefect_running.graph(flow_run)
    assert set(prefect_running.artifacts(flow_run)) == ARTIFACTS
    assert outcome(run("warehouse", "--months", "2")) == (1, "missing")
    assert prefect_running.flow_run("warehouse")["state_type"] == "FAILED"
