"""A deployment with a schedule, served beside a real server as the docs show it: it is scheduled, and it runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import httpx

from support.command import running

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path
    from typing import Any

    from support.prefect import PrefectServer

SECONDS = 240
# Cron with a field for seconds behind the five that everybody knows: a minute would be long to wait.
SERVE = """
from nyctaxi_etl.orchestration.flows import ingest
months = {"color": ["fhv"], "year": [2021], "months": [1], "source": "sample"}
ingest.serve(name="every-five-seconds", cron="* * * * * */5", parameters=months, limit=1)
"""


def test_a_cron_deployment_is_scheduled_and_run(prefect_running: PrefectServer, tmp_path: Path) -> None:
    """The server makes runs of a schedule, the served flow takes one and loads its month, and no service fails."""
    log = prefect_running.home / "server.log"
    before = len(log.read_text())
    settings = {**prefect_running.environment(), "NYCTAXI_SAMPLE_ROWS": "500", "PREFECT_RUNNER_POLL_FREQUENCY": "1"}
    with running("-c", SERVE, folder=tmp_path, settings=settings) as serving:
        try:
            run = _first_completed(prefect_running, serving)
        finally:
            _remove(prefect_running, "every-five-seconds")
    assert (run["auto_scheduled"], run["state"]["message"]) == (True, "1 loaded")
    assert (tmp_path / "data" / "nyctaxi.duckdb").exists()
    said = log.read_text()[before:]
    assert "ERROR" not in said
    assert "Traceback" not in said


def _first_completed(server: PrefectServer, serving: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Return the deployment's first run that has completed."""
    end = time.monotonic() + SECONDS
    while True:
        runs = server.ask("flow_runs", deployments={"name": {"any_": ["every-five-seconds"]}})
        completed = [run for run in runs if run["state_type"] == "COMPLETED"]
        if completed:
            return completed[0]
        seen = [(run["name"], run["state_name"]) for run in runs]
        assert serving.poll() is None, seen
        assert time.monotonic() < end, seen
        time.sleep(0.5)


def _remove(server: PrefectServer, name: str) -> None:
    """Remove the deployment and with it what is scheduled; a server whose database is busy (503) is asked again."""
    end = time.monotonic() + SECONDS
    while deployments := server.ask("deployments", deployments={"name": {"any_": [name]}}):
        for deployment in deployments:
            httpx.delete(f"{server.api}/deployments/{deployment['id']}", timeout=30)
        assert time.monotonic() < end
