"""What a run does with each of its months, as values that can be sent to any process: the job, its steps, its plan."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from nyctaxi_etl.core.pace import FLOOR_BYTES
from nyctaxi_etl.core.partition import Mode
from nyctaxi_etl.lakes.base import CHUNK_BYTES
from nyctaxi_etl.lakes.keys import conformed_key, trips_key
from nyctaxi_etl.schema.datasets import DATASETS
from nyctaxi_etl.warehouses.base import Capabilities

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from nyctaxi_etl.core.lineage import Fingerprint, Lineage
    from nyctaxi_etl.core.partition import Color, Partition, RawFile
    from nyctaxi_etl.schema.columns import Dataset
    from nyctaxi_etl.sources.registry import Source
    from nyctaxi_etl.staging.stage import Stage

# An address that begins so names a block of Prefect's.
BLOCK = "block:"
# What the table with ELT's rows as they came is called, behind the clean table's name.
_RAW = "_raw"
_NONE = Capabilities()


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
    the lake, too; ``run_id`` goes into the ledger. ``min_speed`` is in bytes a second, the limits are shares.
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

    def tables_of(self, partition: Partition) -> tuple[str, ...]:
        """Return the tables that a month of this colour goes into: with ELT the raw one, then the clean one."""
        table = self.table or DATASETS[partition.color].table
        return (table,) if self.mode == Mode.ETL else (table + _RAW, table)

    def key_of(self, partition: Partition) -> str:
        """Return the month's key in the lake."""
        return trips_key(partition) if self.mode == Mode.ETL else conformed_key(partition)

    def end_of(self, partition: Partition) -> str:
        """Return where a month ends: a table, or a key in the lake."""
        return self.tables_of(partition)[-1] if self.to else self.key_of(partition)

    def dataset_of(self, color: Color) -> Dataset:
        """Return what a published month is conformed to; for ELT without the rules that drop rows."""
        dataset = DATASETS[color]
        if self.mode == Mode.ETL:
            return dataset
        return replace(dataset, rules=tuple(rule for rule in dataset.rules if rule.action != "drop"))

    def fingerprints_of(self, origin: Origin) -> tuple[Fingerprint, ...]:
        """Return what the destination has of a month that is the same: one for the lake's object, or for each table."""
        own = origin.lineage.fingerprint
        if self.mode == Mode.ETL or not self.to:
            return (own,)
        return own, own._replace(rules=DATASETS[origin.partition.color].rules_id)


@dataclass(frozen=True)
class Origin:
    """What there is to bring of a month: a published file that is here, or an object of the lake (``raw`` is None)."""

    partition: Partition
    lineage: Lineage
    raw: RawFile | None = None

    @property
    def file(self) -> RawFile:
        """The published file of a month that comes from a source."""
        assert self.raw is not None  # noqa: S101 - only the lake's have none
        return self.raw


Staged = TypeVar("Staged", bound="Stage")


class Steps(NamedTuple, Generic[Staged]):
    """The steps of a month; each is safe to repeat, and can be pickled.

    ``origin`` has the month's file here or knows where it lies, ``stage`` makes its rows ready in a folder that is gone
    afterwards, ``commit`` replaces the month at its destination and returns how many rows it has there.
    """

    origin: Callable[[Job, Partition], Origin]
    stage: Callable[[Job, Origin, Path, Capabilities], Staged]
    commit: Callable[[Job, Staged], int]


@dataclass(frozen=True)
class Plan:
    """All that ``run_month`` needs for any month of a run; can be pickled, so that any process can do a month.

    ``existing`` is what the destination had of each month when the run began: of each table, or of the lake's object;
    ``None`` where there was nothing. ``origins`` are those that are known already, ``capabilities`` the warehouse's.
    """

    job: Job
    steps: Steps[Any]
    capabilities: Capabilities = _NONE
    existing: Mapping[Partition, tuple[Lineage | None, ...]] = field(default_factory=dict)
    origins: Mapping[Partition, Origin] = field(default_factory=dict)
