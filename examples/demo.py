"""Look at what `make demo` loaded: trips per month, and the busiest pickup zones.

Everything here is plain SQL on the DuckDB file: nothing of nyctaxi is needed to read what it loaded.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import duckdb
from rich.console import Console
from rich.table import Table

from nyctaxi_etl.config import settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MONTHS = """
    SELECT strftime(file_month, '%Y-%m'), count(*), avg(trip_distance), avg(total_amount),
           any_value(100.0 * rows_rejected / rows_read)
    FROM yellow_taxi_data JOIN nyctaxi_loads USING (file_month)
    WHERE table_name = 'yellow_taxi_data'
    GROUP BY file_month ORDER BY file_month
"""
ZONES = """
    SELECT pickup_location_id, count(*) AS trips, avg(tip_amount) FILTER (payment_type = 1)
    FROM yellow_taxi_data
    GROUP BY pickup_location_id ORDER BY trips DESC, pickup_location_id LIMIT 10
"""
# The names of busy zones, from the TLC's taxi_zone_lookup.csv.
NAMES: Mapping[int, str] = {
    48: "Clinton East", 79: "East Village", 132: "JFK Airport", 138: "LaGuardia Airport", 141: "Lenox Hill West",
    142: "Lincoln Square East", 161: "Midtown Center", 162: "Midtown East", 163: "Midtown North", 170: "Murray Hill",
    186: "Penn Station/Madison Sq West", 230: "Times Sq/Theatre District", 234: "Union Sq",
    236: "Upper East Side North", 237: "Upper East Side South", 239: "Upper West Side South",
}  # fmt: skip


def main() -> int:
    """Print two tables about the demo's DuckDB file."""
    path = settings().data_dir / "nyctaxi.duckdb"
    if not path.exists():
        sys.stderr.write(f"There is no {path} yet: `make demo` loads it first.\n")
        return 1
    with duckdb.connect(path, read_only=True) as connection:
        months = connection.execute(MONTHS).fetchall()
        zones = connection.execute(ZONES).fetchall()
    console = Console()
    console.print(table(f"Yellow trips in {path}", ("month", "trips", "mean miles", "mean USD", "rejected %"), months))
    busiest = [(NAMES.get(zone, f"zone {zone}"), *numbers) for zone, *numbers in zones]
    console.print(table("Busiest pickup zones", ("zone", "trips", "mean card tip USD"), busiest))
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
