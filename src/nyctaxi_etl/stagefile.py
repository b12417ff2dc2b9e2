"""A cleaned month between transform and load: an Arrow IPC stream on disk, written and read batch by batch.

It holds the columns that the published file has; the dataset's others are null in the whole month. Not compressed:
lz4 would make it a third in size and cost a fifth of a second of every 1.4 million rows.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, cast

import pyarrow as pa
import pyarrow.ipc

from nyctaxi_etl.model import Staged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from nyctaxi_etl.model import Stage
    from nyctaxi_etl.schema import Column


def arrow_schema(columns: Sequence[Column]) -> pa.Schema:
    """Return the Arrow schema of declared columns."""
    return pa.schema([(column.name, pa.type_for_alias(column.types.arrow)) for column in columns])


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
    with pa.OSFile(str(staged.path)) as file, pa.ipc.open_stream(file) as reader:
        return reader.schema


def batches(staged: Stage) -> Iterator[pa.RecordBatch]:
    """Yield the staged rows, batch by batch."""
    if not isinstance(staged, Staged):
        yield from cast("Flow", staged).flow()
        return
    with pa.OSFile(str(staged.path)) as file, pa.ipc.open_stream(file) as reader:
        yield from reader
