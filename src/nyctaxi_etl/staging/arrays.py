"""Arrow arrays of Python values, made without pandas.

``pa.array`` and ``pa.scalar`` import pandas to ask whether they were given a Series: 0.15 s and 50 MB of every run.
A text, cast to the type that it is a literal of, needs none.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence


def array(texts: Sequence[str | None], kind: pa.DataType) -> pa.Array:
    """Return an array of type ``kind`` from literals; ``None`` is null.

    Raises ``pa.ArrowInvalid`` if a text is no literal of that type.
    """
    encoded = [b"" if text is None else text.encode() for text in texts]
    offsets = np.zeros(len(encoded) + 1, np.int32)
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    valid = np.packbits(np.fromiter((text is not None for text in texts), bool), bitorder="little")
    buffers = [pa.py_buffer(valid.tobytes()), pa.py_buffer(offsets.tobytes()), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(encoded), buffers).cast(kind)


def from_numbers(numbers: np.ndarray) -> pa.Array:
    """Return an array of 64-bit integers."""
    return pa.Array.from_buffers(
        pa.int64(), len(numbers), [None, pa.py_buffer(np.ascontiguousarray(numbers, np.int64))]
    )


def numbers_in(values: pa.Array) -> np.ndarray:
    """Return the values of an array of 64-bit integers without nulls; its own ``to_numpy`` imports pandas as well."""
    return np.frombuffer(values.buffers()[1] or b"", np.int64)[values.offset : values.offset + len(values)]


@cache
def scalar(text: str | None, kind: pa.DataType) -> pa.Scalar:
    """Return one literal of type ``kind``."""
    return array([text], kind)[0]
