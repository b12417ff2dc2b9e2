"""The zone lookup for tests: the official one that the package has, and ones that are written by hand."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path

OFFICIAL = Path(str(resources.files("nyctaxi_etl.sources").joinpath("taxi_zone_lookup.csv")))
HEADER = "LocationID,Borough,Zone,service_zone\n"
JFK = (132, "Queens", "JFK Airport", "Airports")
OUTSIDE = (265, "N/A", "Outside of NYC", "N/A")


def official_lookup(parent: Path) -> Path:
    """Return a source's folder in ``parent`` with the official lookup where the TLC has it."""
    (parent / "source" / "misc").mkdir(parents=True)
    shutil.copy(OFFICIAL, parent / "source" / "misc")
    return parent / "source"


def written_lookup(parent: Path, text: str) -> Path:
    """Return a source's folder in ``parent`` with this as its lookup."""
    folder = parent / "written"
    folder.mkdir(exist_ok=True)
    (folder / OFFICIAL.name).write_text(text)
    return folder
