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

from nyctaxi_etl.core.errors import UsageError
from nyctaxi_etl.core.partition import Color, Month, Partition
from nyctaxi_etl.orchestration import blocks
from nyctaxi_etl.orchestration.blocks import checking
from nyctaxi_etl.pipelines.job import Google, Job
from nyctaxi_etl.settings import Settings, settings
from nyctaxi_etl.sources.registry import resolve
from support.command import environment, nyctaxi
from support.months import publish
from support.ports import HOST, free_port
from support.postgres import PASSWORD, USER

if TYPE_CHECKING:
    from pathlib import Path

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
    with pytest.raises(UsageError, match="the block strange can't be opened") as caught:
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
