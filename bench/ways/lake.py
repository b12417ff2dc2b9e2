"""Into a lake of Parquet: ours, and what others use."""

from __future__ import annotations

from bench.destinations import bucket, lake
from bench.recipes import CSV, PARQUET, counted, loaded, script, upload
from bench.ways.way import Way
from bench.workbench import LARGE

STORAGE = "fake-gcs-server"


def copy(reader: str) -> str:
    """Return DuckDB's statement that writes a file as Parquet, without the rows that our rules reject too."""
    kept = f"SELECT * FROM {reader} WHERE passenger_count IS DISTINCT FROM 0"
    return f"COPY ({kept}) TO '{{to}}/trips/month.parquet' (COMPRESSION zstd)"


LAKE = (
    Way(
        "csv-lake",
        "nyctaxi upload --direct, csv.gz, local folder",
        lake,
        upload("csv"),
        loaded(),
        beside="duckdb-copy-csv",
    ),
    Way(
        "duckdb-copy-csv",
        "DuckDB, COPY (... read_csv WHERE ...) TO (zstd)",
        lake,
        script("duckdb_sql", ":memory:", copy(CSV), peer="duckdb"),
        counted("cleaned_kept"),
        needs="duckdb",
    ),
    Way(
        "parquet-lake",
        "nyctaxi upload --direct, Parquet, local folder",
        lake,
        upload("parquet"),
        loaded(),
        beside="duckdb-copy-parquet",
    ),
    Way(
        "duckdb-copy-parquet",
        "DuckDB, COPY (... read_parquet WHERE ...) TO (zstd)",
        lake,
        script("duckdb_sql", ":memory:", copy(PARQUET), peer="duckdb"),
        counted("parquet_kept"),
        needs="duckdb",
    ),
    Way(
        "csv-lake-gcs",
        "nyctaxi upload --direct, csv.gz, to a server that stands in for Google's",
        bucket,
        upload("csv"),
        loaded(),
        beside="duckdb-copy-csv",
        needs=STORAGE,
    ),
    Way(
        "pandas-lake-gzip",
        "pandas read_csv, to_parquet, gzip, as the course has it",
        lake,
        script("pandas_to_parquet", "{cleaned}", "{to}/trips/month.parquet", "gzip"),
        counted("cleaned"),
        beside="duckdb-copy-csv",
    ),
    Way(
        "pandas-lake-snappy",
        "pandas read_csv, to_parquet, snappy, as pandas packs by itself",
        lake,
        script("pandas_to_parquet", "{cleaned}", "{to}/trips/month.parquet", "snappy"),
        counted("cleaned"),
        beside="duckdb-copy-csv",
    ),
    Way(
        "csv-lake-large",
        "nyctaxi upload --direct, csv.gz, ten times as large",
        lake,
        upload("csv", size=LARGE),
        loaded(LARGE),
        group="large",
        once=True,
    ),
    Way(
        "parquet-lake-large",
        "nyctaxi upload --direct, Parquet, ten times as large",
        lake,
        upload("parquet", size=LARGE),
        loaded(LARGE),
        group="large",
        once=True,
    ),
)
