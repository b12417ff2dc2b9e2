"""The test session's own Postgres: from any programs, behind a password, gone afterwards."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlalchemy import create_engine, text

from support.postgres import find_programs, postgres_server, wheel_programs

pytestmark = pytest.mark.server

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("programs", [find_programs, wheel_programs])
def test_a_server_starts_keeps_rows_and_leaves_nothing(programs: Callable[[], Path], tmp_path: Path) -> None:
    """Both the machine's programs and the wheel's, which a machine with a Postgres would never try."""
    with postgres_server(tmp_path, programs=programs()) as server:
        database = server.new_database()
        with create_engine(server.url_with_password(database)).begin() as connection:
            connection.execute(text("CREATE TABLE trips AS SELECT generate_series(1, 3) AS id"))
        with psycopg.connect(server.dsn(database)) as connection:
            assert connection.execute("SELECT count(*) FROM trips").fetchone() == (3,)
            data = connection.execute("SHOW data_directory").fetchone()
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(server.dsn(database), password="wrong")  # noqa: S106 - the point of it
        answer = subprocess.run(
            [server.programs / "psql", server.uri(database), "-Atc", "SHOW fsync"],
            env=server.environment(),
            capture_output=True,
            check=True,
        )
        assert answer.stdout == b"off\n"
    assert data is not None
    assert not Path(data[0]).parent.exists()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(server.dsn())


def test_a_setting_that_postgres_refuses_is_told(tmp_path: Path) -> None:
    """A server that does not start says why, at once."""
    with (
        pytest.raises(RuntimeError, match="shared_buffers"),
        postgres_server(tmp_path, settings={"shared_buffers": "?"}),
    ):
        pass


def test_the_server_ends_with_a_killed_parent(tmp_path: Path) -> None:
    """SIGKILL to the test session leaves neither a server nor its data behind."""
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from support.postgres import postgres_server\n"
        "with postgres_server() as server:\n"
        "    print(server.dsn(), flush=True)\n"
        "    time.sleep(60)\n"
    )
    here = {"PYTHONPATH": str(Path(__file__).parent), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", script], env=here, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent:
        with psycopg.connect(parent.stdout.readline()) as connection:
            data = connection.execute("SHOW data_directory").fetchone()
        parent.kill()
    assert data is not None
    end = time.monotonic() + 30
    while Path(data[0]).exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(data[0]).parent.exists()
