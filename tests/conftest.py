"""What several test modules share: servers, started by the first test that asks for one, and stopped with the session.

Tests that need a server or an emulator are known by their fixtures, and marked so: ``make test-quick`` leaves them out.
With workers (``make test``) each is a session of its own; ``support/workers.py`` says which test goes where.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from support.gcs import fake_gcs, storage_emulator
from support.google import cloud
from support.postgres import postgres_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.google import Cloud
    from support.postgres import PostgresServer


SERVERS = frozenset(
    {
        *("postgres_session", "postgres", "prefect_running", "prefect_here"),
        *("fake_url", "emulator_url", "emulated", "google_session"),
    }
)
# A test's parameters of these names ask for a server's fixture when it runs.
SERVED = frozenset({"postgres", "fake", "strict"})


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need a server."""
    for item in items:
        call = getattr(item, "callspec", None)
        asked = [getattr(value, "note", value) for value in call.params.values()] if call else []
        named = {word for text in asked if isinstance(text, str) for word in text.split()}
        if SERVERS & set(getattr(item, "fixturenames", ())) or SERVED & named:
            item.add_marker(pytest.mark.server)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Return what gives tests to workers."""
    from support.workers import Scheduler

    return Scheduler(config, log)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Let an exception that is a test's parameter forget who raised it.

    A parameter lives as long as the session, and with its traceback every frame that it passed, with the connections
    in them: DuckDB's extension complains of those when the interpreter ends.
    """
    call = getattr(item, "callspec", None)
    for value in call.params.values() if call else ():
        if isinstance(value, BaseException):
            value.__traceback__ = value.__context__ = value.__cause__ = None


@pytest.fixture(scope="session")
def postgres_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """The session's Postgres; its log is in pytest's folder."""
    with postgres_server(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture
def postgres(postgres_session: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresServer]:
    """The server with an empty database as its own, and its password where every client looks for it."""
    monkeypatch.setenv("PGPASSWORD", postgres_session.password)
    name = postgres_session.new_database()
    yield replace(postgres_session, database=name)
    # A hundred databases take longer to write down when the server stops than the tests did.
    with psycopg.connect(postgres_session.dsn(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(scope="session")
def google_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """The session's Google Cloud."""
    with cloud(tmp_path_factory.mktemp("google")) as running:
        yield running


@pytest.fixture
def google(google_session: Cloud) -> Cloud:
    """Google Cloud with an empty bucket and an empty dataset."""
    return google_session.fresh()


@pytest.fixture(scope="session")
def fake_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where fake-gcs-server keeps objects as files."""
    return tmp_path_factory.mktemp("gcs")


@pytest.fixture(scope="session")
def fake_url(fake_root: Path) -> Iterator[str]:
    """fake-gcs-server."""
    with fake_gcs(fake_root) as url:
        yield url


@pytest.fixture(scope="session")
def emulator_url() -> Iterator[str]:
    """gcp-storage-emulator."""
    with storage_emulator() as url:
        yield url
