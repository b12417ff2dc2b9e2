"""The options of the command line, each declared once: a command lists those that it takes.

``None`` means: not given, so that the setting of the same name counts. A switch has its opposite, for those whose
settings turn it on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nyctaxi_etl.core.partition import Color, Mode


def _colors(incomplete: str) -> list[str]:
    return [color for color in Color if color.startswith(incomplete)]


def _sources(incomplete: str) -> list[str]:
    return [name for name in ("tlc", "datatalks", "sample") if name.startswith(incomplete)]


ColorOption = Annotated[
    list[str] | None,
    typer.Option(
        "--color",
        metavar="COLOR",
        help="yellow, green, fhv or fhvhv; repeat it or put commas between.",
        autocompletion=_colors,
    ),
]
YearOption = Annotated[
    str | None, typer.Option("--year", metavar="YEARS", help="2021, or several: 2019-2021 or 2019,2021.")
]
MonthsOption = Annotated[
    str | None, typer.Option("--months", metavar="MONTHS", help="1-3 or 1,3,5-7.  [default: all twelve]")
]
SourceOption = Annotated[
    str | None,
    typer.Option(
        "--source",
        metavar="SOURCE",
        help="tlc, datatalks, sample, a folder or an http(s) base URL.  [default: tlc]",
        autocompletion=_sources,
    ),
]
ToOption = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="WAREHOUSE",
        help="duckdb, duckdb:///path, block:NAME or a SQLAlchemy URL without a password.  [default: duckdb]",
    ),
]
IntoOption = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="WAREHOUSE",
        help="duckdb, duckdb:///path, bigquery, block:NAME or a SQLAlchemy URL without a password.  [default: duckdb]",
    ),
]
LakeOption = Annotated[
    str | None,
    typer.Option(
        "--lake", metavar="LAKE", help="A folder, gs://bucket/prefix or block:NAME.  [default: the data folder's lake]"
    ),
]
ModeOption = Annotated[
    Mode | None,
    typer.Option("--mode", help="Rules drop rows before the lake (etl) or in the warehouse (elt).  [default: etl]"),
]
RawOption = Annotated[bool | None, typer.Option("--raw/--no-raw", help="Put the published files as well.")]
TableOption = Annotated[
    str | None, typer.Option("--table", metavar="NAME", help="Table to load into.  [default: {color}_taxi_data]")
]
JobsOption = Annotated[
    int | None, typer.Option("--jobs", metavar="N", min=1, max=64, help="Months side by side.  [default: 2]")
]
DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", metavar="FOLDER", help="Folder for fetched files, rejects, lake and DuckDB file.  [default: data]"
    ),
]
ForceOption = Annotated[
    bool | None, typer.Option("--force/--no-force", help="Load again what is loaded and unchanged.")
]
DryRunOption = Annotated[
    bool | None, typer.Option("--dry-run/--no-dry-run", help="Say what would be loaded; load nothing.")
]
JsonOption = Annotated[bool | None, typer.Option("--json/--no-json", help="One JSON object on stdout.")]
DirectOption = Annotated[bool | None, typer.Option("--direct/--no-direct", help="Run without Prefect.")]
VerboseOption = Annotated[
    bool | None, typer.Option("--verbose/--no-verbose", help="A line per step, and Prefect's own log.")
]
DebugOption = Annotated[bool | None, typer.Option("--debug/--no-debug", help="A traceback when something fails.")]
CheckOption = Annotated[bool | None, typer.Option("--check/--no-check", help="Open each block that was registered.")]
