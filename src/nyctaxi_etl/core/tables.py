"""A table of text that fits a width: cells are broken between words, then columns left out, but nothing is cut."""

from __future__ import annotations

import textwrap
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

# A blank at which a cell is not broken.
HARD_BLANK = "\N{NO-BREAK SPACE}"
_GAP = 2


class Column(NamedTuple):
    """A column's head; ``wraps``: its cells may be broken between words; ``is_number``: they stand on the right."""

    name: str
    wraps: bool = False
    is_number: bool = False


def lay_out(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int, leave_out: Sequence[str]
) -> list[list[str]]:
    """Return the lines of the head and of each row, in ``width`` characters if that can be done.

    Cells are broken first, the last of the columns that wrap before the others; then the columns ``leave_out`` go,
    one after the other. The gaps are halved with the last one.
    """
    cells = [[column.name.replace(" ", HARD_BLANK) for column in columns], *rows]
    wrapping = [index for index, column in enumerate(columns) if column.wraps]
    for count in range(len(leave_out) + 1):
        shown = [index for index, column in enumerate(columns) if column.name not in leave_out[:count]]
        gap = 1 if leave_out and count == len(leave_out) else _GAP
        for broken in (set(wrapping[len(wrapping) - number :]) for number in range(len(wrapping) + 1)):
            widths = {index: max(_wide(row[index], wrapped=index in broken) for row in cells) for index in shown}
            if sum(widths.values()) + gap * (len(shown) - 1) <= width:
                return [_lines(columns, row, widths, gap) for row in cells]
    return [_lines(columns, row, widths, gap) for row in cells]


def _wide(cell: str, *, wrapped: bool) -> int:
    return max(map(len, cell.split(" "))) if wrapped else len(cell)


def _lines(columns: Sequence[Column], row: Sequence[str], widths: dict[int, int], gap: int) -> list[str]:
    broken = (_broken(row[index], width) for index, width in widths.items())
    return [
        (" " * gap)
        .join(
            part.rjust(width) if columns[index].is_number else part.ljust(width)
            for part, (index, width) in zip(parts, widths.items(), strict=True)
        )
        .replace(HARD_BLANK, " ")
        for parts in zip_longest(*broken, fillvalue="")
    ]


def _broken(cell: str, width: int) -> list[str]:
    return textwrap.wrap(cell, width, break_long_words=False, break_on_hyphens=False) or [""]


def wrap(text: str, width: int) -> list[str]:
    """Break a text between words into lines of ``width``; a longer word, as a path, stays whole."""
    lines = textwrap.wrap(text, max(width, 1), subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return [line.replace(HARD_BLANK, " ") for line in lines or [""]]
