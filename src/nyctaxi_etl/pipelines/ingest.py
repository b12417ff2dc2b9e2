"""From a source to a warehouse, the order written once: fetch, look in the ledger, stage, load. Knows no Prefect.

The steps are injected, so a flow runs the same order with tasks in their place. What the other orders share is here.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from nyctaxi_etl.core.errors import Bug, CorruptFile, NotPublished, NycTaxiError, Transient, UsageError, WarehouseError
from nyctaxi_etl.core.pace import FLOOR_BYTES
from nyctaxi_etl.core.partition import Mode, Staged
from nyctaxi_etl.core.progress import Event, tell
from nyctaxi_etl.core.report import Failure, LoadReport, PartitionResult, Replaced
from nyctaxi_etl.core.retry import may_pass
from nyctaxi_etl.lakes.base import CHUNK_BYTES
from nyctaxi_etl.lakes.keys import conformed_key, trips_key
from nyctaxi_etl.schema.datasets import DATASETS
from nyctaxi_etl.sources.registry import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from nyctaxi_etl.core.partition import Color, Partition, RawFile, Stage
    from nyctaxi_etl.core.report import Outcome
    from nyctaxi_etl.schema.columns import Dataset
    from nyctaxi_etl.sources.registry import Source
    from nyctaxi_etl.warehouses.base import Warehouse
    from nyctaxi_etl.warehouses.ledger import LedgerRow

Result = TypeVar("Result")

# An address that begins so names a block of Prefect's.
BLOCK = "block:"
LOAD_ATTEMPTS = 4
# How many months a message names of many.
_NAMED = 3


@dataclass(frozen=True)
class Google:
    """What a team has set of Google Cloud. An emulator's address stands in for Google's, without credentials."""

    project: str = ""
    dataset: str = "nyctaxi"
    location: str = ""
    max_bytes: int | None = None
    chunk_bytes: int = CHUNK_BYTES
    bucket_location: str = ""
    storage_emulator: str = ""
    bigquery_emulator: str = ""


@dataclass(frozen=True)
class Job:
    """What a run is to do with each of its months; holds no secret and can be pickled.

    ``to`` is a warehouse's address or ``block:NAME``, empty if the months end in the lake; ``lake`` is the same of the
    lake, empty if they don't pass there. ``table`` ``None`` means the colour's own; ``raw``: published files go into
    the lake, too; ``run_id`` goes into the ledger.
    """

    source: Source
    to: str
    data_dir: Path
    run_id: str
    table: str | None = None
    force: bool = False
    sample_rows: int = 50_000
    max_unparsable: float = 0.05
    min_speed: int = FLOOR_BYTES
    max_outside_month: float = 0.5
    lake: str = ""
    mode: Mode = Mode.ETL
    raw: bool = False
    google: Google = Google()

    def table_of(self, partition: Partition) -> str:
        """Return the table that a month of this colour goes into."""
        return self.table or DATASETS[partition.color].table

    def key_of(self, partition: Partition) -> str:
        """Return the month's key in the lake."""
        return trips_key(partition) if self.mode == Mode.ETL else conformed_key(partition)

    def place_of(self, partition: Partition) -> str:
        """Return where a month ends: a table, or a key in the lake."""
        return self.table_of(partition) if self.to else self.key_of(partition)

    def dataset_of(self, color: Color) -> Dataset:
        """Return what a published month is conformed to; for ELT without the rules that drop rows."""
        dataset = DATASETS[color]
        if self.mode == Mode.ETL:
            return dataset
        return replace(dataset, rules=tuple(rule for rule in dataset.rules if rule.action != "drop"))


class Steps(NamedTuple):
    """The three steps of a month; ``load`` is safe to repeat."""

    extract: Callable[[Job, Partition], RawFile]
    transform: Callable[[Job, RawFile, Path], Stage]
    load: Callable[[Job, Stage], int]


def extract(job: Job, partition: Partition) -> RawFile:
    """Have the month's file here, whole and checked: see ``extract.fetch``."""
    from nyctaxi_etl.sources.fetch import fetch

    return fetch(job.source, partition, job.data_dir / "raw", sample_rows=job.sample_rows, floor=job.min_speed)


def transform(job: Job, raw: RawFile, folder: Path) -> Staged:
    """Conform and clean the file into ``folder``: see ``staging.stage``. A damaged fetched copy is discarded."""
    from nyctaxi_etl.sources.cache import discard
    from nyctaxi_etl.transform.stream import Limits, stage

    limits = Limits(job.max_unparsable, job.max_outside_month)
    try:
        with on_disk(raw.partition, folder):
            return stage(raw, job.dataset_of(raw.partition.color), folder, limits)
    except CorruptFile:
        discard(raw)
        raise


def transform_live(job: Job, raw: RawFile, folder: Path) -> Stage:
    """Open the file, to be conformed and cleaned while it is loaded: see ``staging.LiveStage``."""
    from nyctaxi_etl.transform.stream import Limits, LiveStage, keep_rejects

    def keep(live: LiveStage) -> None:
        keep_rejects(live, job.data_dir / "rejects")

    tell(Event(str(raw.partition), "transform"))
    limits = Limits(job.max_unparsable, job.max_outside_month)
    return LiveStage(raw, job.dataset_of(raw.partition.color), folder, limits, keep)


def load(job: Job, staged: Stage, open_warehouse: Callable[[Job], Warehouse]) -> int:
    """Put the rejects where they stay, then replace the month in the warehouse: see ``Warehouse.replace``."""
    from nyctaxi_etl.sources.cache import discard
    from nyctaxi_etl.transform.stream import keep_rejects

    with on_disk(staged.partition, job.data_dir):
        if isinstance(staged, Staged):
            keep_rejects(staged, job.data_dir / "rejects")
        try:
            with open_warehouse(job) as warehouse:
                keep_real_now(job, staged, warehouse)
                table, dataset = job.table_of(staged.partition), DATASETS[staged.partition.color]
                return warehouse.replace(table, dataset, staged, job.run_id)
        except CorruptFile:
            discard(staged.raw)
            raise


def direct_steps(open_warehouse: Callable[[Job], Warehouse]) -> Steps:
    """Return the steps as plain functions; a load that failed for a passing reason is tried again.

    Transform and load overlap where the warehouse takes a month that is still being conformed.
    """

    def transform_for(job: Job, raw: RawFile, folder: Path) -> Stage:
        with open_warehouse(job) as warehouse:
            streams = warehouse.capabilities.streams
        return transform_live(job, raw, folder) if streams else transform(job, raw, folder)

    def load_again(job: Job, staged: Stage) -> int:
        return again(staged.partition, "load", lambda: load(job, staged, open_warehouse))

    return Steps(extract, transform_for, load_again)


def again(partition: Partition, step: str, work: Callable[[], Result]) -> Result:
    """Return ``work()``, tried again with growing pauses while it raises ``Transient``, and say so meanwhile."""
    import stamina

    for attempt in stamina.retry_context(on=may_pass, attempts=LOAD_ATTEMPTS, timeout=None):
        with attempt:
            try:
                return work()
            except Transient as error:
                if attempt.num < LOAD_ATTEMPTS and may_pass(error):
                    tell_retry(partition, step, error)
                raise
    message = f"{partition}: no attempt was made."  # a deactivated stamina still makes one
    raise Transient(message)


def tell_retry(partition: Partition, step: str, error: Transient) -> None:
    """Say why a step is tried again."""
    tell(Event(str(partition), step, note=f"{error.message} Trying again."))


def prepare(job: Job) -> None:
    """See that the data folder can be written to. Raises ``UsageError`` otherwise."""
    try:
        job.data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=job.data_dir):
            pass
    except OSError as error:
        message = f"{job.data_dir} can't be written to: {error.strerror}."
        raise UsageError(message, "Name another folder with `data_dir=`.", about="data_dir") from error


def held(
    job: Job, partitions: Iterable[Partition], open_warehouse: Callable[[Job], Warehouse]
) -> dict[Partition, LedgerRow]:
    """Return what the warehouse's ledger says of these months; asked first, it shows a warehouse out of reach."""
    by_table: dict[str, list[Partition]] = {}
    for partition in partitions:
        by_table.setdefault(job.table_of(partition), []).append(partition)
    found: dict[Partition, LedgerRow] = {}
    with open_warehouse(job) as warehouse:
        if not job.lake:
            refuse_by_uri(job, warehouse)
        for table, wanted in by_table.items():
            rows = {(row.color, row.file_month): row for row in warehouse.loaded(table)}
            keys = {partition: (str(partition.color), partition.month.first_day) for partition in wanted}
            found |= {partition: rows[key] for partition, key in keys.items() if key in rows}
    return found


def refuse_by_uri(job: Job, warehouse: Warehouse) -> None:
    """Refuse a warehouse that loads from the lake alone. Raises ``UsageError``."""
    if warehouse.capabilities.loads_from_uri:
        message = f"{job.to}: BigQuery loads from the lake, not from a source."
        hint = "Run `nyctaxi upload --lake gs://bucket/prefix`, then `nyctaxi warehouse` with the same `lake=`."
        raise UsageError(message, hint, about="to")


def months(
    job: Job, partitions: Sequence[Partition], steps: Steps, open_warehouse: Callable[[Job], Warehouse]
) -> Callable[[Partition], PartitionResult]:
    """Ask the warehouse what it holds, and return what brings one of these months into it."""
    ledger = held(job, partitions, open_warehouse)
    keep_real(job, ((partition, job.source.name, row.source) for partition, row in ledger.items()))
    return lambda partition: ingest_month(job, partition, steps, ledger.get(partition))


def keep_real(job: Job, moves: Iterable[tuple[Partition, str, str]]) -> None:
    """Refuse months of the sample in place of real ones, unless forced; each with its new source and its old one.

    Raises ``UsageError``: nothing has been moved yet.
    """
    over = (f"{partition} ({old})" for partition, new, old in moves if new == SAMPLE != old)
    lost = list(dict.fromkeys(over))
    if lost and not job.force:
        more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
        message = f"Made-up rows (source sample) would replace real ones: {', '.join(lost[:_NAMED])}{more}."
        hint = (
            "Put them elsewhere (another table, data folder or lake); `force=True` replaces the real ones all the same."
        )
        raise UsageError(message, hint)


def keep_real_now(job: Job, staged: Stage, warehouse: Warehouse) -> None:
    """Refuse as ``keep_real`` does, if another run has loaded the real month meanwhile. Raises ``WarehouseError``."""
    if staged.raw.source != SAMPLE or job.force:
        return
    partition, table = staged.partition, job.table_of(staged.partition)
    rows = (row for row in warehouse.loaded(table) if row.file_month == partition.month.first_day)
    for row in rows:
        if row.source != SAMPLE and row.color == partition.color:
            message = f"{partition}: meanwhile another run has loaded it from {row.source} into {table}."
            raise WarehouseError(message, "Made-up rows don't replace real ones; `force=True` does it all the same.")


def ingest_month(job: Job, partition: Partition, steps: Steps, row: LedgerRow | None) -> PartitionResult:
    """Bring one month from the source into the warehouse; ``row`` is what its ledger says of the month."""
    return settled(job, partition, lambda blank: _ingest(job, partition, steps, row, blank))


def settled(job: Job, partition: Partition, work: Callable[[PartitionResult], PartitionResult]) -> PartitionResult:
    """Return what ``work`` makes of a blank result, with its time, and tell it.

    Whatever goes wrong becomes a failed or missing result, what nobody foresaw a ``Bug``: the other months go on. But
    for a ``UsageError``, which is wrong for every month. Nothing else in a month's work catches a bare ``Exception``.
    """
    started = time.perf_counter()
    blank = PartitionResult(partition, "failed", job.place_of(partition), started=time.time())
    try:
        result = work(blank)
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 - see above
        known = error if isinstance(error, NycTaxiError) else Bug.of(error)
        outcome: Outcome = "missing" if isinstance(known, NotPublished) else "failed"
        # The month's name stands beside it wherever a result is shown.
        failure = replace(Failure.of(known), message=known.message.removeprefix(f"{partition}: "))
        result = replace(blank, outcome=outcome, failure=failure)
    result = replace(result, seconds=time.perf_counter() - started)
    note = result.failure.message if result.failure else ""
    tell(Event(str(partition), result.outcome, result.rows_loaded, result.rows_read, note=note))
    return result


def _ingest(
    job: Job, partition: Partition, steps: Steps, row: LedgerRow | None, blank: PartitionResult
) -> PartitionResult:
    raw = steps.extract(job, partition)
    if row and not job.force and row.holds(raw, DATASETS[partition.color]):
        unknown = tuple(filter(None, row.unknown_columns.split(",")))
        counts = (row.rows_read, row.rows_rejected, row.rows_loaded)
        return replace(_counted(blank, counts, raw), outcome="unchanged", flags=row.flagged(), unknown_columns=unknown)
    with staging(job, partition) as folder:
        staged = steps.transform(job, raw, folder)
        rows = steps.load(job, staged)
    result = _counted(blank, (staged.rows_read, staged.rows_rejected, rows), raw)
    result = replace(result, source=raw.source, replaced=Replaced.of(row))
    return replace(result, outcome="loaded", flags=staged.flags, unknown_columns=staged.unknown_columns)


@contextmanager
def staging(job: Job, partition: Partition) -> Iterator[Path]:
    """Give a folder of its own for one month's work, gone afterwards."""
    from nyctaxi_etl.transform.stream import workplace

    with ExitStack() as stack:
        with on_disk(partition, job.data_dir):
            folder = stack.enter_context(workplace(job.data_dir / "staging"))
        yield folder


@contextmanager
def on_disk(partition: Partition, folder: Path) -> Iterator[None]:
    """Turn what the file system refuses into an error that names the place; an error without a number is none of it."""
    try:
        yield
    except OSError as error:
        if not error.errno:
            raise
        message = f"{partition}: {error.filename or folder}: {error.strerror}."
        raise NycTaxiError(message, "Make room or give access there, or name another `data_dir=`.") from error


def _counted(blank: PartitionResult, counts: tuple[int, int, int], raw: RawFile) -> PartitionResult:
    read, rejected, loaded = counts
    result = replace(blank, rows_read=read, rows_rejected=rejected, rows_loaded=loaded, bytes=raw.bytes)
    return replace(result, url=raw.url, sha256=raw.sha256)


def report(command: str, job: Job, results: Sequence[PartitionResult]) -> LoadReport:
    """Put the results of a run together."""
    return LoadReport(command, job.source.base or job.source.name, job.to or job.lake, tuple(results))
