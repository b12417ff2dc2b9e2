"""What tests of a bucket share: one at each server that stands in for Google's, and files to put there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nyctaxi_etl.lakes.gcs_upload import ATTEMPTS
from support.bucket_place import (
    CHUNK,
    SIZE,
    Place,
    place_at,
)
from support.lake_files import noise
from support.loopback import alone_with_the_loopback
from support.proxy import gate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _alone_with_the_loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No pause between attempts, and no proxy of the machine's in between."""
    with alone_with_the_loopback(monkeypatch, ATTEMPTS):
        yield


@pytest.fixture
def fake(fake_url: str) -> Iterator[Place]:
    """A bucket at fake-gcs-server."""
    with gate(fake_url) as passage:
        yield place_at(fake_url, passage)


@pytest.fixture
def strict(emulator_url: str) -> Iterator[Place]:
    """A bucket at gcp-storage-emulator, which knows broken uploads and checks checksums."""
    with gate(emulator_url) as passage:
        yield place_at(emulator_url, passage)


@pytest.fixture(params=["fake", "strict"])
def place(request: pytest.FixtureRequest) -> Place:
    """A bucket at each."""
    found: Place = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A file that was put by an earlier run."""
    return noise(tmp_path / "old", CHUNK + 7, "old")


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """A file of five chunks."""
    return noise(tmp_path / "new", SIZE, "new")
