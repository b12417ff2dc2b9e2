"""Prefect's server, as a command needs it: set up, started, and told of plainly where it can't be reached."""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nyctaxi_etl.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nyctaxi_etl.settings import Settings

# How Prefect says, in exceptions of no class of its own, that its server isn't there.
_NO_SERVER = ("Failed to reach API", "Prefect API server", "No Prefect API URL")


def waiting_note() -> str:
    """Say what takes long before the first month does: Prefect's import, and its server's start."""
    from nyctaxi_etl import settings as config

    return "Asking Prefect's server ..." if config.has_prefect_server() else "Starting Prefect (some 10 seconds) ..."


@contextmanager
def prefect_ready(settings: Settings, instead: str = "") -> Iterator[None]:
    """Have Prefect set up and its server there; ``instead`` is what a user can do without it.

    Raises:
        UsageError: The server can't be reached, or Prefect's folder can't be written to.
    """
    from nyctaxi_etl import settings as config

    config.prepare_prefect(console=settings.verbose, instead=instead)
    # Prefect's threads would write to stderr, past every setting, what they could not send to a server that is gone.
    logging.raiseExceptions = settings.verbose
    with _told_plainly(instead):
        from nyctaxi_etl.orchestration import blocks

        blocks.start_server()
        yield


@contextmanager
def _told_plainly(instead: str) -> Iterator[None]:
    """Turn what Prefect raises where its server isn't there into an error with the ways out."""
    import httpx

    try:
        yield
    except (httpx.HTTPError, RuntimeError, ValueError) as error:
        if not isinstance(error, httpx.HTTPError) and not any(words in str(error) for words in _NO_SERVER):
            raise
        reason = re.sub(r"//[^/@\s]*@", "//", (str(error).splitlines() or [type(error).__name__])[0])
        message = f"Prefect's server can't be reached: {reason}"
        ways = ("Start it (`prefect server start`)", "or unset PREFECT_API_URL to have one started", instead)
        raise UsageError(message, f"{', '.join(filter(None, ways))}.") from error
