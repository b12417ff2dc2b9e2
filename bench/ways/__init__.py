r"""Every way that is measured, by what it is about.

Ours read the months as they are published. Those have defects that end ``COPY`` (blank lines, rows that don't parse),
so peers that read csv.gz get a copy of the month without them, made beforehand: they don't pay for finding them.
"""

from bench.ways.duckdb import DUCKDB
from bench.ways.lake import LAKE
from bench.ways.postgres import POSTGRES
from bench.ways.start import START
from bench.ways.way import Way

SECTIONS = {"postgres": POSTGRES, "duckdb": DUCKDB, "lake": LAKE, "start": START}
WAYS = {way.name: way for ways in SECTIONS.values() for way in ways}

__all__ = ["SECTIONS", "WAYS", "Way"]
