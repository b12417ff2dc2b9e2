"""The lake in a bucket of Google Cloud Storage: an object is complete or absent, checked, and never mixed of two runs.

Needs object rights on the bucket alone (``roles/storage.objectUser``): the bucket itself is never asked for.
"""

from __future__ import annotations

import io
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, NamedTuple
from urllib.parse import urlsplit

from nyctaxi_etl.core.disk import disk_errors_as
from nyctaxi_etl.core.errors import LakeError, NotPublished, Transient, UsageError
from nyctaxi_etl.lakes.base import CHUNK_BYTES, DISK_HINT
from nyctaxi_etl.lakes.gcs_refusals import (
    AGAIN,
    MissingError,
    ReplacedError,
    SessionGoneError,
    broken,
    explanation,
    refusal,
    unreadable,
)
from nyctaxi_etl.lakes.gcs_streams import Opened, Told
from nyctaxi_etl.lakes.gcs_upload import CONNECT_SECONDS, READ_SECONDS, Parcel, checksum, send, with_retries

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from google.auth.credentials import Credentials
    from google.cloud.storage import Blob, Client  # type: ignore[import-untyped]


CHUNK_MULTIPLE = 256 << 10
SESSIONS = 3
_LIMITS = (CONNECT_SECONDS, READ_SECONDS)
_NO_BUCKET = "bucket does not exist"  # "The specified bucket does not exist."; else it is the object
_FINE = range(200, 400)
_OPEN_BYTES = 1 << 20
_CREDENTIALS = "Run `gcloud auth application-default login`, or register a service account (`nyctaxi blocks-init`)."


class _Found(NamedTuple):
    """An object that is there; ``generation`` names this very content of it."""

    generation: int
    size: int
    crc32c: str
    facts: dict[str, str]


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
        raise UsageError(message, _CREDENTIALS) from None  # its words may quote what it was given


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

    def facts(self, key: str) -> Mapping[str, str] | None:
        """Return the object's custom metadata: see ``Lake.facts``."""
        found = self._look(key)
        return found.facts if found else None

    def put(self, key: str, path: Path, facts: Mapping[str, str], subject: str) -> None:
        """Send the file, to appear only if all of it arrived and nobody was faster: see ``Lake.put``.

        A fact that is empty is left out of the object's metadata, where a missing one means the same.
        """
        facts = {name: value for name, value in facts.items() if value}
        parcel = Parcel(subject, self.uri(key), path, path.stat().st_size, checksum(path))
        before = self._look(key, subject, "put")
        for number in range(1, SESSIONS + 1):
            try:
                self._send(key, parcel, facts, before.generation if before else 0)
            except (SessionGoneError, ReplacedError) as error:
                # What was sent may have arrived, and only the answer was lost.
                if not self._holds(key, parcel, facts):
                    if isinstance(error, ReplacedError) or number == SESSIONS:
                        raise
                    continue
            return

    def get(self, key: str, into: Path, subject: str) -> Path:
        """Bring the object to ``into``, checked: see ``Lake.get``."""
        found = self._look(key, subject, "get")
        if found is None:
            message = f"{subject}: {self.uri(key)} isn't there."
            raise NotPublished(message, "Put the month into this lake with `nyctaxi upload`, or name another --lake.")
        target = into / PurePosixPath(key).name
        part = target.with_name(f"{target.name}.part")
        with disk_errors_as(LakeError, part, DISK_HINT):
            into.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                self._fetch(key, found, Told(file, subject, found.size))
        if checksum(part) != found.crc32c:
            part.unlink()
            message = f"{self.uri(key)}: its bytes came damaged; their crc32c is not {found.crc32c}."
            raise Transient(message, AGAIN)
        return part.replace(target)

    def open(self, key: str) -> BinaryIO:
        """Open the object as it is now: see ``Lake.open``."""
        with self._as_ours(key):
            blob = self._blob(key)
            blob.reload(timeout=_LIMITS)
            reader: BinaryIO = self._blob(key, blob.generation).open("rb", chunk_size=_OPEN_BYTES, timeout=_LIMITS)
        return io.BufferedReader(Opened(reader, lambda size: self._read_on(key, reader, size)), _OPEN_BYTES)

    def _read_on(self, key: str, reader: BinaryIO, size: int) -> bytes:
        """Read on in an object that was opened. Raises ``Transient`` if it was replaced, and as ``get`` does."""
        try:
            with self._as_ours(key):
                return reader.read(size)
        except MissingError:
            raise self._replaced(key) from None

    def remove(self, key: str) -> None:
        """Remove the object, if it is there."""

        def delete(_attempt: int) -> None:
            with self._as_ours(key), suppress(NotFound):
                self._blob(key).delete(timeout=_LIMITS, retry=None)

        from google.api_core.exceptions import NotFound

        with_retries(delete)

    def _blob(self, key: str, generation: int | None = None) -> Blob:
        return self._bucket.blob(f"{self.prefix}/{key}".lstrip("/"), generation=generation)

    def _look(self, key: str, subject: str = "", step: str = "") -> _Found | None:
        def look(_attempt: int) -> _Found | None:
            try:
                with self._as_ours(key):
                    return self._found(key)
            except MissingError as missing:
                if _NO_BUCKET in missing.message:
                    raise
                return None

        return with_retries(look, subject, step)

    def _found(self, key: str) -> _Found:
        blob = self._blob(key)
        blob.reload(timeout=_LIMITS, retry=None)
        facts = {str(name): str(value) for name, value in (blob.metadata or {}).items()}
        return _Found(int(blob.generation), int(blob.size), str(blob.crc32c), facts)

    def _send(self, key: str, parcel: Parcel, facts: Mapping[str, str], generation: int) -> None:
        """Upload once, in place of ``generation`` (0: of nothing). The bucket refuses other bytes than the checksum's.

        Beyond that the object's checksum is compared as the bucket reports it.
        """
        import requests

        def begin(_attempt: int) -> str:
            blob = self._blob(key)
            blob.metadata, blob.crc32c = dict(facts), parcel.crc32c
            with self._as_ours(key):
                url = str(
                    blob.create_resumable_upload_session(
                        size=parcel.size, if_generation_match=generation, checksum=None, timeout=_LIMITS, retry=None
                    )
                )
                scheme = urlsplit(url).scheme
            if scheme not in {"https", urlsplit(self._bucket.client.api_endpoint).scheme}:
                message = f"{parcel.uri}: the bucket named no safe address to send to."
                raise Transient(message, AGAIN)
            return url

        url = with_retries(begin, parcel.subject, "put")
        with requests.Session() as http:
            stored = send(http, url, parcel, self._chunk_bytes)
        if stored != (parcel.size, parcel.crc32c):
            message = f"{parcel.uri}: the bucket took other bytes than were sent (crc32c {stored.crc32c})."
            raise LakeError(message, "What is there now is damaged: put the month again with --force.")

    def _holds(self, key: str, parcel: Parcel, facts: Mapping[str, str]) -> bool:
        found = self._look(key, parcel.subject, "put")
        return found is not None and found[1:] == (parcel.size, parcel.crc32c, dict(facts))

    def _fetch(self, key: str, found: _Found, into: Told) -> None:
        """Bring what is missing of this very generation, until ``ATTEMPTS`` in a row brought nothing further."""

        def fetch(_attempt: int) -> None:
            start = into.done
            try:
                with self._as_ours(key):
                    self._blob(key, found.generation).download_to_file(
                        into, start=start, raw_download=True, checksum=None, timeout=_LIMITS, retry=None
                    )
            except Transient:
                if into.done == start:
                    raise
            if into.done == start:
                message = f"{self.uri(key)}: nothing came after {start:,} of {found.size:,} bytes."
                raise Transient(message, AGAIN)

        try:
            while into.done < found.size:
                with_retries(fetch, into.subject, "get")
        except MissingError:  # the very generation: asking for it again would never help
            raise self._replaced(key) from None

    def _replaced(self, key: str) -> Transient:
        return Transient(f"{self.uri(key)}: another run replaced it while it was read.", AGAIN)

    @contextmanager
    def _as_ours(self, key: str) -> Iterator[None]:
        """Turn Google's errors into ours; what they quote may be secret, but for the bucket's own explanation.

        An answer that can't be read fails in Google's library in many ways: only its calls belong in here.
        """
        import requests
        import urllib3
        from google.api_core.exceptions import GoogleAPICallError
        from google.auth.exceptions import GoogleAuthError, TransportError

        uri = self.uri(key)
        try:
            yield
        except GoogleAPICallError as error:
            answer, status = error.response, int(error.code or 0)
            said, headers = (explanation(answer), answer.headers) if answer is not None else ("", {})
            if status in _FINE:  # it lacks what was asked for
                raise unreadable(uri, error) from None
            raise refusal(uri, status, said, headers) from None
        except GoogleAuthError as error:
            if error.retryable or isinstance(error, TransportError):
                raise broken(uri, error) from None
            message = f"{uri}: Google refused the credentials ({type(error).__name__})."
            raise LakeError(message, _CREDENTIALS) from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, ConnectionError) as error:
            raise broken(uri, error) from None
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise unreadable(uri, error) from None
