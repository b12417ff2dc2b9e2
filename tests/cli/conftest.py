"""What tests of the command share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.months import publish

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a command runs: with the folder ``source``, which holds January and February 2021 of fhv."""
    publish(tmp_path / "source", "2021-01", 20, "B00001")
    publish(tmp_path / "source", "2021-02", 30, "B00002")
    return tmp_path
