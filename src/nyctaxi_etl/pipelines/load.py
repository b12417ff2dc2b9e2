"""From the lake to a warehouse: what the month's steps are on this way.

A warehouse that fetches from the lake by itself is given nothing but the address.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nyctaxi_etl.core.errors import LakeError, NotPublished
from nyctaxi_etl.core.partition import Mode
from nyctaxi_etl.lakes.metadata import read_lineage
from nyctaxi_etl.pipelines.destination import loaded_months, refuse_made_up, replace_month
from nyctaxi_etl.pipelines.job import Origin, Plan, Steps
from nyctaxi_etl.pipelines.month import with_retries
from nyctaxi_etl.pipelines.workspace import disk_errors
from nyctaxi_etl.staging.files import StagedFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nyctaxi_etl.core.lineage import Lineage
    from nyctaxi_etl.core.partition import Partition
    from nyctaxi_etl.pipelines.destination import Loaded, OpenWarehouse
    from nyctaxi_etl.pipelines.job import Job
    from nyctaxi_etl.pipelines.upload import OpenLake
    from nyctaxi_etl.warehouses.base import Capabilities


def plan_load(
    job: Job, partitions: Sequence[Partition], steps: Steps[Any], open_lake: OpenLake, open_warehouse: OpenWarehouse
) -> Plan:
    """Ask warehouse and lake what they hold, and plan what brings these months from the one to the other.

    Asked first, they show what is out of reach. Raises ``UsageError`` for made-up months over real ones.
    """
    existing, capabilities = loaded_months(job, partitions, open_warehouse)
    lake = open_lake(job)
    lineages = {partition: read_lineage(lake.metadata(job.key_of(partition))) for partition in partitions}
    origins = {partition: Origin(partition, lineage) for partition, lineage in lineages.items() if lineage}
    refuse_made_up(job, _moves(origins, existing))
    return Plan(job, steps, capabilities, existing, origins)


def load_steps(open_lake: OpenLake, open_warehouse: OpenWarehouse) -> Steps[StagedFile]:
    """Return the steps as plain functions; one that failed for a passing reason is tried again."""
    get = partial(with_retries, "get", partial(get_month, open_lake=open_lake))
    load = partial(with_retries, "load", partial(replace_month, open_warehouse=open_warehouse))
    return Steps(partial(find_month, open_lake=open_lake), get, load)


def find_month(job: Job, partition: Partition, open_lake: OpenLake) -> Origin:
    """Return what the lake says of the month.

    Raises ``NotPublished`` if the month isn't in the lake, ``LakeError`` if it isn't ours.
    """
    key = job.key_of(partition)
    metadata = open_lake(job).metadata(key)
    if metadata is None:
        mode = " --mode elt" if job.mode == Mode.ELT else ""
        year, month = partition.month.year, partition.month.number
        message = f"{partition}: the lake {job.lake} has no {key}."
        hint = f"Put it there: nyctaxi upload --color {partition.color} --year {year} --months {month}{mode}"
        raise NotPublished(message, f"{hint} --lake {job.lake}")
    lineage = read_lineage(metadata)
    if lineage is None:
        message = f"{partition}: nyctaxi has not put {key} into the lake {job.lake}: nothing is known of it."
        raise LakeError(message, "Put it there again with `nyctaxi upload`, or name another `lake=`.")
    return Origin(partition, lineage)


def get_month(job: Job, origin: Origin, folder: Path, capabilities: Capabilities, open_lake: OpenLake) -> StagedFile:
    """Have the month's file here, or its address if the warehouse wants that: see ``Lake.get``."""
    from nyctaxi_etl.lakes.parquet import read_metadata

    partition, lake, key = origin.partition, open_lake(job), job.key_of(origin.partition)
    if capabilities.loads_from_uri:
        # The warehouse reads the object a moment later; what was looked up for all months may be minutes old.
        return StagedFile(partition, find_month(job, partition, open_lake).lineage, Path(), uri=lake.uri(key))
    with disk_errors(partition, folder):
        path = lake.get(key, folder, str(partition))
    # The file's own footer tells of these very rows, even if they were put a moment ago.
    return StagedFile(partition, read_lineage(read_metadata(path)) or origin.lineage, path, uri=lake.uri(key))


def _moves(origins: Mapping[Partition, Origin], existing: Loaded) -> Iterator[tuple[Partition, str, str]]:
    """Yield, of each month in the lake, where it came from and where that came from which each table has of it."""
    for partition, origin in origins.items():
        olds: tuple[Lineage | None, ...] = existing.get(partition, ())
        yield from ((partition, origin.lineage.source, old.source) for old in olds if old)
