"""Prefect's own server, for a command that has none to ask."""

from __future__ import annotations

import signal
from concurrent.futures import Future
from threading import Thread


def start_server() -> None:
    """Start Prefect's own server and wait for it, unless another one is set up or none is wanted.

    Ctrl-C in a terminal reaches every process that was started there. The server must outlive it: a flow run whose
    server is gone asks for it for two minutes before it ends.
    """
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import get_current_settings

    known = get_current_settings()
    if known.api.url or not known.server.ephemeral.enabled:
        return
    started: Future[None] = Future()

    def start() -> None:
        if hasattr(signal, "pthread_sigmask"):  # what a thread blocks stays blocked in the processes that it starts
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            SubprocessASGIServer().start()
            started.set_result(None)
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            started.set_exception(error)

    Thread(target=start, name="prefect-server", daemon=True).start()
    started.result()
