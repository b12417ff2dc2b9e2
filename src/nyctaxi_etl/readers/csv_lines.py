"""The lines of a block are sorted: those that Arrow reads as one row each, and those that are no rows, with the reason.

Most lines are judged at once, by where their commas and quotes stand. The few that resist are split by hand; one that
is a row all the same is written anew, so that Arrow can't take it for anything else.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from nyctaxi_etl.core.limits import LINE_BYTES
from nyctaxi_etl.core.signatures import BOM
from nyctaxi_etl.staging.arrays import array as array_of
from nyctaxi_etl.staging.rejects import lines_as_text, rejected

if TYPE_CHECKING:
    from collections.abc import Iterator

_COMMA, _QUOTE, _RETURN, _END = b',"\r\n'
_EDGE = np.array([_END], np.uint8)
_SPACE = ord(" ")
_ASCII = 0x80


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


@dataclass(frozen=True)
class Fields:
    """How many fields a line must and may have, and which of them are wanted."""

    names: int
    width: int
    wanted: frozenset[int]


class Sorted(NamedTuple):
    """Lines that are rows, in bytes that Arrow reads as these rows, and those that are none."""

    data: bytes
    rows: Lines
    broken: pa.RecordBatch


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
    marked = lines.ends > lines.starts
    firsts = np.frombuffer(lines.data, np.uint8)[lines.starts]
    for index in np.flatnonzero(marked & (firsts <= _SPACE)):
        marked[index] = bool(lines.raw(index).strip())
    return marked


def ends_within_quotes(data: bytes) -> bool:
    """Tell whether the last line that isn't blank leaves a quote open."""
    return b'"' in data and isinstance(split(data.rstrip().rpartition(b"\n")[2]), str)


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


def sort_lines(data: bytes, first: int, fields: Fields) -> Sorted:
    """Sort the lines of a block; blank ones are neither."""
    lines = lines_in(data, first)
    counts, resist = _judged(lines)
    there = not_blank(lines)
    plain = there & ~resist & (counts == fields.width)
    rows = plain.copy()
    pieces: list[bytes] = []
    reasons: list[str] = []
    start = 0
    for index in np.flatnonzero(~plain):
        pieces.append(data[start : lines.starts[index]])
        start = lines.ends[index] + 1
        if not there[index]:
            continue
        known = None if resist[index] else int(counts[index])
        written = _written(lines.raw(index), known, fields)
        if isinstance(written, str):
            reasons.append(written)
        else:
            pieces.append(written)
            rows[index] = True
    pieces.append(data[start:])
    broken = lines.pick(there & ~rows)
    rejects = rejected(array_of(reasons, pa.string()), broken.numbers, broken.texts())
    return Sorted(b"".join(pieces), lines.pick(rows), rejects)


def split(raw: bytes) -> list[str] | str:
    """Split one line into its fields, or say why that can't be; bytes that aren't UTF-8 become surrogates."""
    reader = csv.reader([raw.rstrip(b"\r").decode("utf-8", "surrogateescape"), ""])
    try:
        fields = next(reader)
    except csv.Error as error:
        return f"not readable as text: {error}"
    return fields if reader.line_num == 1 else "not readable as text: a quote is not closed"


def _written(raw: bytes, count: int | None, fields: Fields) -> bytes | str:
    """Write one line anew with as many fields as the others, or say why it is no row.

    ``count`` is how many fields it has, if that is certain.
    """
    if count is not None and count < fields.width:
        few = count < fields.names
        return _miscounted(count, fields) if few else raw.rstrip(b"\r") + b"," * (fields.width - count) + b"\n"
    values = split(raw) if len(raw) <= LINE_BYTES else f"longer than {LINE_BYTES:,} bytes"
    if isinstance(values, str):
        return values
    if len(values) < fields.names or any(value.strip() for value in values[fields.width :]):
        return _miscounted(len(values), fields)
    try:
        return b",".join(_quoted(values, fields)) + b"\n"
    except UnicodeEncodeError:
        return "not readable as text: it is not UTF-8"


def _miscounted(count: int, fields: Fields) -> str:
    return f"{count} fields where {fields.names} are named"


def _quoted(values: list[str], fields: Fields) -> Iterator[bytes]:
    for index in range(fields.width):
        if index in fields.wanted and index < len(values):
            yield b'"' + values[index].replace('"', '""').encode() + b'"'
        else:
            yield b""


def _judged(lines: Lines) -> tuple[np.ndarray, np.ndarray]:
    """Return how many fields each line has, and a mask of those of which that is not certain.

    These are lines with quotes within a value or left open, with a carriage return that ends no line, or that are not
    UTF-8; one that begins with a byte order mark, which Arrow would cut off; and overlong ones.
    """
    marks = np.frombuffer(lines.data, np.uint8)
    # How many commas there are before each byte.
    commas = np.zeros(len(marks) + 1, np.int32)
    np.cumsum(marks == _COMMA, out=commas[1:])
    counts = commas[lines.ends] - commas[lines.starts] + 1
    resist = lines.ends - lines.starts > LINE_BYTES
    resist[0] |= lines.data.startswith(BOM)
    returns = np.flatnonzero(marks == _RETURN)
    following = marks.take(returns + 1, mode="clip")
    lone = returns[(following != _END) & (returns + 1 < len(marks))]
    if b'"' in lines.data:
        quoted, unclear, quotes = _quoting(marks, commas, lines)
        counts -= quoted
        resist |= unclear
        # Within quotes it is a character as others are.
        before = np.searchsorted(quotes, lone) - np.searchsorted(quotes, lines.starts[_line_of(lone, lines)])
        lone = lone[before % 2 == 0]
    resist[_line_of(lone, lines)] = True
    if not _is_utf8(lines.data):
        for index in np.unique(_line_of(np.flatnonzero(marks >= _ASCII), lines)):
            resist[index] |= not _is_utf8(lines.raw(index))
    return counts, resist


def _quoting(marks: np.ndarray, commas: np.ndarray, lines: Lines) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return how many commas of each line are within quotes, a mask of lines where that is not certain, and the quotes.

    It is where every second quote opens a field, right after a comma or the line's beginning, or is the second of a
    doubled one, and the others close it; and where no quote opens a field, so that all are characters as others are.
    """
    quotes = np.flatnonzero(marks == _QUOTE)
    edges = np.searchsorted(quotes, np.append(lines.starts, len(marks)))
    many = np.diff(edges)
    line = np.repeat(np.arange(len(lines)), many)
    opens = (np.arange(len(quotes)) - np.repeat(edges[:-1], many)) % 2 == 0
    padded = np.concatenate((_EDGE, marks, _EDGE, _EDGE))
    before, after = padded[quotes], padded[quotes + 2]
    begins = (before == _COMMA) | (before == _END)
    ends = (after == _COMMA) | (after == _END)
    returns = np.flatnonzero(after == _RETURN)
    ends[returns] = padded[quotes[returns] + 3] == _END
    regular = np.where(opens, begins | (before == _QUOTE), ends | (after == _QUOTE))
    unclear = many % 2 == 1
    unclear[line[~regular]] = True
    fields = np.zeros(len(lines), bool)
    fields[line[begins]] = True
    certain = (fields & ~unclear)[line]
    inside = commas[quotes[certain & ~opens]] - commas[quotes[certain & opens]]
    pairs = np.flatnonzero(inside)
    within = np.zeros(len(lines), np.int32)
    np.add.at(within, line[certain & opens][pairs], inside[pairs])
    return within, fields & unclear, quotes[fields[line]]


def _line_of(positions: np.ndarray, lines: Lines) -> np.ndarray:
    return np.searchsorted(lines.starts, positions, "right") - 1


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True
