"""The lines of a block: where each begins and ends, and one split into its fields."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nyctaxi_etl.staging.rejects import lines_as_text

if TYPE_CHECKING:
    import pyarrow as pa

_RETURN, _END = b"\r\n"
_SPACE = ord(" ")


@dataclass(frozen=True)
class Lines:
    """Some lines of ``data``: the number of each in the file, and where in ``data`` it begins and ends."""

    data: bytes
    numbers: np.ndarray
    starts: np.ndarray
    ends: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def longest(self) -> int:
        """How many bytes the longest has."""
        return int((self.ends - self.starts).max(initial=0))

    def pick(self, picked: np.ndarray) -> Lines:
        """Return the lines at the given indices, or those that a mask marks."""
        return Lines(self.data, self.numbers[picked], self.starts[picked], self.ends[picked])

    def raw(self, index: int | np.integer) -> bytes:
        """Return the bytes of one."""
        return self.data[self.starts[index] : self.ends[index]]

    def texts(self) -> pa.Array:
        """Return their text, as it is kept of a row that is set aside."""
        return lines_as_text(self.data, self.starts, self.ends)

    def originals(self, indices: np.ndarray) -> tuple[np.ndarray, pa.Array]:
        """Return the numbers and texts of the lines at the given indices, which are in order."""
        picked = self.pick(indices)
        return picked.numbers, picked.texts()


class NoRow(NamedTuple):
    """Why a line is no row."""

    reason: str


def lines_in(data: bytes, first: int) -> Lines:
    """Return all lines of a block, whose first has the number ``first``."""
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == _END)
    starts = np.concatenate(([0], ends + 1))
    if starts[-1] == len(data):
        starts = starts[:-1]
    else:
        ends = np.append(ends, len(data))
    return Lines(data, np.arange(first, first + len(starts)), starts, ends)


def not_blank(lines: Lines) -> np.ndarray:
    """Return a mask of the lines that hold more than white space."""
    filled = lines.ends > lines.starts
    firsts = np.frombuffer(lines.data, np.uint8)[lines.starts]
    for index in np.flatnonzero(filled & (firsts <= _SPACE)):
        filled[index] = bool(lines.raw(index).strip())
    return filled


def ends_within_quotes(data: bytes) -> bool:
    """Tell whether the last line that isn't blank leaves a quote open."""
    return b'"' in data and isinstance(split(data.rstrip().rpartition(b"\n")[2]), NoRow)


def has_lone_returns(data: bytes) -> bool:
    """Tell whether there are carriage returns that end no line: for Arrow they do."""
    if b"\r" not in data:
        return False
    marks = np.frombuffer(data, np.uint8)
    returns = np.flatnonzero(marks == _RETURN)
    return bool(returns[-1] + 1 == len(marks) or np.any(marks[returns + 1] != _END))


def count_lines(data: bytes) -> int:
    """Count the ends of lines; of short lines faster than ``bytes.count``."""
    return int(np.count_nonzero(np.frombuffer(data, np.uint8) == _END))


def split(raw: bytes) -> list[str] | NoRow:
    """Split one line into its fields, or say why that can't be; bytes that aren't UTF-8 become surrogates."""
    # A second, empty line: the reader takes it into a field whose quote is not closed, and has then read two.
    reader = csv.reader([raw.rstrip(b"\r").decode("utf-8", "surrogateescape"), ""])
    try:
        fields = next(reader)
    except csv.Error as error:
        return NoRow(f"not readable as text: {error}")
    return fields if reader.line_num == 1 else NoRow("not readable as text: a quote is not closed")
