"""Credentials as Prefect blocks: registered from settings, used by runs, and seen by nobody."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from prefect_gcp import GcpCredentials
from prefect_gcp.cloud_storage import GcsBucket

from nyctaxi_etl.core.errors import UsageError
from nyctaxi_etl.core.partition import Color, Month, Partition
from nyctaxi_etl.orchestration import blocks, connections
from nyctaxi_etl.orchestration.blocks import checking
from nyctaxi_etl.orchestration.blocks.opening import GoogleAccount, account_behind
from nyctaxi_etl.orchestration.jobs import google_of
from nyctaxi_etl.pipelines.job import Google, Job
from nyctaxi_etl.settings import Settings, settings
from nyctaxi_etl.sources.registry import resolve
from nyctaxi_etl.warehouses.bigquery.client import bigquery_client
from support.bigquery_proxy import PROJECT
from support.command import environment, nyctaxi
from support.months import publish
from support.postgres import HOST, PASSWORD, USER, free_port

if TYPE_CHECKING:
    from pathlib import Path

    from support.google import Cloud
    from support.postgres import PostgresServer
    from support.prefect import PrefectServer

MONTH = ("ingest", "--color", "fhv", "--year", "2021", "--months", "1", "--source", "source")
JANUARY = Partition(Color.FHV, Month(2021, 1))
BLOCK = ("--to", "block:postgres-connection")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a command runs: with the folder ``source``, which holds January 2021 of fhv, and nobody's settings."""
    for name in [name for name in os.environ if name.startswith("NYCTAXI_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    publish(tmp_path / "source", "2021-01", 20, "B00001")
    return tmp_path


def postgres_settings(server: PostgresServer) -> dict[str, str]:
    """Return the settings that the block is made of."""
    return {
        "NYCTAXI_POSTGRES_HOST": server.host,
        "NYCTAXI_POSTGRES_PORT": str(server.port),
        "NYCTAXI_POSTGRES_USER": server.user,
        "NYCTAXI_POSTGRES_PASSWORD": server.password,
        "NYCTAXI_POSTGRES_DATABASE": server.database,
    }


def rows_of(server: PostgresServer) -> list[tuple[Any, ...]]:
    """Return the months in Postgres, the rows of each, and the run that its ledger names."""
    sql = (
        "SELECT file_month::text, count(*), max(run_id) FROM fhv_taxi_data JOIN nyctaxi_loads USING (file_month) "
        "GROUP BY 1 ORDER BY 1"
    )
    with psycopg.connect(server.dsn()) as connection:
        return connection.execute(sql).fetchall()


def assert_nowhere(secret: str, folder: Path) -> None:
    """Assert that no file below ``folder`` holds the secret, plain or as a URL or JSON would write it."""
    forms = {secret.encode(), json.dumps(secret).strip('"').encode(), b"p%40ss%3Aw%2Frd%25", b"p%40ss:w%2Frd%25"}
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    for path in files:
        content = path.read_bytes()
        assert not any(form in content for form in forms), path


# From settings


def configured(**values: Any) -> Settings:
    """Return settings of a Postgres that needn't be there."""
    known = {"postgres_host": HOST, "postgres_user": USER, "postgres_database": "trips", **values}
    return settings().overruled_by(known)


@pytest.mark.usefixtures("folder")
def test_what_is_missing_is_named() -> None:
    """A block that the settings are not complete for is skipped, with the names of those that lack."""
    statuses = blocks.register(configured(postgres_user="", postgres_database=""))
    account = "one of NYCTAXI_GCP_CREDENTIALS_FILE, NYCTAXI_GCP_CREDENTIALS_JSON and NYCTAXI_GCP_PROJECT"
    assert {(status.name, status.note.removeprefix("not configured: set ")) for status in statuses} == {
        ("postgres-connection", "NYCTAXI_POSTGRES_USER, NYCTAXI_POSTGRES_DATABASE"),
        ("gcp-credentials", account),
        ("gcs-bucket", f"NYCTAXI_GCS_BUCKET, {account}"),
        ("bigquery-warehouse", account),
    }
    assert {(status.status, status.is_failed) for status in statuses} == {("skipped", False)}
    assert blocks.check(statuses, Google()) == statuses


@pytest.mark.usefixtures("folder")
def test_the_block_hides_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """The password goes to the driver character by character, and into no text of the block or its engine."""
    monkeypatch.setenv("NYCTAXI_POSTGRES_PASSWORD", PASSWORD)
    monkeypatch.setenv("NYCTAXI_POSTGRES_SSLMODE", "require")
    block = blocks.postgres_block(
        configured(postgres_password=settings().postgres_password, postgres_sslmode="require")
    )
    url = block.get_engine().url
    assert (url.password, url.username, url.host, url.database) == (PASSWORD, USER, HOST, "trips")
    assert dict(url.query) == {"sslmode": "require"}
    assert PASSWORD not in f"{block!r} {block} {block.model_dump_json()} {url} {block.get_engine()!r}"


@pytest.mark.usefixtures("folder")
def test_a_password_may_be_left_out() -> None:
    """Without one the driver looks where psql does: PGPASSWORD, the password file."""
    assert blocks.postgres_block(configured()).get_engine().url.password is None


@pytest.mark.usefixtures("prefect_here")
def test_a_block_whose_driver_is_not_there(folder: Path) -> None:
    """A block for a driver that isn't installed is a usage error that names it."""
    from prefect_sqlalchemy import ConnectionComponents, SqlAlchemyConnector

    SqlAlchemyConnector(
        connection_info=ConnectionComponents(driver="oracle+nothing", username="me", database="x")
    ).save("strange", overwrite=True)
    job = Job(resolve(str(folder / "source")), "block:strange", folder / "data", "run")
    with pytest.raises(UsageError, match="block:strange") as caught:
        blocks.warehouse_of(job)
    assert "driver" in caught.value.hint


# The command


def test_not_configured_is_no_failure(folder: Path) -> None:
    """Without settings nothing is registered, nothing has failed, and Prefect isn't even asked."""
    gone = {"PREFECT_API_URL": f"http://127.0.0.1:{free_port()}/api"}
    done = nyctaxi("blocks-init", "--check", "--json", folder=folder, settings=gone)
    assert done.code == done.json["exit_code"] == 0
    assert {status["status"] for status in done.json["results"]} == {"skipped"}
    assert "NYCTAXI_POSTGRES_HOST" in done.json["results"][0]["note"]


def test_register_check_and_load(prefect_running: PrefectServer, postgres: PostgresServer, folder: Path) -> None:
    """Registered from .env, twice one block; checked; loaded through it with Prefect and without; seen by nobody."""
    lines = [f"{name}='{value}'\n" for name, value in postgres_settings(postgres).items()]
    (folder / ".env").write_text("".join(lines))
    prefect = {**prefect_running.environment(), "PGPASSWORD": ""}
    for _ in range(2):
        registered = nyctaxi("blocks-init", "--check", folder=folder, settings=prefect)
        assert registered.code == 0, registered.err
        assert registered.out.split()[:3] == ["postgres-connection", "SqlAlchemyConnector", "works"]
        assert [line.split()[2] for line in registered.out.splitlines()[1:]] == ["skipped"] * 3
    documents = prefect_running.ask("block_documents", block_documents={"is_anonymous": {"eq_": False}})
    assert [document["name"] for document in documents].count("postgres-connection") == 1
    (folder / ".env").unlink()  # the block alone knows the way

    flow = nyctaxi(*MONTH, *BLOCK, "--verbose", "--debug", "--json", folder=folder, settings=prefect)
    assert flow.code == 0, flow.err
    assert flow.err.splitlines()[0] == "Asking Prefect's server ..."
    assert "Flow run" in flow.err
    assert flow.json["destination"] == "block:postgres-connection"
    flow_run = prefect_running.flow_run("ingest")
    assert flow_run["name"] == "ingest fhv 2021 1 to block:postgres-connection"
    assert rows_of(postgres) == [("2021-01-01", 20, flow_run["id"])]

    direct = nyctaxi(*MONTH, *BLOCK, "--direct", "--force", folder=folder, settings=prefect)
    assert direct.code == 0, direct.err
    ((_, _, run_id),) = rows_of(postgres)
    assert run_id != flow_run["id"]

    inspected = subprocess.run(
        [sys.executable, "-m", "prefect", "block", "inspect", "sqlalchemy-connector/postgres-connection"],
        env=environment(folder, prefect),
        capture_output=True,
        text=True,
        check=False,
    )
    assert postgres.user in inspected.stdout + inspected.stderr
    shown = [inspected.stdout + inspected.stderr]
    for done in (registered, flow, direct):
        shown += [done.out, done.err]
    assert not any(PASSWORD in text for text in shown)
    shown_runs = json.dumps([prefect_running.ask(kind) for kind in ("flow_runs", "task_runs", "artifacts", "logs")])
    assert "ss:w" not in shown_runs
    assert_nowhere(PASSWORD, prefect_running.home)
    assert_nowhere(PASSWORD, folder)


def test_check_says_what_to_fix(prefect_running: PrefectServer, postgres: PostgresServer, folder: Path) -> None:
    """A block that can't be opened is said to have failed, and what to fix; the exit code is 1."""
    wrong = {"NYCTAXI_POSTGRES_PASSWORD": "wr0ng-pw", "NYCTAXI_CHECK": "true", "PGPASSWORD": ""}
    done = nyctaxi(
        "blocks-init", folder=folder, settings={**postgres_settings(postgres), **prefect_running.environment(), **wrong}
    )
    assert done.code == 1, done.err
    line = done.out.splitlines()[0]
    assert line.split()[:3] == ["postgres-connection", "SqlAlchemyConnector", "failed"]
    assert "authentication failed" in line
    assert "wr0ng-pw" not in done.out + done.err


@pytest.mark.usefixtures("prefect_here", "folder")
def test_check_of_a_server_that_is_not_there() -> None:
    """The place that doesn't answer is named."""
    status, *_ = blocks.check(blocks.register(configured(postgres_port=free_port())), Google())
    assert (status.status, status.is_failed) == ("failed", True)
    assert HOST in status.note
    assert status.note.endswith("do NYCTAXI_POSTGRES_HOST and NYCTAXI_POSTGRES_PORT name it?")
    assert "month" not in status.note


@pytest.mark.usefixtures("prefect_here", "folder")
def test_check_of_a_server_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up after some seconds, not after the minutes of the system or of the driver."""
    monkeypatch.setattr(checking, "_SECONDS", 2.0)
    with socket.create_server((HOST, 0)) as silent:
        started = time.monotonic()
        status, *_ = blocks.check(blocks.register(configured(postgres_port=silent.getsockname()[1])), Google())
    assert status.is_failed
    assert time.monotonic() - started < 60
    assert "month" not in status.note


def test_a_block_that_is_not_registered(prefect_running: PrefectServer, folder: Path) -> None:
    """An unregistered block is a usage error, found before anything is fetched."""
    arguments = (*MONTH, "--source", "sample", "--to", "block:nobody", "--direct", "--json")
    done = nyctaxi(*arguments, folder=folder, settings=prefect_running.environment())
    assert (done.code, done.json["exit_code"]) == (2, 2)
    assert done.error == (
        "Error: --to block:nobody: no SqlAlchemyConnector or BigQueryWarehouse block of this name is registered."
    )
    assert "nyctaxi blocks-init" in done.json["error"]["hint"]
    assert list((folder / "data").iterdir()) == []


def test_prefect_out_of_reach(folder: Path) -> None:
    """Without Prefect's server a block can't be used: one clear line, exit code 2."""
    gone = {"PREFECT_API_URL": f"http://127.0.0.1:{free_port()}/api"}
    done = nyctaxi(*MONTH, *BLOCK, "--direct", folder=folder, settings=gone)
    assert done.code == 2, done.err
    assert done.error.startswith("Error: Prefect's server can't be reached: ")
    assert "Traceback" not in done.err


# Google's


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
    """Its key is in no document in clear, no inspection, no log, no output, whether it works or not."""
    text = json.dumps(account)
    (folder / "home").mkdir()
    (folder / "home" / "key.json").write_text(text)
    value = text if way == "JSON" else str(folder / "home" / "key.json")
    settings = {**emulators, **prefect_running.environment(), f"NYCTAXI_GCP_CREDENTIALS_{way}": value}
    settings |= {"NYCTAXI_GCP_PROJECT": "", "STORAGE_EMULATOR_HOST": emulators["STORAGE_EMULATOR_HOST"]}
    done = nyctaxi("blocks-init", "--check", "--verbose", "--debug", folder=folder, settings=settings)
    assert done.code == 0, done.err
    no_emulators = {**settings, "STORAGE_EMULATOR_HOST": "", "BIGQUERY_EMULATOR_HOST": "", "NYCTAXI_GCS_BUCKET": ""}
    refused = nyctaxi("blocks-init", "--check", "--verbose", "--debug", folder=folder, settings=no_emulators)
    assert refused.code == 1, refused.err
    assert "Google gives no token" in refused.out
    shown = [done.out, done.err, refused.out, refused.err]
    for name in ("gcp-credentials/gcp-credentials", "gcs-bucket/gcs-bucket", "bigquery-warehouse/bigquery-warehouse"):
        inspected = subprocess.run(
            [sys.executable, "-m", "prefect", "block", "inspect", name],
            env=environment(folder, settings),
            capture_output=True,
            text=True,
            check=True,
        )
        shown.append(inspected.stdout + inspected.stderr)
    shown += [json.dumps(prefect_running.ask(kind)) for kind in ("block_documents", "logs", "flow_runs")]
    for line in account["private_key"].splitlines()[1:-1]:
        assert not any(line in text for text in shown)
        assert not any(line.encode() in path.read_bytes() for path in prefect_running.home.rglob("*") if path.is_file())


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
        assert lake.facts("key") == {"a": "b"}
        assert (google.root / google.bucket / prefix / "key").read_bytes() == b"bytes"
        lake.remove("key")


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
