"""From the lake to a warehouse, the order written once: look at both, get, load. Knows no Prefect.

A warehouse that fetches from the lake by itself gets nothing but the address.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nyctaxi_etl.core.errors import LakeError, NotPublished
from nyctaxi_etl.core.partition import Mode
from nyctaxi_etl.core.report import Replaced
from nyctaxi_etl.lakes.metadata import Facts
from nyctaxi_etl.pipelines.ingest import again, held, keep_real, keep_real_now, on_disk, settled, staging
from nyctaxi_etl.pipelines.upload import counted
from nyctaxi_etl.schema.datasets import DATASETS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from nyctaxi_etl.core.partition import Partition, Staged
    from nyctaxi_etl.core.report import PartitionResult
    from nyctaxi_etl.lakes.base import Lake
    from nyctaxi_etl.pipelines.ingest import Job
    from nyctaxi_etl.warehouses.base import Warehouse
    from nyctaxi_etl.warehouses.ledger import LedgerRow

RAW = "_raw"


class Found(NamedTuple):
    """What is known of a month before it moves.

    ``texts`` is what the lake says, ``None`` if it doesn't have the month; ``row`` and ``raw_row`` are the ledger's of
    the table and, for ELT, of that with the rows as they came. ``by_uri``: the warehouse fetches the month by itself.
    """

    texts: Mapping[str, str] | None
    row: LedgerRow | None
    raw_row: LedgerRow | None
    by_uri: bool


class Steps(NamedTuple):
    """The two steps of a month, both safe to repeat."""

    get: Callable[[Job, Partition, Found, Path], Staged]
    load: Callable[[Job, Staged], int]


def get(job: Job, partition: Partition, found: Found, folder: Path, open_lake: Callable[[Job], Lake]) -> Staged:
    """Have the month's file here, or its address if the warehouse wants that: see ``Lake.get``."""
    lake, key = open_lake(job), job.key_of(partition)
    if found.by_uri:
        # The warehouse reads the object a moment later; what was looked up for all months may be minutes old.
        now = found._replace(texts=lake.facts(key))
        return known(job, partition, now).staged(partition, Path(), lake.uri(key))
    with on_disk(partition, folder):
        path = lake.get(key, folder, str(partition))
    return _inside(path, known(job, partition, found)).staged(partition, path, lake.uri(key))


def load(job: Job, staged: Staged, open_warehouse: Callable[[Job], Warehouse]) -> int:
    """Replace the month in the warehouse, for ELT in both tables: see ``Warehouse.replace``."""
    from nyctaxi_etl.transform.stream import use_frugal_memory

    use_frugal_memory()
    table, dataset = job.table_of(staged.partition), DATASETS[staged.partition.color]
    raw_table = table + RAW if job.mode == Mode.ELT else None
    with open_warehouse(job) as warehouse:
        keep_real_now(job, staged, warehouse)
        return warehouse.replace(table, dataset, staged, job.run_id, raw_table=raw_table)


def direct_steps(open_lake: Callable[[Job], Lake], open_warehouse: Callable[[Job], Warehouse]) -> Steps:
    """Return the steps as plain functions; one that failed for a passing reason is tried again."""

    def get_again(job: Job, partition: Partition, found: Found, folder: Path) -> Staged:
        return again(partition, "get", lambda: get(job, partition, found, folder, open_lake))

    def load_again(job: Job, staged: Staged) -> int:
        return again(staged.partition, "load", lambda: load(job, staged, open_warehouse))

    return Steps(get_again, load_again)


def look(
    job: Job,
    partitions: Sequence[Partition],
    open_lake: Callable[[Job], Lake],
    open_warehouse: Callable[[Job], Warehouse],
) -> Mapping[Partition, Found]:
    """Return what lake and ledger say of these months; asked first, they show what is out of reach."""
    with open_warehouse(job) as warehouse:
        by_uri = warehouse.capabilities.loads_from_uri
    rows = held(job, partitions, open_warehouse)
    raw_rows = _held_raw(job, partitions, open_warehouse) if job.mode == Mode.ELT else {}
    lake = open_lake(job)
    return {
        partition: Found(lake.facts(job.key_of(partition)), rows.get(partition), raw_rows.get(partition), by_uri)
        for partition in partitions
    }


def months(
    job: Job,
    partitions: Sequence[Partition],
    steps: Steps,
    open_lake: Callable[[Job], Lake],
    open_warehouse: Callable[[Job], Warehouse],
) -> Callable[[Partition], PartitionResult]:
    """Ask lake and warehouse what they hold, and return what brings one of these months from the one to the other."""
    found = look(job, partitions, open_lake, open_warehouse)
    keep_real(job, _moves(found))
    return lambda partition: warehouse_month(job, partition, steps, found[partition])


def _moves(found: Mapping[Partition, Found]) -> Iterator[tuple[Partition, str, str]]:
    """Yield, of each month that is here and there, where the lake's came from and where each table's did."""
    for partition, one in found.items():
        facts = Facts.read(one.texts)
        rows = (row for row in (one.row, one.raw_row) if row)
        yield from ((partition, facts.source, row.source) for row in rows if facts)


def warehouse_month(job: Job, partition: Partition, steps: Steps, found: Found) -> PartitionResult:
    """Bring one month from the lake into the warehouse; ``found`` is what is known of the month."""
    return settled(job, partition, lambda blank: _bring(job, partition, steps, found, blank))


def known(job: Job, partition: Partition, found: Found) -> Facts:
    """Return the month's facts. Raises ``NotPublished`` if it isn't in the lake, ``LakeError`` if it isn't ours."""
    key = job.key_of(partition)
    if found.texts is None:
        mode = " --mode elt" if job.mode == Mode.ELT else ""
        year, month = partition.month.year, partition.month.number
        message = f"{partition}: the lake {job.lake} has no {key}."
        hint = f"Put it there: nyctaxi upload --color {partition.color} --year {year} --months {month}{mode}"
        raise NotPublished(message, f"{hint} --lake {job.lake}")
    facts = Facts.read(found.texts)
    if facts is None:
        message = f"{partition}: nyctaxi has not put {key} into the lake {job.lake}: nothing is known of it."
        raise LakeError(message, "Put it there again with `nyctaxi upload`, or name another `lake=`.")
    return facts


def _bring(job: Job, partition: Partition, steps: Steps, found: Found, blank: PartitionResult) -> PartitionResult:
    facts = known(job, partition, found)
    if found.row and not job.force and _is_unchanged(job, partition, found, facts):
        counts = (found.row.rows_rejected, found.row.rows_loaded)
        return replace(_with(blank, facts, *counts), outcome="unchanged")
    with staging(job, partition) as folder:
        staged = steps.get(job, partition, found, folder)
        rows = steps.load(job, staged)
    facts = Facts.of(staged)
    result = replace(_with(blank, facts, facts.rows_read - rows, rows), outcome="loaded")
    return replace(result, source=facts.source, replaced=Replaced.of(found.row))


def _with(blank: PartitionResult, facts: Facts, rejected: int, loaded: int) -> PartitionResult:
    return replace(counted(blank, facts), rows_rejected=rejected, rows_loaded=loaded)


def _is_unchanged(job: Job, partition: Partition, found: Found, facts: Facts) -> bool:
    """Tell whether the ledger has the month as the lake has it; of ELT's clean table, under the rules of now."""
    if job.mode == Mode.ETL:
        return _is_of(found.row, facts, facts.rules)
    return _is_of(found.row, facts, DATASETS[partition.color].rules_id) and _is_of(found.raw_row, facts, facts.rules)


def _is_of(row: LedgerRow | None, facts: Facts, rules: str) -> bool:
    wanted = (facts.source_sha256, facts.dataset_version, rules)
    return row is not None and (row.source_sha256, row.dataset_version, row.rules) == wanted


def _held_raw(
    job: Job, partitions: Sequence[Partition], open_warehouse: Callable[[Job], Warehouse]
) -> Mapping[Partition, LedgerRow]:
    rows: dict[Partition, LedgerRow] = {}
    for color in dict.fromkeys(partition.color for partition in partitions):
        mine = [partition for partition in partitions if partition.color == color]
        rows |= held(replace(job, table=job.table_of(mine[0]) + RAW), mine, open_warehouse)
    return rows


def _inside(path: Path, facts: Facts) -> Facts:
    """Return the facts in the file's own footer: they are of these very rows, even if it was put a moment ago."""
    from nyctaxi_etl.lakes.parquet import read_facts

    return Facts.read(read_facts(path)) or facts
