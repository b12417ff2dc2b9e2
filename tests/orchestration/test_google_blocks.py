"""Google's credentials, bucket and dataset as Prefect blocks: registered, checked, used, and seen by nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from prefect_gcp import GcpCredentials
from prefect_gcp.cloud_storage import GcsBucket

from nyctaxi_etl.core.errors import UsageError
from nyctaxi_etl.core.partition import Color, Month, Partition, RawFile
from nyctaxi_etl.frame import read_trips
from nyctaxi_etl.lakes.gcs import GcsLake, gcs_client
from nyctaxi_etl.lakes.keys import trips_key
from nyctaxi_etl.lakes.parquet import staged_parquet
from nyctaxi_etl.orchestration import blocks, connections
from nyctaxi_etl.orchestration.blocks.opening import GoogleAccount, account_behind
from nyctaxi_etl.orchestration.jobs import google_of
from nyctaxi_etl.pipelines.job import Job
from nyctaxi_etl.sample.months import write_month
from nyctaxi_etl.schema.datasets import DATASETS
from nyctaxi_etl.settings import settings
from nyctaxi_etl.sources.registry import resolve
from nyctaxi_etl.transform.stream import stage
from nyctaxi_etl.warehouses.bigquery.client import bigquery_client
from support.bigquery_proxy import PROJECT
from support.command import environment, nyctaxi
from support.months import publish
from support.web import serving

if TYPE_CHECKING:
    from pathlib import Path

    from support.google import Cloud
    from support.prefect import PrefectServer
JANUARY = Partition(Color.FHV, Month(2021, 1))
# Prefect's command, once for each block named, in one process.
INSPECT = """
import runpy, sys
for name in sys.argv[1:]:
    sys.argv = ["prefect", "block", "inspect", name]
    try:
        runpy.run_module("prefect", run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a command runs: with the folder ``source``, which holds January 2021 of fhv, and nobody's settings."""
    for name in [name for name in os.environ if name.startswith("NYCTAXI_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    publish(tmp_path / "source", "2021-01", 20, "B00001")
    return tmp_path


@pytest.fixture(scope="module")
def account() -> dict[str, str]:
    """The key of a service account that Google has never heard of."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": "k1",
        "private_key": pem,
        "client_email": f"etl@{PROJECT}.iam.gserviceaccount.com",
        "token_uri": "http://127.0.0.1:9/token",
    }


@pytest.fixture
def emulators(google: Cloud) -> dict[str, str]:
    """Settings of a bucket and of a dataset at emulators, where nobody has credentials."""
    bucket = {"NYCTAXI_GCS_BUCKET": google.bucket, "NYCTAXI_GCS_PREFIX": "nyc", "NYCTAXI_GCP_PROJECT": PROJECT}
    return {**google.settings(), **bucket, "GOOGLE_APPLICATION_CREDENTIALS": "/nowhere.json"}


@pytest.fixture
def at_google(emulators: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this process runs with the settings of the emulators."""
    for name, value in emulators.items():
        monkeypatch.setenv(name, value)
    return folder


def job(folder: Path, to: str = "duckdb", lake: str = "") -> Job:
    """Return a job with these places."""
    source = resolve(str(folder / "source"))
    return Job(source, to, folder / "data", "run", lake=lake, google=google_of(settings()))


def test_google_at_emulators(
    prefect_running: PrefectServer, emulators: dict[str, str], google: Cloud, folder: Path
) -> None:
    """Without anyone's credentials all is registered, twice one block each; the bucket is left as it was."""
    for _ in range(2):
        done = nyctaxi(
            "blocks-init", "--check", "--json", folder=folder, settings={**emulators, **prefect_running.environment()}
        )
        assert done.code == 0, done.err
    assert [(row["name"], row["status"], row["note"]) for row in done.json["results"]][1:] == [
        ("gcp-credentials", "works", f"the machine's own, for project {PROJECT}, not needed at an emulator"),
        ("gcs-bucket", "works", f"gs://{google.bucket}/nyc, written, read and removed"),
        ("bigquery-warehouse", "works", f"{PROJECT}.{google.dataset}, a query can be run, a table made and dropped"),
    ]
    documents = prefect_running.ask("block_documents", block_documents={"is_anonymous": {"eq_": False}})
    names = [document["name"] for document in documents]
    assert [names.count(name) for name in ("gcp-credentials", "gcs-bucket", "bigquery-warehouse")] == [1, 1, 1]
    assert google.objects() == set()


def test_emulators_need_no_project(prefect_running: PrefectServer, emulators: dict[str, str], folder: Path) -> None:
    """At emulators the credentials are skipped where nothing is known of them, and the others are not."""
    settings = {**emulators, **prefect_running.environment(), "NYCTAXI_GCP_PROJECT": ""}
    done = nyctaxi("blocks-init", "--check", "--json", folder=folder, settings=settings)
    assert done.code == 0, done.err
    assert [row["status"] for row in done.json["results"]] == ["skipped", "skipped", "works", "works"]


@pytest.mark.usefixtures("prefect_here")
def test_a_dataset_whose_tables_expire_is_said(at_google: Path, google: Cloud) -> None:  # noqa: ARG001 - its settings
    """With the command that takes it back; no table is made there."""
    client = bigquery_client(PROJECT, google.bigquery)
    dataset = client.get_dataset(google.dataset)
    dataset.default_partition_expiration_ms = 60 * 24 * 3600 * 1000
    client.update_dataset(dataset, ["default_partition_expiration_ms"])
    *_, found = blocks.check(blocks.register(settings()), google_of(settings()))
    assert (found.name, found.status) == ("bigquery-warehouse", "failed")
    assert "bq update --default_table_expiration 0 --default_partition_expiration 0" in found.note
    assert list(client.list_tables(google.dataset)) == []


def test_google_says_what_to_fix(prefect_running: PrefectServer, emulators: dict[str, str], folder: Path) -> None:
    """A bucket and a dataset that aren't there are said to be missing, each with the one thing to do."""
    wrong = {"NYCTAXI_GCS_BUCKET": "no-such-bucket", "NYCTAXI_BIGQUERY_DATASET": "no_such_dataset"}
    settings = {**emulators, **prefect_running.environment(), **wrong}
    done = nyctaxi("blocks-init", "--check", "--json", folder=folder, settings=settings)
    assert done.code == 1, done.err
    *_, bucket, warehouse = done.json["results"]
    assert (bucket["status"], warehouse["status"]) == ("failed", "failed")
    assert "gcloud storage buckets create" in bucket["note"]
    assert "bq mk" in warehouse["note"]


@pytest.mark.parametrize("way", ["FILE", "JSON"])
def test_a_service_account_is_seen_by_nobody(
    way: str, prefect_running: PrefectServer, emulators: dict[str, str], account: dict[str, str], folder: Path
) -> None:
    """Its key is in no document in clear, no inspection, no log, no output, whether it works or not.

    Nobody answers where a token is asked for, which is tried for ten seconds, or an error is the answer.
    """
    with serving(folder) as errors:
        asked = {} if way == "JSON" else {"token_uri": f"{errors.url}/token"}
        _assert_seen_by_nobody(way, {**account, **asked}, {**emulators, **prefect_running.environment()}, folder)
    kept = [path for path in prefect_running.home.rglob("*") if path.is_file()]
    shown = [json.dumps(prefect_running.ask(kind)) for kind in ("block_documents", "logs", "flow_runs")]
    for line in account["private_key"].splitlines()[1:-1]:
        assert not any(line in text for text in shown)
        assert not any(line.encode() in path.read_bytes() for path in kept)


def _assert_seen_by_nobody(way: str, account: dict[str, str], settings: dict[str, str], folder: Path) -> None:
    """Register the account, have it refused, inspect its blocks, and assert that nothing of its key was shown."""
    text = json.dumps(account)
    (folder / "home").mkdir()
    (folder / "home" / "key.json").write_text(text)
    value = text if way == "JSON" else str(folder / "home" / "key.json")
    settings = {**settings, f"NYCTAXI_GCP_CREDENTIALS_{way}": value, "NYCTAXI_GCP_PROJECT": ""}
    done = nyctaxi("blocks-init", "--check", "--verbose", "--debug", folder=folder, settings=settings)
    assert done.code == 0, done.err
    no_emulators = {**settings, "STORAGE_EMULATOR_HOST": "", "BIGQUERY_EMULATOR_HOST": "", "NYCTAXI_GCS_BUCKET": ""}
    refused = nyctaxi("blocks-init", "--check", "--verbose", "--debug", folder=folder, settings=no_emulators)
    assert refused.code == 1, refused.err
    assert "Google gives no token" in refused.out
    shown = [done.out, done.err, refused.out, refused.err]
    documents = ("gcp-credentials/gcp-credentials", "gcs-bucket/gcs-bucket", "bigquery-warehouse/bigquery-warehouse")
    inspected = subprocess.run(
        [sys.executable, "-c", INSPECT, *documents],
        env=environment(folder, settings),
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(name in inspected.stdout for name in documents)
    shown += [inspected.stdout, inspected.stderr]
    for line in account["private_key"].splitlines()[1:-1]:
        assert not any(line in text for text in shown)


@pytest.mark.parametrize(
    "value",
    [
        "s3cret-word",
        '{"type": "service_account", "private_key": "s3cret-word"}',
        # Workload identity federation: Prefect's block takes keys only.
        '{"type": "external_account", "audience": "s3cret-word", "token_url": "https://sts.googleapis.com/v1/token"}',
    ],
)
def test_what_is_no_service_account(value: str, prefect_running: PrefectServer, folder: Path) -> None:
    """A key that isn't one is a usage error that names the setting, and quotes nothing of it."""
    settings = {**prefect_running.environment(), "NYCTAXI_GCP_CREDENTIALS_JSON": value}
    done = nyctaxi("blocks-init", "--debug", folder=folder, settings=settings)
    assert done.code == 2
    assert done.error == "Error: NYCTAXI_GCP_CREDENTIALS_JSON is not the key of a service account."
    assert "s3cret-word" not in done.out + done.err


@pytest.mark.usefixtures("prefect_here")
def test_a_block_as_a_lake(at_google: Path, google: Cloud, tmp_path: Path) -> None:
    """The registered bucket holds what is put, below its prefix; a user's own GcsBucket works by its name too."""
    blocks.register(settings())
    GcsBucket.model_construct(
        bucket=google.bucket, bucket_folder="mine/", gcp_credentials=GcpCredentials.model_construct()
    ).save("my-own", overwrite=True)
    path = tmp_path / "file"
    path.write_bytes(b"bytes")
    for name, prefix in (("gcs-bucket", "nyc"), ("my-own", "mine")):
        lake = connections.lake_of(job(at_google, lake=f"block:{name}"))
        assert lake.address == f"gs://{google.bucket}/{prefix}"
        lake.put("key", path, {"a": "b"}, str(JANUARY))
        assert lake.metadata("key") == {"a": "b"}
        assert (google.root / google.bucket / prefix / "key").read_bytes() == b"bytes"
        lake.remove("key")


@pytest.mark.usefixtures("prefect_here", "at_google")
def test_a_bucket_that_is_read_by_its_block(google: Cloud, tmp_path: Path) -> None:
    """A GcsBucket block of the user's own names the lake that months are read from as well as its address does."""
    lake = GcsLake(gcs_client(google.storage), google.bucket, "nyc")
    month = tmp_path / f"{JANUARY.stem}.csv"
    write_month(JANUARY, month, 100)
    stat = month.stat()
    raw = RawFile(JANUARY, month, "sample", "sample:", "", "", stat.st_size, "ab" * 32, stat.st_mtime_ns)
    staged_parquet(stage(raw, DATASETS[Color.FHV], tmp_path), tmp_path / "trips")
    lake.put(trips_key(JANUARY), tmp_path / "trips", {}, str(JANUARY))
    GcsBucket.model_construct(
        bucket=google.bucket, bucket_folder="nyc/", gcp_credentials=GcpCredentials.model_construct()
    ).save("my-trips", overwrite=True)
    frame = read_trips("fhv", 2021, 1, at="block:my-trips")
    assert len(frame) == 100
    pd.testing.assert_frame_equal(frame, read_trips("fhv", 2021, 1, at=lake.address))
    with pytest.raises(UsageError, match="no GcsBucket block"):
        read_trips("fhv", 2021, 1, at="block:nobody")


@pytest.mark.usefixtures("prefect_here")
def test_a_block_as_bigquery(at_google: Path) -> None:
    """The registered warehouse is the dataset of the settings."""
    blocks.register(settings())
    with blocks.warehouse_of(job(at_google, to="block:bigquery-warehouse")) as warehouse:
        assert warehouse.query("SELECT 1") == [(1,)]


@pytest.mark.usefixtures("prefect_here")
def test_a_block_of_another_type(at_google: Path) -> None:
    """A bucket is no warehouse and a warehouse no lake: a usage error that says which types are."""
    blocks.register(settings())
    with pytest.raises(UsageError, match="block:gcs-bucket: no SqlAlchemyConnector or BigQueryWarehouse"):
        blocks.warehouse_of(job(at_google, to="block:gcs-bucket"))
    with pytest.raises(UsageError, match="block:bigquery-warehouse: no GcsBucket"):
        connections.lake_of(job(at_google, lake="block:bigquery-warehouse"))


@pytest.mark.usefixtures("prefect_here")
def test_the_block_s_account_asks(at_google: Path, account: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no emulator is, the service account in the block's credentials is the one that asks."""
    monkeypatch.setenv("NYCTAXI_GCP_CREDENTIALS_JSON", json.dumps(account))
    monkeypatch.delenv("NYCTAXI_GCP_PROJECT")
    blocks.register(settings())
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    monkeypatch.delenv("BIGQUERY_EMULATOR_HOST")
    lake: Any = connections.lake_of(job(at_google, lake="block:gcs-bucket"))
    assert lake._bucket.client._credentials.service_account_email == account["client_email"]
    found = account_behind("gcp-credentials")
    assert (found.project, found.credentials is not None) == (PROJECT, True)
    assert account["private_key"][40:80] not in repr(found)

    monkeypatch.delenv("NYCTAXI_GCP_CREDENTIALS_JSON")
    monkeypatch.setenv("NYCTAXI_GCP_PROJECT", "another")
    blocks.register(settings())
    assert account_behind("gcp-credentials") == GoogleAccount(None, "another")
