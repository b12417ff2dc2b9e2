"""Settings become blocks in Prefect's server, those that they are complete for. A secret stays one there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from nyctaxi_etl import settings as config
from nyctaxi_etl.core.addresses import folder_of
from nyctaxi_etl.core.errors import UsageError
from nyctaxi_etl.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable

    from prefect.blocks.core import Block
    from prefect_gcp import GcpCredentials
    from prefect_gcp.bigquery import BigQueryWarehouse
    from prefect_gcp.cloud_storage import GcsBucket
    from prefect_sqlalchemy import SqlAlchemyConnector

    from nyctaxi_etl.settings import Settings

POSTGRES_BLOCK, CREDENTIALS_BLOCK = "postgres-connection", "gcp-credentials"
BUCKET_BLOCK, BIGQUERY_BLOCK = "gcs-bucket", "bigquery-warehouse"
_FILE, _JSON, _PROJECT = (
    SETTINGS[name].variable for name in ("gcp_credentials_file", "gcp_credentials_json", "gcp_project")
)
_ACCOUNT = f"one of {_FILE}, {_JSON} and {_PROJECT}"
_KEY_HINT = (
    "Give the whole JSON key of a service account, as Google's console made it; "
    "without a key leave it empty (docs/lake.md, who is asking)."
)


@dataclass(frozen=True)
class BlockStatus:
    """What became of one block: registered, skipped, works or failed, and the one thing to do about it."""

    name: str
    kind: str
    status: str
    note: str

    @property
    def is_failed(self) -> bool:
        """Tell whether there is something to fix."""
        return self.status == "failed"


class _Row(NamedTuple):
    """A block that settings can make: what they lack for it, how it is made, and where it leads."""

    name: str
    kind: str
    missing: Callable[[Settings], list[str]]
    make: Callable[[Settings, GcpCredentials], Block]
    note: Callable[[Settings], str]


def register(settings: Settings) -> tuple[BlockStatus, ...]:
    """Register each block that the settings are complete for, in place of its namesake; say what was skipped.

    Google's blocks refer to the one credentials block. Raises ``UsageError`` for a service account that isn't one.
    """
    credentials = _credentials(settings) if is_configured(settings) else None
    return tuple(_registered(row, settings, credentials) for row in _ROWS)


def is_configured(settings: Settings) -> bool:
    """Tell whether there is a block to register, so that Prefect is needed."""
    return any(not row.missing(settings) for row in _ROWS)


def postgres_block(settings: Settings) -> SqlAlchemyConnector:
    """Make the Postgres block from settings; the password is a secret, and any character in it is safe."""
    from prefect_sqlalchemy import ConnectionComponents, SqlAlchemyConnector

    components = ConnectionComponents(
        driver="postgresql+psycopg",
        username=settings.postgres_user,
        password=settings.postgres_password.get_secret_value() or None,
        host=settings.postgres_host,
        port=settings.postgres_port,
        database=settings.postgres_database,
        query={"sslmode": settings.postgres_sslmode} if settings.postgres_sslmode else None,
    )
    return SqlAlchemyConnector(connection_info=components)


def _registered(row: _Row, settings: Settings, credentials: Any) -> BlockStatus:
    missing = row.missing(settings)
    if missing:
        return BlockStatus(row.name, row.kind, "skipped", f"not configured: set {', '.join(missing)}")
    row.make(settings, credentials).save(row.name, overwrite=True)
    return BlockStatus(row.name, row.kind, "registered", row.note(settings))


def _credentials(settings: Settings) -> GcpCredentials:
    """Make the credentials block. Without a service account it stands for whatever the machine has that uses it.

    Such a one is made unchecked, because it would look for the machine's credentials, and they may be elsewhere.
    """
    from prefect_gcp import GcpCredentials

    inline = settings.gcp_credentials_json.get_secret_value()
    if inline and settings.gcp_credentials_file:
        message = f"{_FILE} and {_JSON} are both set."
        raise UsageError(message, "Take one of them away: each is a whole service account.")
    project = settings.gcp_project or None
    if not inline and not settings.gcp_credentials_file:
        return GcpCredentials.model_construct(project=project)
    try:
        if inline:
            return GcpCredentials(service_account_info=inline, project=project)
        file = folder_of(settings.gcp_credentials_file, "gcp_credentials_file").absolute()
        return GcpCredentials(service_account_file=file, project=project)
    except (ValueError, OSError, KeyError):  # their messages quote what they were given
        what = "is not the key of a service account"
        message = f"{_JSON} {what}." if inline else f"{_FILE} {what} that can be read."
        raise UsageError(message, _KEY_HINT) from None


def _bucket(settings: Settings, credentials: GcpCredentials) -> GcsBucket:
    from prefect_gcp.cloud_storage import GcsBucket

    return GcsBucket(
        bucket=settings.gcs_bucket, bucket_folder=settings.gcs_prefix.strip("/"), gcp_credentials=credentials
    )


def _bigquery(_settings: Settings, credentials: GcpCredentials) -> BigQueryWarehouse:
    """Make the block unchecked: it would connect at once."""
    from prefect_gcp.bigquery import BigQueryWarehouse

    return BigQueryWarehouse.model_construct(gcp_credentials=credentials)


def _lacks(settings: Settings, *names: str) -> list[str]:
    return [SETTINGS[name].variable for name in names if not getattr(settings, name)]


def _lacks_account(settings: Settings, emulator: str = "") -> list[str]:
    """Return what is missing to be known to Google; nothing where an emulator stands in for it."""
    account = settings.gcp_credentials_file or settings.gcp_credentials_json.get_secret_value() or settings.gcp_project
    return [] if account or emulator else [_ACCOUNT]


def _account_note(settings: Settings) -> str:
    if settings.gcp_credentials_file:
        return f"the service account in {settings.gcp_credentials_file}"
    if settings.gcp_credentials_json.get_secret_value():
        return "a service account"
    return f"the machine's own, for project {settings.gcp_project}"


_ROWS = (
    _Row(
        POSTGRES_BLOCK,
        "SqlAlchemyConnector",
        lambda s: _lacks(s, "postgres_host", "postgres_user", "postgres_database"),
        lambda s, _: postgres_block(s),
        lambda s: f"{s.postgres_user}@{s.postgres_host}:{s.postgres_port}/{s.postgres_database}",
    ),
    _Row(CREDENTIALS_BLOCK, "GcpCredentials", _lacks_account, lambda _, credentials: credentials, _account_note),
    _Row(
        BUCKET_BLOCK,
        "GcsBucket",
        lambda s: [*_lacks(s, "gcs_bucket"), *_lacks_account(s, config.storage_emulator())],
        _bucket,
        lambda s: f"gs://{s.gcs_bucket}/{s.gcs_prefix.strip('/')}".rstrip("/"),
    ),
    _Row(
        BIGQUERY_BLOCK,
        "BigQueryWarehouse",
        lambda s: [*_lacks(s, "bigquery_dataset"), *_lacks_account(s, config.bigquery_emulator())],
        _bigquery,
        lambda s: ".".join(filter(None, (s.bigquery_project or s.gcp_project, s.bigquery_dataset))),
    ),
)
