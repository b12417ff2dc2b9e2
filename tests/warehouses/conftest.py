"""What several tests of warehouses share."""

from __future__ import annotations

import pytest


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a load that waits look up sooner than it does for users."""
    monkeypatch.setattr("nyctaxi_etl.warehouses.postgres.locks._WAITS_SECONDS", (0.2,) * 5)
