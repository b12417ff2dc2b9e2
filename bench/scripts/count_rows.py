"""Count rows without trusting whoever wrote them: ``python bench/scripts/count_rows.py parquet|duckdb PATH TABLE``.

``parquet`` adds up the footers of every Parquet file in a folder, or of one file; ``duckdb`` counts a table.
A process of its own,
since Arrow and DuckDB are large, and Linux counts the starter's memory in the peak of what it starts.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    """Print the number."""
    kind, path, table = sys.argv[1:]
    print(in_parquet(Path(path)) if kind == "parquet" else in_duckdb(path, table))


def in_parquet(path: Path) -> int:
    """Return the rows of a Parquet file, or of all in a folder."""
    import pyarrow.parquet as pq

    files = [path] if path.is_file() else sorted(path.rglob("*.parquet"))
    return sum(pq.read_metadata(file).num_rows for file in files)


def in_duckdb(path: str, table: str) -> int:
    """Return the rows of a table."""
    import duckdb

    with duckdb.connect(path, read_only=True) as connection:
        row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(row[0]) if row else 0


if __name__ == "__main__":
    main()
