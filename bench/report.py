"""What was measured, reduced to medians and figures, and laid out for a terminal."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from bench.figures import FIGURES
from bench.ways import SECTIONS, WAYS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.commands import Run

NOTES = (
    "CPU is the command's own, without the server's. Memory is that of the command's largest process, and never",
    "less than that of this script, which starts it. Busy is the share of the CPUs that something else was using",
    "just before a run, at most: where it is more than a little, the times of that line say nothing.",
    "Peers that read csv.gz read a copy of the month without its unparsable rows and blank lines, made beforehand.",
)


def summary(runs: Mapping[str, Sequence[Run]]) -> dict[str, Any]:
    """Reduce the runs to medians, and those to the figures that have a target."""
    section_of = {way.name: section for section, ways in SECTIONS.items() for way in ways}
    ways = {name: {"section": section_of[name], **described(name), **reduce(done)} for name, done in runs.items()}
    for row in ways.values():
        if row["beside"] in ways:
            row["ratio"] = round(a_month(row) / a_month(ways[row["beside"]]), 3)
    return {"ways": ways, "figures": [row.of(ways) for row in FIGURES if set(row.ways) <= set(ways)]}


def described(name: str) -> dict[str, Any]:
    """Return what a way says of itself."""
    way = WAYS[name]
    return {"what": way.what, "ours": way.ours, "beside": way.beside, "months": way.months}


def a_month(row: Mapping[str, Any]) -> float:
    """Return the seconds that a way takes for each month it loads."""
    return float(row["median_seconds"]) / int(row["months"])


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
    lines = [f"{report['machine']}; {report['rows']:,} rows a month; median of the runs"]
    lines += ["", f"{'':27}{'wall s':>8}{'from':>8}{'to':>8}{'CPU s':>8}{'peak MB':>9}{'busy':>6}  times"]
    for name, row in report["ways"].items():
        times = (row["median_seconds"], min(row["seconds"]), max(row["seconds"]), row["cpu_seconds"])
        numbers = "".join(f"{time:8.2f}" for time in times) + f"{row['peak_mb']:9.0f}{row['busy_before']:6.0%}"
        beside = f"  {row['ratio']:.2f} of {row['beside']}" if "ratio" in row else ""
        lines += [f"{name:27}{numbers}{beside}"]
    lines += ["", f"{'':54}{'value':>8}   target"]
    for row in report["figures"]:
        verdict = "met" if row["met"] else "NOT MET"
        lines += [f"{row['name']:54}{row['value']:8.2f}   {row['target']:8} {verdict}"]
    lines += ["", *(f"Skipped {name}: {why}." for name, why in report["skipped"].items())]
    lines += ["", *(f"{name}: {row['what']}" for name, row in report["ways"].items()), "", *NOTES]
    return "\n".join(lines)
