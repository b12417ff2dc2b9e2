"""Money and places: what a transaction may read, and that data stay where they are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from nyctaxi_etl.core.errors import (
    UsageError,
    WarehouseError,
)
from nyctaxi_etl.warehouses.bigquery.locations import datasets_near, is_near
from nyctaxi_etl.warehouses.ledger import LEDGER_TABLE
from support.months import stage_rows, trips

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.bigquery_place import Place


def test_a_transaction_over_the_limit_is_refused(place: Place, old: list[tuple[Any, ...]], tmp_path: Path) -> None:
    """The numbers and the setting are told. The emulator estimates nothing: the proxy says 600 for each statement."""
    place.proxy.bytes_read = 600
    with pytest.raises(WarehouseError, match=r"green/2021-01.* 1,200 bytes; 1,000 ") as caught:
        place.put(stage_rows(tmp_path, "2021-01", trips([6])), max_bytes=1000)
    assert "NYCTAXI_BIGQUERY_MAX_BYTES" in caught.value.hint
    assert not place.proxy.started("script")
    assert place.rows() == old
    assert place.tables() == {"trips", LEDGER_TABLE}


def test_a_transaction_within_the_limit_is_limited(place: Place, tmp_path: Path) -> None:
    """Each statement is estimated by itself, and BigQuery is told the limit, too."""
    place.proxy.bytes_read = 500
    place.put(stage_rows(tmp_path, "2021-01", trips([6])), max_bytes=1000)
    assert [call.sql.split()[0] for call in place.proxy.started("estimate")] == ["DELETE", "INSERT"]
    (script,) = place.proxy.started("script")
    assert script.body["configuration"]["query"]["maximumBytesBilled"] == "1000"


def test_without_a_limit_nothing_is_estimated(place: Place, tmp_path: Path) -> None:
    """Which saves two calls a month."""
    place.put(stage_rows(tmp_path, "2021-01", trips([6])))
    assert not place.proxy.started("estimate")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"location": "EU"}, ["US", "EU"]),
        ({"location": "us"}, []),
        ({"bucket_location": "us-central1"}, []),
        ({"bucket_location": "EUROPE-WEST1"}, ["US", "EUROPE-WEST1", "charges"]),
    ],
)
def test_locations_are_compared_first(place: Place, options: dict[str, Any], words: list[str], tmp_path: Path) -> None:
    """A dataset that is not where it is meant to be, or far from the bucket, is told before anything is made."""
    staged = stage_rows(tmp_path, "2021-01", trips([1]))
    if not words:
        assert place.put(staged, **options) == 1
        return
    with pytest.raises(UsageError) as caught:
        place.put(staged, **options)
    assert all(word in caught.value.message for word in words)
    assert [call.method for call in place.proxy.calls] == ["GET"]


def test_a_bucket_elsewhere_is_refused_first(place: Place, numbers: Iterator[int], tmp_path: Path) -> None:
    """The error names both locations."""
    far = replace(place, dataset=f"d{next(numbers)}")
    far.make("europe-west1")
    far.proxy.calls.clear()
    with pytest.raises(UsageError, match=r"europe-west1.*US-CENTRAL1") as caught:
        far.put(stage_rows(tmp_path, "2021-01", trips([1])), bucket_location="US-CENTRAL1")
    assert "Use a dataset in US or us-central1: bq mk --location" in caught.value.hint
    assert "NYCTAXI_GCS_LOCATION" in caught.value.hint
    assert [call.method for call in far.proxy.calls] == ["GET"]


@pytest.mark.parametrize(
    ("dataset", "bucket", "near"),
    [
        ("US", "us", True),
        ("US", "US-CENTRAL1", True),
        ("US", "NAM4", True),
        ("US", "us-central1+us-west1", True),
        ("US", "US-WEST1", False),  # "in Oregon (us-west1), the job incurs data transfer charges"
        ("US", "US-EAST1+US-WEST1", False),
        ("US", "EUROPE-WEST1", False),
        ("us-central1", "NAM4", True),
        ("us-central1", "US-CENTRAL1", True),
        ("us-central1", "US", False),
        ("us-east1", "NAM4", True),
        ("EU", "EU", True),
        ("EU", "EUROPE-WEST4", True),
        ("EU", "EUR4", True),
        ("EU", "europe-central2", False),  # "in Warsaw (europe-central2), the job incurs data transfer charges"
        ("EU", "EUROPE-WEST1", False),
        ("EU", "EUROPE-WEST2", False),
        ("EU", "EUR5", False),
        ("EU", "US", False),
        ("europe-west4", "EUR4", True),
        ("europe-west1", "EU", False),
        ("europe-central2", "EUROPE-CENTRAL2", True),
        ("asia-northeast1", "ASIA1", True),  # "in a dual-region that includes Tokyo, like the ASIA1 dual-region"
        ("asia-northeast2", "ASIA1", True),
        ("asia-northeast1", "ASIA", False),
    ],
)
def test_what_can_be_loaded_from_where(dataset: str, bucket: str, *, near: bool) -> None:
    """As docs.cloud.google.com/bigquery/docs/locations has it; quotes are from there."""
    assert is_near(dataset, bucket) is near


@pytest.mark.parametrize(
    ("bucket", "places"),
    [
        ("US", ("US",)),
        ("nam4", ("US", "us-central1", "us-east1")),
        ("EUROPE-WEST1", ("europe-west1",)),
        ("ASIA", ()),
    ],
)
def test_where_a_dataset_could_be(bucket: str, places: tuple[str, ...]) -> None:
    """Every place that is named is near."""
    assert datasets_near(bucket) == places
    assert all(is_near(place, bucket) for place in places)
