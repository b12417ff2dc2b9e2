"""How much of a file may stand where: time and memory follow a file's size, whatever stands in it.

Every bound is far beyond anything published, and each keeps a file of 20 MB within 20 seconds and 600 MB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nyctaxi_etl.core.errors import CorruptFile

if TYPE_CHECKING:
    from pathlib import Path

# A block is parsed at once, and some are in flight. 1 MiB holds about 11,000 yellow rows; larger ones are no faster.
BLOCK_BYTES = 1 << 20
# Lines of two bytes would be half a million rows of 25 columns, 100 MB a block. As many as a batch of Parquet.
BLOCK_LINES = 1 << 16
# What is read to find the header, and to see how many fields the first rows have.
HEAD_BYTES = 1 << 20
# Published headers have 410 bytes and 26 names at most; a table joined and saved by somebody has some hundred.
HEADER_BYTES = 1 << 16
FIELDS = 1_000
# 2013-14 has two fields beyond the names, and somebody's table perhaps two columns that mean the same.
SURPLUS_FIELDS = 16
SAME_MEANING = 4
# The longest published line has 370 bytes; one of 64 KiB is no row, and one that doesn't end in a mebibyte no line.
LINE_BYTES = 1 << 16
ENDLESS_LINE_BYTES = 1 << 20
# Of a row that is set aside, as much is kept as shows what it is.
REJECT_BYTES = 4_096
# Rejects are written when they are so many bytes, however few they are.
REJECTS_BYTES = 8 << 20
# gzip makes CSV of trips a tenth at best, and can make zeros a thousandth. Small files may: somebody tries something.
UNZIPPED_RATIO = 16
UNZIPPED_BYTES = 256 << 20
# A text is a base number of ten characters; one long word said a million times would fill a disk.
TEXT_CHARACTERS = 1_000
# Writers of Parquet make pages of a mebibyte, dictionaries too; some put a whole row group into one, 20 MB of times.
PAGE_BYTES = 64 << 20
# What a batch of Parquet may take when it is unpacked: rows of 25 columns take 7 MB a batch.
BATCH_BYTES = 64 << 20
# Half as many as Arrow's usual 65,536: 50 MB less are held while a few batches are in flight, and it is no slower.
BATCH_ROWS = 1 << 15
# A column of a row group takes 150 bytes in the footer; the largest published months have 24 groups of 24.
FOOTER_BYTES = 4 << 20
# The most frugal published months take 2.8 bytes a row in Parquet (fhv of 2015), and 12 in gzipped CSV.
PARQUET_ROW_BYTES = 1
CSV_ROW_BYTES = 2
ROWS = 4_000_000


def swelling(size: int, unzipped: int, rows: int = 0, row_bytes: int = CSV_ROW_BYTES) -> str:
    """Say what no file of ``size`` bytes has unpacked to so far, if it has."""
    if unzipped > max(UNZIPPED_BYTES, UNZIPPED_RATIO * size):
        return f"a file that unzips to more than {UNZIPPED_RATIO} times its {size:,} bytes, as no month does"
    if rows > max(ROWS, size // row_bytes):
        return f"a file of more rows than its {size:,} bytes can hold"
    return ""


def refuse_what_swells(path: Path, size: int, unzipped: int, rows: int, row_bytes: int = CSV_ROW_BYTES) -> None:
    """Raise ``CorruptFile`` if a file of ``size`` bytes has unpacked to more than any real one does."""
    if fault := swelling(size, unzipped, rows, row_bytes):
        message = f"{path.name} is {fault}."
        raise CorruptFile(message, "Look at what its source holds, and fetch it again.")
