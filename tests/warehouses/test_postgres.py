"""What Postgres alone must keep: partitions, readers, what a user built on the table, schemas, and plain errors."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from nyctaxi_etl.core.errors import NycTaxiError, Transient, WarehouseError
from nyctaxi_etl.core.progress import Event, listening
from nyctaxi_etl.schema.columns import Column
from nyctaxi_etl.warehouses.opening import open_warehouse
from support.months import TRIPS, stage_rows, trips
from support.ports import free_port
from support.postgres import PASSWORD, PostgresServer
from support.postgres_trips import ask, loaded, numbers_of, put, tables

if TYPE_CHECKING:
    from pathlib import Path


def test_a_month_is_a_partition(postgres: PostgresServer, tmp_path: Path) -> None:
    """Each month has a table of its own with a name that tells it, however often it is loaded."""
    for month in ("2021-01", "2021-02", "2021-01", "2021-01"):
        put(postgres, tmp_path, month, [1, 2])
    assert tables(postgres) == ["trips", "trips_2021_01", "trips_2021_02"]
    plan = "\n".join(ask(postgres, "EXPLAIN SELECT * FROM trips WHERE file_month = '2021-02-01'"))
    assert "trips_2021_02" in plan
    assert "trips_2021_01" not in plan


def test_a_partition_taken_away_is_not_loaded(postgres: PostgresServer, tmp_path: Path) -> None:
    """A month whose partition a user dropped or detached doesn't count as loaded; it can be loaded again."""
    for month in ("2021-01", "2021-02", "2021-03"):
        put(postgres, tmp_path, month, [1])
    ask(postgres, "DROP TABLE trips_2021_01")
    ask(postgres, "ALTER TABLE trips DETACH PARTITION trips_2021_02")
    assert loaded(postgres, tmp_path) == [date(2021, 3, 1)]
    put(postgres, tmp_path, "2021-01", [1])
    put(postgres, tmp_path, "2021-02", [2])
    assert loaded(postgres, tmp_path) == [date(2021, month, 1) for month in (1, 2, 3)]
    assert numbers_of(postgres) == [1, 1, 2]
    assert numbers_of(postgres, "trips_2021_02") == [1]


def test_readers_are_not_blocked_by_a_copy(postgres: PostgresServer, tmp_path: Path) -> None:
    """While a month is on its way, any month can be read, the old one of the same included."""
    put(postgres, tmp_path, "2021-01", [1, 2])
    put(postgres, tmp_path, "2021-02", [3])
    seen: list[list[Any]] = []

    def look(_event: Event) -> None:
        with psycopg.connect(postgres.dsn(), options="-c statement_timeout=2000") as connection:
            seen.append([row[0] for row in connection.execute("SELECT trip FROM trips ORDER BY 1")])

    with listening(look):
        put(postgres, tmp_path, "2021-01", [6, 7, 8])
    assert seen == [[1, 2, 3], [1, 2, 3]]
    assert numbers_of(postgres) == [3, 6, 7, 8]


@pytest.mark.usefixtures("impatient")
def test_a_load_waits_for_a_reader_and_says_so(postgres: PostgresServer, tmp_path: Path) -> None:
    """It lets others read meanwhile, and goes on when the reader has ended."""
    put(postgres, tmp_path, "2021-01", [1, 2])
    notes: list[str] = []
    with psycopg.connect(postgres.dsn()) as reader:
        reader.execute("SELECT * FROM trips_2021_01")

        def listen(event: Event) -> None:
            if event.note:
                notes.append(event.note)
                assert numbers_of(postgres) == [1, 2]
                reader.rollback()

        with listening(listen):
            put(postgres, tmp_path, "2021-01", [3])
    assert len(notes) == 1
    assert "trips" in notes[0]
    assert numbers_of(postgres) == [3]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("lock", ["trips", "trips 2021-01", ""])
def test_a_load_that_waits_can_be_stopped(postgres: PostgresServer, lock: str, tmp_path: Path) -> None:
    """Ctrl-C is heeded while it waits for a reader or another load; the old month stays."""
    put(postgres, tmp_path, "2021-01", [1, 2])
    named = f"SELECT pg_advisory_xact_lock(hashtextextended('nyctaxi {lock}', 0))"

    def stop(event: Event) -> None:
        if event.note:
            raise KeyboardInterrupt

    with psycopg.connect(postgres.dsn()) as other:
        other.execute((named if lock else "SELECT * FROM trips").encode())
        with listening(stop), pytest.raises(KeyboardInterrupt):
            put(postgres, tmp_path, "2021-01", [3])
    assert numbers_of(postgres) == [1, 2]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("held", ["SELECT * FROM trips", "LOCK TABLE trips IN SHARE MODE"])
def test_a_change_of_the_table_waits_alike(postgres: PostgresServer, held: str, tmp_path: Path) -> None:
    """A column is added, and a first month attached, when those who read or index the table have ended."""
    put(postgres, tmp_path, "2021-01", [1])
    wider = replace(TRIPS, columns=(*TRIPS.columns, Column("tip", "money")))
    dataset = wider if "SELECT" in held else TRIPS
    staged = stage_rows(tmp_path, "2021-02", [(2, *[None] * (len(dataset.columns) - 1))], dataset)
    notes: list[str] = []
    with psycopg.connect(postgres.dsn()) as other:
        other.execute(held.encode())

        def listen(event: Event) -> None:
            if event.note:
                notes.append(event.note)
                other.rollback()

        with listening(listen), open_warehouse(postgres.url(), tmp_path) as warehouse:
            warehouse.replace("trips", dataset, staged, "run")
    assert len(notes) == 1
    assert numbers_of(postgres) == [1, 2]


@pytest.mark.usefixtures("impatient")
def test_a_load_does_not_wait_for_ever(postgres: PostgresServer, tmp_path: Path) -> None:
    """After the time for waiting is over the error names the table, and the month is what it was."""
    put(postgres, tmp_path, "2021-01", [1, 2])
    with psycopg.connect(postgres.dsn()) as reader:
        reader.execute("SELECT * FROM trips")
        with pytest.raises(WarehouseError, match="trips") as caught:
            put(postgres, tmp_path, "2021-01", [3])
    assert "pg_stat_activity" in caught.value.hint
    assert numbers_of(postgres) == [1, 2]


def test_what_a_user_built_survives(postgres: PostgresServer, tmp_path: Path) -> None:
    """An index, a view and a grant on the table go on as they are when months are replaced and added."""
    put(postgres, tmp_path, "2021-01", [1])
    ask(postgres, "CREATE INDEX by_pickup ON trips (pickup_datetime)")
    ask(postgres, "CREATE VIEW dear AS SELECT * FROM trips WHERE fare_amount > 1")
    ask(postgres, "CREATE ROLE reader")
    ask(postgres, "GRANT SELECT ON trips TO reader")
    for month in ("2021-01", "2021-02", "2021-01"):
        put(postgres, tmp_path, month, [8, 9])
    assert ask(postgres, "SELECT count(*) FROM dear") == [4]
    assert len(ask(postgres, "SELECT inhrelid FROM pg_inherits WHERE inhparent = 'by_pickup'::regclass")) == 2
    assert ask(postgres, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'by_pickup'::regclass") == [True]
    assert ask(postgres, "SELECT has_table_privilege('reader', 'trips', 'SELECT')") == [True]
    ask(postgres, "REVOKE SELECT ON trips FROM reader")
    ask(postgres, "DROP ROLE reader")


def test_a_users_column_stays(postgres: PostgresServer, tmp_path: Path) -> None:
    """A column that a user added is there, and null, in months loaded afterwards."""
    put(postgres, tmp_path, "2021-01", [1])
    ask(postgres, "ALTER TABLE trips ADD COLUMN remark varchar(10)")
    put(postgres, tmp_path, "2021-02", [2])
    assert ask(postgres, "SELECT remark FROM trips") == [None, None]


@pytest.mark.parametrize("schema", ["trips", 'My "own" place'])
def test_the_search_path_is_kept_to(postgres: PostgresServer, schema: str, tmp_path: Path) -> None:
    """Tables go where the user's search path begins, and are found there."""
    name = '"' + schema.replace('"', '""') + '"'
    ask(postgres, f"CREATE SCHEMA {name}")
    ask(postgres, f"ALTER DATABASE {postgres.database} SET search_path = {name}, public")
    for numbers in ([1, 2], [3]):
        put(postgres, tmp_path, "2021-01", numbers)
    assert loaded(postgres, tmp_path) == [date(2021, 1, 1)]
    assert numbers_of(postgres, f"{name}.trips") == [3]
    assert ask(postgres, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [0]


def test_what_is_further_down_the_search_path_is_found(postgres: PostgresServer, tmp_path: Path) -> None:
    """Table and ledger in another schema of the path go on being used; no second ledger hides the first."""
    put(postgres, tmp_path, "2021-01", [1])
    ask(postgres, "CREATE SCHEMA mine")
    ask(postgres, f"ALTER DATABASE {postgres.database} SET search_path = mine, public")
    put(postgres, tmp_path, "2021-02", [2])
    assert loaded(postgres, tmp_path) == [date(2021, 1, 1), date(2021, 2, 1)]
    assert ask(postgres, "SELECT count(*) FROM pg_tables WHERE schemaname = 'mine'") == [0]


def test_dates_may_be_written_otherwise(postgres: PostgresServer, tmp_path: Path) -> None:
    """A database that shows dates in the German way changes nothing."""
    ask(postgres, f"ALTER DATABASE {postgres.database} SET datestyle = 'German, DMY'")
    for numbers in ([1, 2], [3]):
        put(postgres, tmp_path, "2021-02", numbers)
    assert loaded(postgres, tmp_path) == [date(2021, 2, 1)]
    assert numbers_of(postgres) == [3]


@pytest.mark.parametrize("table", ["trips", "t" * 48])
def test_tables_left_by_hand_are_in_nobodys_way(postgres: PostgresServer, table: str, tmp_path: Path) -> None:
    """A table that has the name of a month, or nearly, stays what it is, and the month goes in beside it."""
    for ending in ("_2021_01", "_2021_01_new"):
        ask(postgres, f"CREATE TABLE {table}{ending} AS SELECT 0 AS trip")
    for numbers in ([1, 2], [3]):
        put(postgres, tmp_path, "2021-01", numbers, table)
    assert numbers_of(postgres, table) == [3]
    assert [numbers_of(postgres, f"{table}{ending}") for ending in ("_2021_01", "_2021_01_new")] == [[0], [0]]
    assert len(tables(postgres)) == 4


def test_a_renamed_table_is_in_nobodys_way(postgres: PostgresServer, tmp_path: Path) -> None:
    """Our own table, renamed as the hint says, keeps its months; the name begins anew."""
    put(postgres, tmp_path, "2021-01", [1])
    ask(postgres, "ALTER TABLE trips RENAME TO mine")
    for numbers in ([2, 3], [4]):
        put(postgres, tmp_path, "2021-01", numbers)
    assert (numbers_of(postgres, "mine"), numbers_of(postgres)) == ([1], [4])


def test_a_table_named_as_a_partition(postgres: PostgresServer, tmp_path: Path) -> None:
    """One name can't be both: a partition is refused as a table; a table makes the partition take another name."""
    put(postgres, tmp_path, "2021-01", [1])
    with pytest.raises(WarehouseError, match="trips_2021_01"):
        put(postgres, tmp_path, "2021-01", [2], "trips_2021_01")
    put(postgres, tmp_path, "2021-02", [3], "trips_2021_02")
    put(postgres, tmp_path, "2021-02", [4])
    assert (numbers_of(postgres), numbers_of(postgres, "trips_2021_02")) == ([1, 4], [3])


def test_an_unpartitioned_table_is_refused(postgres: PostgresServer, tmp_path: Path) -> None:
    """Even if it carries our comment, as a copy made by hand may."""
    ask(postgres, "CREATE TABLE trips AS SELECT 5 AS trip")
    ask(postgres, "COMMENT ON TABLE trips IS 'nyctaxi green trips, one partition a month'")
    with pytest.raises(WarehouseError, match="partitioned") as caught:
        put(postgres, tmp_path, "2021-01", [1])
    assert "`table=`" in caught.value.hint
    assert numbers_of(postgres) == [5]


@pytest.mark.parametrize("made", ["SEQUENCE trips", "MATERIALIZED VIEW trips AS SELECT 5", "TYPE trips AS (i int)"])
def test_any_other_thing_of_the_name_is_refused(postgres: PostgresServer, made: str, tmp_path: Path) -> None:
    """A sequence, a materialized view or a type stays as it is."""
    ask(postgres, f"CREATE {made}")
    with pytest.raises(WarehouseError, match="trips"):
        put(postgres, tmp_path, "2021-01", [1])


# -- errors -----------------------------------------------------------------------------------------------------------


def test_a_wrong_password_is_told(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The hint says where the password comes from; trying again is no use."""
    monkeypatch.setenv("PGPASSWORD", "wr0ng-secret")
    error = _error(postgres.url(), tmp_path)
    assert isinstance(error, WarehouseError)
    assert "PGPASSWORD" in error.hint


def test_a_missing_database_is_told(postgres: PostgresServer, tmp_path: Path) -> None:
    """The message names it; trying again is no use."""
    error = _error(postgres.url("no_such_place"), tmp_path)
    assert isinstance(error, WarehouseError)
    assert "no_such_place" in error.message


@pytest.mark.usefixtures("postgres")
def test_a_server_out_of_reach_may_come_back(tmp_path: Path) -> None:
    """Nobody listens: the message names the host, and trying again may help."""
    error = _error(f"postgresql://taxi@127.0.0.1:{free_port()}/trips", tmp_path)
    assert isinstance(error, Transient)
    assert "127.0.0.1" in error.message


@pytest.mark.parametrize("granted", ["nothing", "pg_read_all_data"])
def test_a_user_who_may_not_write_is_told(postgres: PostgresServer, granted: str, tmp_path: Path) -> None:
    """The hint names the rights that are needed; nothing changes."""
    put(postgres, tmp_path, "2021-01", [1])
    role = f"guest_{postgres.database}"
    ask(postgres, f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
    if granted != "nothing":
        ask(postgres, f"GRANT {granted} TO {role}")
    error = _error(postgres.url().replace("//taxi@", f"//{role}@"), tmp_path)
    assert isinstance(error, WarehouseError)
    assert "permission denied" in error.message
    assert "CREATE" in error.hint
    assert numbers_of(postgres) == [1]


def _error(address: str, folder: Path) -> NycTaxiError:
    """Return the error of a load, in which no password may be."""
    with pytest.raises(NycTaxiError) as caught, open_warehouse(address, folder) as warehouse:
        warehouse.replace("trips", TRIPS, stage_rows(folder, "2021-01", trips([2])), "run")
    told = f"{caught.value.message} {caught.value.hint}"
    assert "wr0ng-secret" not in told
    assert PASSWORD not in told
    return caught.value
