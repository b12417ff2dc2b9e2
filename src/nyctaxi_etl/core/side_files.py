"""Side files, which say what is known of a file beside them: read once, field by field, or taken for nothing."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

# Ours have some 500 bytes; those of a lake as much as a bucket allows an object's metadata, 8 KiB, and the JSON of it.
LONGEST_BYTES = 64 << 10
_LARGEST = 1 << 63


def side_file(path: Path, *, hidden: bool = False) -> Path:
    """Return the side file of ``path``: ``{name}.json`` beside it, or ``.{name}.json``."""
    return path.with_name(f"{'.' if hidden else ''}{path.name}.json")


def read_side_file(path: Path, fields: Mapping[str, Callable[[Any], bool]]) -> dict[str, Any]:
    """Return the declared fields of the side file at ``path``; an empty dictionary if it is absent or damaged.

    ``fields`` tells of each field which values it can have. What a damaged side file stood beside is brought anew.
    """
    try:
        with path.open("rb") as file:
            block = file.read(LONGEST_BYTES + 1)
        values = json.loads(block.decode()) if len(block) <= LONGEST_BYTES else None
    except (OSError, ValueError, RecursionError):
        return {}
    if isinstance(values, dict) and all(is_one(values.get(name)) for name, is_one in fields.items()):
        return {name: values[name] for name in fields}
    return {}


def is_text(value: object) -> bool:
    """Tell whether a field is a text that can be shown and kept anywhere."""
    return isinstance(value, str) and value.isprintable()


def is_count(value: object) -> bool:
    """Tell whether a field is a whole number that every database can hold, not below zero."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST


def is_digest(value: object) -> bool:
    """Tell whether a field is a SHA-256 as it is written everywhere."""
    return isinstance(value, str) and bool(re.fullmatch(r"[0-9a-f]{64}", value))


def is_texts(value: object) -> bool:
    """Tell whether a field is a dictionary of texts."""
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())
