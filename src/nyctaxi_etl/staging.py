"""A month's file is read, conformed and cleaned block by block, and staged as Arrow with its rejects beside it."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISDIR
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from nyctaxi_etl.arrays import array
from nyctaxi_etl.errors import QualityError, SchemaDrift
from nyctaxi_etl.model import Staged
from nyctaxi_etl.progress import Event, tell
from nyctaxi_etl.reading import open_trips
from nyctaxi_etl.stagefile import writing
from nyctaxi_etl.transform import REJECTS, Cleaned, clean

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from concurrent.futures import Future

    from nyctaxi_etl.csvfile import CsvFile
    from nyctaxi_etl.layout import Block, Reject
    from nyctaxi_etl.model import Month, RawFile
    from nyctaxi_etl.parquetfile import ParquetFile
    from nyctaxi_etl.schema import Dataset

# Parsing releases the interpreter, so two threads keep two cores busy; more only hold more blocks in memory.
THREADS = 2
MAX_UNPARSABLE = 0.05
# A file of which half can't be parsed after so many rows is not read to its end.
_HOPELESS_ROWS = 50_000
_HOPELESS_SHARE = 0.5
_REJECTS_AT_ONCE = 20_000
_STALE_SECONDS = 24 * 3600


@dataclass
class Tally:
    """What has been counted of a month so far."""

    read: int = 0
    kept: int = 0
    rejected: int = 0
    unparsable: int = 0
    flags: Counter[str] = field(default_factory=Counter)
    first_fault: str = ""

    def add(self, cleaned: Cleaned) -> None:
        """Count a block."""
        self.read += cleaned.read
        self.kept += cleaned.batch.num_rows
        self.rejected += len(cleaned.rejects)
        self.unparsable += cleaned.unparsable
        self.flags += cleaned.flags
        if cleaned.fault and not self.first_fault:
            self.first_fault = f"line {cleaned.fault.line}: {cleaned.fault.reason}"


def stage(raw: RawFile, dataset: Dataset, folder: Path, max_unparsable: float = MAX_UNPARSABLE) -> Staged:
    """Write ``raw``'s rows, conformed to ``dataset`` and cleaned by its rules, to Arrow IPC in ``folder``.

    Memory is bounded whatever the month's size. Raises ``CorruptFile`` for damaged bytes, ``SchemaDrift`` when a
    required column is missing or more than ``max_unparsable`` of the rows can't be parsed, ``QualityError`` for a file
    without rows.
    """
    use_frugal_memory()
    file = open_trips(raw.path, dataset.columns)
    folder.mkdir(parents=True, exist_ok=True)
    rows_path, rejects_path = folder / f"{raw.partition.stem}.arrow", folder / f"{raw.partition.stem}.rejects.parquet"
    tally = Tally()
    with (
        writing(rows_path, [column for column in dataset.columns if column.name in file.columns]) as write_rows,
        _rejects_file(rejects_path) as write_rejects,
        closing(_cleaned(file, dataset, raw.partition.month)) as blocks,
    ):
        for cleaned in blocks:
            write_rows(cleaned.batch)
            write_rejects(cleaned.rejects)
            tally.add(cleaned)
            if tally.unparsable > _HOPELESS_ROWS:
                _check(tally, raw, _HOPELESS_SHARE)
            tell(Event(raw.partition, "transform", tally.read))
    _check(tally, raw, max_unparsable)
    return Staged(
        raw=raw,
        path=rows_path,
        dataset_version=dataset.version,
        rules=dataset.rules_id,
        rows_read=tally.read,
        rows_rejected=tally.rejected,
        rows_loaded=tally.kept,
        flags=dict(sorted(tally.flags.items())),
        unknown_columns=file.layout.unknown,
        rejects=rejects_path if tally.rejected else None,
    )


def keep_rejects(staged: Staged, rejects: Path) -> Path | None:
    """Put a month's rejects where they stay, ``{rejects}/{color}/{stem}.parquet``, in place of an earlier load's."""
    kept = rejects / staged.partition.color / f"{staged.partition.stem}.parquet"
    if staged.rejects is None:
        kept.unlink(missing_ok=True)
        return None
    kept.parent.mkdir(parents=True, exist_ok=True)
    partial = kept.with_name(f"{kept.name}.{os.getpid()}.part")
    shutil.copyfile(staged.rejects, partial)
    partial.replace(kept)
    return kept


@contextmanager
def workplace(parent: Path) -> Iterator[Path]:
    """Give a folder of its own for one month, gone afterwards; sweep those that a killed process left a day ago."""
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.iterdir():
        if _is_stale(left):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_stale(folder: Path) -> bool:
    try:
        found = folder.stat()
    except FileNotFoundError:  # another process has just swept it, or is done with it
        return False
    return S_ISDIR(found.st_mode) and time.time() - found.st_mtime > _STALE_SECONDS


def use_frugal_memory() -> None:
    """Have Arrow give memory back at once: with 1 MiB blocks jemalloc holds 7 MB where mimalloc keeps 225."""
    if "jemalloc" in pa.supported_memory_backends():
        pa.set_memory_pool(pa.jemalloc_memory_pool())


def _cleaned(file: CsvFile | ParquetFile, dataset: Dataset, month: Month) -> Generator[Cleaned]:
    """Clean blocks side by side, a few in flight, and yield them in the file's order."""

    def work(block: Block) -> list[Cleaned]:
        return [clean(rows, dataset, month) for rows in file.parse(block)]

    flying: deque[Future[list[Cleaned]]] = deque()
    with ThreadPoolExecutor(THREADS) as pool:
        for block in file.blocks():
            flying.append(pool.submit(work, block))
            if len(flying) > THREADS:
                yield from flying.popleft().result()
        while flying:
            yield from flying.popleft().result()


@contextmanager
def _rejects_file(path: Path) -> Iterator[Callable[[list[Reject]], None]]:
    held: list[Reject] = []
    with pq.ParquetWriter(path, REJECTS, compression="zstd") as writer:

        def flush() -> None:
            columns = [array([str(getattr(reject, field.name)) for reject in held], field.type) for field in REJECTS]
            writer.write_table(pa.table(columns, schema=REJECTS))
            held.clear()

        def write(rejects: list[Reject]) -> None:
            held.extend(rejects)
            if len(held) >= _REJECTS_AT_ONCE:
                flush()

        yield write
        flush()


def _check(tally: Tally, raw: RawFile, max_unparsable: float) -> None:
    """Refuse a file without rows, and one of which too much can't be parsed."""
    if tally.read == 0:
        message = f"{raw.path.name} has a header but no rows."
        raise QualityError(message, "Look at what its source holds; the month that is loaded stays as it is.")
    if tally.unparsable > max_unparsable * tally.read:
        share = tally.unparsable / tally.read
        message = f"{raw.path.name}: {share:.1%} of its rows can't be parsed; {tally.first_fault}."
        hint = f"At most {max_unparsable:.0%} may (NYCTAXI_MAX_UNPARSABLE): the layout may be new, or the file damaged."
        raise SchemaDrift(message, hint)
