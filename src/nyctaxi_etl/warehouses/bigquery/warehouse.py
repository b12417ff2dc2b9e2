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
from google.cloud import bigquery

from nyctaxi_etl.core.errors import NycTaxiError, Transient, UsageError, WarehouseError
from nyctaxi_etl.core.partition import Staged
from nyctaxi_etl.core.progress import Event, tell
from nyctaxi_etl.schema.columns import FILE_MONTH
from nyctaxi_etl.warehouses.base import Capabilities, check_columns, check_ours, check_rows, owner_mark, table_columns
from nyctaxi_etl.warehouses.bigquery.commit import commit, turn
from nyctaxi_etl.warehouses.bigquery.errors import LIMIT_SETTING, text_of
from nyctaxi_etl.warehouses.bigquery.expiry import refuse_expiring_table
from nyctaxi_etl.warehouses.bigquery.jobs import Jobs, bigquery_client, fields
from nyctaxi_etl.warehouses.bigquery.sql import (
    Share,
    add_columns,
    count_dropped,
    counted,
    drops,
    month_is,
    moves,
    path_of,
    transaction,
)
from nyctaxi_etl.warehouses.ledger import LEDGER, LEDGER_TABLE, LedgerRow, lacking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime
    from types import TracebackType
    from typing import Self

    from nyctaxi_etl.core.partition import Stage
    from nyctaxi_etl.schema.columns import Dataset

__all__ = ["BigQuery", "bigquery_client", "uri_of_staged"]

_LEDGER_MARK = "nyctaxi ledger: one row for every month that a table of this dataset holds"
_CLUSTERED_BY = "pickup_location_id"
_MONTHLY = (bigquery.TimePartitioningType.MONTH, FILE_MONTH.name)
# The API gives what was declared by SQL's names those of legacy SQL.
_LEGACY = {"INTEGER": "INT64", "FLOAT": "FLOAT64"}


def uri_of_staged(staged: Staged) -> str:
    """Return where in the lake the staged month is, empty if it isn't in one."""
    return staged.uri


class BigQuery:
    """A dataset of BigQuery's as a warehouse; a staged month is a Parquet object at ``gs://``.

    ``uri_of`` tells where; the object's generation may follow after a ``#``. ``location`` is where the dataset is
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
        uri_of: Callable[[Staged], str] = uri_of_staged,
        retry_seconds: float = 120.0,
    ) -> None:
        self._jobs = Jobs(client, dataset, max_bytes, retry_seconds)
        self._locations = (location, bucket_location)
        self._max_bytes = max_bytes
        self._uri_of = uri_of

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
        with self._jobs.speaking():
            self._jobs.locate(*self._locations)
            self._jobs.refuse_expiring()
            here, ledger = self._jobs.table(table), self._jobs.table(LEDGER_TABLE)
            if here is None or ledger is None:
                return ()
            for one in (here, ledger):
                refuse_expiring_table(one)
            rows = self._ledger_rows(ledger, {table: _created(here)})
        return tuple(sorted(rows, key=lambda row: row.file_month))

    def replace(self, table: str, dataset: Dataset, staged: Stage, run_id: str, raw_table: str | None = None) -> int:
        """Replace one month of ``table``: see ``Warehouse.replace``.

        With ``raw_table`` the staged rows, all that could be parsed, go into that, and ``table`` is made of it by the
        dataset's drop rules, in the same transaction. Raises ``NotPublished`` if the lake doesn't have the month.
        """
        if not isinstance(staged, Staged):
            message = f"{staged.partition}: BigQuery loads from the lake."
            raise UsageError(message, "Use `nyctaxi upload`, then `nyctaxi warehouse`.")
        if raw_table == table:
            message = f"{table} can't hold the rows as they came and the clean ones."
            raise UsageError(message, "Name another table with `table=`.")
        names = (table,) if raw_table is None else (raw_table, table)
        uri, _, generation = self._uri_of(staged).partition("#")
        if not uri.startswith("gs://"):
            message = f"{staged.partition} is not at gs://, and BigQuery loads from there only."
            raise UsageError(message, "Put it there first: nyctaxi upload --lake gs://bucket/prefix.")
        with self._jobs.speaking():
            self._jobs.locate(*self._locations)
            self._jobs.refuse_expiring()
            ledger = self._prepare_ledger()
            tables = {name: self._prepare(name, dataset) for name in names}
        staging = self._staging_name(names[0], staged, uri, generation)
        event, day = Event(str(staged.partition), "load", 0, staged.rows_loaded), staged.partition.month.first_day
        with self._cleared(staging):
            self._jobs.load(uri, staging, dataset.columns, staged.rows_loaded, event)
            shares = self._shares(tables, dataset, staged, staging)
            with turn(event):  # what is replaced is asked for as late as can be, and while no other month changes it
                olds = {row.table_name: row for row in self._ledger_rows(ledger, tables) if row.file_month == day}
            shares = tuple(share._replace(old=olds.get(share.table)) for share in shares)
            self._check_bytes(dataset, shares, staging)
            self._commit(dataset, shares, run_id, event)
        tell(replace(event, done=staged.rows_loaded))
        return shares[-1].staged.rows_loaded

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement that only reads, and return its rows. A table needs no dataset before its name."""
        with self._jobs.speaking():
            self._jobs.locate(*self._locations)
            return self._jobs.query(sql)

    def _prepare(self, name: str, dataset: Dataset) -> datetime:
        """Make the table if need be, refuse a foreign one, add columns that the dataset has gained.

        Returns when it was made.
        """
        columns = table_columns(dataset)
        found = self._jobs.table(name)
        if found is None:
            fresh = bigquery.Table(self._jobs.dataset.table(name), schema=fields(columns))
            fresh.description = f"{owner_mark(dataset)}, one partition a month"
            fresh.time_partitioning = bigquery.TimePartitioning(*_MONTHLY)
            if any(column.name == _CLUSTERED_BY for column in columns):
                fresh.clustering_fields = [_CLUSTERED_BY]
            found = self._jobs.create(fresh)
        check_ours(name, dataset, found.description)
        refuse_expiring_table(found)
        parts = found.time_partitioning
        if parts is None or (parts.type_, parts.field) != _MONTHLY:
            message = f"Table {name} is not partitioned by month of {FILE_MONTH.name}."
            raise WarehouseError(message, "It is left as it is: choose another name with `table=`, or rename that one.")
        there = {field.name: _LEGACY.get(field.field_type, field.field_type) for field in found.schema}
        lacking = check_columns(name, there, {column.name: column.types.bigquery for column in columns})
        if lacking:
            self._jobs.query(add_columns(self._path(name), (c for c in columns if c.name in lacking)))
        return _created(found)

    def _ledger_rows(self, ledger: bigquery.Table, made: Mapping[str, datetime]) -> list[LedgerRow]:
        """Return what the ledger says of tables that were made at these times; older rows are of others."""
        names = [field.name for field in ledger.schema]
        rows = [LedgerRow.read({name: row[name] for name in names}) for row in self._jobs.rows(ledger)]
        return [row for row in rows if row.table_name in made and row.loaded_at >= made[row.table_name]]

    def _prepare_ledger(self) -> bigquery.Table:
        found = self._jobs.table(LEDGER_TABLE)
        if found is None:
            fresh = bigquery.Table(self._jobs.dataset.table(LEDGER_TABLE), schema=fields(LEDGER))
            fresh.description = _LEDGER_MARK
            found = self._jobs.create(fresh)
        if found.description != _LEDGER_MARK:
            message = f"There is a table {LEDGER_TABLE} that is not nyctaxi's ledger."
            raise WarehouseError(message, "It is left as it is: rename it, or load into another dataset.")
        refuse_expiring_table(found)
        gained = lacking({field.name for field in found.schema})
        if gained:
            self._jobs.query(add_columns(self._path(LEDGER_TABLE), gained))
        return found

    def _staging_name(self, table: str, staged: Staged, uri: str, generation: str) -> str:
        """Name the staging table by what is in it, so that loads of other content never meet there."""
        where = (self._path(table), str(staged.partition), uri, generation)
        what = (staged.raw.sha256, staged.dataset_version, staged.rules)
        digest = hashlib.sha256(repr(where + what).encode()).hexdigest()[:16]
        month = staged.partition.month
        return f"{table}_{month.year:04d}_{month.number:02d}_staging_{digest}"

    def _shares(self, tables: dict[str, datetime], dataset: Dataset, staged: Staged, staging: str) -> tuple[Share, ...]:
        """Return what becomes of each table: the first takes all staged rows, the second what the rules keep of it."""
        month, source = staged.partition.month, self._path(staging)
        (first, made), *others = tables.items()
        share = Share(first, self._path(first), source, "TRUE", staged, made)
        if not others:
            return (share,)
        ((table, made),) = others
        dropped = int(self._jobs.query(count_dropped(dataset, month, source))[0][0])
        rejected, rows = staged.rows_rejected + dropped, staged.rows_loaded - dropped
        kept = replace(staged, rules=dataset.rules_id, rows_rejected=rejected, rows_loaded=rows)
        where = f"{month_is(month)} AND NOT ({drops(dataset, month)})"
        return share, Share(table, self._path(table), share.path, where, kept, made)

    def _check_bytes(self, dataset: Dataset, shares: Sequence[Share], staging: str) -> None:
        """Refuse a transaction that would read more than is allowed. The rows of every table are the staged ones."""
        if self._max_bytes is None:
            return
        staged = (share._replace(source=self._path(staging), where="TRUE") for share in shares)
        total = sum(self._jobs.bytes_of(sql) for share in staged for sql in moves(dataset, share))
        if total > self._max_bytes:
            partition = shares[0].staged.partition
            message = f"{partition}: its transaction would read {total:,} bytes; {self._max_bytes:,} are allowed."
            raise WarehouseError(message, f"The month is what it was before. Raise {LIMIT_SETTING} if that is meant.")

    def _commit(self, dataset: Dataset, shares: Sequence[Share], run_id: str, event: Event) -> None:
        """Run the transaction, and say what its own check of the rows has found if that ended it."""
        sql = transaction(dataset, shares, self._path(LEDGER_TABLE), run_id)
        try:
            commit(self._jobs, sql, event)
        except GoogleAPICallError as error:
            wrong = counted(text_of(error))
            if wrong and wrong.share < len(shares):
                share = shares[wrong.share]
                check_rows(share.staged, share.table, wrong.rows)
            raise

    @contextmanager
    def _cleared(self, staging: str) -> Iterator[None]:
        """Drop the staging table at the end, unless trying again may help: then it is taken as it is, or expires."""
        try:
            with self._jobs.speaking():
                yield
        except NycTaxiError as error:
            if not isinstance(error, Transient):
                self._jobs.drop(staging)
            raise
        self._jobs.drop(staging)

    def _path(self, table: str) -> str:
        return path_of(self._jobs.dataset.project, self._jobs.dataset.dataset_id, table)


def _created(table: bigquery.Table) -> datetime:
    """Return when the table was made, UTC without a zone as the ledger's times are."""
    made: datetime = table.created
    return made.replace(tzinfo=None)
