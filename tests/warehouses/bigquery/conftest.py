"""What tests of BigQuery share: an emulator for the session, and an empty dataset for each test."""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from support.bigquery import Bucket, emulator
from support.bigquery_place import FEBRUARY, JANUARY, Place, monthly
from support.bigquery_proxy import proxied
from support.months import stage_rows, trips

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Bucket:
    """The session's lake."""
    return Bucket(tmp_path_factory.mktemp("buckets"), "lake")


@pytest.fixture(scope="session")
def emulated(bucket: Bucket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The session's emulator; its log is in pytest's folder."""
    with emulator(bucket.root, tmp_path_factory.mktemp("bqemulator") / "log") as port:
        yield port


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    """Numbers for names that are used once."""
    return count(1)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that a commit would have waited, in pieces; nothing waits for them."""
    pieces: list[float] = []
    clock = SimpleNamespace(sleep=pieces.append)
    monkeypatch.setattr("nyctaxi_etl.warehouses.bigquery.commit.time", clock)
    return pieces


@pytest.fixture
def place(emulated: int, bucket: Bucket, numbers: Iterator[int]) -> Iterator[Place]:
    """An empty dataset in the US."""
    with proxied(emulated) as (proxy, url):
        found = Place(url, f"d{next(numbers)}", proxy, bucket)
        found.make("US")
        proxy.calls.clear()
        yield found


@pytest.fixture
def old(place: Place, tmp_path: Path) -> list[tuple[Any, ...]]:
    """What ``trips`` holds once January's trips 1 to 3 and February's 4 and 5 are loaded."""
    place.put(stage_rows(tmp_path, "2021-01", trips([1, 2, 3])), run_id="old")
    place.put(stage_rows(tmp_path, "2021-02", trips([4, 5])), run_id="old")
    place.proxy.calls.clear()
    return monthly(JANUARY, [1, 2, 3]) + monthly(FEBRUARY, [4, 5])
