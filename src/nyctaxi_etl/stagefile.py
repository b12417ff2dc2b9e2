"""A cleaned month between transform and load: an Arrow IPC stream on disk, written and read batch by batch.

It holds the columns that the published file has; the dataset's others are null in the whole month. Not compressed:
lz4 would make it a third in size and cost a fifth of a second of every 1.4 million rows.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.ipc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from nyctaxi_etl.model import Staged
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


def schema_of(staged: Staged) -> pa.Schema:
    """Return the schema of the staged rows: canonical columns, in their dataset's order."""
    with pa.OSFile(str(staged.path)) as file, pa.ipc.open_stream(file) as reader:
        return reader.schema


def batches(staged: Staged) -> Iterator[pa.RecordBatch]:
    """Yield the staged rows, batch by batch."""
    with pa.OSFile(str(staged.path)) as file, pa.ipc.open_stream(file) as reader:
        yield from reader
