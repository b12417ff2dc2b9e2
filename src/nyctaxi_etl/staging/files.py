"""A cleaned month between transform and load: an Arrow IPC stream on disk, written and read batch by batch.

An Arrow file holds the columns that the published file has; the dataset's others are null in the whole month. It is not
compressed: lz4 would make it a third in size and cost a fifth of a second of every 1.4 million rows. A month that comes
from the lake is read from its Parquet file in the same way.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Protocol, cast

import pyarrow as pa
import pyarrow.ipc

from nyctaxi_etl.core.errors import CorruptFile
from nyctaxi_etl.core.partition import Staged
from nyctaxi_etl.staging.pages import rows_at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from pyarrow.parquet import ParquetFile

    from nyctaxi_etl.core.partition import Stage
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


class Flow(Protocol):
    """A stage without a file: its rows come as they are asked for, from the first again each time."""

    @property
    def schema(self) -> pa.Schema:
        """The schema of its rows."""

    def flow(self) -> Iterator[pa.RecordBatch]:
        """Yield its rows, from the first."""


def schema_of(staged: Stage) -> pa.Schema:
    """Return the schema of the staged rows: canonical columns, in their dataset's order."""
    if not isinstance(staged, Staged):
        return cast("Flow", staged).schema
    if is_parquet(staged.path):
        with _parquet(staged.path) as file:
            return file.schema_arrow.remove_metadata()
    with pa.OSFile(str(staged.path)) as file, pa.ipc.open_stream(file) as reader:
        return reader.schema


def batches(staged: Stage) -> Iterator[pa.RecordBatch]:
    """Yield the staged rows, batch by batch. Raises ``CorruptFile`` for a damaged file of the lake's."""
    if not isinstance(staged, Staged):
        yield from cast("Flow", staged).flow()
        return
    if is_parquet(staged.path):
        with _parquet(staged.path) as file:
            for batch in file.iter_batches(rows_at_once(staged.path)):
                yield batch.replace_schema_metadata(None)
        return
    with pa.OSFile(str(staged.path)) as file, pa.ipc.open_stream(file) as reader:
        yield from reader


def is_parquet(path: Path) -> bool:
    """Tell whether a staged month is a file of the lake's."""
    return path.suffix == ".parquet"


@contextmanager
def _parquet(path: Path) -> Iterator[ParquetFile]:
    """Open a Parquet file to be read in bounded memory."""
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER_BYTES) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        if getattr(error, "errno", None):  # what the file system refuses says nothing of the file
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        message = f"{path} is not a whole Parquet file: {reason}"
        raise CorruptFile(message, "Put it into the lake again with `nyctaxi upload --force`.") from error
