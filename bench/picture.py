"""One picture of the seconds, ours beside the others', as SVG that can be read on light and on dark pages."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# Each panel has a title and its ways with their labels, ours first.
PANELS = (
    (
        "csv.gz into Postgres",
        {
            "csv-postgres": "nyctaxi",
            "psql-copy": "psql \\copy, unchecked",
            "sling-csv-postgres": "sling",
            "pandas-postgres": "pandas to_sql",
            "dlt-csv-postgres": "dlt",
        },
    ),
    (
        "Parquet into Postgres",
        {
            "parquet-postgres": "nyctaxi",
            "duckdb-parquet-postgres": "DuckDB's extension",
            "dlt-parquet-postgres": "dlt",
        },
    ),
    (
        "csv.gz into DuckDB",
        {"csv-duckdb": "nyctaxi", "duckdb-ctas-csv": "DuckDB, unchecked", "dlt-csv-duckdb": "dlt"},
    ),
    ("Parquet into DuckDB", {"parquet-duckdb": "nyctaxi", "duckdb-ctas-parquet": "DuckDB, unchecked"}),
    (
        "csv.gz into the lake",
        {
            "csv-lake": "nyctaxi",
            "duckdb-copy-csv": "DuckDB COPY",
            "pandas-lake-snappy": "pandas, snappy",
            "pandas-lake-gzip": "pandas, gzip",
        },
    ),
    ("Parquet into the lake", {"parquet-lake": "nyctaxi", "duckdb-copy-parquet": "DuckDB COPY"}),
)
COLUMNS, COLUMN_WIDTH, LABEL_WIDTH, BAR_WIDTH = 2, 430, 150, 200
MARGIN, TITLE_HEIGHT, BAR_HEIGHT, STEP, GAP = 20, 28, 16, 24, 22
STYLE = """
  svg { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; }
  .page { fill: #ffffff; } text { fill: #1f2328; } .title { font-weight: 600; }
  .ours { fill: #0969da; } .other { fill: #afb8c1; }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; } text { fill: #e6edf3; } .ours { fill: #4493f8; } .other { fill: #57606a; }
  }
"""


def picture(report: Mapping[str, Any]) -> str:
    """Return the picture: a panel for each job that was measured, a bar for each way, each panel with its own scale."""
    panels = [(title, bars(ways, report["ways"])) for title, ways in PANELS]
    parts, top = [], MARGIN
    for first in range(0, len(panels), COLUMNS):
        row = panels[first : first + COLUMNS]
        parts += [part for number, panel in enumerate(row) for part in drawn(panel, number * COLUMN_WIDTH, top)]
        top += max(panel_height(shown) for _, shown in row)
    width = MARGIN + COLUMNS * COLUMN_WIDTH
    title = f"Seconds for a month of {report['rows']:,} rows"
    size = f'viewBox="0 0 {width} {top}" width="{width}" height="{top}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n<title>{title}</title>\n'
    return (
        f'{head}<style>{STYLE}</style>\n<rect class="page" width="100%" height="100%"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def bars(ways: Mapping[str, str], measured: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Return the labels and seconds of the ways that were measured, ours first and the others from fast to slow."""
    seconds = [(label, float(measured[way]["median_seconds"])) for way, label in ways.items() if way in measured]
    return sorted(seconds, key=lambda bar: (bar[0] != "nyctaxi", bar[1]))


def panel_height(shown: Sequence[tuple[str, float]]) -> int:
    """Return the height of a panel with its gap; one without bars takes none."""
    return TITLE_HEIGHT + STEP * len(shown) + GAP if shown else 0


def drawn(panel: tuple[str, Sequence[tuple[str, float]]], left: int, top: int) -> Iterator[str]:
    """Yield a panel's title and bars."""
    title, shown = panel
    if not shown:
        return
    longest = max(seconds for _, seconds in shown)
    left += MARGIN
    yield f'<text class="title" x="{left}" y="{top + BAR_HEIGHT}">{escape(title)}, seconds</text>'
    for number, (label, seconds) in enumerate(shown):
        y = top + TITLE_HEIGHT + STEP * number
        length = max(1, round(BAR_WIDTH * seconds / longest))
        kind = "ours" if label == "nyctaxi" else "other"
        yield f'<text x="{left}" y="{y + 13}">{escape(label)}</text>'
        yield f'<rect class="{kind}" x="{left + LABEL_WIDTH}" y="{y}" width="{length}" height="{BAR_HEIGHT}" rx="2"/>'
        yield f'<text x="{left + LABEL_WIDTH + length + 6}" y="{y + 13}">{seconds:.2f}</text>'
