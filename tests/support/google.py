"""Google Cloud on the loopback: a bucket in fake-gcs-server, and a BigQuery that loads from the same files.

Both are as people install them, with nothing in between that mends them.
"""

from __future__ import annotations

import uuid
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.cloud import bigquery

from nyctaxi_etl.lakes.gcs import gcs_client
from nyctaxi_etl.warehouses.bigquery.client import bigquery_client
from support.bigquery import emulator
from support.bigquery_proxy import HOST, PROJECT
from support.gcs import fake_gcs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Cloud:
    """Both emulators, and a bucket and a dataset in them; objects are files in ``root``."""

    storage: str
    bigquery: str
    root: Path
    bucket: str
    dataset: str

    def settings(self) -> dict[str, str]:
        """Return what a command needs in its environment to use them."""
        return {
            "STORAGE_EMULATOR_HOST": self.storage,
            "BIGQUERY_EMULATOR_HOST": self.bigquery,
            "NYCTAXI_LAKE": f"gs://{self.bucket}/nyc",
            "NYCTAXI_BIGQUERY_PROJECT": PROJECT,
            "NYCTAXI_BIGQUERY_DATASET": self.dataset,
            "NO_PROXY": "127.0.0.1",
        }

    def objects(self) -> set[str]:
        """Return the keys of the lake's objects."""
        found = gcs_client(self.storage).list_blobs(self.bucket, prefix="nyc/")
        return {blob.name.removeprefix("nyc/") for blob in found}

    def facts(self, key: str) -> dict[str, str]:
        """Return what the bucket keeps with an object."""
        return dict(gcs_client(self.storage).bucket(self.bucket).get_blob(f"nyc/{key}").metadata)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Return a query's rows; tables need no dataset before their names."""
        client = bigquery_client(PROJECT, self.bigquery)
        config = bigquery.QueryJobConfig(default_dataset=f"{PROJECT}.{self.dataset}")
        return [tuple(row.values()) for row in client.query(sql, config).result()]

    def fresh(self, location: str = "US") -> Cloud:
        """Return the same with a bucket and a dataset of their own."""
        name = uuid.uuid4().hex[:12]
        gcs_client(self.storage).create_bucket(f"lake-{name}")
        dataset = bigquery.Dataset(f"{PROJECT}.d{name}")
        dataset.location = location
        bigquery_client(PROJECT, self.bigquery).create_dataset(dataset)
        return Cloud(self.storage, self.bigquery, self.root, f"lake-{name}", f"d{name}")


@contextmanager
def cloud(folder: Path) -> Iterator[Cloud]:
    """Run both until the block ends, in ``folder``."""
    root = folder / "buckets"
    root.mkdir()
    with ExitStack() as stack:
        storage = stack.enter_context(fake_gcs(root))
        port = stack.enter_context(emulator(root, folder / "log"))
        yield Cloud(storage, f"http://{HOST}:{port}", root, "", "")
