"""Into a DuckDB file: ours, and what others use."""

from __future__ import annotations

from bench.destinations import duckdb
from bench.recipes import CSV, PARQUET, counted, create, ingest, loaded, script, whole
from bench.ways.way import Way
from bench.workbench import LARGE

DUCKDB = (
    Way(
        "csv-duckdb",
        "nyctaxi ingest --direct, csv.gz",
        duckdb,
        ingest("csv", "duckdb", "--direct"),
        loaded(),
        beside="duckdb-ctas-csv",
    ),
    Way(
        "duckdb-ctas-csv",
        "DuckDB, CREATE TABLE AS SELECT * FROM read_csv",
        duckdb,
        script("duckdb_sql", "{to}", create("{table}", CSV), peer="duckdb"),
        counted("cleaned"),
        needs="duckdb",
    ),
    Way(
        "parquet-duckdb",
        "nyctaxi ingest --direct, Parquet",
        duckdb,
        ingest("parquet", "duckdb", "--direct"),
        loaded(),
        beside="duckdb-ctas-parquet",
    ),
    Way(
        "duckdb-ctas-parquet",
        "DuckDB, CREATE TABLE AS SELECT * FROM read_parquet",
        duckdb,
        script("duckdb_sql", "{to}", create("{table}", PARQUET), peer="duckdb"),
        whole,
        needs="duckdb",
    ),
    Way(
        "dlt-csv-duckdb",
        "dlt, csv.gz",
        duckdb,
        script("dlt_load", "{cleaned}", "{to}", "{table}", peer="dlt"),
        counted("cleaned"),
        beside="duckdb-ctas-csv",
        needs="dlt",
    ),
    Way(
        "csv-duckdb-large",
        "nyctaxi ingest --direct, csv.gz, ten times as large",
        duckdb,
        ingest("csv", "duckdb", "--direct", size=LARGE),
        loaded(LARGE),
        group="large",
        once=True,
    ),
    Way(
        "parquet-duckdb-large",
        "nyctaxi ingest --direct, Parquet, ten times as large",
        duckdb,
        ingest("parquet", "duckdb", "--direct", size=LARGE),
        loaded(LARGE),
        group="large",
        once=True,
    ),
)
