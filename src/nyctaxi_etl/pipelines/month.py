"""The order of a month's steps, written once: have its origin, compare, stage, commit."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from nyctaxi_etl.core import retry
from nyctaxi_etl.core.errors import Bug, CorruptFile, NotPublished, NycTaxiError, UsageError
from nyctaxi_etl.core.progress import Event, tell
from nyctaxi_etl.core.report import Failure, LoadReport, PartitionResult, Replaced
from nyctaxi_etl.core.retry import may_pass
from nyctaxi_etl.pipelines.workspace import workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nyctaxi_etl.core.lineage import Lineage
    from nyctaxi_etl.core.partition import Partition
    from nyctaxi_etl.core.report import Outcome
    from nyctaxi_etl.pipelines.job import Job, Origin, Plan

ATTEMPTS = 4
LONGEST_PAUSE_SECONDS = 5.0

Result = TypeVar("Result")


class OfMonth(Protocol):
    """A value that belongs to a month."""

    @property
    def partition(self) -> Partition:
        """The month."""


def run_month(plan: Plan, partition: Partition) -> PartitionResult:
    """Bring one month from where it is to where it belongs, and return what became of it.

    Whatever goes wrong becomes a failed or missing result, what nobody foresaw a ``Bug``: the other months go on. But
    for a ``UsageError``, which is wrong for every month. Nothing else in a month's work catches a bare ``Exception``.
    """
    started = time.perf_counter()
    blank = PartitionResult(partition, "failed", plan.job.end_of(partition), started=time.time())
    try:
        result = _brought(plan, partition, blank)
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 - see above
        result = _failed(blank, error if isinstance(error, NycTaxiError) else Bug.of(error))
    result = replace(result, seconds=time.perf_counter() - started)
    note = result.failure.message if result.failure else ""
    tell(Event(str(partition), result.outcome, result.rows_loaded, result.rows_read, note=note))
    return result


def _brought(plan: Plan, partition: Partition, blank: PartitionResult) -> PartitionResult:
    job, steps = plan.job, plan.steps
    existing = plan.existing.get(partition, ())
    origin = plan.origins.get(partition) or steps.origin(job, partition)
    old = existing[-1] if existing else None
    if old and not job.force and _is_unchanged(job, origin, existing):
        # The same bytes may lie elsewhere now; an older version of nyctaxi wrote no flags into the ledger.
        url, flags = origin.lineage.source_url, old.flags or origin.lineage.flags
        return _counted(blank, "unchanged", replace(old, source_url=url, flags=flags))
    try:
        with workspace(job, partition) as folder:
            stage = steps.stage(job, origin, folder, plan.capabilities)
            rows = steps.commit(job, stage)
    except CorruptFile:
        from nyctaxi_etl.sources.cache import discard

        if origin.raw:  # a copy that reading proved corrupt: it is brought anew next time
            discard(origin.raw)
        raise
    lineage = stage.lineage.loading(rows)
    return replace(_counted(blank, "loaded", lineage), source=lineage.source, replaced=Replaced.of(old))


def _is_unchanged(job: Job, origin: Origin, existing: Sequence[Lineage | None]) -> bool:
    """Tell whether the destination has the month as it would be made: the one place where that is decided."""
    return tuple(lineage and lineage.fingerprint for lineage in existing) == job.fingerprints_of(origin)


def _counted(blank: PartitionResult, outcome: Outcome, lineage: Lineage) -> PartitionResult:
    return replace(
        blank,
        outcome=outcome,
        rows_read=lineage.rows_read,
        rows_rejected=lineage.rows_rejected,
        rows_loaded=lineage.rows_loaded,
        flags=lineage.flags,
        unknown_columns=lineage.unknown_columns,
        bytes=lineage.source_bytes,
        url=lineage.source_url,
        sha256=lineage.source_sha256,
    )


def _failed(blank: PartitionResult, error: NycTaxiError) -> PartitionResult:
    # The month's name stands beside it wherever a result is shown.
    failure = replace(Failure.of(error), message=error.message.removeprefix(f"{blank.partition}: "))
    return replace(blank, outcome="missing" if isinstance(error, NotPublished) else "failed", failure=failure)


def with_retries(step: str, work: Callable[..., Result], job: Job, item: OfMonth, *rest: Any) -> Result:
    """Return ``work(job, item, *rest)``, tried again while it may pass: see ``core.retry``.

    Says so meanwhile, as ``step`` of the item's month.
    """

    def say(note: str) -> None:
        tell(Event(str(item.partition), step, note=note))

    return retry.with_retries(lambda _attempt: work(job, item, *rest), ATTEMPTS, LONGEST_PAUSE_SECONDS, say, may_pass)


def report_of(command: str, job: Job, results: Sequence[PartitionResult]) -> LoadReport:
    """Put the results of a run together."""
    return LoadReport(command, job.source.base or job.source.name, job.to or job.lake, tuple(results))
