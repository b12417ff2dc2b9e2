"""What a database's keeper may do to it: settings, publications, constraints, views; and a disk that is full."""

from __future__ import annotations

import os
import secrets
import subprocess
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from nyctaxi_etl.core.errors import WarehouseError
from nyctaxi_etl.core.progress import Event, listening
from nyctaxi_etl.schema.datasets import ZONES, ZONES_TABLE
from nyctaxi_etl.sources.registry import resolve
from nyctaxi_etl.sources.zones import read_zones
from nyctaxi_etl.warehouses.base import LOOKUP_MARK
from nyctaxi_etl.warehouses.opening import open_warehouse
from support.months import TRIPS, stage_rows, trips
from support.postgres_trips import ask, loaded, numbers_of, put, tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.postgres import PostgresServer


# -- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "setting",
    [
        "quote_all_identifiers = on",
        "client_encoding = 'LATIN1'",
        "datestyle = 'SQL, DMY'",
        "default_transaction_isolation = 'serializable'",
        "standard_conforming_strings = off",
    ],
)
def test_a_databases_settings_are_in_nobodys_way(postgres: PostgresServer, setting: str, tmp_path: Path) -> None:
    """A month is loaded, replaced and found again under each."""
    ask(postgres, f"ALTER DATABASE {postgres.database} SET {setting}")
    for month in ("2021-01", "2021-02", "2021-01"):
        put(postgres, tmp_path, month, [1, 2, 3])
    assert loaded(postgres, tmp_path) == [date(2021, 1, 1), date(2021, 2, 1)]
    assert numbers_of(postgres) == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "UTF8"])
@pytest.mark.parametrize("of_client", ["LATIN1", ""])
def test_text_is_text_in_any_encoding(
    postgres: PostgresServer, encoding: str, of_client: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What the database keeps is the same text; PGCLIENTENCODING is another program's."""
    name = f"{postgres.database}_{encoding.lower()}"
    made = f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
    ask(postgres, made)
    if of_client:
        monkeypatch.setenv("PGCLIENTENCODING", of_client)
    text = "Señor" if encoding == "LATIN1" else "Señor 🚕 東京"
    try:
        staged = stage_rows(tmp_path, "2021-01", [(1, None, None, text)])
        with open_warehouse(postgres.url(name), tmp_path) as warehouse:
            warehouse.replace("trips", TRIPS, staged, "run")
            assert warehouse.query("SELECT zone, octet_length(zone) FROM trips") == [
                (text, len(text.encode("latin1" if encoding == "LATIN1" else "utf-8")))
            ]
            assert [row.run_id for row in warehouse.loaded("trips")] == ["run"]
    finally:
        ask(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("keyed", [True, False])
def test_a_publication_of_all_tables(postgres: PostgresServer, tmp_path: Path, *, keyed: bool) -> None:
    """Months and zones can be replaced; a lookup without a key, of an earlier version, is told, and not as passing."""
    zones = read_zones(resolve("sample"), tmp_path).rows
    if not keyed:
        columns = ", ".join(f"{column.name} {column.types.postgres}" for column in ZONES)
        ask(postgres, f"CREATE TABLE {ZONES_TABLE} ({columns})")
        ask(postgres, f"COMMENT ON TABLE {ZONES_TABLE} IS '{LOOKUP_MARK}'")
    with open_warehouse(postgres.url(), tmp_path) as warehouse:
        warehouse.replace_table(ZONES_TABLE, ZONES, zones)
        ask(postgres, "CREATE PUBLICATION everything FOR ALL TABLES")
        if not keyed:
            with pytest.raises(WarehouseError, match="replica identity") as caught:
                warehouse.replace_table(ZONES_TABLE, ZONES, zones)
            assert "ADD PRIMARY KEY" in caught.value.hint
            ask(postgres, f"ALTER TABLE {ZONES_TABLE} ADD PRIMARY KEY (location_id)")
        assert warehouse.replace_table(ZONES_TABLE, ZONES, zones) == 265
    for _ in range(2):
        put(postgres, tmp_path, "2021-01", [1, 2])
    assert numbers_of(postgres) == [1, 2]


# -- the ledger -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("gives_way", [True, False])
def test_readers_go_on_while_the_ledgers_row_is_kept(
    postgres: PostgresServer, tmp_path: Path, *, gives_way: bool
) -> None:
    """A load that waits for its ledger row says so, for a bounded time, and keeps nobody from any month meanwhile."""
    put(postgres, tmp_path, "2021-01", [1])
    put(postgres, tmp_path, "2021-02", [2])
    notes: list[str] = []
    with psycopg.connect(postgres.dsn()) as other:
        other.execute("SELECT * FROM nyctaxi_loads FOR UPDATE")

        def listen(event: Event) -> None:
            if event.note:
                notes.append(event.note)
                with psycopg.connect(postgres.dsn(), options="-c statement_timeout=2000") as reader:
                    assert reader.execute("SELECT trip FROM trips ORDER BY 1").fetchall() == [(1,), (2,)]
                if gives_way:
                    other.rollback()

        with listening(listen):
            if gives_way:
                put(postgres, tmp_path, "2021-01", [3])
            else:
                with pytest.raises(WarehouseError, match="nyctaxi_loads"):
                    put(postgres, tmp_path, "2021-01", [3])
    assert "nyctaxi_loads" in notes[0]
    assert numbers_of(postgres) == ([2, 3] if gives_way else [1, 2])


# -- changes of the table ---------------------------------------------------------------------------------------------

HARMLESS = {
    "not null": ["ALTER TABLE trips ALTER COLUMN trip SET NOT NULL"],
    "check": ["ALTER TABLE trips ADD CONSTRAINT fair CHECK (fare_amount >= 0)"],
    "check of some": ["ALTER TABLE trips ADD CONSTRAINT fair CHECK (fare_amount >= 0) NOT VALID"],
    "check of the month": ["ALTER TABLE trips ADD CHECK (file_month > '2009-01-01')"],
    "generated": ["ALTER TABLE trips ADD COLUMN cents bigint GENERATED ALWAYS AS (fare_amount * 100) STORED"],
    "default": ["ALTER TABLE trips ADD COLUMN agent text DEFAULT 'us'"],
    "not null with a default": ["ALTER TABLE trips ADD COLUMN agent text NOT NULL DEFAULT 'us'"],
    "serial": ["ALTER TABLE trips ADD COLUMN id bigserial"],
    "identity": ["ALTER TABLE trips ADD COLUMN id bigint GENERATED BY DEFAULT AS IDENTITY"],
    "collation": ['ALTER TABLE trips ADD COLUMN note text COLLATE "C"'],
    "unique": ["CREATE UNIQUE INDEX one ON trips (file_month, trip)"],
    "primary key": ["ALTER TABLE trips ADD PRIMARY KEY (file_month, trip)"],
    "foreign key": [
        "CREATE TABLE fares (fare double precision PRIMARY KEY)",
        "INSERT INTO fares SELECT n / 4.0 FROM generate_series(0, 20) n",
        "ALTER TABLE trips ADD FOREIGN KEY (fare_amount) REFERENCES fares",
    ],
    "trigger": [
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER note AFTER INSERT ON trips FOR EACH ROW EXECUTE FUNCTION note()",
    ],
    "another partition": ["CREATE TABLE others PARTITION OF trips DEFAULT"],
    "row security": ["ALTER TABLE trips ENABLE ROW LEVEL SECURITY"],
}


def _skip_where_unknown(server: PostgresServer, change: str) -> None:
    if change == "identity" and int(ask(server, "SHOW server_version_num")[0]) < 170000:
        pytest.skip("before Postgres 17 a partitioned table takes no identity column once it has partitions")


@pytest.mark.parametrize("change", HARMLESS)
def test_a_harmless_change_is_lived_with(postgres: PostgresServer, change: str, tmp_path: Path) -> None:
    """Rows that satisfy it are loaded, in a month that is replaced and in a new one; it is there still."""
    _skip_where_unknown(postgres, change)
    put(postgres, tmp_path, "2021-01", [1, 2])
    for statement in HARMLESS[change]:
        ask(postgres, statement)
    for month in ("2021-01", "2021-02", "2021-01"):
        put(postgres, tmp_path, month, [3, 4, 5])
    assert numbers_of(postgres) == [3, 3, 4, 4, 5, 5]
    checks = "SELECT count(*) FROM pg_constraint WHERE conrelid = 'trips'::regclass AND contype = 'c'"
    assert ask(postgres, checks) == [int(change.startswith("check"))]


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("generated", "(sum(cents))::int"),
        ("default", "min(agent)"),
        ("serial", "count(DISTINCT id)::int"),
        ("identity", "count(DISTINCT id)::int"),
    ],
)
def test_a_columns_default_is_loaded(postgres: PostgresServer, change: str, value: str, tmp_path: Path) -> None:
    """What a user's column is to hold where nothing is given, it holds."""
    _skip_where_unknown(postgres, change)
    put(postgres, tmp_path, "2021-01", [1, 2])
    for statement in HARMLESS[change]:
        ask(postgres, statement)
    put(postgres, tmp_path, "2021-02", [3, 4])
    expected = {"generated": 75 + 100, "default": "us", "serial": 2, "identity": 2}[change]
    assert ask(postgres, f"SELECT {value} FROM trips WHERE file_month = '2021-02-01'") == [expected]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("ALTER COLUMN zone SET NOT NULL", "zone"),
        ("ADD CONSTRAINT dear CHECK (fare_amount > 100) NOT VALID", "dear"),
        ("ADD CONSTRAINT once UNIQUE (file_month, zone)", "once|zone"),
    ],
)
def test_rows_that_a_constraint_refuses_are_told(
    postgres: PostgresServer, change: str, named: str, tmp_path: Path
) -> None:
    """The error names it, and is not tried again; the month is what it was."""
    put(postgres, tmp_path, "2021-01", [3])
    ask(postgres, f"ALTER TABLE trips {change}")
    staged = stage_rows(tmp_path, "2021-01", [*trips([1]), *[(6, None, 3.0, "a"), (7, None, 3.0, "a")]])
    with (
        pytest.raises(WarehouseError, match=named) as caught,
        open_warehouse(postgres.url(), tmp_path) as warehouse,
    ):
        warehouse.replace("trips", TRIPS, staged, "run")
    assert "constraint" in caught.value.message
    assert "drop it" in caught.value.hint
    assert numbers_of(postgres) == [3]
    assert tables(postgres) == ["trips", "trips_2021_01"]


def test_a_view_of_a_partition_is_told(postgres: PostgresServer, tmp_path: Path) -> None:
    """It goes with the partition, so the load refuses; the message names it, and the hint is a view of the table."""
    put(postgres, tmp_path, "2021-01", [1])
    ask(postgres, "CREATE VIEW january AS SELECT * FROM trips_2021_01")
    with pytest.raises(WarehouseError, match="january") as caught:
        put(postgres, tmp_path, "2021-01", [3])
    assert "of the whole table" in caught.value.hint
    assert numbers_of(postgres) == [1]
    ask(postgres, "DROP VIEW january")
    ask(postgres, "CREATE VIEW january AS SELECT * FROM trips WHERE file_month = '2021-01-01'")
    put(postgres, tmp_path, "2021-01", [3])
    assert numbers_of(postgres, "january") == [3]


def test_months_are_copied_side_by_side_whatever_was_added(postgres: PostgresServer, tmp_path: Path) -> None:
    """The definition is read without a lock of the table: a month on its way keeps no other from its exchange."""
    put(postgres, tmp_path, "2021-01", [1])
    ask(postgres, "ALTER TABLE trips ADD COLUMN agent text NOT NULL DEFAULT 'us'")

    def listen(event: Event) -> None:
        if event.done and str(event.subject) == "green/2021-01":
            put(postgres, tmp_path, "2021-02", [2])

    with listening(listen):
        put(postgres, tmp_path, "2021-01", [3])
    assert numbers_of(postgres) == [2, 3]


# -- what the server refuses ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "says"),
    [("statement_timeout = '300ms'", "statement timeout"), ("default_transaction_read_only = on", "read-only")],
)
def test_what_a_setting_refuses_is_told(postgres: PostgresServer, setting: str, says: str, tmp_path: Path) -> None:
    """It is the same at the next attempt, so there is none."""
    put(postgres, tmp_path, "2021-01", [1])
    ask(postgres, f"ALTER DATABASE {postgres.database} SET {setting}")
    slow = "CREATE TRIGGER slow BEFORE INSERT ON nyctaxi_loads FOR EACH ROW EXECUTE FUNCTION slow()"
    with psycopg.connect(postgres.dsn(), options="-c default_transaction_read_only=off") as connection:
        body = "BEGIN PERFORM pg_sleep(5); RETURN NEW; END"
        connection.execute(f"CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS '{body}'".encode())
        connection.execute(slow.encode())
    with pytest.raises(WarehouseError, match=says) as caught:
        put(postgres, tmp_path, "2021-01", [3])
    assert caught.value.hint.startswith(("Raise that limit", "Is it a standby"))


def test_a_full_disk_is_told(postgres: PostgresServer, tmp_path: Path) -> None:
    """It is no connection that comes back; the room is given back, and the month is what it was."""
    with _small_disk(postgres) as disk:
        put(postgres, tmp_path, "2021-01", [1])
        free = _free(disk)
        staged = stage_rows(tmp_path, "2021-01", trips(range(60_000)), batch_rows=10_000)
        with (
            pytest.raises(WarehouseError, match="no room left on the server's disk") as caught,
            open_warehouse(postgres.url(), tmp_path) as warehouse,
        ):
            warehouse.replace("trips", TRIPS, staged, "run")
        assert "Make room" in caught.value.hint
        ask(postgres, "CHECKPOINT")
        assert _free(disk) >= free
        assert numbers_of(postgres) == [1]
        put(postgres, tmp_path, "2021-01", [2])
        assert numbers_of(postgres) == [2]
        ask(postgres, "DROP TABLE trips, nyctaxi_loads")


def test_a_full_disk_is_known_by_its_code(postgres: PostgresServer, tmp_path: Path) -> None:
    """The server's code counts, whatever language it speaks."""
    put(postgres, tmp_path, "2021-01", [1])
    body = "BEGIN RAISE 'Auf dem Datentraeger ist kein Platz' USING ERRCODE = 'disk_full'; END"
    ask(postgres, f"CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $${body}$$")
    ask(postgres, "CREATE TRIGGER f BEFORE INSERT ON nyctaxi_loads FOR EACH ROW EXECUTE FUNCTION fill()")
    with pytest.raises(WarehouseError, match="no room left on the server's disk: Auf dem"):
        put(postgres, tmp_path, "2021-01", [3])
    assert numbers_of(postgres) == [1]


@contextmanager
def _small_disk(server: PostgresServer) -> Iterator[Path]:
    """Have the database keep its tables on a disk of three megabytes: only root can mount one."""
    disk, name = Path(f"/tmp/pg-small-{secrets.token_hex(4)}"), f"small_{secrets.token_hex(4)}"  # noqa: S108 - a server's user can't enter pytest's
    disk.mkdir()
    try:
        mount = ["mount", "-t", "tmpfs", "-o", "size=3m,mode=777", "tmpfs", str(disk)]
        if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("no disk can be mounted here")
        folder = disk / "tables"
        folder.mkdir()
        owner = Path(ask(server, "SHOW data_directory")[0]).stat()
        os.chown(folder, owner.st_uid, owner.st_gid)
        ask(server, f"CREATE TABLESPACE {name} LOCATION '{folder}'")
        ask(server, f"ALTER DATABASE {server.database} SET default_tablespace = {name}")
        yield disk
        ask(server, f"ALTER DATABASE {server.database} RESET default_tablespace")
        ask(server, f"DROP TABLESPACE {name}")
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], capture_output=True, check=False)
        disk.rmdir()


def _free(disk: Path) -> int:
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize
