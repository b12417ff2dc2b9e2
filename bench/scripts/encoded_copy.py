"""The floor: send rows that were encoded beforehand to Postgres, and nothing else.

``python bench/scripts/encoded_copy.py FILE DSN TABLE COLUMNS``; the table is made in the same
transaction, so that COPY may write the rows frozen, as the tool does.
"""

from __future__ import annotations

import sys
from pathlib import Path

import psycopg

BLOCK_BYTES = 1 << 20


def main() -> None:
    """Create the table and copy the file into it."""
    path, dsn, table, columns = sys.argv[1:]
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {table} ({columns})".encode())
        statement = f"COPY {table} FROM STDIN (FORMAT BINARY, FREEZE)"
        with Path(path).open("rb") as rows, cursor.copy(statement.encode()) as copy:
            while block := rows.read(BLOCK_BYTES):
                copy.write(block)


if __name__ == "__main__":
    main()
