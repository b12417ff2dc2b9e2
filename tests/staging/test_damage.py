"""Damage of a Parquet file is told from what the file system refuses."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nyctaxi_etl.core.errors import CorruptFile
from nyctaxi_etl.staging.damage import parquet_damage

if TYPE_CHECKING:
    from pathlib import Path


def test_damaged_bytes_are_corrupt(tmp_path: Path) -> None:
    """A footer that can't be read names the file, the reason in one line and the next move."""
    path = tmp_path / "month.parquet"
    path.write_bytes(b"PAR1" + b"\xff" * 100 + b"PAR1")
    with (
        pytest.raises(CorruptFile, match=r"^month.parquet is not a whole Parquet file: [^\n]+$") as caught,
        parquet_damage(path.name, "Fetch it again."),
    ):
        pq.read_metadata(path)
    assert caught.value.hint == "Fetch it again."


def test_arrows_errors_have_no_number() -> None:
    """So an ``OSError`` of Arrow's is damage; one without words is named by its kind."""
    for error, reason in ((OSError("Couldn't deserialize thrift"), "thrift"), (pa.ArrowInvalid(""), "ArrowInvalid")):
        with pytest.raises(CorruptFile, match=reason), parquet_damage("month.parquet", ""):
            raise error


def test_a_disk_that_fails_is_no_damage() -> None:
    """An error with a number is the file system's: the file stays what it is."""
    broken = OSError(errno.EIO, "Input/output error")
    with pytest.raises(OSError, match="Input/output"), parquet_damage("month.parquet", ""):
        raise broken
