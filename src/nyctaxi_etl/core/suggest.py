"""The word that was probably meant: a slip of the fingers is told from a folder that isn't there."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# Two letters of three that changed places are still alike: ``tcl`` and ``tlc`` have a ratio of 0.67.
_ALIKE = 0.65


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return ``Did you mean tlc? `` to begin a hint with, empty if no choice is like ``word``."""
    near = get_close_matches(word.lower(), list(choices), 1, _ALIKE)
    return f"Did you mean {near[0]}? " if near else ""
