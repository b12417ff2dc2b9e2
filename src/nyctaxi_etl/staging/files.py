"""A cleaned month between transform and load: an Arrow IPC stream on disk, written and read batch by batch.

An Arrow file holds the columns that the published file has; the dataset's others are null in the whole month. It is not
compressed: lz4 would make it a third in size and cost a fifth of a second of every 1.4 million rows. A month that comes
from the lake is read from its Parquet file in the same way.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.ipc

from nyctaxi_etl.staging.damage import parquet_damage
from nyctaxi_etl.staging.pages import rows_at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from pathlib import Path

    from pyarrow.parquet import ParquetFile

    from nyctaxi_etl.core.lineage import Lineage
    from nyctaxi_etl.core.partition import Partition
    from nyctaxi_etl.schema.columns import Column

# What is read ahead of one column; without it a whole row group's column is held.
_BUFFER_BYTES = 1 << 20


def arrow_schema(columns: Sequence[Column]) -> pa.Schema:
    """Return the Arrow schema of declared columns."""
    return _schema(tuple((column.name, column.types.arrow) for column in columns))


@cache
def _schema(columns: tuple[tuple[str, str], ...]) -> pa.Schema:
    # Made once, not for every block: half a millisecond of the twelve that one takes.
    return pa.schema([(name, pa.type_for_alias(alias)) for name, alias in columns])


@contextmanager
def writing(path: Path, columns: Sequence[Column]) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """Write the given ``columns`` of canonical batches to ``path``."""
    schema = arrow_schema(columns)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        yield lambda batch: writer.write_batch(batch.select(schema.names))


@dataclass(frozen=True)
class StagedFile:
    """A month in a file: a ``Stage`` whose rows lie in an Arrow stream of ours, or in a Parquet file of the lake's.

    ``rejects`` is the Parquet file of the rows that were set aside, if there are any. ``uri`` is where the lake has the
    month; then ``path`` may be missing: only a warehouse that fetches the month from there itself can take it.
    """

    partition: Partition
    lineage: Lineage
    path: Path
    rejects: Path | None = None
    uri: str = ""

    @property
    def rows_expected(self) -> int:
        """How many rows ``batches`` will give."""
        return self.lineage.rows_loaded

    @property
    def schema(self) -> pa.Schema:
        """The schema of the rows. Raises ``CorruptFile`` for a damaged file of the lake's."""
        if _is_parquet(self.path):
            with _parquet(self.path) as file:
                return file.schema_arrow.remove_metadata()
        with pa.OSFile(str(self.path)) as file, pa.ipc.open_stream(file) as reader:
            return reader.schema

    def batches(self) -> Generator[pa.RecordBatch]:
        """Yield the rows, batch by batch. Raises ``CorruptFile`` for a damaged file of the lake's."""
        if _is_parquet(self.path):
            with _parquet(self.path) as file:
                for batch in file.iter_batches(rows_at_once(self.path)):
                    yield batch.replace_schema_metadata(None)
            return
        with pa.OSFile(str(self.path)) as file, pa.ipc.open_stream(file) as reader:
            yield from reader


def _is_parquet(path: Path) -> bool:
    return path.suffix == ".parquet"


@contextmanager
def _parquet(path: Path) -> Iterator[ParquetFile]:
    """Open a Parquet file to be read in bounded memory."""
    import pyarrow.parquet as pq

    with (
        parquet_damage(path, "Put it into the lake again with `nyctaxi upload --force`."),
        pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER_BYTES) as file,
    ):
        yield file
