"""Which of Prefect's flow runs have lost their process: it could not say so, and Prefect shows them as running."""

from __future__ import annotations

import atexit
import hashlib
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, get_current_settings
from prefect.states import Crashed

from nyctaxi_etl.core.claims import abandoned, claimed

if TYPE_CHECKING:
    from pathlib import Path

    from prefect.client.orchestration import SyncPrefectClient

_SUFFIX = ".run"
_WHY = "The process of this run is gone: it was killed, or its machine went down."


def record_run(run_id: UUID) -> None:
    """Note that this process is at work on a flow run, and end the runs whose process is gone.

    It is an extra: where the note can't be written, or the server not be asked, the run goes on.
    """
    folder = get_current_settings().home / "nyctaxi-runs"
    with suppress(OSError, httpx.HTTPError):
        folder.mkdir(parents=True, exist_ok=True)
        claim = ExitStack()
        claim.enter_context(claimed(folder, f"{run_id}.", _SUFFIX)).write_text(_server(), encoding="utf-8")
        # Not when the flow ends: only then does Prefect tell the server how, and it may be killed before.
        atexit.register(claim.close)
        _end_dead_runs(folder)


def _end_dead_runs(folder: Path) -> None:
    with get_client(sync_client=True) as client:
        for note in abandoned(folder, suffix=_SUFFIX):
            if not note.exists():  # killed before it was written
                continue
            if note.read_text(encoding="utf-8") == _server():
                with suppress(ObjectNotFound):
                    _end(client, UUID(note.name.partition(".")[0]))
                note.unlink()


def _end(client: SyncPrefectClient, run_id: UUID) -> None:
    """Set the run, and what was running in it, to crashed."""
    state = client.read_flow_run(run_id).state
    if state and state.is_final():
        return
    inside = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id])))
    for task_run in inside:
        if not (task_run.state and task_run.state.is_final()):
            client.set_task_run_state(task_run.id, Crashed(message=_WHY), force=True)
    client.set_flow_run_state(run_id, Crashed(message=_WHY), force=True)


def _server() -> str:
    """Return a mark of the server that knows the run: of an address, or of the database that runs share without one."""
    where = get_current_settings().api.url or str(PREFECT_API_DATABASE_CONNECTION_URL.value())
    return hashlib.sha256(where.encode()).hexdigest()  # either may hold a password
