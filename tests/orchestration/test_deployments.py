"""A flow that is served on a real Prefect: its runs end as calls do, and its server keeps no password."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from support.command import running
from support.months import publish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.prefect import PrefectServer

SECRET = "s3cr3t-pw"  # noqa: S105 - nobody's
SECONDS = 120
SCRIPT = """
from nyctaxi_etl.orchestration.flows import ingest

if __name__ == "__main__":
    given = {"color": ["fhv"], "year": [2021], "months": [1], "source": "source"}
    ingest.serve(name="by-hand", parameters=given, pause_on_shutdown=False)
"""


def until(come: Callable[[], Any]) -> Any:
    """Return what ``come`` gives once it gives something."""
    end = time.monotonic() + SECONDS
    while not (came := come()):
        assert time.monotonic() < end
        time.sleep(0.3)
    return came


@pytest.fixture
def deployment(prefect_running: PrefectServer, tmp_path: Path) -> Iterator[str]:
    """The address of a deployment of the flow, served by a process of its own in a folder with January 2021."""
    publish(tmp_path / "source", "2021-01", 20, "B00001")
    (tmp_path / "serving.py").write_text(SCRIPT)
    settings = {**prefect_running.environment(), "PREFECT_RUNNER_POLL_FREQUENCY": "1", "DO_NOT_TRACK": "1"}
    with running("serving.py", folder=tmp_path, settings=settings):
        (one,) = until(lambda: prefect_running.ask("deployments", deployments={"name": {"any_": ["by-hand"]}}))
        yield f"{prefect_running.api}/deployments/{one['id']}"


def test_a_deployment(prefect_running: PrefectServer, deployment: str) -> None:
    """Its run ends in a state that counts, its log without a traceback; a password never reaches the database."""

    def ask(**parameters: Any) -> httpx.Response:
        return httpx.post(f"{deployment}/create_flow_run", json={"parameters": parameters}, timeout=30)

    for name, address in (
        ("to", f"postgresql://me:{SECRET}@host/x"),
        ("to", f"mssql+pyodbc:///?odbc_connect=UID%3Dme%3BPWD%3D{SECRET}"),
        ("source", f"http:/me:{SECRET}@host"),
        ("source", f"//me:{SECRET}@host"),
    ):
        assert ask(**{name: address}).status_code == httpx.codes.CONFLICT
    default = httpx.patch(deployment, json={"parameters": {"to": f"postgresql://me:{SECRET}@host/x"}}, timeout=30)
    assert default.is_client_error
    created = ask(months=[1, 2]).json()["id"]

    def ended() -> Any:
        (run,) = prefect_running.ask("flow_runs", flow_runs={"id": {"any_": [created]}})
        return run if run["end_time"] else None

    run = until(ended)
    assert (run["state"]["type"], run["state"]["message"]) == ("FAILED", "1 loaded, 1 missing")

    def lines() -> list[str]:
        told = [one["message"] for one in prefect_running.ask("logs", logs={"flow_run_id": {"any_": [created]}})]
        return told if any("Finished in state Failed" in line for line in told) else []

    assert not any("Traceback" in line for line in until(lines))
    kept = [path for path in prefect_running.home.rglob("*") if path.is_file()]
    assert any(path.name == "prefect.db" for path in kept)
    assert [path for path in kept if SECRET.encode() in path.read_bytes()] == []
