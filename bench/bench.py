"""Measure the command against its competitors: one run, one machine, one Postgres that it starts by itself.

``python bench/bench.py`` generates a month of 1,370,000 yellow rows and loads it in every way of ``WAYS``, each time
into a new database or lake and with the rows counted afterwards. A wrong count ends it; a slow time never does.

The generated months have warts that end ``COPY`` (blank lines, rows that don't parse), so b, c, d, k and l get a copy
of the same month without them, made beforehand: they don't pay for finding them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shlex
import sys
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
sys.path[:1] = [str(ROOT), str(ROOT / "tests")]  # for bench.* and for the server, which is started as in the tests

from bench.commands import Run, prefect_server, run, settle  # noqa: E402 - found by the line above
from bench.report import LARGE, MANY, WAYS, summary, table  # noqa: E402 - found by the line above

from support.gcs import fake_gcs  # noqa: E402 - found by the line above
from support.postgres import HONEST, PostgresServer, postgres_server  # noqa: E402 - found by the line above

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

ROWS = 1_370_000  # yellow 2021-01 has 1,369,765
HELP_REPEATS = 5
NYCTAXI = (sys.executable, "-m", "nyctaxi_etl")
MANY_ROWS = 10_000  # of each of the months that are found unchanged
INTERLEAVED = "acdeijkl"
SLOW = "bfgkm"
LARGEST = "gm"
BUCKET = "lake"
COUNT_FOOTERS = (
    "import sys, pyarrow.parquet as pq; print(sum(pq.read_metadata(path).num_rows for path in sys.argv[1:]))"
)


@dataclass(frozen=True)
class Workbench:
    """Where everything is: the server, the folder of the generated months, what is known of them, who reads what."""

    server: PostgresServer
    folder: Path
    rows: int
    cleaned_rows: int
    ddl: str
    environment: Mapping[str, str]
    patience: float = 0
    storage: str = ""

    @property
    def buckets(self) -> Path:
        """Where the stand-in for Google Cloud Storage keeps objects as files."""
        return self.folder / "buckets"


def main() -> None:
    """Measure what the command line asks for and print it."""
    asked = parse()
    with tempfile.TemporaryDirectory(prefix="nyctaxi-bench-") as name, postgres_server(settings=HONEST) as server:
        os.chdir(name)  # where there is no .env
        bench = prepare(server, Path(name), asked.rows)
        runs = measure(replace(bench, patience=asked.patience), asked.ways, asked.repeat)
        report = {"machine": machine(server), "rows": asked.rows, **summary(runs)}
    if asked.json != "-":
        print(table(report))
    if asked.json:
        text = json.dumps(report, indent=2)
        print(text) if asked.json == "-" else asked.json_path.write_text(text + "\n")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of a month (%(default)s)")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each, of which the median counts (%(default)s)")
    parser.add_argument("--patience", type=float, default=10, help="seconds to wait for a quiet machine (%(default)s)")
    parser.add_argument("--only", help="what to measure: a,b,c ...")
    parser.add_argument("--skip-slow", action="store_true", help=f"leave out {', '.join(SLOW)}")
    parser.add_argument("--large", action=argparse.BooleanOptionalAction, default=True, help="g and m, the large month")
    parser.add_argument("--json", metavar="FILE", help="also write the figures there; -: only print them")
    asked = parser.parse_args()
    asked.json_path = Path(asked.json or "").absolute()
    asked.ways = asked.only.split(",") if asked.only else usual_ways(skip_slow=asked.skip_slow, large=asked.large)
    if not set(asked.ways) <= set(WAYS) or asked.repeat < 1 or asked.rows < 1:
        parser.error(f"--only takes {', '.join(WAYS)}; numbers are from 1.")
    return asked


def usual_ways(*, skip_slow: bool, large: bool) -> list[str]:
    """Return what is measured when nothing is chosen."""
    left_out = (SLOW if skip_slow else "") + ("" if large else LARGEST)
    return [way for way in WAYS if way not in left_out]


def prepare(server: PostgresServer, folder: Path, rows: int) -> Workbench:
    """Generate three months and the copies of the first; compile the package as an installer does."""
    environment = {name: text for name, text in server.environment().items() if not name.startswith("NYCTAXI_")}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    say(f"Writing three months of {rows:,} rows ...")
    run([sys.executable, "-m", "compileall", "-q", str(ROOT / "src")], environment)
    command = [sys.executable, str(BENCH / "workload.py"), str(folder), str(rows), "3", "--copies"]
    written = json.loads(run(command, environment).output)
    return Workbench(server, folder, rows, written["cleaned_rows"], written["ddl"], environment)


def measure(bench: Workbench, ways: Sequence[str], repeat: int) -> dict[str, list[Run]]:
    """Run everything asked for; those of ``INTERLEAVED`` take turns, so that a disturbance hits them alike."""
    runs: dict[str, list[Run]] = {way: [] for way in WAYS if way in ways}
    with storage(bench) if "j" in runs else contextlib.nullcontext(bench) as served:
        for turn in range(repeat):
            for way in INTERLEAVED:
                take(runs, way, DOERS[way], served, turn)
    for turn in range(HELP_REPEATS):
        take(runs, "h", ask_help, bench, turn)
    take(runs, "b", load_usual, bench, 0)
    if "f" in runs:
        say("Starting Prefect's server ...")
        with prefect_server(bench.folder, bench.environment) as environment:
            for turn in range(repeat):
                take(runs, "f", load_with_prefect, replace(bench, environment=environment), turn)
    take(runs, "g", load_large, bench, 0)
    take(runs, "m", upload_large, bench, 0)
    if {"n", "o"} & set(runs):
        find_unchanged(runs, bench, repeat)
    return runs


def take(runs: dict[str, list[Run]], way: str, doer: Callable[[Workbench], Run], bench: Workbench, turn: int) -> None:
    """Run one way once, if it was asked for."""
    if way in runs:
        busy = settle(bench.patience)
        done = replace(doer(bench), busy_before=busy)
        runs[way].append(done)
        say(f"{way} {WAYS[way]}, run {turn + 1}: {done.seconds:.2f} s, {done.peak_mb:.0f} MB")


def load_direct(bench: Workbench) -> Run:
    """Way a."""
    return ingest(bench, "1", bench.rows, "--direct")


def load_three(bench: Workbench) -> Run:
    """Way e."""
    return ingest(bench, "1-3", 3 * bench.rows, "--direct", "--jobs", "2")


def load_with_prefect(bench: Workbench) -> Run:
    """Way f."""
    return ingest(bench, "1-3", 3 * bench.rows, "--jobs", "2")


def load_large(bench: Workbench) -> Run:
    """Way g."""
    with more_months(bench, LARGE * bench.rows, 1) as months:
        return ingest(bench, "1", LARGE * bench.rows, "--direct", source=months)


@contextlib.contextmanager
def more_months(bench: Workbench, rows: int, count: int) -> Iterator[Path]:
    """Generate months beside the usual ones, and remove them afterwards."""
    say(f"Writing {count} months of {rows:,} rows ..." if count > 1 else f"Writing a month of {rows:,} rows ...")
    with tempfile.TemporaryDirectory(dir=bench.folder) as name:
        run([sys.executable, str(BENCH / "workload.py"), name, str(rows), str(count)], bench.environment)
        yield Path(name) / "months"


def ingest(bench: Workbench, months: str, rows: int, *options: str, source: Path | None = None) -> Run:
    """Run the command into a new database with a new data folder, and count what it loaded."""
    period = ("--color", "yellow", "--year", "2021", "--months", months)
    with new_database(bench.server) as database, tempfile.TemporaryDirectory(dir=bench.folder) as data:
        places = ("--source", str(source or bench.folder / "months"), "--to", bench.server.url(database))
        done = run([*NYCTAXI, "ingest", *period, *places, "--data-dir", data, "--json", *options], bench.environment)
        results = json.loads(done.output)["results"]
        check(bench.server, database, "yellow_taxi_data", sum(result["rows_loaded"] for result in results))
        expect("rows accounted for", sum(r["rows_loaded"] + r["rows_rejected"] for r in results), rows)
    return done


def load_usual(bench: Workbench) -> Run:
    """Way b."""
    with new_database(bench.server) as database:
        script = [sys.executable, str(BENCH / "usual_script.py")]
        done = run([*script, str(bench.folder / "cleaned.csv.gz"), bench.server.url(database), "t"], bench.environment)
        check(bench.server, database, "t", bench.cleaned_rows)
    return done


def load_text(bench: Workbench) -> Run:
    """Way c, with the server's own psql; the table is there beforehand."""
    with new_database(bench.server) as database:
        with psycopg.connect(bench.server.dsn(database)) as connection:
            connection.execute(f"CREATE TABLE t ({bench.ddl})".encode())
        psql = shlex.join([str(bench.server.programs / "psql"), "-qX", "-v", "ON_ERROR_STOP=1"])
        copy = shlex.join([bench.server.uri(database), "-c", "\\copy t FROM STDIN (FORMAT csv, HEADER)"])
        file = shlex.quote(str(bench.folder / "cleaned.csv.gz"))
        done = run(["bash", "-o", "pipefail", "-c", f"gzip -dc {file} | {psql} {copy}"], bench.environment)
        check(bench.server, database, "t", bench.cleaned_rows)
    return done


def load_encoded(bench: Workbench) -> Run:
    """Way d."""
    with new_database(bench.server) as database:
        script = [sys.executable, str(BENCH / "encoded_copy.py"), str(bench.folder / "encoded.bin")]
        done = run([*script, bench.server.uri(database), "t", bench.ddl], bench.environment)
        check(bench.server, database, "t", bench.cleaned_rows)
    return done


def upload_local(bench: Workbench) -> Run:
    """Way i."""
    return upload_month(bench, bench.folder / "months", bench.rows)


def upload_large(bench: Workbench) -> Run:
    """Way m."""
    with more_months(bench, LARGE * bench.rows, 1) as months:
        return upload_month(bench, months, LARGE * bench.rows)


def upload_month(bench: Workbench, source: Path, rows: int) -> Run:
    """Upload a month into a new local lake, and count what it put there."""
    with tempfile.TemporaryDirectory(dir=bench.folder) as lake:
        return upload(bench, source, lake, Path(lake), rows)


def upload_cloud(bench: Workbench) -> Run:
    """Way j: each run has a prefix of its own, which is a folder of the stand-in's."""
    served = {"STORAGE_EMULATOR_HOST": bench.storage, "NO_PROXY": "127.0.0.1"}
    client = replace(bench, environment={**bench.environment, **served})
    with tempfile.TemporaryDirectory(dir=bench.buckets / BUCKET) as objects:
        lake = f"gs://{BUCKET}/{Path(objects).name}"
        return upload(client, bench.folder / "months", lake, Path(objects), bench.rows)


def upload(bench: Workbench, source: Path, lake: str, objects: Path, rows: int) -> Run:
    """Upload the first month, and count the rows of the Parquet files that are ``objects``."""
    period = ("--color", "yellow", "--year", "2021", "--months", "1")
    with tempfile.TemporaryDirectory(dir=bench.folder) as data:
        places = ("--source", str(source), "--lake", lake, "--data-dir", data)
        done = run([*NYCTAXI, "upload", *period, *places, "--json", "--direct"], bench.environment)
    results = json.loads(done.output)["results"]
    check_files(bench, [objects / r["table"] for r in results], sum(r["rows_loaded"] for r in results))
    expect("rows accounted for", sum(r["rows_loaded"] + r["rows_rejected"] for r in results), rows)
    return done


def pack_as_taught(bench: Workbench) -> Run:
    """Way k."""
    return pack_usual(bench, "gzip")


def pack_as_pandas(bench: Workbench) -> Run:
    """Way l."""
    return pack_usual(bench, "snappy")


def pack_usual(bench: Workbench, compression: str) -> Run:
    """Write the month with pandas, and count what it wrote."""
    with tempfile.TemporaryDirectory(dir=bench.folder) as name:
        output = Path(name) / "month.parquet"
        script = [sys.executable, str(BENCH / "usual_upload.py"), str(bench.folder / "cleaned.csv.gz")]
        done = run([*script, str(output), compression], bench.environment)
        check_files(bench, [output], bench.cleaned_rows)
    return done


def find_unchanged(runs: dict[str, list[Run]], bench: Workbench, repeat: int) -> None:
    """Ways n and o: bring small months into lake and warehouse, and do it again, which has nothing to bring."""
    with more_months(bench, MANY_ROWS, MANY) as months, tempfile.TemporaryDirectory(dir=bench.folder) as data:
        period = ("--color", "yellow", "--year", "2021-2022", "--data-dir", data, "--json", "--direct")
        commands = {"n": ("upload", *period, "--source", str(months)), "o": ("warehouse", *period)}
        for command in commands.values():
            outcomes(command, "loaded", bench)
        files = sorted((Path(data) / "lake" / "trips").rglob("*.parquet"))
        expect("files in the lake", len(files), MANY)
        for turn in range(repeat):
            for way, command in commands.items():
                take(runs, way, partial(outcomes, command, "unchanged"), bench, turn)


def outcomes(command: Sequence[str], outcome: str, bench: Workbench) -> Run:
    """Run a command over all the small months, each of which has to end so."""
    done = run([*NYCTAXI, *command], bench.environment)
    expect(f"months {outcome}", json.loads(done.output)["totals"]["outcomes"].get(outcome, 0), MANY)
    return done


def ask_help(bench: Workbench) -> Run:
    """Way h."""
    return run([*NYCTAXI, "--help"], bench.environment)


DOERS = {"a": load_direct, "c": load_text, "d": load_encoded, "e": load_three}
DOERS |= {"i": upload_local, "j": upload_cloud, "k": pack_as_taught, "l": pack_as_pandas}


@contextlib.contextmanager
def storage(bench: Workbench) -> Iterator[Workbench]:
    """Run the stand-in for Google Cloud Storage, with a bucket."""
    (bench.buckets / BUCKET).mkdir(parents=True)
    with fake_gcs(bench.buckets) as url:
        yield replace(bench, storage=url)


@contextlib.contextmanager
def new_database(server: PostgresServer) -> Iterator[str]:
    """Lend an empty database; what the one before left to write is written first."""
    name = server.new_database()
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute("CHECKPOINT")
        yield name
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def check(server: PostgresServer, database: str, table: str, rows: int) -> None:
    """Count a table's rows."""
    with psycopg.connect(server.dsn(database)) as connection:
        found = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
    expect(f"rows in {table}", found[0] if found else 0, rows)


def check_files(bench: Workbench, paths: Sequence[Path], rows: int) -> None:
    """Count the rows of Parquet files by their footers, in a process of its own: Arrow is large."""
    counted = run([sys.executable, "-c", COUNT_FOOTERS, *map(str, paths)], bench.environment)
    expect("rows in Parquet", int(counted.output), rows)


def expect(what: str, found: int, wanted: int) -> None:
    """End the bench if a number is wrong."""
    if found != wanted:
        message = f"{what}: {found:,}, expected {wanted:,}"
        raise SystemExit(message)


def machine(server: PostgresServer) -> str:
    """Name what the figures are of."""
    with psycopg.connect(server.dsn()) as connection:
        postgres = connection.info.server_version // 10_000
    return f"{os.cpu_count()} CPUs, {platform.system()}, Python {platform.python_version()}, Postgres {postgres}"


def say(text: str) -> None:
    """Tell what is going on."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
