"""Whether a file's bytes are what its name says, told before it is used: at its edges, and decoded to its last byte.

Each function says what is wrong, in words that follow "is" in a message; empty if nothing is.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pyarrow as pa
from isal import igzip, isal_zlib

from nyctaxi_etl.core.errors import CorruptFile
from nyctaxi_etl.core.limits import swelling
from nyctaxi_etl.core.signatures import WEB_PAGE, kind_of
from nyctaxi_etl.staging.pages import open_published, rows_at_once

if TYPE_CHECKING:
    from pathlib import Path

READ_BYTES = 1 << 20
_HEAD_BYTES = 1024
_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"


def fault_at_edges(path: Path, name: str) -> str:
    """Say what the file's first and last bytes show it to be, if that is not what ``name`` says.

    That of a web page is ``core.signatures.WEB_PAGE``.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        file.seek(-min(4, os.fstat(file.fileno()).st_size), os.SEEK_END)
        tail = file.read()
    if not head:
        return "empty"
    if kind_of(head) == WEB_PAGE:
        return WEB_PAGE
    if name.endswith(".parquet") and not head.startswith(_PARQUET):
        return "not a Parquet file"
    if name.endswith(".parquet") and tail != _PARQUET:
        return "a Parquet file cut short"
    return "not a gzip file" if name.endswith(".gz") and not head.startswith(_GZIP) else ""


def fault_inside(path: Path, name: str) -> str:
    """Decode the whole file as ``name`` says and tell what is wrong with it."""
    if name.endswith(".gz"):
        return _gzip_fault(path)
    if name.endswith(".parquet"):
        return _parquet_fault(path)
    with path.open("rb") as file:  # some servers compress, even when told not to
        return "compressed, as its name does not say" if file.read(2) == _GZIP else ""


def _gzip_fault(path: Path) -> str:
    """Unzip the whole file, and stop where it becomes more than any file of its size holds."""
    block = bytearray(READ_BYTES)
    size, unzipped = path.stat().st_size, 0
    try:
        with igzip.IGzipFile(path, "rb") as file:
            while count := file.readinto(block):
                unzipped += count
                if fault := swelling(size, unzipped):
                    return fault
    except (EOFError, igzip.BadGzipFile, isal_zlib.error) as error:  # type: ignore[misc]  # its stubs know no class
        return f"a damaged gzip file ({error})"
    return ""


def _parquet_fault(path: Path) -> str:
    """Read every page of every column, and count the rows against the footer."""
    try:
        # Few writers give their pages a checksum; where there is one it is compared.
        with open_published(path, page_checksum_verification=True) as file:
            rows = sum(batch.num_rows for batch in file.iter_batches(rows_at_once(path)))
            return "" if rows == file.metadata.num_rows else "a Parquet file with rows missing"
    except CorruptFile as error:
        return f"a damaged Parquet file ({error.message})"
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:  # Arrow's own have none: this one is the disk's
            raise
        return f"a damaged Parquet file ({error})"
