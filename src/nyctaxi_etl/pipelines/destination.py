"""The warehouse as the end of a month's way: what it holds, what must not be replaced in it, and the replacing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nyctaxi_etl.core.errors import UsageError, WarehouseError
from nyctaxi_etl.pipelines.workspace import disk_errors
from nyctaxi_etl.schema.datasets import DATASETS
from nyctaxi_etl.sources.registry import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from nyctaxi_etl.core.lineage import Lineage
    from nyctaxi_etl.core.partition import Partition
    from nyctaxi_etl.pipelines.job import Job
    from nyctaxi_etl.staging.stage import Stage
    from nyctaxi_etl.warehouses.base import Capabilities, Warehouse

    OpenWarehouse = Callable[[Job], Warehouse]
    Loaded = Mapping[Partition, tuple[Lineage | None, ...]]

# How many months a message names of many.
_NAMED = 3


def loaded_months(
    job: Job, partitions: Sequence[Partition], open_warehouse: OpenWarehouse
) -> tuple[Loaded, Capabilities]:
    """Return what the warehouse's ledger says of these months, of each of their tables, and what the warehouse can do.

    Asked first, it shows a warehouse out of reach.
    """
    tables = dict.fromkeys(table for partition in partitions for table in job.tables_of(partition))
    with open_warehouse(job) as warehouse:
        capabilities = warehouse.capabilities
        rows = [row for table in tables for row in warehouse.loaded(table)]
    lineages = {(row.table_name, row.color, row.file_month): row.lineage for row in rows}
    loaded: dict[Partition, tuple[Lineage | None, ...]] = {}
    for partition in partitions:
        month = (str(partition.color), partition.month.first_day)
        loaded[partition] = tuple(lineages.get((table, *month)) for table in job.tables_of(partition))
    return loaded, capabilities


def replace_month(job: Job, stage: Stage, open_warehouse: OpenWarehouse) -> int:
    """Replace the month in the warehouse, for ELT in both tables: see ``Warehouse.replace``."""
    from nyctaxi_etl.transform.stream import use_frugal_memory

    use_frugal_memory()
    partition = stage.partition
    *raw, table = job.tables_of(partition)
    with disk_errors(partition, job.data_dir), open_warehouse(job) as warehouse:
        _refuse_made_up_now(job, stage, warehouse)
        return warehouse.replace(table, DATASETS[partition.color], stage, job.run_id, *raw)


def refuse_made_up(job: Job, moves: Iterable[tuple[Partition, str, str]]) -> None:
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


def _refuse_made_up_now(job: Job, stage: Stage, warehouse: Warehouse) -> None:
    """Refuse as ``refuse_made_up`` does, if another run has loaded the real month meanwhile.

    Raises ``WarehouseError``.
    """
    partition, table = stage.partition, job.tables_of(stage.partition)[-1]
    if stage.lineage.source != SAMPLE or job.force:
        return
    for row in warehouse.loaded(table):
        is_it = (row.color, row.file_month) == (partition.color, partition.month.first_day)
        if is_it and row.lineage.source != SAMPLE:
            message = f"{partition}: meanwhile another run has loaded it from {row.lineage.source} into {table}."
            raise WarehouseError(message, "Made-up rows don't replace real ones; `force=True` does it all the same.")
