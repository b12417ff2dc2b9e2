"""Which bucket a dataset loads from without a charge for the way: as BigQuery's page on locations has it.

"When you load data from Cloud Storage, the data that you load must be colocated with your BigQuery dataset, otherwise
the load job incurs data transfer charges" (docs.cloud.google.com/bigquery/docs/locations, "Load Cloud Storage data").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nyctaxi_etl.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

# "If your BigQuery dataset is in the US multi-region, then the Cloud Storage bucket can be in the Iowa (us-central1)
# single region, or any dual-region that includes Iowa. Queries from any other single region incur data transfer
# charges, even if the bucket is in a location that is contained within the multi-region of the dataset"; in the EU, the
# Netherlands (europe-west4) likewise; "the same guidance applies to both batch loads and queries".
_MULTI_REGIONS: Mapping[str, str] = {"US": "US-CENTRAL1", "EU": "EUROPE-WEST4"}
# Cloud Storage's predefined dual-regions (docs.cloud.google.com/storage/docs/locations).
_DUAL_REGIONS: Mapping[str, tuple[str, ...]] = {
    "ASIA1": ("ASIA-NORTHEAST1", "ASIA-NORTHEAST2"),
    "EUR4": ("EUROPE-NORTH1", "EUROPE-WEST4"),
    "EUR5": ("EUROPE-WEST1", "EUROPE-WEST2"),
    "EUR7": ("EUROPE-WEST2", "EUROPE-WEST3"),
    "EUR8": ("EUROPE-WEST3", "EUROPE-WEST6"),
    "NAM4": ("US-CENTRAL1", "US-EAST1"),
}


_SETTING = "NYCTAXI_GCS_LOCATION"
_NEAR = "Use a dataset in {places}: bq mk --location=LOCATION --dataset PROJECT:DATASET"
_NONE_NEAR = "Use a bucket and a dataset of one region: gcloud storage buckets create --location=REGION"


def refuse_far_bucket(name: str, dataset: str, bucket: str) -> None:
    """Raise ``UsageError`` if a load into the dataset ``name``, which is there, from a bucket there isn't free."""
    if is_near(dataset, bucket):
        return
    places = " or ".join(datasets_near(bucket))
    use = _NEAR.format(places=places) if places else _NONE_NEAR
    message = (
        f"{name} is in {dataset}, the lake's bucket in {bucket}: Google refuses such loads or charges for the way."
    )
    raise UsageError(message, f"{use}. To load all the same, set no {_SETTING}.")


def is_near(dataset: str, bucket: str) -> bool:
    """Tell whether a dataset there loads from a bucket there free of charge; places are named in any case.

    A dual-region of one's own is named by both, as Cloud Storage's tools do: ``us-central1+us-west1``.
    """
    dataset, bucket = dataset.upper(), bucket.upper()
    return dataset == bucket or _MULTI_REGIONS.get(dataset, dataset) in _regions(bucket)


def datasets_near(bucket: str) -> tuple[str, ...]:
    """Return where a dataset could be that loads from a bucket there, as ``bq`` names places; none for ``ASIA``."""
    regions = _regions(bucket.upper())
    around = tuple(multi for multi, region in _MULTI_REGIONS.items() if region in regions or multi in regions)
    return *around, *(region.lower() for region in regions if "-" in region)


def _regions(bucket: str) -> tuple[str, ...]:
    return _DUAL_REGIONS.get(bucket, tuple(region.strip() for region in bucket.split("+")))
