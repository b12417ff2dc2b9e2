"""The lake in a bucket of Google Cloud Storage: an object is complete or absent, checked, and never mixed of two runs.

Needs object rights on the bucket alone (``roles/storage.objectUser``): the bucket itself is never asked for.
"""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, NamedTuple
from urllib.parse import urlsplit

from nyctaxi_etl.core.disk import disk_errors_as
from nyctaxi_etl.core.errors import LakeError, NotPublished, Transient, UsageError
from nyctaxi_etl.lakes.base import CHUNK_BYTES, DISK_HINT
from nyctaxi_etl.lakes.gcs_refusals import (
    CREDENTIALS,
    RUN_AGAIN,
    MissingError,
    ReplacedError,
    SessionGoneError,
    google_errors,
)
from nyctaxi_etl.lakes.gcs_streams import ObjectReader, ProgressFile
from nyctaxi_etl.lakes.gcs_upload import CONNECT_SECONDS, READ_SECONDS, FileUpload, checksum, send_file, with_retries

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from google.auth.credentials import Credentials
    from google.cloud.storage import Blob, Client  # type: ignore[import-untyped]


CHUNK_MULTIPLE = 256 << 10
SESSIONS = 3
_LIMITS = (CONNECT_SECONDS, READ_SECONDS)
_NO_BUCKET = "bucket does not exist"  # "The specified bucket does not exist."; else it is the object
_OPEN_BYTES = 1 << 20


class ObjectInfo(NamedTuple):
    """What a bucket says of an object; ``generation`` names this very content of it, ``size`` counts bytes."""

    generation: int
    size: int
    crc32c: str
    metadata: dict[str, str]


def gcs_client(
    emulator: str | None = None, project: str | None = None, credentials: Credentials | None = None
) -> Client:
    """Return a client with ``credentials``, else the machine's default ones; at ``emulator`` none are needed.

    ``project`` is only named in requests that a lake never makes. Raises ``UsageError`` where no credentials are found.
    """
    from google.auth.credentials import AnonymousCredentials
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.storage import Client

    if emulator:
        endpoint = {"api_endpoint": emulator if "://" in emulator else f"http://{emulator}"}
        anybody = credentials or AnonymousCredentials()  # type: ignore[no-untyped-call]
        return Client(project, anybody, client_options=endpoint)
    try:
        return Client(project, credentials)
    except (GoogleAuthError, OSError, ValueError) as error:
        message = f"No credentials for Google Cloud were found ({type(error).__name__})."
        raise UsageError(message, CREDENTIALS) from None  # its words may quote what it was given


class GcsLake:
    """A lake in ``bucket``, below ``prefix``.

    ``chunk_bytes``, a multiple of 256 KiB, is what is sent in one request, and at most sent again after a break.
    Raises ``UsageError`` for another number.
    """

    def __init__(self, client: Client, bucket: str, prefix: str = "", chunk_bytes: int = CHUNK_BYTES) -> None:
        if chunk_bytes < CHUNK_MULTIPLE or chunk_bytes % CHUNK_MULTIPLE:
            message = f"Uploads can't be sent in chunks of {chunk_bytes} bytes."
            raise UsageError(message, f"Choose a multiple of {CHUNK_MULTIPLE} (256 KiB).")
        # Else the library asks for the bucket in the background, which takes another role and fills the audit log with
        # refusals: googleapis/google-cloud-python#17650, since 3.11.
        client._bucket_metadata_cache = None  # noqa: SLF001
        self.prefix = prefix.strip("/")
        self._bucket = client.bucket(bucket)
        self._chunk_bytes = chunk_bytes

    @property
    def address(self) -> str:
        """``gs://bucket/prefix``."""
        return f"gs://{self._bucket.name}/{self.prefix}".rstrip("/")

    def uri(self, key: str) -> str:
        """Return ``gs://bucket/prefix/key``."""
        return f"{self.address}/{key}"

    def metadata(self, key: str) -> Mapping[str, str] | None:
        """Return the object's custom metadata: see ``Lake.metadata``."""
        info = self._info(key)
        return info.metadata if info else None

    def put(self, key: str, path: Path, metadata: Mapping[str, str], subject: str) -> None:
        """Send the file, to appear only if all of it arrived and nobody was faster: see ``Lake.put``.

        A fact that is empty is left out of the object's metadata, where a missing one means the same.
        """
        metadata = {name: value for name, value in metadata.items() if value}
        upload = FileUpload(subject, self.uri(key), path, path.stat().st_size, checksum(path))
        before = self._info(key, subject, "put")
        for number in range(1, SESSIONS + 1):
            try:
                self._send(key, upload, metadata, before.generation if before else 0)
            except (SessionGoneError, ReplacedError) as error:
                # What was sent may have arrived, and only the answer was lost.
                if not self._is_stored(key, upload, metadata):
                    if isinstance(error, ReplacedError) or number == SESSIONS:
                        raise
                    continue
            return

    def get(self, key: str, into: Path, subject: str) -> Path:
        """Bring the object to ``into``, checked: see ``Lake.get``."""
        info = self._info(key, subject, "get")
        if info is None:
            message = f"{subject}: {self.uri(key)} isn't there."
            raise NotPublished(message, "Put the month into this lake with `nyctaxi upload`, or name another `lake=`.")
        target = into / PurePosixPath(key).name
        part = target.with_name(f"{target.name}.part")
        with disk_errors_as(LakeError, part, DISK_HINT):
            into.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                self._fetch(key, info, ProgressFile(file, subject, info.size))
        if checksum(part) != info.crc32c:
            part.unlink()
            message = f"{self.uri(key)}: its bytes came damaged; their crc32c is not {info.crc32c}."
            raise Transient(message, RUN_AGAIN)
        return part.replace(target)

    def open(self, key: str) -> BinaryIO:
        """Open the object as it is now: see ``Lake.open``."""
        with google_errors(self.uri(key)):
            blob = self._blob(key)
            blob.reload(timeout=_LIMITS)
            reader: BinaryIO = self._blob(key, blob.generation).open("rb", chunk_size=_OPEN_BYTES, timeout=_LIMITS)
        return io.BufferedReader(ObjectReader(reader, lambda size: self._read_on(key, reader, size)), _OPEN_BYTES)

    def _read_on(self, key: str, reader: BinaryIO, size: int) -> bytes:
        """Read on in an object that was opened. Raises ``Transient`` if it was replaced, and as ``get`` does."""
        try:
            with google_errors(self.uri(key)):
                return reader.read(size)
        except MissingError:
            raise self._replaced(key) from None

    def remove(self, key: str) -> None:
        """Remove the object, if it is there."""

        def delete(_attempt: int) -> None:
            with google_errors(self.uri(key)), suppress(NotFound):
                self._blob(key).delete(timeout=_LIMITS, retry=None)

        from google.api_core.exceptions import NotFound

        with_retries(delete)

    def _blob(self, key: str, generation: int | None = None) -> Blob:
        return self._bucket.blob(f"{self.prefix}/{key}".lstrip("/"), generation=generation)

    def _info(self, key: str, subject: str = "", step: str = "") -> ObjectInfo | None:
        """Return what the bucket says of the object, ``None`` if it has none. Raises ``LakeError`` without a bucket."""

        def ask(_attempt: int) -> ObjectInfo | None:
            blob = self._blob(key)
            try:
                with google_errors(self.uri(key)):
                    blob.reload(timeout=_LIMITS, retry=None)
                    metadata = {str(name): str(value) for name, value in (blob.metadata or {}).items()}
                    return ObjectInfo(int(blob.generation), int(blob.size), str(blob.crc32c), metadata)
            except MissingError as missing:
                if _NO_BUCKET in missing.message:
                    raise
                return None

        return with_retries(ask, subject, step)

    def _send(self, key: str, upload: FileUpload, metadata: Mapping[str, str], generation: int) -> None:
        """Upload once, in place of ``generation`` (0: of nothing). The bucket refuses other bytes than the checksum's.

        Beyond that the object's checksum is compared as the bucket reports it.
        """
        import requests

        def begin(_attempt: int) -> str:
            blob = self._blob(key)
            blob.metadata, blob.crc32c = dict(metadata), upload.crc32c
            with google_errors(self.uri(key)):
                url = str(
                    blob.create_resumable_upload_session(
                        size=upload.size, if_generation_match=generation, checksum=None, timeout=_LIMITS, retry=None
                    )
                )
                scheme = urlsplit(url).scheme
            if scheme not in {"https", urlsplit(self._bucket.client.api_endpoint).scheme}:
                message = f"{upload.uri}: the bucket named no safe address to send to."
                raise Transient(message, RUN_AGAIN)
            return url

        url = with_retries(begin, upload.subject, "put")
        with requests.Session() as http:
            stored = send_file(http, url, upload, self._chunk_bytes)
        if stored != (upload.size, upload.crc32c):
            message = f"{upload.uri}: the bucket took other bytes than were sent (crc32c {stored.crc32c})."
            raise LakeError(message, "What is there now is damaged: put the month again with `force=True`.")

    def _is_stored(self, key: str, upload: FileUpload, metadata: Mapping[str, str]) -> bool:
        info = self._info(key, upload.subject, "put")
        return info is not None and info[1:] == (upload.size, upload.crc32c, dict(metadata))

    def _fetch(self, key: str, info: ObjectInfo, into: ProgressFile) -> None:
        """Bring what is missing of this very generation, until ``ATTEMPTS`` in a row brought nothing further."""

        def fetch(_attempt: int) -> None:
            start = into.done
            try:
                with google_errors(self.uri(key)):
                    self._blob(key, info.generation).download_to_file(
                        into, start=start, raw_download=True, checksum=None, timeout=_LIMITS, retry=None
                    )
            except Transient:
                if into.done == start:
                    raise
            if into.done == start:
                message = f"{self.uri(key)}: nothing came after {start:,} of {info.size:,} bytes."
                raise Transient(message, RUN_AGAIN)

        try:
            while into.done < info.size:
                with_retries(fetch, into.subject, "get")
        except MissingError:  # the very generation: asking for it again would never help
            raise self._replaced(key) from None

    def _replaced(self, key: str) -> Transient:
        return Transient(f"{self.uri(key)}: another run replaced it while it was read.", RUN_AGAIN)
