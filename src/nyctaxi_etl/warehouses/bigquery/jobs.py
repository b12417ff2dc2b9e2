"""How BigQuery is asked: tables and jobs of one dataset, in its own location, waited for without a silent minute."""

from __future__ import annotations

import secrets
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, cast

from google.api_core.exceptions import Conflict, NotFound
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_RETRY

from nyctaxi_etl.core.errors import UsageError
from nyctaxi_etl.core.progress import Event, tell
from nyctaxi_etl.schema.columns import FILE_MONTH
from nyctaxi_etl.warehouses.bigquery.errors import GOOGLE_ERRORS, error_of, unreadable_answer
from nyctaxi_etl.warehouses.bigquery.expiry import refuse_expiring_dataset
from nyctaxi_etl.warehouses.bigquery.locations import refuse_far_bucket
from nyctaxi_etl.warehouses.bigquery.sql import DIALECT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from nyctaxi_etl.schema.columns import Column

_REQUEST_SECONDS = 60.0
_POLL_SECONDS = (0.1, 1.0)
_STAGING_LIFE = timedelta(days=1)
_PROBE_LIFE = timedelta(hours=1)


class Jobs:
    """The tables and jobs of one dataset. ``dataset`` may be ``project.dataset`` of another project.

    Its methods raise what Google's library does, which ``translated_errors`` makes errors of ours.

    ``max_bytes`` is the most that one query may be billed for; a server that doesn't answer is asked again for
    ``retry_seconds``.
    """

    def __init__(
        self, client: bigquery.Client, dataset: str, max_bytes: int | None = None, retry_seconds: float = 120.0
    ) -> None:
        self._client = client
        self._max_bytes = max_bytes
        self._call_options: dict[str, Any] = {
            "retry": DEFAULT_RETRY.with_timeout(retry_seconds),
            "timeout": min(_REQUEST_SECONDS, retry_seconds),
        }
        self._location = ""
        self._described: bigquery.Dataset | None = None
        self.dataset = bigquery.DatasetReference.from_string(dataset, default_project=client.project)

    def path(self, table: str) -> str:
        """Return the quoted full name of a table of the dataset."""
        return DIALECT.path(self.dataset.project, self.dataset.dataset_id, table)

    @property
    def name(self) -> str:
        """What the dataset is called in messages."""
        return f"BigQuery {self.dataset.project}.{self.dataset.dataset_id}"

    def close(self) -> None:
        """Close the connections."""
        self._client.close()  # type: ignore[no-untyped-call]

    @contextmanager
    def translated_errors(self) -> Iterator[None]:
        """Raise what BigQuery says as an error of ours."""
        try:
            yield
        except GOOGLE_ERRORS as error:
            raise error_of(error, self.name) from None  # its words may repeat a credential
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            translated = unreadable_answer(error, self.name)
            if translated is None:
                raise
            raise translated from None

    def locate(self, wanted: str | None = None, bucket: str | None = None) -> None:
        """Ask once where the dataset is, for every job is run there.

        Raises ``UsageError`` if that is not where it is ``wanted``, or far from a ``bucket`` there.
        """
        if self._location:
            return
        dataset = self._client.get_dataset(self.dataset, **self._call_options)
        location = str(dataset.location)
        if wanted and wanted.upper() != location.upper():
            message = f"{self.name} is in {location}, not in {wanted}."
            raise UsageError(message, "Correct NYCTAXI_BIGQUERY_LOCATION, or make a dataset there.")
        if bucket:
            refuse_far_bucket(self.name, location, bucket)
        self._location, self._described = location, dataset

    def refuse_expiring(self) -> None:
        """Raise ``UsageError`` if the dataset, which was located, makes tables that expire."""
        if self._described is not None:
            refuse_expiring_dataset(self._described)

    def prove_write_access(self) -> None:
        """Make a table that expires within minutes and drop it: whoever may do that may load. It costs nothing."""
        probe = bigquery.Table(self.dataset.table(f"nyctaxi_check_{secrets.token_hex(8)}"), schema=fields([FILE_MONTH]))
        probe.expires = datetime.now(UTC) + _PROBE_LIFE
        self._client.create_table(probe, **self._call_options)
        self._client.delete_table(probe, **self._call_options)

    def find_table(self, name: str) -> bigquery.Table | None:
        """Return a table or view as BigQuery describes it, if there is one of this name."""
        try:
            return self._client.get_table(self.dataset.table(name), **self._call_options)
        except NotFound:
            return None

    def create(self, table: bigquery.Table) -> bigquery.Table:
        """Make a table and return it, or what another load made of that name at the same moment."""
        try:
            return self._client.create_table(table, **self._call_options)
        except Conflict:
            return self._client.get_table(table.reference, **self._call_options)

    def drop(self, name: str) -> None:
        """Drop a table if that can be done: one that is left expires by itself."""
        with suppress(*GOOGLE_ERRORS):
            self._client.delete_table(self.dataset.table(name), not_found_ok=True, **self._call_options)

    def rows(self, table: bigquery.Table) -> Iterable[bigquery.Row]:
        """List a table's rows, which is free."""
        return self._client.list_rows(table, **self._call_options)

    def query(self, sql: str, event: Event | None = None) -> list[tuple[Any, ...]]:
        """Run a statement or a script to its end, telling ``event`` meanwhile, and return its rows.

        If the wait is broken off, so is the query.
        """
        config = self._config()
        if self._max_bytes is not None:
            config.maximum_bytes_billed = self._max_bytes
        job = self._start(sql, config)
        try:
            self._wait(job, event)
        finally:
            if job.state != "DONE":
                with suppress(*GOOGLE_ERRORS):
                    job.cancel(**self._call_options)
        return [tuple(row.values()) for row in job.result(job_retry=None, **self._call_options)]

    def estimate_bytes(self, sql: str) -> int:
        """Return how many bytes a statement would read, by BigQuery's own estimate.

        A single one: of a script BigQuery estimates no statement that changes rows.
        """
        return int(self._dry_run(sql).total_bytes_processed or 0)

    def statement_type(self, sql: str) -> str:
        """Return what BigQuery calls a statement, without running it: ``SELECT``, ``DELETE``, ``SCRIPT`` for several.

        Nothing if it has no name for it.
        """
        return str(self._dry_run(sql).statement_type or "")

    def load(self, uri: str, name: str, columns: Sequence[Column], rows: int, event: Event) -> None:
        """Load a Parquet object into the table ``name``, which expires in a day; ``rows`` are expected.

        Of none the table is made, and stays empty. The name stands for the object's content, and so do the job ids made
        of it: a job that another attempt started is waited for and its rows are taken, unless it failed or they are
        gone.
        """
        target = bigquery.Table(self.dataset.table(name), schema=fields(columns))
        target.expires = datetime.now(UTC) + _STAGING_LIFE
        self.create(target)
        if rows == 0:
            return
        for attempt in count(1):
            job, is_ours = self._start_load(uri, target, f"nyctaxi_{name}_{attempt}")
            self._wait(job, event)
            if is_ours:
                job.result(**self._call_options)
            table = self._client.get_table(target.reference, **self._call_options)
            if is_ours or (job.error_result is None and table.num_rows == rows):
                break
        if table.expires is None:  # a load that replaces a table may take this from it
            table.expires = target.expires
            with suppress(*GOOGLE_ERRORS):
                self._client.update_table(table, ["expires"], **self._call_options)

    def _start_load(self, uri: str, target: bigquery.Table, job_id: str) -> tuple[bigquery.LoadJob, bool]:
        """Start a load job, or find the one with this id; the second value tells whether it is ours."""
        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET,
            schema=target.schema,
            write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
        )
        try:
            job = self._client.load_table_from_uri(
                uri, target.reference, job_id=job_id, location=self._location, job_config=config, **self._call_options
            )
        except Conflict:
            other = self._client.get_job(job_id, location=self._location, **self._call_options)
            return cast("bigquery.LoadJob", other), False
        return job, True

    def _dry_run(self, sql: str) -> bigquery.QueryJob:
        return self._start(sql, self._config(dry_run=True, use_query_cache=False))

    def _start(self, sql: str, config: bigquery.QueryJobConfig) -> bigquery.QueryJob:
        return self._client.query(sql, config, location=self._location, job_retry=None, **self._call_options)

    def _config(self, **options: Any) -> bigquery.QueryJobConfig:
        return bigquery.QueryJobConfig(default_dataset=self.dataset, **options)

    def _wait(self, job: bigquery.QueryJob | bigquery.LoadJob, event: Event | None) -> None:
        """Wait until the job is done, well or not, telling of it every second at least."""
        pause, longest = _POLL_SECONDS
        while True:
            if event:
                tell(event)
            if job.done(**self._call_options):
                return
            time.sleep(pause)
            pause = min(longest, pause * 1.5)


def fields(columns: Iterable[Column]) -> list[bigquery.SchemaField]:
    """Return the declared columns as BigQuery wants them, with what they mean.

    Any but the month may be null: ``required`` columns must be in a file, not filled in every row.
    """
    return [
        bigquery.SchemaField(
            column.name,
            column.types.bigquery,
            "REQUIRED" if column is FILE_MONTH else "NULLABLE",
            description=column.about,
        )
        for column in columns
    ]
