"""From a source to the lake, the order written once: fetch, look at what the lake knows, stage, put. Knows no Prefect.

The rows are put last: while they are the old ones, so is what the lake knows of the month, and a run does it all again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from nyctaxi_etl.core.partition import Mode
from nyctaxi_etl.core.report import Replaced
from nyctaxi_etl.lakes.keys import raw_key, rejects_key
from nyctaxi_etl.lakes.metadata import Facts, raw_facts
from nyctaxi_etl.pipelines.ingest import again, extract, keep_real, on_disk, settled, staging, transform

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from nyctaxi_etl.core.partition import Partition, RawFile, Staged
    from nyctaxi_etl.core.report import PartitionResult
    from nyctaxi_etl.lakes.base import Lake
    from nyctaxi_etl.pipelines.ingest import Job


class Steps(NamedTuple):
    """The steps of a month; those that put are safe to repeat."""

    extract: Callable[[Job, Partition], RawFile]
    transform: Callable[[Job, RawFile, Path], Staged]
    put: Callable[[Job, Staged], None]
    put_raw: Callable[[Job, RawFile], None]


def put(job: Job, staged: Staged, open_lake: Callable[[Job], Lake]) -> None:
    """Pack the month as Parquet and put it into the lake, after its rejects: see ``Lake.put``."""
    from nyctaxi_etl.lakes.parquet import staged_parquet

    partition, facts = staged.partition, Facts.of(staged)
    packed = staged.path.with_suffix(".parquet")
    with on_disk(partition, job.data_dir):
        staged_parquet(staged, packed, facts.texts())
    lake = open_lake(job)
    if not _has_more_rejects(job, lake, staged):
        if staged.rejects:
            lake.put(rejects_key(partition), staged.rejects, facts.texts(), str(partition))
        else:
            lake.remove(rejects_key(partition))
    lake.put(job.key_of(partition), packed, facts.texts(), str(partition))


def put_raw(job: Job, raw: RawFile, open_lake: Callable[[Job], Lake]) -> None:
    """Put the published file into the lake as it is, unless it is there."""
    lake, key = open_lake(job), raw_key(raw.source, raw.path.name)
    known = lake.facts(key) or {}
    if job.force or known.get("source_sha256") != raw.sha256:
        lake.put(key, raw.path, raw_facts(raw), str(raw.partition))


def direct_steps(open_lake: Callable[[Job], Lake]) -> Steps:
    """Return the steps as plain functions; a put that failed for a passing reason is tried again."""

    def put_again(job: Job, staged: Staged) -> None:
        again(staged.partition, "put", lambda: put(job, staged, open_lake))

    def put_raw_again(job: Job, raw: RawFile) -> None:
        again(raw.partition, "put", lambda: put_raw(job, raw, open_lake))

    return Steps(extract, transform, put_again, put_raw_again)


def held(job: Job, partitions: Sequence[Partition], open_lake: Callable[[Job], Lake]) -> Mapping[Partition, Facts]:
    """Return what the lake knows of these months; asked first, it shows a lake out of reach."""
    lake = open_lake(job)
    known = {partition: Facts.read(lake.facts(job.key_of(partition))) for partition in partitions}
    return {partition: facts for partition, facts in known.items() if facts}


def months(
    job: Job, partitions: Sequence[Partition], steps: Steps, open_lake: Callable[[Job], Lake]
) -> Callable[[Partition], PartitionResult]:
    """Ask the lake what it holds, and return what brings one of these months into it."""
    known = held(job, partitions, open_lake)
    keep_real(job, ((partition, job.source.name, facts.source) for partition, facts in known.items()))
    return lambda partition: upload_month(job, partition, steps, known.get(partition))


def upload_month(job: Job, partition: Partition, steps: Steps, known: Facts | None) -> PartitionResult:
    """Bring one month from the source into the lake; ``known`` is what the lake knows of the month."""
    return settled(job, partition, lambda blank: _upload(job, partition, steps, known, blank))


def counted(blank: PartitionResult, facts: Facts) -> PartitionResult:
    """Return the result with what the facts say."""
    return replace(
        blank,
        rows_read=facts.rows_read,
        rows_rejected=facts.rows_rejected,
        rows_loaded=facts.rows_loaded,
        flags=facts.flags,
        unknown_columns=facts.unknown_columns,
        bytes=facts.source_bytes,
        url=facts.source_url,
        sha256=facts.source_sha256,
    )


def _upload(
    job: Job, partition: Partition, steps: Steps, known: Facts | None, blank: PartitionResult
) -> PartitionResult:
    raw = steps.extract(job, partition)
    if job.raw:
        steps.put_raw(job, raw)
    if known and not job.force and known.hold(raw, job.dataset_of(partition.color)):
        return replace(counted(blank, known), outcome="unchanged")
    with staging(job, partition) as folder:
        staged = steps.transform(job, raw, folder)
        steps.put(job, staged)
    result = replace(counted(blank, Facts.of(staged)), outcome="loaded")
    return replace(result, source=raw.source, replaced=Replaced.of(known))


def _has_more_rejects(job: Job, lake: Lake, staged: Staged) -> bool:
    """Tell whether an ETL upload of the same bytes has put rejects: those that can't be parsed are among them."""
    if job.mode == Mode.ETL:
        return False
    there = Facts.read(lake.facts(rejects_key(staged.partition)))
    same = (staged.raw.sha256, staged.dataset_version)
    return (
        there is not None
        and (there.source_sha256, there.dataset_version) == same
        and there.rows_rejected > staged.rows_rejected
    )
