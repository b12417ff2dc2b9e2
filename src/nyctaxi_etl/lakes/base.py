"""Where months lie as files: a folder, or a bucket of Google Cloud Storage. Both make the same promise.

After ``put`` the object is wholly the new one or wholly the old one, and what is known of it (its facts) went with it.
"""

from __future__ import annotations

import importlib
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from nyctaxi_etl.core.addresses import folder_of, refuse_secret
from nyctaxi_etl.core.errors import LakeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import BinaryIO

    from nyctaxi_etl.core.partition import Partition

FOLDER = "lake"
CHUNK_BYTES = 8 << 20
_BUCKET = re.compile(r"gs://([a-z0-9][a-z0-9._-]{1,220}[a-z0-9])(?:/(.*))?", re.ASCII)


class Lake(Protocol):
    """What holds objects by key, each with its facts. It is used by one thread at a time."""

    @property
    def address(self) -> str:
        """Where the lake is, as shown to users; without a secret."""

    def facts(self, key: str) -> Mapping[str, str] | None:
        """Return what was put together with the object (nothing if that isn't known), or ``None`` if it isn't there.

        Raises ``LakeError`` if the lake refuses, ``Transient`` if asking again may help.
        """

    def put(self, key: str, path: Path, facts: Mapping[str, str], subject: str) -> None:
        """Put the file at ``path``, with its facts, in place of the object that is there.

        Raises ``LakeError`` if the lake refuses or another run put the object meanwhile, ``Transient`` if trying again
        may help; then the object is what it was, unless the error says otherwise.
        """

    def get(self, key: str, into: Path, subject: str) -> Path:
        """Return a local file with the object's bytes: a whole, checked copy in ``into``, or the object itself.

        Raises ``NotPublished`` if the lake has no such object, ``LakeError`` and ``Transient`` as ``put`` does.
        """

    def open(self, key: str) -> BinaryIO:
        """Open the object to be read from any place: of a bucket's, only what is read is fetched."""

    def remove(self, key: str) -> None:
        """Remove the object, if it is there."""

    def uri(self, key: str) -> str:
        """Return where the object is: ``gs://bucket/prefix/key``, or a local path."""


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
    refuse_secret("--lake", address)
    if address in {"", FOLDER}:
        return _folder(data_dir / FOLDER)
    bucket = _BUCKET.fullmatch(address)
    if bucket:
        gcs = importlib.import_module("nyctaxi_etl.lakes.gcs")
        client = gcs.gcs_client(emulator, project)
        return gcs.GcsLake(client, bucket[1], bucket[2] or "", chunk_bytes)  # type: ignore[no-any-return]
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", address) and not re.match(r"[A-Za-z]:[\\/]", address):
        message = f"--lake {address.partition('?')[0]}: not a lake that can be opened."
        raise UsageError(message, "Name a folder, gs://bucket/prefix or block:NAME.")
    return _folder(folder_of(address, "--lake"))


def trips_key(partition: Partition) -> str:
    """Return the key of a month's rows, conformed, with the rules applied."""
    return _key("trips", partition)


def conformed_key(partition: Partition) -> str:
    """Return the key of every row of a month that parses: what ELT loads."""
    return _key("conformed", partition)


def rejects_key(partition: Partition) -> str:
    """Return the key of the rows of a month that were set aside, with their reasons."""
    return _key("rejects", partition)


def raw_key(source: str, name: str) -> str:
    """Return the key of a file as it was published by ``source``, which may be a host and port."""
    return f"raw/{re.sub(r'[^A-Za-z0-9._-]', '_', source).strip('.') or '_'}/{name}"


@contextmanager
def on_disk(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into a ``LakeError`` that names the place."""
    try:
        yield
    except OSError as error:
        message = f"{path}: {error.strerror or error}."
        raise LakeError(message, "See that there is room, and that the folder can be written to.") from error


def _key(layer: str, partition: Partition) -> str:
    return f"{layer}/{partition.color}/{partition.stem}.parquet"


def _folder(path: Path) -> Lake:
    module = importlib.import_module("nyctaxi_etl.lakes.local")
    return module.LocalLake(path)  # type: ignore[no-any-return]
