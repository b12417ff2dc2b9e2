"""Where rows go: each opener lends a new destination, and tells how many rows are in it afterwards.

What is prepared here is not measured.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from bench.commands import expect, run, say
from bench.workbench import EVERY_ROWS, MANY, MANY_ROWS, NYCTAXI, SCRIPTS, TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bench.workbench import Workbench

BUCKET, TRIPS = "lake", "trips"
PERIOD = ("--color", "yellow", "--year", "2021")
JANUARY = (*PERIOD, "--months", "1")
# Every colour's months of these years and a second table of the first of them make 700 months in the ledger.
EVERY_YEARS, SECOND_TABLE_YEARS = 17, 11
EVERY = ("--color", "yellow,green,fhv,fhvhv", "--year", "2009-2025")
SECOND_TABLE = ("--color", "yellow", "--year", "2009-2019", "--table", "another_table")
IN_LEDGER = 700
IN_SECOND_TABLE = 12 * SECOND_TABLE_YEARS


@dataclass(frozen=True)
class Destination:
    """Where rows go: what a command calls it, a folder of the command's own, how its rows (or months) are counted."""

    address: str
    scratch: Path
    count: Callable[[], int]
    environment: Mapping[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def postgres(bench: Workbench) -> Iterator[Destination]:
    """Lend an empty database; what the one before left to write is written first."""
    name = bench.server.new_database()
    password = bench.server.url_with_password(name).replace("+psycopg", "", 1)
    addresses = {"DESTINATION__POSTGRES__CREDENTIALS": password, "SLING_TARGET": f"{password}?sslmode=disable"}
    with scratch(bench) as folder, psycopg.connect(bench.server.dsn(), autocommit=True) as connection:
        connection.execute("CHECKPOINT")
        yield Destination(name, folder, partial(count_in_postgres, bench, name), addresses)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@contextlib.contextmanager
def typed_table(bench: Workbench) -> Iterator[Destination]:
    r"""Lend a database in which the table is there already, since ``\copy`` makes none."""
    with postgres(bench) as destination:
        with psycopg.connect(bench.server.dsn(destination.address)) as connection:
            connection.execute(f"CREATE TABLE {TABLE} ({bench.ddl})".encode())
        yield destination


@contextlib.contextmanager
def duckdb(bench: Workbench) -> Iterator[Destination]:
    """Lend the name of a DuckDB file that is not there yet."""
    with scratch(bench) as folder:
        path = folder / "nyctaxi.duckdb"
        yield Destination(str(path), folder, partial(count_rows, bench, "duckdb", path))


@contextlib.contextmanager
def lake(bench: Workbench) -> Iterator[Destination]:
    """Lend a folder for Parquet; the rows are those of its folder ``trips``, since ours keeps rejects in another."""
    with scratch(bench) as folder, scratch(bench) as objects:
        (objects / TRIPS).mkdir()
        yield Destination(str(objects), folder, partial(count_rows, bench, "parquet", objects / TRIPS))


@contextlib.contextmanager
def bucket(bench: Workbench) -> Iterator[Destination]:
    """Lend a new prefix of a bucket, which is a folder of the stand-in's for Google Cloud Storage."""
    with scratch(bench) as folder, tempfile.TemporaryDirectory(dir=buckets(bench) / BUCKET) as name:
        count = partial(count_rows, bench, "parquet", Path(name) / TRIPS)
        yield Destination(f"gs://{BUCKET}/{Path(name).name}", folder, count, {"NO_PROXY": "127.0.0.1"})


def buckets(bench: Workbench) -> Path:
    """Return where the stand-in for Google Cloud Storage keeps objects as files."""
    return bench.folder / "buckets"


@contextlib.contextmanager
def nowhere(bench: Workbench) -> Iterator[Destination]:
    """Lend nothing: the command moves no rows."""
    with scratch(bench) as folder:
        yield Destination("", folder, lambda: 0)


@contextlib.contextmanager
def one_month(bench: Workbench) -> Iterator[Destination]:
    """Lend a data folder whose ledger has one month, loaded already."""
    data = bench.folder / "one-month"
    if not data.exists():
        fill(bench, data, 1, "ingest", *JANUARY, "--source", str(bench.months("csv")))
    yield Destination("", data, lambda: 1)


@contextlib.contextmanager
def new_prefect(bench: Workbench) -> Iterator[Destination]:
    """Lend the same, with an empty folder for Prefect, as on the first day: its server has to make its database."""
    with one_month(bench) as destination, scratch(bench) as home:
        yield replace(destination, environment={"PREFECT_HOME": str(home)})


@contextlib.contextmanager
def used_prefect(bench: Workbench) -> Iterator[Destination]:
    """Lend the same, with the folder that Prefect has used before, as on any other day."""
    home = bench.folder / "used-prefect"
    with one_month(bench) as destination:
        lent = replace(destination, environment={"PREFECT_HOME": str(home)})
        if not home.exists():
            source = ("--source", str(bench.months("csv")), "--data-dir", str(lent.scratch))
            run([*NYCTAXI, "ingest", *JANUARY, *source], {**bench.environment, **lent.environment})
        yield lent


@contextlib.contextmanager
def many_months(bench: Workbench) -> Iterator[Destination]:
    """Lend a data folder whose lake and warehouse have small months."""
    data, years = bench.folder / "many-months", ("--color", "yellow", "--year", "2021-2022")
    source = bench.write("many", MANY_ROWS, MANY, "--forms", "csv") / "csv"
    if not data.exists():
        say(f"Loading {MANY} small months ...")
        fill(bench, data, MANY, "upload", *years, "--source", str(source))
        fill(bench, data, MANY, "warehouse", *years)
        expect("files in the lake", len(list((data / "lake" / TRIPS).rglob("*.parquet"))), MANY)
    yield Destination(str(source), data, lambda: MANY)


@contextlib.contextmanager
def every_month(bench: Workbench) -> Iterator[Destination]:
    """Lend a data folder whose ledger has 700 months: all of all colours, and some of them in a second table."""
    data = bench.folder / "every-month"
    source = bench.write("every", EVERY_ROWS, EVERY_YEARS, "--forms", "every") / "every"
    once = IN_LEDGER - IN_SECOND_TABLE
    if not data.exists():
        say(f"Loading {IN_LEDGER} tiny months ...")
        fill(bench, data, once, "ingest", *EVERY, "--source", str(source))
        fill(bench, data, IN_SECOND_TABLE, "ingest", *SECOND_TABLE, "--source", str(source))
    yield Destination(str(source), data, lambda: once)


@contextlib.contextmanager
def one_of_every(bench: Workbench) -> Iterator[Destination]:
    """Lend the same data folder for a command that asks for one month."""
    with every_month(bench) as destination:
        yield Destination(destination.address, destination.scratch, lambda: 1)


def fill(bench: Workbench, data: Path, months: int, *command: str) -> None:
    """Run a command that has to load so many months."""
    done = run([*NYCTAXI, *command, "--data-dir", str(data), "--direct", "--json"], bench.environment)
    expect("months loaded", json.loads(done.output)["totals"]["outcomes"].get("loaded", 0), months)


@contextlib.contextmanager
def scratch(bench: Workbench) -> Iterator[Path]:
    """Lend an empty folder."""
    with tempfile.TemporaryDirectory(dir=bench.folder) as name:
        yield Path(name)


def count_in_postgres(bench: Workbench, database: str) -> int:
    """Return the rows of the table."""
    with psycopg.connect(bench.server.dsn(database)) as connection:
        row = connection.execute(f"SELECT count(*) FROM {TABLE}".encode()).fetchone()
    return int(row[0]) if row else 0


def count_rows(bench: Workbench, kind: str, path: Path) -> int:
    """Return the rows of a DuckDB file's table, or of a folder's Parquet files, without trusting who wrote them."""
    command = [sys.executable, str(SCRIPTS / "count_rows.py"), kind, str(path), TABLE]
    return int(run(command, bench.environment).output)
