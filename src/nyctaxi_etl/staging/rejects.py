"""Rows that are not loaded: why, their line in the file, and as much of their text as shows what they are."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nyctaxi_etl.core.limits import REJECT_BYTES, REJECTS_BYTES
from nyctaxi_etl.staging.arrays import array, from_numbers, numbers_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

REJECTS = pa.schema([("reason", pa.string()), ("line", pa.int64()), ("raw", pa.string())])


def rejected(reasons: pa.Array, lines: np.ndarray, raw: pa.Array) -> pa.RecordBatch:
    """Return rows that are set aside, for ``REJECTS``."""
    return pa.RecordBatch.from_arrays([reasons, from_numbers(lines), raw], schema=REJECTS)


def none_rejected() -> pa.RecordBatch:
    """Return no rows."""
    return rejected(array([], pa.string()), np.zeros(0, np.int64), array([], pa.string()))


def in_order(parts: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Return rejects in the file's order."""
    several = [part for part in parts if part.num_rows]
    if not several:
        return none_rejected()
    whole = several[0] if len(several) == 1 else pa.concat_batches(several)
    lines = numbers_in(whole.column("line"))
    return whole if np.all(lines[:-1] <= lines[1:]) else whole.take(from_numbers(np.argsort(lines, kind="stable")))


def lines_as_text(data: bytes, starts: np.ndarray, ends: np.ndarray) -> pa.Array:
    """Return the text of lines, which lie in ``data`` from ``starts`` to ``ends``, without the lines' ends."""
    sizes = ends - starts
    if not len(starts) or sizes.max() > REJECT_BYTES:
        return array([as_text(data[start:end]) for start, end in zip(starts, ends, strict=True)], pa.string())
    edges = np.stack([starts, ends], axis=1).astype(np.int32).ravel()
    # Each line, and after it what lies between it and the next, which is not taken.
    spans = pa.Array.from_buffers(pa.string(), len(edges) - 1, [None, pa.py_buffer(edges), pa.py_buffer(data)])
    texts = spans.take(from_numbers(np.arange(0, len(edges) - 1, 2)))
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        return array([as_text(data[start:end]) for start, end in zip(starts, ends, strict=True)], pa.string())
    return pc.ascii_rtrim(texts, characters="\r")


def as_text(raw: bytes) -> str:
    r"""Return a line as text, cut to what is kept of it; bytes that aren't UTF-8 are written ``\xff``."""
    raw = raw.rstrip(b"\r")
    if len(raw) <= REJECT_BYTES:
        return raw.decode("utf-8", "backslashreplace")
    kept = raw[:REJECT_BYTES]
    # Not between the bytes of one character, which has four at most.
    for cut in range(REJECT_BYTES, REJECT_BYTES - 4, -1):
        if raw[cut] & 0xC0 != 0x80:  # noqa: PLR2004 - how UTF-8 marks the bytes that begin no character
            kept = raw[:cut]
            break
    return f"{kept.decode('utf-8', 'backslashreplace')} ... cut off here: {len(raw):,} bytes in all"


@contextmanager
def rejects_file(path: Path) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """Write rejects to a Parquet file; in memory are never more than ``REJECTS_BYTES`` and a block's."""
    waiting: list[pa.RecordBatch] = []
    size = 0
    with pq.ParquetWriter(path, REJECTS, compression="zstd") as writer:

        def flush() -> None:
            nonlocal size
            writer.write_table(pa.Table.from_batches(waiting, REJECTS))
            waiting.clear()
            size = 0

        def write(rejects: pa.RecordBatch) -> None:
            nonlocal size
            if rejects.num_rows:
                waiting.append(rejects)
                size += rejects.nbytes
            if size >= REJECTS_BYTES:
                flush()

        yield write
        flush()
