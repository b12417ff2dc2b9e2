"""Measure the command beside what others use: one run, one machine, one Postgres that it starts by itself.

``python bench/bench.py`` generates months of 1,370,000 yellow rows and loads them in every way of ``bench/ways``, each
time into a new database or lake and with the rows counted afterwards. A wrong count ends it; a slow time never does.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:1] = [str(ROOT), str(ROOT / "tests")]  # for bench.* and for the server, which is started as in the tests

from bench.commands import CommandFailed, Run, expect, megabytes, run, say, settle  # noqa: E402 - found by the line above
from bench.peers import environments  # noqa: E402 - found by the line above
from bench.report import summary, table  # noqa: E402 - found by the line above
from bench.services import GROUPS  # noqa: E402 - found by the line above
from bench.ways import WAYS, Way  # noqa: E402 - found by the line above
from bench.workbench import ROWS, Workbench, machine, prepare  # noqa: E402 - found by the line above

from support.postgres import HONEST, postgres_server  # noqa: E402 - found by the line above

if TYPE_CHECKING:
    from collections.abc import Sequence


def main() -> None:
    """Measure what the command line asks for and print it."""
    asked = parse()
    pythons, missing = environments(sorted({way.needs for way in asked.ways if way.needs}))
    skipped = {way.name: missing[way.needs] for way in asked.ways if way.needs in missing}
    ways = [way for way in asked.ways if way.name not in skipped]
    with tempfile.TemporaryDirectory(prefix="nyctaxi-bench-") as name, postgres_server(settings=HONEST) as server:
        os.chdir(name)  # where there is no .env
        bench = prepare(server, Path(name), asked.rows)
        runs, failed = measure(replace(bench, patience=asked.patience, peers=pythons), ways, asked.repeat)
        facts = {"machine": machine(server), "rows": asked.rows, "least_mb": own_peak_mb(), "skipped": skipped | failed}
    report: dict[str, Any] = {**facts, **summary(runs)}
    if asked.json != "-":
        print(table(report))
    if asked.json:
        text = json.dumps(report, indent=2)
        print(text) if asked.json == "-" else asked.json_path.write_text(text + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of a month (%(default)s)")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each, of which the median counts (%(default)s)")
    parser.add_argument("--patience", type=float, default=10, help="seconds to wait for a quiet machine (%(default)s)")
    parser.add_argument("--only", help="what to measure: csv-postgres,psql-copy ...")
    parser.add_argument("--skip-slow", action="store_true", help="leave out what is run once, and Prefect's server")
    parser.add_argument("--large", action=argparse.BooleanOptionalAction, default=True, help="the large months")
    parser.add_argument("--json", metavar="FILE", help="also write the figures there; -: only print them")
    asked = parser.parse_args()
    asked.json_path = Path(asked.json or "").absolute()
    names = asked.only.split(",") if asked.only else usual_ways(skip_slow=asked.skip_slow, large=asked.large)
    if not set(names) <= set(WAYS) or asked.repeat < 1 or asked.rows < 1:
        parser.error(f"--only takes {', '.join(WAYS)}; numbers are from 1.")
    asked.ways = [way for way in WAYS.values() if way.name in names]
    return asked


def usual_ways(*, skip_slow: bool, large: bool) -> list[str]:
    """Return what is measured when nothing is chosen."""
    slow = [way.name for way in WAYS.values() if skip_slow and (way.once or way.group == "prefect")]
    huge = [way.name for way in WAYS.values() if not large and way.group == "large"]
    return [name for name in WAYS if name not in {*slow, *huge}]


def measure(bench: Workbench, ways: Sequence[Way], repeat: int) -> tuple[dict[str, list[Run]], dict[str, str]]:
    """Run the ways, those of a group in turns; return the runs, and why peers failed that did."""
    runs: dict[str, list[Run]] = {way.name: [] for way in ways}
    failed: dict[str, str] = {}
    for group, service in GROUPS.items():
        names = [way.name for way in ways if way.group == group]
        if not names:
            continue
        with service(bench, names) as served:
            for turn, name in ((turn, name) for turn in range(repeat) for name in names):
                way = WAYS[name]
                if name in failed or (way.once and turn):
                    continue
                try:
                    runs[name].append(take(way, served, turn))
                except CommandFailed as error:
                    if way.ours:
                        raise
                    failed[name] = last_line(error)
                    say(f"{name} fails: {error}")
    return {name: done for name, done in runs.items() if name not in failed}, failed


def take(way: Way, bench: Workbench, turn: int) -> Run:
    """Run one way once, into a new destination, and count what is in it afterwards."""
    with way.into(bench) as destination:
        command = way.command(bench, destination)
        busy = settle(bench.patience)
        done = replace(run(command, {**bench.environment, **destination.environment}), busy_before=busy)
        expect(f"{way.name}, rows or months", destination.count(), way.rows(bench, done))
    say(f"{way.name}, run {turn + 1}: {done.seconds:.2f} s, {done.peak_mb:.0f} MB")
    return done


def own_peak_mb() -> float:
    """Return this script's own peak memory: no command that it starts is measured to need less."""
    return round(megabytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss), 1)


def last_line(error: CommandFailed) -> str:
    """Return the last words of a command that failed."""
    return str(error).strip().splitlines()[-1].strip().rstrip(".")


if __name__ == "__main__":
    main()
