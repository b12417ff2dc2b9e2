"""A month's file is read, conformed and cleaned block by block, and staged as Arrow with its rejects beside it."""

from __future__ import annotations

from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from nyctaxi_etl.core.errors import QualityError, SchemaDrift
from nyctaxi_etl.core.lineage import Lineage
from nyctaxi_etl.core.progress import Event, tell
from nyctaxi_etl.readers.opening import open_trips
from nyctaxi_etl.staging.files import StagedFile, arrow_schema, writing
from nyctaxi_etl.staging.rejects import rejects_file
from nyctaxi_etl.transform.clean import Cleaned, clean
from nyctaxi_etl.transform.identity import MAX_OUTSIDE_MONTH, Pickups, check_names, check_pickups

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from concurrent.futures import Future
    from pathlib import Path

    from nyctaxi_etl.core.partition import Month, RawFile
    from nyctaxi_etl.readers.csv import CsvFile
    from nyctaxi_etl.readers.layout import Block
    from nyctaxi_etl.readers.parquet import ParquetFile
    from nyctaxi_etl.schema.columns import Column, Dataset

# Parsing releases the interpreter, so two threads keep two cores busy; more only hold more blocks in memory.
THREADS = 2
# A file of which half can't be parsed after so many rows is not read to its end.
_HOPELESS_ROWS = 50_000
_HOPELESS_SHARE = 0.5


class Limits(NamedTuple):
    """What a month may have before it is refused: shares of its rows, and of its pickups, from 0 to 1."""

    unparsable: float = 0.05
    outside_month: float = MAX_OUTSIDE_MONTH


_LIMITS = Limits()


@dataclass
class Tally:
    """What has been counted of a month so far."""

    read: int = 0
    kept: int = 0
    rejected: int = 0
    unparsable: int = 0
    flags: Counter[str] = field(default_factory=Counter)
    first_fault: str = ""
    pickups: Pickups = field(default_factory=Pickups)

    def add(self, cleaned: Cleaned) -> None:
        """Count a block."""
        self.read += cleaned.read
        self.kept += cleaned.batch.num_rows
        self.rejected += cleaned.rejects.num_rows
        self.unparsable += cleaned.unparsable
        self.flags += cleaned.flags
        self.pickups = self.pickups.plus(cleaned.pickups)
        if cleaned.fault and not self.first_fault:
            self.first_fault = f"line {cleaned.fault.line}: {cleaned.fault.reason}"


class LiveStage:
    """A month that is conformed to ``dataset`` and cleaned by its rules while a warehouse takes it in.

    Its counts and its rejects, a file in ``folder``, are final when the last batch has been taken; ``at_end`` is called
    then, still before a warehouse commits. Memory is bounded whatever the month's size.
    """

    rows_expected = 0
    uri = ""

    def __init__(
        self,
        raw: RawFile,
        dataset: Dataset,
        folder: Path,
        limits: Limits = _LIMITS,
        at_end: Callable[[LiveStage], object] = bool,
    ) -> None:
        """Open the file.

        Raises ``CorruptFile`` for bytes of another kind, ``SchemaDrift`` without a required column, ``WrongFile`` for
        another colour's names.
        """
        use_frugal_memory()
        self.partition = raw.partition
        self._file = open_trips(raw.path, dataset.columns)
        check_names(self._file.layout.names, raw.partition, raw.path.name)
        self._lineage = replace(
            Lineage.of(raw, dataset.version, dataset.rules_id), unknown_columns=self._file.layout.unknown
        )
        self._dataset = dataset
        self._name = raw.path.name
        self._rejects = folder / f"{raw.partition.stem}.rejects.parquet"
        self._limits = limits
        self._at_end = at_end
        self._tally = Tally()

    @property
    def columns(self) -> list[Column]:
        """The declared columns that the file has, in the dataset's order."""
        return [column for column in self._dataset.columns if column.name in self._file.columns]

    @property
    def schema(self) -> pa.Schema:
        """The schema of the batches."""
        return arrow_schema(self.columns)

    @property
    def lineage(self) -> Lineage:
        """Where the rows come from; counted is what has been read so far."""
        tally = self._tally
        return replace(
            self._lineage,
            rows_read=tally.read,
            rows_rejected=tally.rejected,
            rows_loaded=tally.kept,
            flags=dict(sorted(tally.flags.items())),
        )

    @property
    def rows_read(self) -> int:
        """Rows of the file so far."""
        return self._tally.read

    @property
    def rejects(self) -> Path | None:
        """The file of the rows set aside, if there are any."""
        return self._rejects if self._tally.rejected else None

    def batches(self) -> Generator[pa.RecordBatch]:
        """Yield the rows to load, from the first; at the end the counts are checked.

        Raises ``CorruptFile`` for damaged bytes, ``SchemaDrift`` when too many rows can't be parsed, ``WrongFile`` when
        too many pickups are of other months, ``QualityError`` for a file without rows.
        """
        self._tally = tally = Tally()
        names = self.schema.names
        with (
            rejects_file(self._rejects) as write_rejects,
            closing(_cleaned(self._file, self._dataset, self.partition.month)) as blocks,
        ):
            for cleaned in blocks:
                write_rejects(cleaned.rejects)
                tally.add(cleaned)
                if tally.unparsable > _HOPELESS_ROWS:
                    _check(tally, self._name, _HOPELESS_SHARE)
                yield cleaned.batch.select(names)
        _check(tally, self._name, self._limits.unparsable)
        check_pickups(tally.pickups, self.partition, self._name, self._limits.outside_month)
        self._at_end(self)


def stage(raw: RawFile, dataset: Dataset, folder: Path, limits: Limits = _LIMITS) -> StagedFile:
    """Write ``raw``'s rows, conformed and cleaned as ``LiveStage`` does, to Arrow IPC in ``folder``."""
    live = LiveStage(raw, dataset, folder, limits)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{raw.partition.stem}.arrow"
    with writing(path, live.columns) as write_rows:
        for batch in live.batches():
            write_rows(batch)
            tell(Event(str(raw.partition), "transform", live.rows_read))
    return StagedFile(raw.partition, live.lineage, path, live.rejects)


def use_frugal_memory() -> None:
    """Have Arrow give memory back at once: with 1 MiB blocks jemalloc holds 7 MB where mimalloc keeps 225."""
    if "jemalloc" in pa.supported_memory_backends():
        pa.set_memory_pool(pa.jemalloc_memory_pool())


def _cleaned(file: CsvFile | ParquetFile, dataset: Dataset, month: Month) -> Generator[Cleaned]:
    """Clean blocks side by side, a few in flight, and yield them in the file's order."""

    def work(block: Block[Any]) -> Cleaned:
        return clean(file.parse(block), dataset, month)

    flying: deque[Future[Cleaned]] = deque()
    # A thread of its own reads one block ahead: whoever takes the rows may be writing them meanwhile.
    with closing(file.blocks()) as blocks, ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(THREADS) as pool:
        coming = reader.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = reader.submit(next, blocks, None)
            flying.append(pool.submit(work, block))
            if len(flying) > THREADS:
                yield flying.popleft().result()
        while flying:
            yield flying.popleft().result()


def _check(tally: Tally, name: str, max_unparsable: float) -> None:
    """Refuse a file without rows, and one of which too much can't be parsed."""
    if tally.read == 0:
        message = f"{name} has a header but no rows."
        raise QualityError(message, "Look at what its source holds; the month that is loaded stays as it is.")
    if tally.unparsable > max_unparsable * tally.read:
        share = tally.unparsable / tally.read
        message = f"{name}: {share:.1%} of its rows can't be parsed; {tally.first_fault}."
        hint = f"At most {max_unparsable:.0%} may (NYCTAXI_MAX_UNPARSABLE): the layout may be new, or the file damaged."
        raise SchemaDrift(message, hint)
