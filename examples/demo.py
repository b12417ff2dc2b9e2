"""Look at what `make demo` loaded: trips per month, and the busiest pickup zones.

Everything here is plain SQL on the DuckDB file: nothing of nyctaxi is needed to read what it loaded.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import duckdb
from rich.console import Console
from rich.table import Table

from nyctaxi_etl.settings import settings

if TYPE_CHECKING:
    from collections.abc import Sequence

MONTHS = """
    SELECT strftime(file_month, '%Y-%m'), count(*), avg(trip_distance), avg(total_amount),
           any_value(100.0 * rows_rejected / rows_read)
    FROM yellow_taxi_data JOIN nyctaxi_loads USING (file_month)
    WHERE table_name = 'yellow_taxi_data'
    GROUP BY file_month ORDER BY file_month
"""
ZONES = """
    SELECT zone, count(*) AS trips, avg(tip_amount) FILTER (payment_type = 1)
    FROM yellow_taxi_data JOIN taxi_zone_lookup ON location_id = pickup_location_id
    GROUP BY location_id, zone ORDER BY trips DESC, location_id LIMIT 10
"""


def main() -> int:
    """Print two tables about the demo's DuckDB file."""
    path = settings().data_dir / "nyctaxi.duckdb"
    if not path.exists():
        sys.stderr.write(f"There is no {path} yet: `make demo` loads it first.\n")
        return 1
    with duckdb.connect(path, read_only=True) as connection:
        try:
            months, zones = (connection.execute(query).fetchall() for query in (MONTHS, ZONES))
        except duckdb.CatalogException as error:
            sys.stderr.write(f"{path} lacks something that `make demo` loads: {str(error).splitlines()[0]}\n")
            return 1
    console = Console()
    console.print(table(f"Yellow trips in {path}", ("month", "trips", "mean miles", "mean USD", "rejected %"), months))
    console.print(table("Busiest pickup zones", ("zone", "trips", "mean card tip USD"), zones))
    return 0


def table(title: str, names: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """Make a table of ``rows``: the first column text, the others numbers."""
    made = Table(title=title, title_justify="left")
    for index, name in enumerate(names):
        made.add_column(name, justify="right" if index else "left")
    for row in rows:
        made.add_row(*(cell(value) for value in row))
    return made


def cell(value: object) -> str:
    """Write a count with separators and a mean with two decimals."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
