"""How ways are run, and how many rows they have to bring: what ``ways`` makes its rows of."""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING

from bench.commands import Run, expect
from bench.destinations import PERIOD, Destination
from bench.workbench import NYCTAXI, SCRIPTS, TABLE, Workbench

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Command = Callable[[Workbench, Destination], Sequence[str]]
    Rows = Callable[[Workbench, Run], int]

# What DuckDB reads; ``filled`` puts the files in.
CSV, PARQUET = "read_csv('{cleaned}')", "read_parquet('{parquet}')"


def ingest(form: str, to: str, *options: str, months: str = "1", size: int = 1) -> Command:
    """Return nyctaxi's command from months as ``csv`` or ``parquet`` into ``postgres`` or ``duckdb``."""

    def command(bench: Workbench, into: Destination) -> list[str]:
        address = bench.server.url(into.address) if to == "postgres" else f"duckdb:///{into.address}"
        source = ("--source", str(bench.months(form, size)), "--months", months)
        data = ("--to", address, "--data-dir", str(into.scratch), "--json")
        return [*NYCTAXI, "ingest", *PERIOD, *source, *data, *options]

    return command


def upload(form: str, size: int = 1) -> Command:
    """Return nyctaxi's command from a month as ``csv`` or ``parquet`` into a lake."""

    def command(bench: Workbench, into: Destination) -> list[str]:
        source = ("--source", str(bench.months(form, size)), "--months", "1")
        data = ("--lake", into.address, "--data-dir", str(into.scratch), "--json", "--direct")
        return [*NYCTAXI, "upload", *PERIOD, *source, *data]

    return command


def nothing_to_do(command: str, *options: str, source: str = "") -> Command:
    """Return nyctaxi's command over months that are loaded already; ``source`` is csv's folder or the destination's."""

    def unchanged(bench: Workbench, into: Destination) -> list[str]:
        folder = {"": "", "usual": str(bench.months("csv")), "own": into.address}[source]
        reads = ("--source", folder) if folder else ()
        return [*NYCTAXI, command, *options, *reads, "--data-dir", str(into.scratch), "--json"]

    return unchanged


def script(name: str, *arguments: str, peer: str = "") -> Command:
    """Return a peer's script, its arguments filled in (see ``filled``)."""

    def command(bench: Workbench, into: Destination) -> list[str]:
        python = str(bench.peers[peer]) if peer else sys.executable
        return [python, str(SCRIPTS / f"{name}.py"), *(filled(text, bench, into) for text in arguments)]

    return command


def create(table: str, reader: str) -> str:
    """Return DuckDB's statement that makes a table of a file."""
    return f"CREATE TABLE {table} AS SELECT * FROM {reader}"


def filled(text: str, bench: Workbench, into: Destination) -> str:
    """Fill in the names of files, the destination's address, and the table."""
    files = {form: bench.month(form) for form in ("cleaned", "encoded", "parquet")}
    uri, url = (make(into.address) for make in (bench.server.uri, bench.server.url))
    return text.format(**files, uri=uri, url=url, to=into.address, table=TABLE, ddl=bench.ddl)


def psql_copy(bench: Workbench, into: Destination) -> list[str]:
    """Return zcat and the server's own psql."""
    psql = shlex.join([str(bench.server.programs / "psql"), "-qX", "-v", "ON_ERROR_STOP=1"])
    copy = shlex.join([bench.server.uri(into.address), "-c", f"\\copy {TABLE} FROM STDIN (FORMAT csv, HEADER)"])
    return ["bash", "-o", "pipefail", "-c", f"gzip -dc {shlex.quote(str(bench.month('cleaned')))} | {psql} {copy}"]


def sling_run(bench: Workbench, _into: Destination) -> list[str]:
    """Return sling's own program, from beside the Python of its environment; the target is in ``SLING_TARGET``."""
    program = next(bench.peers["sling"].parents[1].rglob("sling_linux_amd64/bin/sling-linux-amd64"))
    reads = ("--src-stream", f"file://{bench.month('cleaned')}")
    writes = ("--tgt-conn", "SLING_TARGET", "--tgt-object", f"public.{TABLE}", "--mode", "full-refresh")
    return [str(program), "run", *reads, *writes]


def loaded(months: int = 1) -> Rows:
    """Return how many rows nyctaxi says it loaded, once it has accounted for every row of so many usual months."""

    def rows(bench: Workbench, done: Run) -> int:
        results = json.loads(done.output)["results"]
        accounted = sum(result["rows_loaded"] + result["rows_rejected"] for result in results)
        expect("rows accounted for", accounted, months * bench.rows)
        return sum(result["rows_loaded"] for result in results)

    return rows


def unchanged(_bench: Workbench, done: Run) -> int:
    """Return how many months nyctaxi says it found unchanged."""
    return int(json.loads(done.output)["totals"]["outcomes"].get("unchanged", 0))


def counted(name: str) -> Rows:
    """Return the rows that the generator counted."""
    return lambda bench, _: bench.counts[name]


def whole(bench: Workbench, _done: Run) -> int:
    """Return all rows of the month as published."""
    return bench.rows


def none(_bench: Workbench, _done: Run) -> int:
    """Return that nothing is moved."""
    return 0
