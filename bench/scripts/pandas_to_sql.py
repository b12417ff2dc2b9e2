"""The script that this tool is measured against: pandas in chunks of 100,000 rows, and ``to_sql``.

As it is in the courses and in hundreds of public repositories: ``python bench/scripts/pandas_to_sql.py FILE URL
TABLE``. The password comes from ``PGPASSWORD``.
"""

from __future__ import annotations

import sys

import pandas as pd
from sqlalchemy import create_engine

CHUNK_ROWS = 100_000


def main() -> None:
    """Load a csv.gz, chunk after chunk."""
    path, url, table = sys.argv[1:]
    engine = create_engine(url)
    times = ["tpep_pickup_datetime", "tpep_dropoff_datetime"]
    for number, frame in enumerate(pd.read_csv(path, iterator=True, chunksize=CHUNK_ROWS, parse_dates=times)):
        if number == 0:
            frame.head(0).to_sql(name=table, con=engine, if_exists="replace", index=False)
        frame.to_sql(name=table, con=engine, if_exists="append", index=False)


if __name__ == "__main__":
    main()
