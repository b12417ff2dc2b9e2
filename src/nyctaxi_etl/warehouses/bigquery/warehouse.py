"""BigQuery: a month goes from the lake into a table of its own by a load job, and from there in by one transaction.

The load job is free, moves the rows within Google, and can be repeated at will. The transaction, a few seconds long,
deletes the month, inserts it and writes the ledger row. BigQuery cancels transactions that change one table at the
same time, so they queue.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from google.api_core.exceptions import GoogleAPICallError

from nyctaxi_etl.core.errors import NycTaxiError, Transient, UsageError, WarehouseError
from nyctaxi_etl.core.progress import Event, tell
from nyctaxi_etl.warehouses.base import (
    Capabilities,
    check_rows,
    refused_write,
    target_tables,
)
from nyctaxi_etl.warehouses.bigquery.commit import commit, commit_turn
from nyctaxi_etl.warehouses.bigquery.errors import LIMIT_SETTING, text_of
from nyctaxi_etl.warehouses.bigquery.jobs import Jobs
from nyctaxi_etl.warehouses.bigquery.sql import (
    DIALECT,
    Share,
    count_dropped,
    counted,
    month_statements,
    transaction,
)
from nyctaxi_etl.warehouses.bigquery.tables import ledger_rows, ledger_rows_of, make_ledger, make_table, replace_rows
from nyctaxi_etl.warehouses.ledger import LEDGER_TABLE, LedgerRow, clean_ledger_row, entry
from nyctaxi_etl.warehouses.sql import drop_condition

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from types import TracebackType
    from typing import Self

    import pyarrow as pa
    from google.cloud import bigquery

    from nyctaxi_etl.core.partition import Month
    from nyctaxi_etl.schema.columns import Column, Dataset
    from nyctaxi_etl.staging.stage import Stage


class BigQuery:
    """A dataset of BigQuery's as a warehouse; a staged month is a Parquet object at ``gs://``.

    Its ``uri`` tells where; the object's generation may follow after a ``#``. ``location`` is where the dataset is
    meant to be and ``bucket_location`` where the lake's bucket is; ``max_bytes`` is the most that a month's transaction
    may read. Without them nothing is compared or limited.
    """

    # A month comes as an object of the lake, whole.
    capabilities = Capabilities(loads_from_uri=True)

    def __init__(  # noqa: PLR0913 - each is a setting
        self,
        client: bigquery.Client,
        dataset: str,
        location: str | None = None,
        max_bytes: int | None = None,
        *,
        bucket_location: str | None = None,
        retry_seconds: float = 120.0,
    ) -> None:
        self._jobs = Jobs(client, dataset, max_bytes, retry_seconds)
        self._locations = (location, bucket_location)
        self._max_bytes = max_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client's connections."""
        self._jobs.close()

    def loaded(self, table: str) -> tuple[LedgerRow, ...]:
        """Return the ledger's rows of ``table``, by month; none if the table isn't there.

        The ledger is listed, which is free. Rows older than the table are of another one that stood there before.
        """
        with self._located():
            self._jobs.refuse_expiring()
            return ledger_rows_of(self._jobs, table)

    def replace(self, table: str, dataset: Dataset, staged: Stage, run_id: str, raw_table: str | None = None) -> int:
        """Replace one month of ``table``: see ``Warehouse.replace``.

        With ``raw_table`` the staged rows, all that could be parsed, go into that, and ``table`` is made of it by the
        dataset's drop rules, in the same transaction. Raises ``NotPublished`` if the lake doesn't have the month.
        """
        names, month = target_tables(table, raw_table), staged.partition.month
        if raw_table:
            drop_condition(DIALECT, dataset, month)  # a rule that can't be applied is refused before anything is made
        uri, _, generation = staged.uri.partition("#")
        if not uri.startswith("gs://"):
            message = f"{staged.partition} is not at gs://, and BigQuery loads from there only."
            raise UsageError(message, "Put it there first: nyctaxi upload --lake gs://bucket/prefix.")
        row, rows_staged = entry(names[0], staged, run_id), staged.lineage.rows_loaded
        event = Event(str(staged.partition), "load", 0, rows_staged)
        with self._located():
            self._jobs.refuse_expiring()
            ledger = make_ledger(self._jobs)
            tables = {name: make_table(self._jobs, name, dataset) for name in names}
        staging = self._staging_name(row, month, uri, generation)
        with self._dropped_afterwards(staging):
            self._jobs.load(uri, staging, dataset.columns, rows_staged, event)
            shares = self._shares(tables, dataset, row, month, staging)
            # What is replaced is asked for as late as can be, and while no other month changes it.
            with commit_turn(event):
                rows = ledger_rows(self._jobs, ledger, tables)
            olds = {old.table_name: old for old in rows if old.file_month == month.first_day}
            shares = tuple(share._replace(old=olds.get(share.row.table_name)) for share in shares)
            self._check_bytes(dataset, shares, staging)
            self._commit(dataset, shares, event)
        tell(replace(event, done=rows_staged))
        return shares[-1].row.lineage.rows_loaded

    def replace_table(self, table: str, columns: Sequence[Column], rows: pa.Table) -> int:
        """Replace all rows of a lookup: see ``Warehouse.replace_table``."""
        with self._located():
            self._jobs.refuse_expiring()
            return replace_rows(self._jobs, table, columns, rows)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement that only reads: see ``Warehouse.query``. A table needs no dataset before its name."""
        with self._located():
            kind = self._jobs.statement_type(sql)
            if kind != "SELECT":
                text = f"BigQuery calls this statement {kind or 'unknown'}."
                raise refused_write(text)
            return self._jobs.query(sql)

    @contextmanager
    def _located(self) -> Iterator[None]:
        """Find the dataset, and raise what BigQuery says as an error of ours."""
        with self._jobs.translated_errors():
            self._jobs.locate(*self._locations)
            yield

    def _staging_name(self, row: LedgerRow, month: Month, uri: str, generation: str) -> str:
        """Name the staging table by what is in it, so that loads of other content never meet there."""
        where = (self._jobs.path(row.table_name), f"{row.color}/{month}", uri, generation)
        what = tuple(row.lineage.fingerprint)
        digest = hashlib.sha256(repr(where + what).encode()).hexdigest()[:16]
        return f"{row.table_name}_{month.year:04d}_{month.number:02d}_staging_{digest}"

    def _shares(
        self, tables: Mapping[str, datetime], dataset: Dataset, row: LedgerRow, month: Month, staging: str
    ) -> tuple[Share, ...]:
        """Return what becomes of each table: the first takes all staged rows, the second what the rules keep of it."""
        source = self._jobs.path(staging)
        (first, created), *others = tables.items()
        share = Share(row, self._jobs.path(first), source, "TRUE", created)
        if not others:
            return (share,)
        ((table, created),) = others
        dropped = int(self._jobs.query(count_dropped(dataset, month, source))[0][0])
        where = f"{DIALECT.month_is(month)} AND NOT {drop_condition(DIALECT, dataset, month)}"
        row = clean_ledger_row(row, table, dataset, dropped)
        return share, Share(row, self._jobs.path(table), share.path, where, created)

    def _check_bytes(self, dataset: Dataset, shares: Sequence[Share], staging: str) -> None:
        """Refuse a transaction that would read more than is allowed. The rows of every table are the staged ones."""
        if self._max_bytes is None:
            return
        staged = (share._replace(source=self._jobs.path(staging), where="TRUE") for share in shares)
        total = sum(self._jobs.estimate_bytes(sql) for share in staged for sql in month_statements(dataset, share))
        if total > self._max_bytes:
            partition = f"{shares[0].row.color}/{shares[0].month}"
            message = f"{partition}: its transaction would read {total:,} bytes; {self._max_bytes:,} are allowed."
            raise WarehouseError(message, f"The month is what it was before. Raise {LIMIT_SETTING} if that is meant.")

    def _commit(self, dataset: Dataset, shares: Sequence[Share], event: Event) -> None:
        """Run the transaction, and say what its own check of the rows has found if that ended it."""
        sql = transaction(dataset, shares, self._jobs.path(LEDGER_TABLE))
        try:
            commit(self._jobs, sql, event)
        except GoogleAPICallError as error:
            wrong = counted(text_of(error))
            if wrong and wrong.share < len(shares):
                check_rows(shares[wrong.share].row, wrong.rows)
            raise

    @contextmanager
    def _dropped_afterwards(self, staging: str) -> Iterator[None]:
        """Drop the staging table at the end, unless trying again may help: then it is taken as it is, or expires."""
        try:
            with self._jobs.translated_errors():
                yield
        except NycTaxiError as error:
            if not isinstance(error, Transient):
                self._jobs.drop(staging)
            raise
        self._jobs.drop(staging)
