"""Blocks that were registered, opened once each: does the database answer, the bucket take, BigQuery run?"""

from __future__ import annotations

import secrets
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nyctaxi_etl.core.errors import LakeError, NycTaxiError, Transient, UsageError, WarehouseError
from nyctaxi_etl.orchestration.blocks.opening import account_behind, bigquery_behind, database_behind, lake_behind
from nyctaxi_etl.orchestration.blocks.registering import BIGQUERY_BLOCK, BUCKET_BLOCK, CREDENTIALS_BLOCK, POSTGRES_BLOCK
from nyctaxi_etl.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nyctaxi_etl.orchestration.blocks.registering import BlockStatus
    from nyctaxi_etl.pipelines.job import Google

_SECONDS = 10.0
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_REFUSED = "Is the network up, the key not revoked? Without a key: `gcloud auth application-default login`."
_NO_POSTGRES = (
    f"Is the server up, and do {SETTINGS['postgres_host'].variable} and {SETTINGS['postgres_port'].variable} name it?"
)
_TINY = b"nyctaxi blocks-init --check wrote this and removes it\n"


def check(statuses: tuple[BlockStatus, ...], google: Google) -> tuple[BlockStatus, ...]:
    """Open each block that was registered, and say what to fix where that fails."""
    return tuple(_checked(status, google) if status.status == "registered" else status for status in statuses)


def _checked(status: BlockStatus, google: Google) -> BlockStatus:
    try:
        found = _CHECKS[status.name](status.name, google)
    except NycTaxiError as error:
        return replace(status, status="failed", note=f"{error.message} {error.hint}".rstrip())
    return replace(status, status="works", note=", ".join(filter(None, (status.note, found))))


def _postgres(name: str, _google: Google) -> str:
    """Ask the server for its version. Nothing is loaded here, so its errors have another hint than a load's."""
    try:
        with database_behind(name, int(_SECONDS)) as warehouse:
            return f"Postgres {warehouse.query('SHOW server_version')[0][0]}"
    except Transient as error:
        raise Transient(error.message, _NO_POSTGRES) from None
    except WarehouseError as error:
        raise WarehouseError(error.message, error.hint if "month" not in error.hint else _NO_POSTGRES) from None


def _credentials(name: str, google: Google) -> str:
    """Have Google give a token for the account, unless emulators stand in for Google: they need none."""
    if google.storage_emulator or google.bigquery_emulator:
        return "not needed at an emulator"
    from google import auth
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import Request

    try:
        credentials = account_behind(name).credentials or auth.default(scopes=[_SCOPE])[0]
        credentials.refresh(Request())  # type: ignore[no-untyped-call]
    except GoogleAuthError as error:  # its message may quote what it was given
        message = f"Google gives no token for this account ({type(error).__name__})."
        raise UsageError(message, _REFUSED) from None
    return "Google gives a token"


def _bucket(name: str, google: Google) -> str:
    lake, key = lake_behind(name, google), f"nyctaxi-check-{secrets.token_hex(8)}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "written")
        path.write_bytes(_TINY)
        lake.put(key, path, {}, BUCKET_BLOCK)
        try:
            came = lake.get(key, Path(folder, "read"), BUCKET_BLOCK).read_bytes()
        finally:
            lake.remove(key)
    if came != _TINY:
        message = f"{lake.uri(key)}: other bytes came back than were written."
        raise LakeError(message, "Is something in between that changes them?")
    return "written, read and removed"


def _bigquery(name: str, google: Google) -> str:
    """Have BigQuery look at a query where the dataset is, and make a table there, to be dropped at once."""
    from nyctaxi_etl.warehouses.bigquery.jobs import Jobs

    jobs = Jobs(bigquery_behind(name, google), google.dataset, retry_seconds=_SECONDS)
    try:
        with jobs.translated_errors():
            jobs.locate(google.location or None, google.bucket_location or None)
            jobs.refuse_expiring()
            jobs.estimate_bytes("SELECT 1")
            jobs.prove_write_access()
    finally:
        jobs.close()
    return "a query can be run, a table made and dropped"


_CHECKS: Mapping[str, Callable[[str, Google], str]] = {
    POSTGRES_BLOCK: _postgres,
    CREDENTIALS_BLOCK: _credentials,
    BUCKET_BLOCK: _bucket,
    BIGQUERY_BLOCK: _bigquery,
}
