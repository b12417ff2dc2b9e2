"""An address becomes the lake that is there: a folder, or a bucket of Google Cloud Storage."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nyctaxi_etl.core.addresses import folder_of, refuse_secret
from nyctaxi_etl.core.errors import UsageError
from nyctaxi_etl.lakes.base import CHUNK_BYTES
from nyctaxi_etl.lakes.gcs import GcsLake, gcs_client
from nyctaxi_etl.lakes.local import LocalLake

if TYPE_CHECKING:
    from pathlib import Path

    from nyctaxi_etl.lakes.base import Lake

FOLDER = "lake"
_BUCKET = re.compile(r"gs://([a-z0-9][a-z0-9._-]{1,220}[a-z0-9])(?:/(.*))?", re.ASCII)


def open_lake(
    address: str,
    data_dir: Path,
    *,
    emulator: str | None = None,
    project: str | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> Lake:
    """Return the lake at ``address``: ``lake`` or nothing (``{data_dir}/lake``), a folder, or ``gs://bucket/prefix``.

    Nothing is connected to yet. A bucket is entered with the machine's default credentials, or with none at
    ``emulator``, the address of a server that stands in for Google's. Raises ``UsageError`` for an address that can't
    be a lake, and where there are no credentials.
    """
    refuse_secret("lake", address)
    if address in {"", FOLDER}:
        return LocalLake(data_dir / FOLDER)
    bucket = _BUCKET.fullmatch(address)
    if bucket:
        return GcsLake(gcs_client(emulator, project), bucket[1], bucket[2] or "", chunk_bytes)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", address) and not re.match(r"[A-Za-z]:[\\/]", address):
        message = f"{address.partition('?')[0]}: not a lake that can be opened."
        raise UsageError(message, "Name a folder, gs://bucket/prefix or block:NAME.", about="lake")
    return LocalLake(folder_of(address, "lake"))
