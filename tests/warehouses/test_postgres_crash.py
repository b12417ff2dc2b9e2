"""A load that is killed, or loses its connection, leaves the month wholly old or wholly new; the next one mends it."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import stamina

from nyctaxi_etl.core.progress import Event, listening
from support.loading import Loading, ingest, job_of
from support.months import publish
from support.places import PLACES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from nyctaxi_etl.core.partition import Partition
    from nyctaxi_etl.core.report import PartitionResult
    from nyctaxi_etl.pipelines.job import Job
    from support.places import Place
    from support.postgres import PostgresServer

TABLE = "fhv_taxi_data"
HALF = 30_000  # rows, of which a batch has about 20,000
OLD, NEW, OTHER = ("old", 30), ("new", 2 * HALF), ("other", 20)
PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Stage:
    """A warehouse that holds an old January and a February, and the job of a new January."""

    place: Place
    job: Job
    january: Partition

    def held(self) -> tuple[str, int]:
        """Return which January is there and its rows, once all of it, February and the ledger agree."""
        month = "CASE WHEN file_month < '2021-02-01' THEN 1 ELSE 2 END"
        sql = f"SELECT {month}, dispatching_base_num, count(*) FROM {TABLE} GROUP BY 1, 2 ORDER BY 1"
        (_, base, rows), february = self.place.query(sql)
        assert february == (2, *OTHER)
        with self.place.open() as warehouse:
            ledger = [(row.run_id, row.lineage.rows_loaded) for row in warehouse.loaded(TABLE)]
        assert ledger == [(base, rows), OTHER]
        return base, rows

    def mend(self) -> None:
        """Run the job again; after it the new January is there."""
        assert ingest(self.job, self.january).outcome == "loaded"
        assert self.held() == NEW


def _set(place: Place, folder: Path) -> Stage:
    for month, (base, rows) in (("2021-01", OLD), ("2021-02", OTHER)):
        partition = publish(folder / base, month, rows, base)
        assert ingest(job_of(folder / base, place.address, folder, base), partition).outcome == "loaded"
    january = publish(folder / "new", "2021-01", NEW[1], "new")
    return Stage(place, job_of(folder / "new", place.address, folder, "new"), january)


@pytest.fixture
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Stage:
    """Postgres, unless the test names another place."""
    return _set(PLACES[getattr(request, "param", "postgres")](request), tmp_path)


# -- killed -----------------------------------------------------------------------------------------------------------

POINTS = {"begun": ("load", 1), "early": ("load", HALF // 2), "midway": ("load", HALF), "sent": ("load", 2 * HALF)}


@pytest.mark.parametrize("point", POINTS)
def test_killed_on_the_way(stage: Stage, postgres: PostgresServer, point: str) -> None:
    """SIGKILL before all is sent and exchanged: the old month is there, and nothing of the new one."""
    with Loading(stage.job, [stage.january]) as loading:
        loading.until(*POINTS[point])
        loading.kill()
    _settled(postgres)
    assert stage.held() == OLD
    _is_tidy(postgres)
    stage.mend()
    _is_tidy(postgres)


def test_killed_while_it_waits_for_readers(stage: Stage, postgres: PostgresServer) -> None:
    """SIGKILL between the copy and the exchange: the old month is there."""
    with Loading(stage.job, [stage.january]) as loading:
        with _reading(postgres):
            loading.go()
            _waiting(postgres)
            loading.kill()
        _settled(postgres)
    assert stage.held() == OLD
    _is_tidy(postgres)
    stage.mend()


def test_killed_before_the_ledger(stage: Stage, postgres: PostgresServer) -> None:
    """SIGKILL between the copy and the ledger's row, before the exchange: the old month is there."""
    with Loading(stage.job, [stage.january]) as loading:
        with _auditing(postgres):
            loading.go()
            _waiting(postgres)
            loading.kill()
        _settled(postgres)
    assert stage.held() == OLD
    _is_tidy(postgres)
    stage.mend()


def test_killed_in_the_commit(stage: Stage, postgres: PostgresServer) -> None:
    """SIGKILL when the commit has been asked for: the server ends it, and the new month is there."""
    with Loading(stage.job, [stage.january]) as loading:
        with _committing(postgres):
            loading.go()
            _waiting(postgres)
            loading.kill()
        _settled(postgres)
    assert stage.held() == NEW
    _is_tidy(postgres)
    stage.mend()


def test_killed_after_the_commit(stage: Stage, postgres: PostgresServer) -> None:
    """SIGKILL before anybody is told: the new month is there."""
    with Loading(stage.job, [stage.january]) as loading:
        loading.until("loaded")
        loading.kill()
    _settled(postgres)
    assert stage.held() == NEW
    _is_tidy(postgres)
    stage.mend()


@pytest.mark.parametrize("stage", ["duckdb", "sqlite"], indirect=True)
@pytest.mark.parametrize("point", [("load", HALF), ("loaded", 0)], ids=["midway", "after"])
def test_a_file_survives_a_kill(stage: Stage, point: tuple[str, int]) -> None:
    """SIGKILL in the midst of a load and after it into a file: it opens, and the month is wholly old or new."""
    with Loading(stage.job, [stage.january]) as loading:
        loading.until(*point)
        loading.kill()
    assert stage.held() == (NEW if point[0] == "loaded" else OLD)
    stage.mend()


# -- cut off ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attempts", [1, 4])
@pytest.mark.parametrize("rows", [1, HALF, 2 * HALF])
def test_cut_off_while_copying(
    stage: Stage, postgres: PostgresServer, rows: int, attempts: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The server ends the connection: the month stays old and may be tried again, which the run does by itself."""
    fresh = True

    def cut(event: Event) -> None:
        nonlocal fresh
        if fresh and event.step == "load" and event.done >= rows:
            fresh = False
            _terminate(postgres)

    with stamina.set_testing(attempts == 1), listening(cut):
        result = ingest(stage.job, stage.january)
    _is_as_tried(stage, result, attempts)
    _is_tidy(postgres)
    stage.mend()
    _is_quiet(caplog)


@pytest.mark.parametrize("attempts", [1, 4])
@pytest.mark.parametrize("blocking", ["_reading", "_auditing", "_committing"])
def test_cut_off_at_the_end(
    stage: Stage, postgres: PostgresServer, blocking: str, attempts: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The same while it waits for the ledger's row, for readers, and in the commit itself."""
    block: Callable[[PostgresServer], AbstractContextManager[None]] = globals()[blocking]
    with stamina.set_testing(attempts == 1), ThreadPoolExecutor(1) as pool:
        with block(postgres):
            result = pool.submit(ingest, stage.job, stage.january)
            _waiting(postgres)
            _terminate(postgres)
        _is_as_tried(stage, result.result(PATIENCE_SECONDS), attempts)
    _is_tidy(postgres)
    stage.mend()
    _is_quiet(caplog)


def _is_as_tried(stage: Stage, result: PartitionResult, attempts: int) -> None:
    """Check that a single attempt failed for a passing reason and left the old month, and that several did it."""
    if attempts > 1:
        assert result.outcome == "loaded"
        assert stage.held() == NEW
        return
    assert result.failure is not None
    assert result.failure.type == "Transient"
    assert stage.held() == OLD


def _is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Check that nothing has written an error to the log, with a traceback that no user has to understand."""
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


# -- the other side ---------------------------------------------------------------------------------------------------


@contextmanager
def _user(server: PostgresServer) -> Iterator[psycopg.Connection[Any]]:
    """Connect as somebody whose connection is not the load's."""
    with psycopg.connect(server.dsn(), application_name="user") as connection:
        yield connection


@contextmanager
def _reading(server: PostgresServer) -> Iterator[None]:
    """Have a reader keep the load from exchanging the month."""
    with _user(server) as connection:
        connection.execute(f"SELECT count(*) FROM {TABLE}".encode())
        yield


@contextmanager
def _auditing(server: PostgresServer) -> Iterator[None]:
    """Have somebody keep the load from writing its ledger row."""
    with _user(server) as connection:
        connection.execute("LOCK TABLE nyctaxi_loads IN SHARE MODE")
        yield


@contextmanager
def _committing(server: PostgresServer) -> Iterator[None]:
    """Have the load's commit itself wait: for a lock that a deferred trigger of the ledger wants."""
    function = "BEGIN PERFORM pg_advisory_xact_lock(42); RETURN NULL; END"
    with _user(server) as connection:
        connection.execute(f"CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS '{function}'".encode())
        connection.execute(
            "CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON nyctaxi_loads "
            "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait()"
        )
        connection.commit()
        connection.execute("SELECT pg_advisory_xact_lock(42)")
        yield


def _waiting(server: PostgresServer) -> None:
    """Wait until the load waits for a lock."""
    _until(server, "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND {loads}")


def _settled(server: PostgresServer) -> None:
    """Wait until the server has noticed that the load is gone."""
    _until(server, "SELECT count(*) = 0 FROM pg_stat_activity WHERE {loads}")


def _terminate(server: PostgresServer) -> None:
    """End the load's connection, and wait until it has ended."""
    _until(server, "SELECT count(pg_terminate_backend(pid)) = 0 FROM pg_stat_activity WHERE {loads}")


def _until(server: PostgresServer, question: str) -> None:
    """Ask until the answer is yes; ``{loads}`` are the connections of loads."""
    loads = "datname = current_database() AND pid <> pg_backend_pid() AND application_name <> 'user'"
    end = time.monotonic() + PATIENCE_SECONDS
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        while connection.execute(question.format(loads=loads).encode()).fetchone() != (True,):
            assert time.monotonic() < end, question
            time.sleep(0.02)


def _is_tidy(server: PostgresServer) -> None:
    """Check that there are the table, its two partitions and the ledger, and nothing else."""
    statement = "SELECT array_agg(relname::text ORDER BY relname) FROM pg_class WHERE relkind IN ('r', 'p') "
    with _user(server) as connection:
        found = connection.execute((statement + "AND relnamespace = 'public'::regnamespace").encode()).fetchone()
    assert found == ([TABLE, f"{TABLE}_2021_01", f"{TABLE}_2021_02", "nyctaxi_loads"],)
