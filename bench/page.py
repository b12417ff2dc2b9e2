"""Write what was measured into the pages: tables and picture of ``docs/speed.md``, two rows of ``README.md``.

``python bench/page.py`` takes all from ``docs/speed.json``, which ``python bench/bench.py --json docs/speed.json``
writes; with ``--check`` it only tells, by its exit code, whether the pages have the same.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:1] = [str(ROOT)]  # for bench.*

from bench.picture import picture  # noqa: E402 - match by the line above

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

DOCS, README = ROOT / "docs", ROOT / "README.md"
JSON, SVG, PAGE = DOCS / "speed.json", DOCS / "speed.svg", DOCS / "speed.md"
PART = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- end: \2 -->\n)", re.DOTALL)
README_SECONDS = re.compile(r"^\| seconds for .*\n", re.MULTILINE)
README_MEMORY = re.compile(r"^\| memory for .*\n", re.MULTILINE)
# The ways of the README's columns, and the large month of the last.
COMPARED, LARGE = ("pandas-postgres", "psql-copy", "csv-postgres"), "csv-postgres-large"
# A command whose memory is not above the bench's own by more than this was not measured: it needs less.
NEAR = 1.1


def section(report: Mapping[str, Any], name: str) -> str:
    """Return the table of the ways of one section."""
    rows = [(way, row) for way, row in report["ways"].items() if row["section"] == name]
    head = ("way", "what it is", "seconds", "times, a month", "CPU seconds", "peak memory, MB")
    return table(head, ([f"`{way}`", row["what"], *numbers(report, row)] for way, row in rows))


def numbers(report: Mapping[str, Any], row: Mapping[str, Any]) -> list[str]:
    """Return a way's seconds, its ratio and to which way, its CPU seconds and its memory."""
    ratio = f"{row['ratio']:.2f} of `{row['beside']}`" if "ratio" in row else ""
    cpu = "" if row["cpu_seconds"] is None else f"{row['cpu_seconds']:.2f}"
    return [f"{row['median_seconds']:.2f}", ratio, cpu, memory(report, row)]


def memory(report: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """Return a way's peak memory; nothing where it can't be told from the memory of the bench, which starts it."""
    return f"{row['peak_mb']:.0f}" if row["peak_mb"] > NEAR * report["least_mb"] else ""


def figures(report: Mapping[str, Any]) -> str:
    """Return the table of the figures that have a target."""
    rows = (
        (row["name"], f"{row['value']:.2f}", row["target"], "yes" if row["met"] else "no") for row in report["figures"]
    )
    return table(("figure", "measured", "target", "met"), rows)


def machine(report: Mapping[str, Any]) -> str:
    """Return what the figures are of, and what was left out."""
    told = f"{report['machine']}, as it comes; {report['rows']:,} yellow rows a month, medians.\n"
    return told + "".join(f"Left out: `{way}`, {why}.\n" for way, why in report["skipped"].items())


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, or a sentence if there are no rows."""
    body = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    first, *others = (" ".join(f"| {cell}".rstrip() for cell in row) + " |\n" for row in (head, *body))
    return "".join([first, "|---" * len(head) + "|\n", *others]) if body else "Not measured yet.\n"


def page(text: str, report: Mapping[str, Any]) -> str:
    """Return ``docs/speed.md`` with its measured parts made anew."""
    makers = {"machine": machine, "figures": figures}

    def part(match: re.Match[str]) -> str:
        name = match[2]
        made = makers[name](report) if name in makers else section(report, name)
        return f"{match[1]}\n{made}\n{match[3]}"

    return PART.sub(part, text)


def readme(text: str, report: Mapping[str, Any]) -> str:
    """Return the README with its two rows made anew."""
    ways = report["ways"]
    seconds = " | ".join(f"{ways[way]['median_seconds']:.1f}" for way in COMPARED)
    pandas, _, ours = (memory(report, ways[way]) for way in COMPARED)
    large = memory(report, ways[LARGE])
    text = README_SECONDS.sub(lambda _: f"| seconds for {report['rows']:,} rows into Postgres | {seconds} |\n", text)
    return README_MEMORY.sub(f"| memory for them, MB | {pandas} | | {ours}; {large} for ten times as many |\n", text)


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or check them."""
    report = json.loads(JSON.read_text(encoding="utf-8"))
    made = {
        PAGE: page(PAGE.read_text(encoding="utf-8"), report),
        README: readme(README.read_text(encoding="utf-8"), report),
        SVG: picture(report),
    }
    if "--check" in arguments:
        return int(any(not path.exists() or path.read_text(encoding="utf-8") != text for path, text in made.items()))
    for path, text in made.items():
        path.write_text(text, encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
