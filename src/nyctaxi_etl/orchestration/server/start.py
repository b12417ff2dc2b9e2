"""Prefect's own server, for a command that has none to ask."""

from __future__ import annotations

import atexit


def start_server() -> None:
    """Start a server for this process and wait for it, unless another one is set up or none is wanted."""
    from prefect.settings import get_current_settings

    ours = get_current_settings()
    if ours.api.url or not ours.server.ephemeral.enabled:
        return
    from nyctaxi_etl.orchestration.server.process import EphemeralServer

    server = EphemeralServer()
    atexit.register(server.stop)
    server.start()
