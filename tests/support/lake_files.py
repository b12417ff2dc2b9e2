"""What tests put into lakes: files of noise, and small ones of Parquet."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pyarrow as pa

from nyctaxi_etl.core.partition import Color, Month, Partition
from nyctaxi_etl.lakes.keys import trips_key
from nyctaxi_etl.lakes.parquet import write_parquet

if TYPE_CHECKING:
    from pathlib import Path

JANUARY = Partition(Color.YELLOW, Month(2021, 1))
KEY = trips_key(JANUARY)
FACTS = {"source_sha256": "ab" * 32, "rows_loaded": "3", "source_url": "https://example.org/März?"}
NUMBERS = pa.schema([("id", pa.int16()), ("fare", pa.float64()), ("note", pa.string())])


def parquet(path: Path, numbers: int, facts: dict[str, str] | None = None) -> Path:
    """Write a Parquet file of so many equal rows, with ``facts`` in its footer, and return it."""
    batch = pa.record_batch([[1] * numbers, [2.5] * numbers, [None] * numbers], schema=NUMBERS)
    write_parquet([batch], NUMBERS, path, facts or {})
    return path


def noise(path: Path, size: int, seed: str = "taxi") -> Path:
    """Write ``size`` bytes that nothing packs, the same for the same seed, and return the file."""
    path.write_bytes(hashlib.shake_256(seed.encode()).digest(size))
    return path
