"""January of yellow on a site of the test's own: its files, and what tests ask of them."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import sys
import time
from functools import cache
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from nyctaxi_etl.core.partition import Color, Month, Partition
from nyctaxi_etl.sources import registry as sources

if TYPE_CHECKING:
    import threading
    from pathlib import Path

    from support.web import Site

JANUARY = Partition(Color.YELLOW, Month(2021, 1))
PARQUET = f"trip-data/{JANUARY.stem}.parquet"
GZIP = f"yellow/{JANUARY.stem}.csv.gz"
CSV = f"{JANUARY.stem}.csv"
HALF = 100_000
REAL = os.environ.get("NYCTAXI_REAL_DATA")
NO_ETAG = frozenset({"ETag"})
NO_VALIDATORS = frozenset({"ETag", "Last-Modified"})

CHILD = """
import sys
from pathlib import Path
from nyctaxi_etl.sources.fetch import fetch
from nyctaxi_etl.core.partition import Color, Month, Partition
from nyctaxi_etl.sources.registry import Source
url, key, into = sys.argv[1:]
raw = fetch(Source("site", url, (key,)), Partition(Color.YELLOW, Month(2021, 1)), Path(into))
print(raw.sha256)
"""


@cache
def january_bodies() -> dict[str, bytes]:
    """Make January once for all tests: in Parquet, csv.gz and csv."""
    lines = "".join(f"{n},{line}\n" for n, line in enumerate(noise(400_000).hex("\n", -20).split())).encode()
    return {PARQUET: parquet_bytes(list(range(60_000))), GZIP: gzip.compress(lines, mtime=0), CSV: lines}


def noise(size: int) -> bytes:
    """Make bytes that don't compress, always the same."""
    return hashlib.shake_256(b"taxi").digest(size)


def parquet_bytes(values: list[int]) -> bytes:
    """Return a Parquet file of these values, in several row groups, its pages with checksums."""
    sink = pa.BufferOutputStream()
    plain = {"compression": "none", "use_dictionary": False, "write_page_checksum": True}
    pq.write_table(pa.table({"id": values}), sink, row_group_size=20_000, **plain)
    return bytes(sink.getvalue())


def publish(path: Path, body: bytes, days_ago: int = 1) -> None:
    """Write a site's file, changed last so many days ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    os.utime(path, (time.time() - days_ago * 86_400,) * 2)


def source_of(site: Site, *keys: str) -> sources.Source:
    """Return the site as a source that has months under these keys."""
    return sources.Source("site", site.url, keys)


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def visible_files(into: Path) -> list[str]:
    """Name the files that a reader of the raw folder sees."""
    return sorted(path.name for path in into.rglob("*") if path.is_file() and not path.name.endswith(".lock"))


def fetching_child(site: Site, key: str, into: Path) -> subprocess.Popen[str]:
    """Start a process that fetches January and prints its SHA-256."""
    command = [sys.executable, "-c", CHILD, site.url, key, str(into)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def wait_until(condition: threading.Event | None = None, path: Path | None = None, size: int = 1) -> None:
    """Wait for the event, or until the file has so many bytes; fail after half a minute."""
    end = time.monotonic() + 30
    while not (condition.is_set() if condition else path and path.exists() and path.stat().st_size >= size):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
