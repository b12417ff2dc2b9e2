"""dlt's way: a resource of record batches, since those are what dlt is fastest with.

``python bench/scripts/dlt_load.py FILE postgres|DUCKDB_FILE TABLE``. The address of Postgres comes from
``DESTINATION__POSTGRES__CREDENTIALS``, which is where dlt looks for it.
"""

from __future__ import annotations

import sys
import tempfile
from typing import TYPE_CHECKING, Any

import dlt
import pyarrow.csv as pc
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH_ROWS = 100_000


def main() -> None:
    """Load a csv.gz or a Parquet file as one table."""
    path, where, table = sys.argv[1:]
    postgres = where == "postgres"
    destination = dlt.destinations.postgres() if postgres else dlt.destinations.duckdb(where)
    schema = "public" if postgres else "main"
    resource = dlt.resource(batches(path), name=table, write_disposition="append")
    with tempfile.TemporaryDirectory() as folder:  # what dlt remembers of a pipeline: each run is the first
        pipeline = dlt.pipeline("trips", destination=destination, dataset_name=schema, pipelines_dir=folder)
        pipeline.run(resource).raise_on_failed_jobs()


def batches(path: str) -> Iterator[Any]:
    """Yield the file's rows as Arrow has them."""
    if path.endswith(".parquet"):
        yield from pq.ParquetFile(path).iter_batches(batch_size=BATCH_ROWS)
    else:
        yield from pc.open_csv(path)


if __name__ == "__main__":
    main()
