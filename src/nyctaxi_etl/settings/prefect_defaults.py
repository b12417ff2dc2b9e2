"""What Prefect is told by the environment before it is imported, where the user has told it nothing."""

from __future__ import annotations

import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from nyctaxi_etl.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Where a user may have decided on Prefect's telemetry: the environment, or a file that Prefect reads.
_TELEMETRY = "analytics_enabled"
_HOME = re.compile(r"^\s*(prefect_)?home\s*=", re.MULTILINE)
_PREFECT_FILES = ("prefect.toml", "pyproject.toml", ".env")
# What Prefect writes to the console: a run's log, its own server's, what its threads say of a server that is gone.
_LOGS = (
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL",
    "PREFECT_SERVER_LOGGING_LEVEL",
    "PREFECT_LOGGING_INTERNAL_LEVEL",
)


def prepare_prefect(*, console: bool, instead: str = "") -> None:
    """Set what Prefect reads from the environment when it is imported, where the user has set nothing.

    Telemetry is off unless the user turned it on; a slow machine gets two minutes to start the ephemeral server;
    Prefect's log goes to its server, and to the console only if ``console``. ``instead`` is what a user can do
    without Prefect.

    Raises:
        UsageError: Prefect's folder can't be written to: its server would be waited for in vain.
    """
    home = _prefect_home(instead)
    defaults = {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120"}
    if not _telemetry_decided(home):
        defaults |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    if not console:
        defaults |= dict.fromkeys(_LOGS, "CRITICAL")
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def has_prefect_server() -> bool:
    """Tell whether the environment names a Prefect server, so that none need be started."""
    return bool(os.environ.get("PREFECT_API_URL"))


def _prefect_home(instead: str) -> Path:
    ways = ("Set PREFECT_HOME to a folder that you may write to", instead)
    hint = f"{', '.join(filter(None, ways))}."
    try:
        home = Path(os.environ.get("PREFECT_HOME") or "~/.prefect").expanduser()
    except RuntimeError as error:
        message = "Prefect has no folder: HOME isn't set, and this user has no home."
        raise UsageError(message, hint) from error
    if "PREFECT_HOME" not in os.environ and any(map(_HOME.search, _texts(map(Path, _PREFECT_FILES)))):
        return home  # one of Prefect's own files may name another
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        message = f"Prefect's folder {home} can't be written to: {error.strerror}."
        raise UsageError(message, hint) from error
    return home


def _telemetry_decided(home: Path) -> bool:
    if any(name.lower().endswith(_TELEMETRY) for name in os.environ):
        return True
    profiles = Path(os.environ.get("PREFECT_PROFILES_PATH", home / "profiles.toml")).expanduser()
    return any(_TELEMETRY in text for text in _texts((profiles, *map(Path, _PREFECT_FILES))))


def _texts(files: Iterable[Path]) -> Iterator[str]:
    for file in files:
        with suppress(OSError):
            yield file.read_text("utf-8", "replace").lower()
