"""The lines of a block are sorted: those that Arrow reads as one row each, and those that are no rows, with the reason.

Most lines are judged at once, by where their commas and quotes stand. The few that resist are split by hand; one that
is a row all the same is written anew, so that Arrow can't take it for anything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from nyctaxi_etl.core.limits import LINE_BYTES
from nyctaxi_etl.core.signatures import BOM
from nyctaxi_etl.readers.csv_lines import Lines, NoRow, lines_in, not_blank, split
from nyctaxi_etl.staging.arrays import array as array_of
from nyctaxi_etl.staging.rejects import rejected

if TYPE_CHECKING:
    from collections.abc import Iterator

_COMMA, _QUOTE, _RETURN, _END = b',"\r\n'
_EDGE = np.array([_END], np.uint8)
_ASCII = 0x80


@dataclass(frozen=True)
class Fields:
    """How many fields a line must have (``names``) and may have (``width``), and which indices are wanted."""

    names: int
    width: int
    wanted: frozenset[int]


class SortedLines(NamedTuple):
    """Lines that are rows, in bytes that Arrow reads as exactly these rows, and those that are none, as rejects."""

    data: bytes
    rows: Lines
    rejects: pa.RecordBatch


def sort_lines(data: bytes, first: int, fields: Fields) -> SortedLines:
    """Sort the lines of a block, whose first has the number ``first``; blank ones are neither rows nor rejects."""
    lines = lines_in(data, first)
    counts, unclear = _count_fields(lines)
    filled = not_blank(lines)
    is_plain = filled & ~unclear & (counts == fields.width)
    is_row = is_plain.copy()
    # Only lines that are not plain are visited one by one; what lies between two of them is taken as it is.
    pieces: list[bytes] = []
    reasons: list[str] = []
    start = 0
    for index in np.flatnonzero(~is_plain):
        pieces.append(data[start : lines.starts[index]])
        start = lines.ends[index] + 1
        if not filled[index]:
            continue
        count = None if unclear[index] else int(counts[index])
        row = _rewritten(lines.raw(index), count, fields)
        if isinstance(row, NoRow):
            reasons.append(row.reason)
        else:
            pieces.append(row)
            is_row[index] = True
    pieces.append(data[start:])
    broken = lines.pick(filled & ~is_row)
    rejects = rejected(array_of(reasons, pa.string()), broken.numbers, broken.texts())
    return SortedLines(b"".join(pieces), lines.pick(is_row), rejects)


def _rewritten(raw: bytes, count: int | None, fields: Fields) -> bytes | NoRow:
    """Write one line anew with as many fields as the others, or say why it is no row.

    ``count`` is how many fields it has, if that is certain. Every value that is wanted is quoted, so that Arrow can't
    take the line for anything else; the others are left out.
    """
    if count is not None and count < fields.width:
        # 2016-07 has 19 fields under 17 names: a row without the last two is a row, what it lacks is empty.
        few = count < fields.names
        return _miscounted(count, fields) if few else raw.rstrip(b"\r") + b"," * (fields.width - count) + b"\n"
    values = split(raw) if len(raw) <= LINE_BYTES else NoRow(f"longer than {LINE_BYTES:,} bytes")
    if isinstance(values, NoRow):
        return values
    if len(values) < fields.names or any(value.strip() for value in values[fields.width :]):
        return _miscounted(len(values), fields)
    try:
        return b",".join(_quoted(values, fields)) + b"\n"
    except UnicodeEncodeError:
        return NoRow("not readable as text: it is not UTF-8")


def _miscounted(count: int, fields: Fields) -> NoRow:
    return NoRow(f"{count} fields where {fields.names} are named")


def _quoted(values: list[str], fields: Fields) -> Iterator[bytes]:
    for index in range(fields.width):
        if index in fields.wanted and index < len(values):
            yield b'"' + values[index].replace('"', '""').encode() + b'"'
        else:
            yield b""


def _count_fields(lines: Lines) -> tuple[np.ndarray, np.ndarray]:
    """Return how many fields each line has, and a mask of the lines of which that is not certain.

    These are lines with quotes within a value or left open, with a carriage return that ends no line, or that are not
    UTF-8; one that begins with a byte order mark, which Arrow would cut off; and overlong ones. All lines are judged at
    once, by where their marks stand: looked at one by one, bad lines cost more than all others (decision 0002).
    """
    marks = np.frombuffer(lines.data, np.uint8)
    # How many commas there are before each byte: the difference of two is how many lie between.
    commas = np.zeros(len(marks) + 1, np.int32)
    np.cumsum(marks == _COMMA, out=commas[1:])
    counts = commas[lines.ends] - commas[lines.starts] + 1
    unclear = lines.ends - lines.starts > LINE_BYTES
    unclear[0] |= lines.data.startswith(BOM)
    returns = np.flatnonzero(marks == _RETURN)
    following = marks.take(returns + 1, mode="clip")
    lone = returns[(following != _END) & (returns + 1 < len(marks))]
    if b'"' in lines.data:
        quoted, unclear_quotes, quotes = _quoted_commas(marks, commas, lines)
        counts -= quoted
        unclear |= unclear_quotes
        # Within quotes a return is a character as others are: where an odd number of quotes of its line is before it.
        before = np.searchsorted(quotes, lone) - np.searchsorted(quotes, lines.starts[_line_of(lone, lines)])
        lone = lone[before % 2 == 0]
    unclear[_line_of(lone, lines)] = True
    if not _is_utf8(lines.data):
        for index in np.unique(_line_of(np.flatnonzero(marks >= _ASCII), lines)):
            unclear[index] |= not _is_utf8(lines.raw(index))
    return counts, unclear


def _quoted_commas(marks: np.ndarray, commas: np.ndarray, lines: Lines) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return how many commas of each line are within quotes, a mask of lines where that is not certain, and the quotes.

    It is certain where every second quote opens a field, right after a comma or the line's beginning, or is the second
    of a doubled one, and the others close it; and where no quote opens a field, so that all are characters as others
    are. The quotes returned are those of lines in which one opens a field.
    """
    quotes = np.flatnonzero(marks == _QUOTE)
    edges = np.searchsorted(quotes, np.append(lines.starts, len(marks)))
    many = np.diff(edges)
    # Of each quote: its line, and whether it is the first, third, ... of it.
    line = np.repeat(np.arange(len(lines)), many)
    opens = (np.arange(len(quotes)) - np.repeat(edges[:-1], many)) % 2 == 0
    # What stands before and after each; the padding stands for the ends of lines around the block.
    padded = np.concatenate((_EDGE, marks, _EDGE, _EDGE))
    before, after = padded[quotes], padded[quotes + 2]
    begins = (before == _COMMA) | (before == _END)
    ends = (after == _COMMA) | (after == _END)
    returns = np.flatnonzero(after == _RETURN)
    ends[returns] = padded[quotes[returns] + 3] == _END
    regular = np.where(opens, begins | (before == _QUOTE), ends | (after == _QUOTE))
    unclear = many % 2 == 1
    unclear[line[~regular]] = True
    has_fields = np.zeros(len(lines), bool)
    has_fields[line[begins]] = True
    # In lines that are certain, quotes come in pairs: the commas of a pair are those between its two.
    certain = (has_fields & ~unclear)[line]
    inside = commas[quotes[certain & ~opens]] - commas[quotes[certain & opens]]
    pairs = np.flatnonzero(inside)
    within = np.zeros(len(lines), np.int32)
    np.add.at(within, line[certain & opens][pairs], inside[pairs])
    return within, has_fields & unclear, quotes[has_fields[line]]


def _line_of(positions: np.ndarray, lines: Lines) -> np.ndarray:
    return np.searchsorted(lines.starts, positions, "right") - 1


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True
