"""The script that ``upload`` is measured against: pandas reads the whole month, ``to_parquet`` writes it.

As it is in the courses: ``python bench/scripts/pandas_to_parquet.py FILE OUTPUT COMPRESSION``. They pack with
``gzip``; pandas does with ``snappy`` where nothing is said. Putting the file into a bucket would come on top.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

import pandas as pd

if TYPE_CHECKING:
    from typing import Literal


def main() -> None:
    """Turn a csv.gz into Parquet."""
    path, output, compression = sys.argv[1:]
    frame = pd.read_csv(path)
    for name in ("tpep_pickup_datetime", "tpep_dropoff_datetime"):
        frame[name] = pd.to_datetime(frame[name])
    frame.to_parquet(output, compression=cast("Literal['gzip', 'snappy']", compression))


if __name__ == "__main__":
    main()
