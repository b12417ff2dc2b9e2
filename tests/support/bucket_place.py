"""A bucket of a test's own at a server that stands in for Google's, behind a gate that breaks what it is told to."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nyctaxi_etl.core.partition import Color, Month, Partition
from nyctaxi_etl.lakes.gcs import CHUNK_MULTIPLE, GcsLake, gcs_client
from nyctaxi_etl.lakes.keys import trips_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.proxy import Asked, Gate


JANUARY = Partition(Color.YELLOW, Month(2021, 1))
KEY = trips_key(JANUARY)
CHUNK = CHUNK_MULTIPLE
SIZE = 4 * CHUNK + 1000
OLD, NEW = {"run": "old", "source_url": "https://example.org/März?"}, {"run": "new"}
BUSY = (408, 429, 500, 502, 503, 504)

PUTTING = """
import sys
from pathlib import Path
from nyctaxi_etl.lakes.gcs import GcsLake, gcs_client
from nyctaxi_etl.core.partition import Color, Month, Partition
url, bucket, key, path, chunk, into = sys.argv[1:]
january = Partition(Color.YELLOW, Month(2021, 1))
lake = GcsLake(gcs_client(url), bucket, "nyc", int(chunk))
def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024
lake.metadata(key)
before = peak()
lake.put(key, Path(path), {"run": "child"}, january)
print(peak() - before)
if into:
    lake.get(key, Path(into), january)
    print(peak() - before)
"""


@dataclass(frozen=True)
class Place:
    """A bucket of its own: ``lake`` goes through ``gate``, ``other`` is another run that doesn't."""

    gate: Gate
    bucket: str
    lake: GcsLake
    other: GcsLake

    def put_old(self, path: Path) -> None:
        """Put what is to be replaced, past the gate."""
        self.other.put(KEY, path, OLD, str(JANUARY))

    def bytes(self, into: Path) -> bytes:
        """Return what the object holds now, past the gate."""
        return self.other.get(KEY, into, str(JANUARY)).read_bytes()


def place_at(url: str, passage: Gate) -> Place:
    """Return a new bucket at a server, its lake's requests going through ``passage``."""
    bucket = f"trips-{uuid.uuid4().hex}"
    client = gcs_client(url)
    client.create_bucket(bucket)
    lake = GcsLake(gcs_client(passage.url), bucket, "nyc", CHUNK)
    return Place(passage, bucket, lake, GcsLake(client, bucket, "nyc"))


def is_put(asked: Asked) -> bool:
    """Tell whether a request sends or asks for a part of an upload."""
    return asked.method == "PUT"


def is_upload(asked: Asked) -> bool:
    """Tell whether a request begins an upload."""
    return asked.method == "POST"


def is_chunk(number: int) -> Callable[[Asked], bool]:
    """Tell the request that first sends a chunk, the first being 0."""
    return lambda asked: asked.method == "PUT" and asked.span.startswith(f"bytes {number * CHUNK}-")


def is_last_chunk(asked: Asked) -> bool:
    """Tell whether a request sends the last chunk of a file of ``SIZE`` bytes."""
    return asked.method == "PUT" and asked.span.startswith("bytes ") and f"-{SIZE - 1}/{SIZE}" in asked.span


def is_status(asked: Asked) -> bool:
    """Tell whether a request asks how much of a file of ``SIZE`` bytes has come."""
    return asked.method == "PUT" and asked.span == f"bytes */{SIZE}"


def is_media(asked: Asked) -> bool:
    """Tell whether a request fetches an object's bytes."""
    return asked.method == "GET" and "alt=media" in asked.path


def google_error(status: int, message: str) -> bytes:
    """Return an error as Google writes it."""
    return json.dumps({"error": {"code": status, "message": message}}).encode()


def generation_of(place: Place) -> str:
    """Return the generation of the object, 0 if there is none."""
    found = place.other._info(KEY)
    return str(found.generation if found else 0)


def sent_spans(place: Place) -> list[str]:
    """Return the spans of bytes that were sent."""
    return [asked.span.removeprefix("bytes ") for asked in place.gate.asked if asked.method == "PUT"]
