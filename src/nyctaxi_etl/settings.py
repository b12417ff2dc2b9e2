"""Settings: ``NYCTAXI_*`` from the environment or ``.env``. The only reader of the environment.

Every option of the command line has a setting of the same name, so that a team sets its defaults once.
"""

from __future__ import annotations

import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from nyctaxi_etl.core.errors import UsageError
from nyctaxi_etl.core.pace import FLOOR_BYTES
from nyctaxi_etl.core.partition import Mode
from nyctaxi_etl.dotenvfile import readings
from nyctaxi_etl.sources.registry import DATATALKS_URL, TLC_URL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nyctaxi_etl.dotenvfile import Reading

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


# "with a minimum 10 MB data processed per query" (cloud.google.com/bigquery/pricing); its errors say 10485760.
LEAST_BILLED_BYTES = 10 << 20


def _as_billed(limit: int) -> int:
    """Return a limit of billed bytes. Raises ``ValueError`` for one that BigQuery would refuse every query for."""
    if 0 < limit < LEAST_BILLED_BYTES:
        message = f"BigQuery bills at least {LEAST_BILLED_BYTES:,} bytes a query: 0 is no limit"
        raise ValueError(message)
    return limit


class Manner(BaseSettings):
    """How a command answers: known even where the other settings are wrong."""

    model_config = SettingsConfigDict(
        env_prefix="NYCTAXI_",
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,  # a line left empty in a copy of .env.example sets nothing
        extra="ignore",
        hide_input_in_errors=True,
    )

    json_: bool = Field(default=False, alias="NYCTAXI_JSON", description="Print one JSON object instead of a table.")
    debug: bool = Field(default=False, description="Print a traceback when a command fails.")


class Settings(Manner):
    """Defaults for the command line, the addresses of sources, and the credentials of blocks."""

    color: str = Field("", description="Colours to load, with commas between: yellow, green, fhv, fhvhv.")
    year: str = Field("", description="Years to load: 2021, 2019-2021 or 2019,2021.")
    months: str = Field("1-12", description="Months of each year: 1-3 or 1,3,5-7.")
    source: str = Field("tlc", description="tlc, datatalks, sample, a folder or an http(s) base URL.")
    to: str = Field(
        "duckdb", description="duckdb, duckdb:///path, bigquery, block:NAME or a SQLAlchemy URL without a password."
    )
    lake: str = Field("", description="A folder, gs://bucket/prefix or block:NAME, instead of the data folder's lake.")
    mode: Mode = Field(Mode.ETL, description="etl: rules drop rows before the lake; elt: in the warehouse.")
    raw: bool = Field(default=False, description="Put the published files into the lake as well.")
    table: str = Field("", description="Table to load into, instead of {color}_taxi_data.")
    jobs: Annotated[int, Field(ge=1, le=64)] = Field(2, description="Months that run side by side, 1 to 64.")
    force: bool = Field(default=False, description="Load months again that are loaded and unchanged.")
    dry_run: bool = Field(default=False, description="Say what would be loaded, and load nothing.")
    direct: bool = Field(default=False, description="Run without Prefect.")
    data_dir: Path = Field(Path("data"), description="Folder for fetched files, rejects and the DuckDB file.")
    verbose: bool = Field(default=False, description="Print a line per step, and Prefect's own log.")
    check: bool = Field(default=False, description="Open each block after blocks-init has registered it.")
    tlc_url: str = Field(TLC_URL, description="Base URL of the source tlc.")
    datatalks_url: str = Field(DATATALKS_URL, description="Base URL of the source datatalks.")
    min_speed: Annotated[int, Field(ge=0)] = Field(
        FLOOR_BYTES, description="Bytes a second below which, over a minute, a download is broken off; 0 is no limit."
    )
    sample_rows: Annotated[int, Field(ge=1)] = Field(50_000, description="Rows in a month of the source sample.")
    max_unparsable: Annotated[float, Field(ge=0, le=1)] = Field(
        0.05, description="Share of rows that may be unparsable before a month fails, 0 to 1."
    )
    max_outside_month: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5, description="Share of pickups that may be outside the file's month before it is refused, 0 to 1."
    )
    gcs_chunk_mb: Annotated[int, Field(ge=1, le=1024)] = Field(
        8, description="MiB that are sent to a bucket in one request, and at most sent again after a break."
    )
    gcs_location: str = Field(
        "", description="Where the bucket is: compared with BigQuery's dataset first. Asking would take another right."
    )
    bigquery_project: str = Field("", description="Project of BigQuery's dataset, instead of the credentials' own.")
    bigquery_dataset: str = Field("nyctaxi", description="Dataset that --to bigquery loads into; it must exist.")
    bigquery_location: str = Field("", description="Where the dataset is meant to be; another place is refused.")
    bigquery_max_bytes: Annotated[int, Field(ge=0), AfterValidator(_as_billed)] = Field(
        20_000_000_000,
        description="Most bytes that a month's transaction in BigQuery may read, 10485760 at least; 0 is no limit.",
    )
    postgres_host: str = Field("", description="Host of the block postgres-connection.")
    postgres_port: Annotated[int, Field(ge=1, le=65535)] = Field(5432, description="Port of the block.")
    postgres_user: str = Field("", description="User of the block.")
    postgres_password: SecretStr = Field(SecretStr(""), description="Password of the block; kept as a secret.")
    postgres_database: str = Field("", description="Database of the block.")
    postgres_sslmode: str = Field("", description="TLS of the block, as libpq names it: require, verify-full, ...")
    gcp_credentials_file: str = Field("", description="Service account of the block gcp-credentials: its JSON file.")
    gcp_credentials_json: SecretStr = Field(SecretStr(""), description="The same as JSON itself; kept as a secret.")
    gcp_project: str = Field("", description="Google Cloud project; by itself, with the machine's own credentials.")
    gcs_bucket: str = Field("", description="Bucket of the block gcs-bucket, without gs://.")
    gcs_prefix: str = Field("", description="Folder in the bucket that the lake is in.")


def settings() -> Settings:
    """Read the settings. Raises ``UsageError`` naming each wrong one, never its value."""
    try:
        found = Settings()
        lost = [str(reading) for reading in _readings() if reading.lost]
    except ValidationError as error:
        wrong = "; ".join(
            f"NYCTAXI_{'_'.join(map(str, e['loc'])).upper().removeprefix('NYCTAXI_')}: {e['msg']}"
            for e in error.errors()
        )
        message = f"A setting is wrong. {wrong}."
        raise UsageError(message, "Look in the environment and in .env; .env.example shows every setting.") from None
    except (OSError, UnicodeDecodeError) as error:
        message = f".env can't be read: {getattr(error, 'reason', '') or getattr(error, 'strerror', '')}."
        raise UsageError(message, "It has a line NAME=value for each setting, in UTF-8.") from None
    if lost:
        raise UsageError(lost[0], "Or set it in the environment, which is always taken as it is.")
    return found


def warnings() -> tuple[str, ...]:
    """Return which settings in ``.env`` are read otherwise than they stand there, and how to write them."""
    return tuple(str(reading) for reading in _readings() if not reading.lost)


def _readings() -> tuple[Reading, ...]:
    """Look at the texts in ``.env`` that count: other settings can't be misread unnoticed, and the environment wins."""
    file = Path(str(Settings.model_config["env_file"]))
    texts = {
        f"NYCTAXI_{name.upper()}"
        for name, field in Settings.model_fields.items()
        if field.annotation in {str, Path, SecretStr}
    }
    counting = texts - {name.upper() for name, value in os.environ.items() if value}
    return readings(file.read_text("utf-8"), counting) if file.is_file() else ()


def manner() -> Manner:
    """Read how to answer; where that is wrong itself, plainly."""
    try:
        return Manner()
    except (ValidationError, OSError, UnicodeDecodeError):
        return Manner.model_construct()


def prepare_prefect(*, console: bool, instead: str = "") -> None:
    """Set what Prefect reads from the environment when it is imported, where the user has set nothing.

    Raises ``UsageError`` if Prefect's folder can't be written to: its server would be waited for in vain. ``instead``
    is what a user can do without it.

    Telemetry is off unless the user turned it on; a slow machine gets two minutes to start the ephemeral server;
    Prefect's log goes to its server, and to the console only if ``console``.
    """
    home = _prefect_home(instead)
    defaults = {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120"}
    if not _telemetry_decided(home):
        defaults |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    if not console:
        defaults |= dict.fromkeys(_LOGS, "CRITICAL")
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def storage_emulator() -> str:
    """Return the address of a server that stands in for Google Cloud Storage, empty if there is none."""
    return os.environ.get("STORAGE_EMULATOR_HOST", "")


def bigquery_emulator() -> str:
    """Return the address of a server that stands in for BigQuery, empty if there is none."""
    return os.environ.get("BIGQUERY_EMULATOR_HOST", "")


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
