"""Blocks of Prefect's become lakes and warehouses. Credentials are known here, and to nobody else.

Of Google's blocks only the document is read: a GcsBucket or BigQueryWarehouse that is made asks Google for credentials
at once, also where an emulator wants none. At an emulator nobody's credentials are used.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nyctaxi_etl.core.errors import UsageError
from nyctaxi_etl.pipelines.job import BLOCK
from nyctaxi_etl.warehouses.opening import from_engine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.auth.credentials import Credentials
    from google.cloud.bigquery import Client
    from prefect_sqlalchemy import SqlAlchemyConnector
    from sqlalchemy.engine import Engine

    from nyctaxi_etl.lakes.base import Lake
    from nyctaxi_etl.pipelines.job import Google, Job
    from nyctaxi_etl.warehouses.base import Warehouse

# Types of blocks, as Prefect's addresses name them.
_DATABASE, _CREDENTIALS, _BUCKET = "sqlalchemy-connector", "gcp-credentials", "gcs-bucket"
_BIGQUERY = "bigquery-warehouse"
_REGISTER = "Register it with `nyctaxi blocks-init`, or name another in `{option}=`."


@dataclass(frozen=True)
class GoogleAccount:
    """Who asks Google: ``credentials`` of a service account (``None``: the machine's own), and for which project."""

    credentials: Credentials | None = field(default=None, repr=False)
    project: str | None = None


def lake_behind(name: str, google: Google) -> Lake:
    """Return the lake in the bucket of a GcsBucket block. Nothing is connected to yet.

    Raises ``UsageError`` for a block that isn't registered or isn't a GcsBucket, and where there are no credentials.
    """
    from nyctaxi_etl.lakes.gcs import GcsLake, gcs_client

    data = _document(name, _BUCKET)
    if data is None:
        message = f"{BLOCK}{name}: no GcsBucket block of this name is registered."
        raise UsageError(message, _REGISTER.format(option="lake"), about="lake")
    emulator = google.storage_emulator or None
    account = _account(name, data, emulator)
    client = gcs_client(emulator, account.project, account.credentials)
    return GcsLake(client, data["bucket"], data.get("bucket_folder") or "", google.chunk_bytes)


def warehouse_of(job: Job) -> Warehouse:
    """Return the warehouse of the block that a job names: a database, or BigQuery. Nothing is connected to yet.

    Raises ``UsageError`` for a block that isn't registered or is of another type, and where there are no credentials.
    """
    from nyctaxi_etl.warehouses.bigquery.warehouse import BigQuery

    name, google = job.to.removeprefix(BLOCK), job.google
    if _document(name, _DATABASE) is not None:
        return database_behind(name)
    data = _document(name, _BIGQUERY)
    if data is None:
        message = f"{BLOCK}{name}: no SqlAlchemyConnector or BigQueryWarehouse block of this name is registered."
        raise UsageError(message, _REGISTER.format(option="to"), about="to")
    return BigQuery(
        _client(name, data, google),
        google.dataset,
        google.location or None,
        google.max_bytes,
        bucket_location=google.bucket_location or None,
    )


def database_behind(name: str, connect_seconds: int | None = None) -> Warehouse:
    """Return the warehouse of a SqlAlchemyConnector block that is registered.

    With ``connect_seconds`` a Postgres that doesn't answer is given up after that, instead of the system's minutes.
    """
    from prefect_sqlalchemy import SqlAlchemyConnector
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        block: SqlAlchemyConnector = SqlAlchemyConnector.load(name)
        engine = block.get_engine()
        if connect_seconds and engine.dialect.name == "postgresql":
            _bound(engine, connect_seconds)
        return from_engine(engine)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        message = f"The database of the block {name} can't be opened: {error}."
        raise UsageError(message, "Install its driver, or register it again with `nyctaxi blocks-init`.") from None


def _bound(engine: Engine, seconds: int) -> None:
    from sqlalchemy import event

    @event.listens_for(engine, "do_connect")
    def _connecting(_dialect: object, _record: object, _arguments: object, parameters: dict[str, Any]) -> None:
        parameters.setdefault("connect_timeout", seconds)


def bigquery_behind(name: str, google: Google) -> Client:
    """Return BigQuery's client of a BigQueryWarehouse block that is registered."""
    return _client(name, _document(name, _BIGQUERY) or {}, google)


def account_behind(name: str) -> GoogleAccount:
    """Return the account of a GcpCredentials block that is registered."""
    return _account(name, {"gcp_credentials": _document(name, _CREDENTIALS)}, None)


def _client(name: str, data: Mapping[str, Any], google: Google) -> Client:
    from nyctaxi_etl.warehouses.bigquery.client import bigquery_client

    emulator = google.bigquery_emulator or None
    account = _account(name, data, emulator)
    return bigquery_client(google.project or account.project or "", emulator, account.credentials)


def _document(name: str, slug: str) -> dict[str, Any] | None:
    """Return what Prefect's server keeps of the block of this name and type, if there is one."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        try:
            return dict(client.read_block_document_by_name(name, slug).data)
        except ObjectNotFound:
            return None


def _account(name: str, data: Mapping[str, Any], emulator: str | None) -> GoogleAccount:
    """Return the account in a document's credentials. Raises ``UsageError`` if it can't be used."""
    from prefect_gcp import GcpCredentials

    stored = data.get("gcp_credentials") or {}
    project = stored.get("project") or None
    if emulator or not (stored.get("service_account_info") or stored.get("service_account_file")):
        return GoogleAccount(project=project)
    try:
        block = GcpCredentials.model_validate(stored)
        return GoogleAccount(block.get_credentials_from_service_account(), block.project)
    except (ValueError, OSError):  # their messages quote what they were given
        message = f"{BLOCK}{name}: the service account of its credentials can't be used."
        hint = "Is its file on this machine? Register it again with `nyctaxi blocks-init`."
        raise UsageError(message, hint) from None
