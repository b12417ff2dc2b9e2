"""What Arrow says of damaged Parquet, as an error of ours."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa

from nyctaxi_etl.core.errors import CorruptFile

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def parquet_damage(name: object, hint: str) -> Iterator[None]:
    """Raise what Arrow says of damaged bytes in the block as ``CorruptFile``: ``name`` is not a whole Parquet file.

    Arrow says ``OSError`` of them, too ("Couldn't deserialize thrift"), but without a number. One with a number is the
    file system's, says nothing of the file, and passes as it is.
    """
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if getattr(error, "errno", None):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        message = f"{name} is not a whole Parquet file: {reason}"
        raise CorruptFile(message, hint) from error
