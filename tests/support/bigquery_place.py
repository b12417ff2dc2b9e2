"""A dataset of a test's own in the emulated BigQuery, and what a user does there."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from google.cloud import bigquery

from nyctaxi_etl.schema.columns import Column
from nyctaxi_etl.warehouses.base import table_columns
from nyctaxi_etl.warehouses.bigquery.client import bigquery_client
from nyctaxi_etl.warehouses.bigquery.warehouse import BigQuery
from support.bigquery_proxy import PROJECT, Answer, Call, Fault, Proxy
from support.months import TRIPS, trips

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nyctaxi_etl.schema.columns import Dataset
    from nyctaxi_etl.staging.files import StagedFile
    from nyctaxi_etl.warehouses.ledger import LedgerRow
    from support.bigquery import Bucket


REAL = os.environ.get("NYCTAXI_REAL_DATA")
JANUARY, FEBRUARY = date(2021, 1, 1), date(2021, 2, 1)
CONFLICT = (
    f"Query error: Transaction is aborted due to concurrent update against table {PROJECT}:d.trips. "
    "Transaction ID: 61e30eea-0000-2dab-8e60-94eb2c1b1a92 at [2:1]"
)


@dataclass(frozen=True)
class Place:
    """A dataset of a test's own in the emulator, seen through a proxy of a test's own."""

    url: str
    dataset: str
    proxy: Proxy
    bucket: Bucket

    def make(self, location: str) -> None:
        """Make the dataset."""
        dataset = bigquery.Dataset(f"{PROJECT}.{self.dataset}")
        dataset.location = location
        self.client().create_dataset(dataset)

    def client(self) -> bigquery.Client:
        """Return a client of this BigQuery."""
        return bigquery_client(PROJECT, self.url)

    def open(self, **options: Any) -> BigQuery:
        """Return the warehouse."""
        return BigQuery(self.client(), self.dataset, retry_seconds=10, **options)

    def put(self, staged: StagedFile, dataset: Dataset = TRIPS, table: str = "trips", **options: Any) -> int:
        """Replace the staged month in ``table``."""
        named = {name: options.pop(name) for name in ("raw_table", "run_id") if name in options}
        with self.open(**options) as warehouse:
            stage = replace(staged, uri=self.bucket.put(staged))
            return warehouse.replace(table, dataset, stage, **{"run_id": "run"} | named)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Return a query's rows."""
        with self.open() as warehouse:
            return warehouse.query(sql)

    def by_hand(self, statement: str) -> None:
        """Run a statement as a user does."""
        config = bigquery.QueryJobConfig(default_dataset=f"{PROJECT}.{self.dataset}")
        self.client().query(statement, config).result()

    def ledger(self, table: str = "trips") -> tuple[LedgerRow, ...]:
        """Return what the ledger says of ``table``."""
        with self.open() as warehouse:
            return warehouse.loaded(table)

    def rows(self, table: str = "trips", dataset: Dataset = TRIPS) -> list[tuple[Any, ...]]:
        """Return the table's rows with ``file_month`` last, in the order of their first column."""
        found = self.query(f"SELECT {', '.join(c.name for c in table_columns(dataset))} FROM {table}")
        return sorted(found, key=lambda row: (row[0] is None, row[0]))

    def expire(self, name: str) -> None:
        """Have this table expire at the beginning of 2 January 2126; the emulator would forget it."""
        then = str(int(datetime(2126, 1, 2, tzinfo=UTC).timestamp()) * 1000)
        self.proxy.faults.append(
            Fault(
                lambda call: call.method == "GET" and call.path.partition("?")[0].endswith(f"/tables/{name}"),
                lambda _call, answer: Answer(answer.status, answer.body | {"expirationTime": then}),
                times=100,
                late=True,
            )
        )

    def names(self, table: str = "names") -> int:
        """Replace a lookup table."""
        columns = (Column("id", "id"), Column("name", "text"))
        rows = pa.table({"id": pa.array([1, 2], pa.int16()), "name": ["a", "b"]})
        with self.open() as warehouse:
            return warehouse.replace_table(table, columns, rows)

    def tables(self) -> set[str]:
        """Return the names of all tables there are."""
        return {table.table_id for table in self.client().list_tables(self.dataset)}

    def fail(self, job: str, answer: Callable[[Call, Answer], Answer], **options: Any) -> None:
        """Have the next jobs of this kind go wrong."""
        self.proxy.faults.append(Fault(lambda call: call.job == job, answer, **options))


LATER = ("replaced_source", "replaced_rows", "flags")


def monthly(month: date, numbers: Sequence[int]) -> list[tuple[Any, ...]]:
    """Return the rows that a table holds of a month of these trips."""
    return [(*row, month) for row in trips(numbers)]
