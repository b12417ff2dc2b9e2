"""What the ways have in common: the server, the generated months, what is known of them, and the environment."""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from bench.commands import run, say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from support.postgres import PostgresServer

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
SCRIPTS = BENCH / "scripts"
NYCTAXI = (sys.executable, "-m", "nyctaxi_etl")
TABLE = "yellow_taxi_data"
ROWS = 1_370_000  # yellow 2021-01 has 1,369,765
LARGE = 10
MANY = 24
MANY_ROWS = 10_000  # of each of the months that are found unchanged
EVERY_ROWS = 100
MONTHS = 3  # that run side by side
# What the peers would send to their makers, and where they would keep files.
QUIET = {"RUNTIME__DLTHUB_TELEMETRY": "false", "SLING_DISABLE_TELEMETRY": "TRUE", "DO_NOT_TRACK": "1"}
OURS = ("NYCTAXI_", "PREFECT_")


@dataclass(frozen=True)
class Workbench:
    """Where everything is, and how many rows the months and their copies have.

    ``counts`` has the rows of the copy without unparsable rows (``cleaned``), and those of it and of the Parquet month
    with another passenger count than 0 (``cleaned_kept``, ``parquet_kept``).
    """

    server: PostgresServer
    folder: Path
    rows: int
    counts: Mapping[str, int]
    ddl: str
    environment: Mapping[str, str]
    patience: float = 0
    peers: Mapping[str, Path] = field(default_factory=dict)

    def month(self, form: str) -> Path:
        """Return the month's file that a peer reads: ``cleaned`` (csv.gz), ``encoded`` or ``parquet``."""
        if form == "parquet":
            return next((self.folder / "months" / form).glob("*-01.parquet"))
        return self.folder / {"cleaned": "cleaned.csv.gz", "encoded": "encoded.bin"}[form]

    def months(self, form: str, size: int = 1) -> Path:
        """Return a folder of months as ``csv`` or ``parquet``; those of another size than usual are made now."""
        if size == 1:
            return self.folder / "months" / form
        return self.write(f"large-{form}", size * self.rows, 1, "--forms", form) / form

    def write(self, name: str, rows: int, count: int, *options: str) -> Path:
        """Generate months in a folder of this name, if there is none, and return it."""
        folder = self.folder / name
        if not folder.exists():
            say(f"Writing {name}: {rows:,} rows a month ...")
            workload(folder, rows, count, self.environment, *options)
        return folder / "months"


def prepare(server: PostgresServer, folder: Path, rows: int) -> Workbench:
    """Generate three months and the copies of the first; compile the package as an installer does."""
    environment = {name: text for name, text in server.environment().items() if not name.startswith(OURS)}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    environment |= {**QUIET, "SLING_HOME_DIR": str(folder / "sling"), "DLT_DATA_DIR": str(folder / "dlt")}
    environment["PREFECT_HOME"] = str(folder / "prefect")
    say(f"Writing {MONTHS} months of {rows:,} rows ...")
    run([sys.executable, "-m", "compileall", "-q", str(ROOT / "src")], environment)
    written = workload(folder, rows, MONTHS, environment, "--forms", "csv", "parquet", "--copies")
    return Workbench(server, folder, rows, written["counts"], written["ddl"], environment)


def workload(folder: Path, rows: int, count: int, environment: Mapping[str, str], *options: str) -> dict[str, Any]:
    """Generate months in a process of its own, and return what it tells of them."""
    command = [sys.executable, str(BENCH / "workload.py"), str(folder), str(rows), str(count), *options]
    written: dict[str, Any] = json.loads(run(command, environment).output)
    return written


def machine(server: PostgresServer) -> str:
    """Name what the figures are of."""
    with psycopg.connect(server.dsn()) as connection:
        postgres = connection.info.server_version // 10_000
    return f"{os.cpu_count()} CPUs, {platform.system()}, Python {platform.python_version()}, Postgres {postgres}"
