"""A published file becomes blocks of rows: its layout is found in the file itself, never guessed from its date."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nyctaxi_etl.readers.csv import CsvFile
from nyctaxi_etl.readers.parquet import ParquetFile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nyctaxi_etl.schema.columns import Column


def open_trips(path: Path, columns: Sequence[Column]) -> CsvFile | ParquetFile:
    """Open a published file (``.parquet``, ``.csv.gz``, ``.csv``) and find its layout among declared ``columns``.

    Raises ``CorruptFile`` for bytes of another kind, ``SchemaDrift`` when a required column is missing.
    """
    return ParquetFile(path, columns) if path.suffix == ".parquet" else CsvFile(path, columns)
