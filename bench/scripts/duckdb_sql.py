"""DuckDB's own way: statements as its users write them, which neither count nor check.

``python bench/scripts/duckdb_sql.py [--postgres URI] DATABASE SQL ...``; ``:memory:`` is a database too. The Postgres
database is attached as ``pg``, by the extension that came as a wheel.
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

import duckdb

WHEEL = "duckdb_extension_postgres_scanner"


def main() -> None:
    """Run the statements one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgres", metavar="URI")
    parser.add_argument("database")
    parser.add_argument("statements", nargs="+")
    asked = parser.parse_args()
    with duckdb.connect(asked.database) as connection:
        if asked.postgres:
            connection.execute(f"LOAD '{extension()}'")
            connection.execute(f"ATTACH '{asked.postgres}' AS pg (TYPE postgres)")
        for statement in asked.statements:
            connection.execute(statement)


def extension() -> Path:
    """Return the file of DuckDB's Postgres extension, wherever the wheel put it."""
    spec = find_spec(WHEEL)
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        message = f"There is no {WHEEL} in this environment."
        raise SystemExit(message)
    return next(Path(folders[0]).rglob("*.duckdb_extension"))


if __name__ == "__main__":
    main()
