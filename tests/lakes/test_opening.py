"""Where things lie in a lake, and which addresses name one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nyctaxi_etl.core.errors import UsageError
from nyctaxi_etl.lakes.keys import conformed_key, raw_key, rejects_key
from nyctaxi_etl.lakes.opening import open_lake
from support.lake_files import JANUARY, KEY

if TYPE_CHECKING:
    from pathlib import Path


def test_keys_are_the_lakes_layout() -> None:
    """The layout that others read is fixed; a source that is a host can't leave its folder."""
    assert KEY == "trips/yellow/yellow_tripdata_2021-01.parquet"
    assert conformed_key(JANUARY) == "conformed/yellow/yellow_tripdata_2021-01.parquet"
    assert rejects_key(JANUARY) == "rejects/yellow/yellow_tripdata_2021-01.parquet"
    assert raw_key("tlc", "a.parquet") == "raw/tlc/a.parquet"
    assert raw_key("127.0.0.1:80", "a.csv") == "raw/127.0.0.1_80/a.csv"
    assert raw_key("..", "a.csv") == "raw/_/a.csv"


def test_a_lake_is_named_by_its_address(tmp_path: Path) -> None:
    """The default is beside the rest of the data; a folder will do; a bucket at an emulator asks for nothing."""
    for address in ("", "lake"):
        assert open_lake(address, tmp_path).address == str(tmp_path / "lake")
    assert open_lake(str(tmp_path / "other"), tmp_path).uri("a/b") == str(tmp_path / "other" / "a" / "b")
    for address in ("gs://trips-of-ours/nyc/", "gs://trips-of-ours/nyc"):
        bucket = open_lake(address, tmp_path, emulator="127.0.0.1:1")
        assert (bucket.address, bucket.uri("a/b")) == ("gs://trips-of-ours/nyc", "gs://trips-of-ours/nyc/a/b")
    assert open_lake("gs://trips-of-ours", tmp_path, emulator="127.0.0.1:1").uri("a") == "gs://trips-of-ours/a"


@pytest.mark.parametrize("address", ["s3://bucket/x", "gs://", "gs://Not A Bucket", "block:mine", "https://h/?t=1"])
def test_an_address_that_is_no_lake_is_refused(tmp_path: Path, address: str) -> None:
    """Neither a folder called ``s3:`` nor a surprise."""
    with pytest.raises(UsageError, match="not a lake"):
        open_lake(address, tmp_path)
