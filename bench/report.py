"""What is measured, the figures that have a target, and how they are laid out."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bench.commands import Run

LARGE = 10
MANY = 24
WAYS = {
    "a": "nyctaxi ingest --direct, one month",
    "b": "pandas read_csv in chunks, to_sql",
    "c": "zcat | psql \\copy, raw text, no checks",
    "d": "COPY of rows encoded beforehand",
    "e": "nyctaxi ingest --direct, three months, --jobs 2",
    "f": "the same with Prefect and a running server",
    "g": f"as a, a month {LARGE} times as large",
    "h": "nyctaxi --help",
    "i": "nyctaxi upload --direct, one month, local lake",
    "j": "the same to fake-gcs-server",
    "k": "pandas read_csv, to_parquet, gzip as taught",
    "l": "the same, packed as pandas does by itself",
    "m": f"as i, a month {LARGE} times as large",
    "n": f"nyctaxi upload --direct, {MANY} months unchanged",
    "o": f"nyctaxi warehouse --direct, {MANY} months unchanged",
}
NOTES = (
    "CPU is the command's own, without the server's. Memory is that of the command's largest process, and never",
    "less than that of this script, which starts it. Busy is the share of the CPUs that something else was using",
    "just before a run, at most: where it is more than a little, the times of that line say nothing.",
    "b, c, d, k and l load a copy of the month without its unparsable rows and blank lines, made beforehand.",
    f"n and o are the second run over {MANY} small months in a folder; k and l put their file into no bucket.",
)


class Figure(NamedTuple):
    """A number with a target, computed from one value of each of its ``ways``."""

    name: str
    ways: str
    value: str
    formula: Callable[..., float]
    sign: str
    target: float

    def of(self, ways: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Compute it from the reduced runs, and compare."""
        found = self.formula(*(ways[way][self.value] for way in self.ways))
        met = found <= self.target if self.sign == "<=" else found >= self.target
        return {"name": self.name, "value": round(found, 3), "target": f"{self.sign} {self.target:g}", "met": met}


FIGURES = (
    Figure("a / c", "ac", "median_seconds", lambda a, c: a / c, "<=", 1.25),
    Figure("b / a", "ba", "median_seconds", lambda b, a: b / a, ">=", 9),
    Figure("e / 3c", "ec", "median_seconds", lambda e, c: e / (3 * c), "<=", 0.85),
    Figure("Prefect's share, f - e, s", "fe", "median_seconds", lambda f, e: f - e, "<=", 5),
    Figure("peak memory of a, MB", "a", "peak_mb", lambda a: a, "<=", 350),
    Figure("peak memory, g / a", "ga", "peak_mb", lambda g, a: g / a, "<=", 1.10),
    Figure("--help, s", "h", "median_seconds", lambda h: h, "<=", 0.4),
    Figure("k / i", "ki", "median_seconds", lambda k, i: k / i, ">=", 4),
    Figure("k / j", "kj", "median_seconds", lambda k, j: k / j, ">=", 4),
    Figure("l / i", "li", "median_seconds", lambda l_, i: l_ / i, ">=", 4),
    Figure("l / j", "lj", "median_seconds", lambda l_, j: l_ / j, ">=", 4),
    Figure("peak memory of i, MB", "i", "peak_mb", lambda i: i, "<=", 350),
    Figure("peak memory of j, MB", "j", "peak_mb", lambda j: j, "<=", 350),
    Figure("peak memory of m, MB", "m", "peak_mb", lambda m: m, "<=", 350),
    Figure("upload unchanged, s", "n", "median_seconds", lambda n: n, "<=", 3),
    Figure("warehouse unchanged, s", "o", "median_seconds", lambda o: o, "<=", 3),
)


def summary(runs: Mapping[str, Sequence[Run]]) -> dict[str, Any]:
    """Reduce the runs to medians, and those to the figures that have a target."""
    ways = {way: {"what": WAYS[way], **reduce(done)} for way, done in runs.items()}
    return {"ways": ways, "figures": [row.of(ways) for row in FIGURES if set(row.ways) <= set(ways)]}


def reduce(done: Sequence[Run]) -> dict[str, Any]:
    """Return the medians of some runs of the same command, and the largest of their peaks."""
    return {
        "median_seconds": round(statistics.median(run.seconds for run in done), 3),
        "seconds": [round(run.seconds, 3) for run in done],
        "cpu_seconds": round(statistics.median(run.cpu_seconds for run in done), 3),
        "peak_mb": round(max(run.peak_mb for run in done), 1),
        "busy_before": round(max(run.busy_before for run in done), 2),
    }


def table(report: Mapping[str, Any]) -> str:
    """Lay the report out for reading."""
    lines = [f"{report['machine']}; {report['rows']:,} rows a month; median of the runs", ""]
    lines += [f"{'':3}{'':50}{'wall s':>8}{'from':>8}{'to':>8}{'CPU s':>8}{'peak MB':>9}{'busy':>6}"]
    for way, row in report["ways"].items():
        times = (row["median_seconds"], min(row["seconds"]), max(row["seconds"]), row["cpu_seconds"])
        numbers = "".join(f"{time:8.2f}" for time in times) + f"{row['peak_mb']:9.0f}{row['busy_before']:6.0%}"
        lines += [f"{way:3}{row['what']:50}{numbers}"]
    lines += ["", f"{'':3}{'':30}{'value':>8}   target"]
    for row in report["figures"]:
        verdict = "met" if row["met"] else "NOT MET"
        lines += [f"{'':3}{row['name']:30}{row['value']:8.2f}   {row['target']:8} {verdict}"]
    lines += ["", *NOTES]
    return "\n".join(lines)
