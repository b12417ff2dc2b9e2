"""What DuckDB alone must keep: a file that others have open, that is damaged, that can't be written, and its room."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pytest

import nyctaxi_etl
from nyctaxi_etl.core.errors import NycTaxiError, QualityError, UsageError, WarehouseError
from nyctaxi_etl.core.progress import Event, listening
from nyctaxi_etl.warehouses.duckdb.warehouse import DuckDB
from support.limits import largest_file, unprivileged
from support.months import TRIPS, stage_rows, trips
from support.venvs import environment

if TYPE_CHECKING:
    from collections.abc import Iterator


def put(path: Path, folder: Path, month: str = "2021-01", rows: int = 3, lock_seconds: float = 20) -> int:
    """Replace a month of ``trips`` in the DuckDB file by so many rows."""
    staged = stage_rows(folder, month, trips(range(rows)), batch_rows=20_000)
    return DuckDB(str(path), lock_seconds).replace("trips", TRIPS, staged, "run")


def months_of(path: Path) -> list[tuple[str, int]]:
    """Return the months that the table has, and how many rows of each."""
    sql = "SELECT strftime(file_month, '%Y-%m'), count(*) FROM trips GROUP BY 1 ORDER BY 1"
    return DuckDB(str(path)).query(sql)


# -- in use -----------------------------------------------------------------------------------------------------------


def test_a_file_in_use_is_waited_for(tmp_path: Path) -> None:
    """While another program reads the file a load waits, and says at once who it is; then it goes on."""
    path = tmp_path / "trips.duckdb"
    put(path, tmp_path)
    notes: list[str] = []
    with _reading(path) as reader:

        def listen(event: Event) -> None:
            notes.append(event.note)
            reader.kill()

        with listening(listen):
            assert put(path, tmp_path) == 3
    assert "trips.duckdb" in notes[0]
    assert f"PID {reader.pid}" in notes[0]


def test_the_ledger_of_a_file_in_use_is_waited_for(tmp_path: Path) -> None:
    """What a run does first is to read the ledger: it says for what it waits, of the run as a whole."""
    path = tmp_path / "trips.duckdb"
    put(path, tmp_path)
    heard: list[Event] = []
    with _reading(path) as reader:

        def listen(event: Event) -> None:
            heard.append(event)
            reader.kill()

        with listening(listen):
            assert len(DuckDB(str(path)).loaded("trips")) == 1
    assert heard[0].subject == ""
    assert f"PID {reader.pid}" in heard[0].note


def test_a_query_reads_beside_others(tmp_path: Path) -> None:
    """While another program reads the file, a query doesn't wait for it."""
    path = tmp_path / "trips.duckdb"
    put(path, tmp_path)
    with _reading(path):
        assert DuckDB(str(path), lock_seconds=0).query("SELECT count(*) FROM trips") == [(3,)]


@pytest.mark.parametrize(
    "statement",
    [
        "COPY trips TO '{}'",
        "COPY (PIVOT trips ON trip) TO '{}'",
        "EXPLAIN ANALYZE COPY trips TO '{}'",
        "EXPORT DATABASE '{}'",
        "ATTACH '{}' AS other",
        "ATTACH '{}' AS other (READ_WRITE)",
        "SET enable_external_access = true; COPY trips TO '{}'",
    ],
)
def test_a_query_makes_no_file(statement: str, tmp_path: Path) -> None:
    """Nor does it write beside the warehouse; a SELECT may look at any file."""
    path, other = tmp_path / "trips.duckdb", tmp_path / "other"
    put(path, tmp_path)
    warehouse = DuckDB(str(path))
    with pytest.raises(NycTaxiError):
        warehouse.query(statement.format(other))
    assert not other.exists()
    (tmp_path / "numbers.csv").write_text("number\n5\n")
    assert warehouse.query(f"SELECT * FROM '{tmp_path}/numbers.csv'") == [(5,)]
    assert months_of(path) == [("2021-01", 3)]


@pytest.mark.parametrize("statement", ["PIVOT trips ON trip", "DESCRIBE trips", "SHOW TABLES", "EXPLAIN FROM trips"])
def test_a_query_is_more_than_select(statement: str, tmp_path: Path) -> None:
    """Whatever only reads is run."""
    path = tmp_path / "trips.duckdb"
    put(path, tmp_path)
    assert DuckDB(str(path)).query(statement)


def test_a_query_of_no_file_makes_none(tmp_path: Path) -> None:
    """It says that nothing has been loaded."""
    path = tmp_path / "none" / "trips.duckdb"
    with pytest.raises(UsageError, match="isn't there yet"):
        DuckDB(str(path)).query("SELECT 1")
    assert not path.parent.exists()


def test_a_query_sees_what_a_killed_load_left(tmp_path: Path) -> None:
    """What stands in the log beside the file is read with it."""
    path = tmp_path / "trips.duckdb"
    put(path, tmp_path)
    script = (
        "import duckdb, os, sys; c = duckdb.connect(sys.argv[1]); c.execute('SET checkpoint_threshold = \\'1GB\\''); "
        "c.execute('CREATE TABLE kept AS SELECT 1 AS x'); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)
    assert path.with_name("trips.duckdb.wal").exists()
    assert DuckDB(str(path)).query("SELECT x FROM kept") == [(1,)]


def test_a_file_in_use_for_long_is_told(tmp_path: Path) -> None:
    """After the time for waiting is over the error names the file and who has it."""
    path = tmp_path / "trips.duckdb"
    put(path, tmp_path)
    with _reading(path) as reader, pytest.raises(WarehouseError, match=r"trips\.duckdb is held by another") as caught:
        DuckDB(str(path), lock_seconds=0.2).loaded("trips")
    assert f"PID {reader.pid}" in caught.value.message


def test_a_file_open_in_this_program_is_told(tmp_path: Path) -> None:
    """A notebook that has it open in another way would wait for itself."""
    path = tmp_path / "trips.duckdb"
    put(path, tmp_path)
    with duckdb.connect(str(path), read_only=True), pytest.raises(WarehouseError, match="in this program") as caught:
        put(path, tmp_path)
    assert "Close" in caught.value.hint


def test_a_file_in_the_making_is_waited_for(tmp_path: Path) -> None:
    """Another process has made the file a moment ago and not yet written what it begins with."""
    path = tmp_path / "trips.duckdb"
    path.write_bytes(bytes(4096))

    def listen(event: Event) -> None:
        if event.note:
            path.unlink()

    with listening(listen):
        assert put(path, tmp_path) == 3


@contextmanager
def _reading(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Have another process hold the DuckDB file open for reading."""
    script = "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True); print(flush=True); input()"
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


# -- damaged, or closed to us -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["bytes", "another's"])
def test_a_damaged_log_is_told(tmp_path: Path, damage: str) -> None:
    """What a killed program leaves beside the file may be damaged: both are kept, and moving it away helps."""
    path, log = tmp_path / "trips.duckdb", tmp_path / "trips.duckdb.wal"
    put(path, tmp_path)
    _leave_log(path, "INSERT INTO trips SELECT * FROM trips")
    content = log.read_bytes()
    if damage == "bytes":
        log.write_bytes(content[:100] + bytes(100) + content[200:])
    else:
        path.unlink()
        log.unlink()
        put(path, tmp_path)
        log.write_bytes(content)
    torn = log.read_bytes()
    with pytest.raises(WarehouseError, match=r"trips\.duckdb\.wal") as caught:
        put(path, tmp_path)
    assert "move the .wal away" in caught.value.hint
    assert log.read_bytes() == torn
    log.unlink()
    assert months_of(path) == [("2021-01", 3)]


def _leave_log(path: Path, statement: str) -> None:
    """Have another process change the file and die before it writes its log into it."""
    calm = "PRAGMA disable_checkpoint_on_shutdown; SET checkpoint_threshold = '1TB'"
    script = "import duckdb, os, sys; duckdb.connect(sys.argv[1]).execute(sys.argv[2]); os._exit(0)"
    subprocess.run([sys.executable, "-c", script, str(path), f"{calm}; {statement}"], check=True)
    assert path.with_name(f"{path.name}.wal").exists()


@pytest.mark.parametrize("damage", ["header", "block", "beginning"])
def test_a_damaged_file_is_told(tmp_path: Path, damage: str) -> None:
    """It is left as it is."""
    path = tmp_path / "trips.duckdb"
    put(path, tmp_path, rows=50_000)
    whole = path.read_bytes()
    torn = {
        "header": whole[:4096] + bytes(8192) + whole[12288:],
        "block": whole[:12288] + b"\x07" * (len(whole) - 12288),
        "beginning": whole[:20_000],
    }[damage]
    path.write_bytes(torn)
    os.utime(path, (0, 0))
    with pytest.raises(WarehouseError, match=r"trips\.duckdb is damaged") as caught:
        put(path, tmp_path)
    assert "backup" in caught.value.hint
    assert path.read_bytes() == torn


def test_a_file_that_may_not_be_written_is_told(shared_folder: Path, tmp_path: Path) -> None:
    """The hint doesn't speak of another kind of file."""
    path = shared_folder / "trips.duckdb"
    put(path, tmp_path)
    path.chmod(0o444)
    with unprivileged(), pytest.raises(UsageError, match=r"trips\.duckdb can't be written to") as caught:
        DuckDB(str(path)).loaded("trips")
    assert "Give access" in caught.value.hint


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_that_may_not_be_written_is_told(shared_folder: Path, tmp_path: Path, *, exists: bool) -> None:
    """DuckDB needs it for its log, so no row is moved before the month would fail."""
    path = shared_folder / "trips.duckdb"
    staged = stage_rows(tmp_path, "2021-01", trips([1]))
    if exists:
        put(path, tmp_path)
        path.chmod(0o666)
    shared_folder.chmod(0o555)
    heard: list[Event] = []
    warehouse = DuckDB(str(path))
    ask = partial(warehouse.replace, "trips", TRIPS, staged, "run") if exists else partial(warehouse.loaded, "trips")
    with unprivileged(), listening(heard.append), pytest.raises(UsageError, match="its folder") as caught:
        ask()
    assert "Give access to that folder" in caught.value.hint
    assert not heard


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that any user can reach: pytest's own is closed to all but its user."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o755)


# -- room -------------------------------------------------------------------------------------------------------------


def test_a_full_disk_at_the_commit_is_no_conflict(tmp_path: Path) -> None:
    """The rows are written before, the log and what it says at the commit: it is told, and not tried again."""
    path = tmp_path / "trips.duckdb"
    put(path, tmp_path)
    size = path.stat().st_size
    staged = stage_rows(tmp_path, "2021-02", trips(range(1000)))
    with largest_file(0), pytest.raises(WarehouseError, match=r"trips\.duckdb: there is no room left"):
        DuckDB(str(path)).replace("trips", TRIPS, staged, "run")
    assert path.stat().st_size == size
    assert months_of(path) == [("2021-01", 3)]


def test_a_load_that_is_stopped_gives_its_room_back(tmp_path: Path) -> None:
    """After Ctrl-C or any error the file is as large as it was, and holds what it held."""
    path = tmp_path / "trips.duckdb"
    put(path, tmp_path)
    size = path.stat().st_size
    staged = stage_rows(tmp_path, "2021-02", trips(range(130_000)), batch_rows=20_000)
    with listening(partial(_stop_once_written, path, size)), pytest.raises(KeyboardInterrupt):
        DuckDB(str(path)).replace("trips", TRIPS, staged, "run", raw_table="raw_trips")
    assert path.stat().st_size == size
    assert months_of(path) == [("2021-01", 3)]
    put(path, tmp_path, "2021-02", rows=1000)
    assert months_of(path) == [("2021-01", 3), ("2021-02", 1000)]


def _stop_once_written(path: Path, size: int, event: Event) -> None:
    """Raise what Ctrl-C raises when the month's rows are in the file, uncommitted."""
    if event.note:
        assert path.stat().st_size > size
        raise KeyboardInterrupt


def test_room_that_a_log_speaks_of_is_kept(tmp_path: Path) -> None:
    """Another program's rows may be behind the last block, and only the log says that they are committed."""
    path = tmp_path / "trips.duckdb"
    put(path, tmp_path)
    _leave_log(path, "CREATE TABLE mine AS SELECT range AS a, random() AS b FROM range(400000)")

    staged = stage_rows(tmp_path, "2021-02", trips([1, 2]), lost=1)
    with pytest.raises(QualityError):
        DuckDB(str(path)).replace("trips", TRIPS, staged, "run")
    assert DuckDB(str(path)).query("SELECT count(*), count(DISTINCT a), min(b) >= 0 FROM mine") == [
        (400_000, 400_000, True)
    ]


# -- other versions ---------------------------------------------------------------------------------------------------


_OTHERS = pytest.mark.skipif(int(duckdb.__version__.partition(".")[0]) < 2, reason="this DuckDB writes no newer format")


@_OTHERS
def test_duckdb_1_5_opens_a_new_file(tmp_path: Path) -> None:
    """It is what people have."""
    path = tmp_path / "trips.duckdb"
    put(path, tmp_path, rows=1000)
    ask = "import duckdb, sys; print(duckdb.connect(sys.argv[1]).execute('SELECT count(*) FROM trips').fetchall())"
    assert _in_duckdb_1_5(ask, path) == "[(1000,)]\n"


@_OTHERS
def test_a_file_of_a_newer_duckdb_is_told(tmp_path: Path) -> None:
    """The hint is to upgrade: nothing is wrong with the file."""
    path = tmp_path / "trips.duckdb"
    duckdb.connect(str(path)).execute("CREATE TABLE trips (a INTEGER)").close()
    paths = [str(Path(module.__file__ or "").parents[1]) for module in (nyctaxi_etl, pa)]
    load = "from nyctaxi_etl.warehouses.duckdb.warehouse import DuckDB; DuckDB(sys.argv[1]).loaded('trips')"
    script = f"import sys; sys.path += {paths}\ntry:\n    {load}\nexcept Exception as error: print(error.hint)"
    assert "Upgrade the package duckdb" in _in_duckdb_1_5(script, path)


def _in_duckdb_1_5(script: str, path: Path) -> str:
    """Return what a script prints of the file in an environment with DuckDB 1.5."""
    try:
        python = environment("duckdb-1.5")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no environment with DuckDB 1.5 could be made: {error}")
    done = subprocess.run([python, "-c", script, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
