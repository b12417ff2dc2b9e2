"""What a lake keeps of a month beside its rows, as text: the month's lineage, one field a key."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from nyctaxi_etl.core.lineage import Lineage

if TYPE_CHECKING:
    from collections.abc import Mapping

_NUMBERS = frozenset({"source_bytes", "rows_read", "rows_rejected", "rows_loaded"})
_DIGITS = 18
# A bucket is given no empty text.
_MAY_BE_ABSENT = frozenset({"source_url", "source_etag", "source_last_modified"})
_DOCUMENTS = frozenset({"flags", "unknown_columns"})
# What is known of a file as it was published, before it is conformed to anything.
_OF_FILE = frozenset({"source", "source_url", "source_etag", "source_last_modified", "source_bytes", "source_sha256"})


def month_metadata(lineage: Lineage) -> dict[str, str]:
    """Return the metadata of a month in the lake."""
    return {name: json.dumps(value) if name in _DOCUMENTS else str(value) for name, value in asdict(lineage).items()}


def file_metadata(lineage: Lineage) -> dict[str, str]:
    """Return the metadata of a published file in the lake."""
    return {name: text for name, text in month_metadata(lineage).items() if name in _OF_FILE}


def read_lineage(metadata: Mapping[str, str] | None) -> Lineage | None:
    """Return the lineage that ``metadata`` tells; ``None`` if it does not tell all: another program put the object.

    What may be empty (a source without ETags) may be absent, too: a bucket is given no empty text.
    """
    try:
        texts = dict.fromkeys(_MAY_BE_ABSENT, "") | dict(metadata or {})
        return Lineage(**{field.name: _value(field.name, texts[field.name]) for field in fields(Lineage)})
    except (KeyError, ValueError, TypeError):
        return None


def _value(name: str, text: str) -> Any:
    """Return a field's value. Raises ``ValueError`` for a text that is none: whoever may write a lake may write it."""
    if name == "flags":
        flags = _document(text)
        if isinstance(flags, dict) and all(type(value) is int for value in flags.values()):
            return flags
    elif name == "unknown_columns":
        names = _document(text)
        if isinstance(names, list) and all(isinstance(value, str) for value in names):
            return tuple(names)
    elif name not in _NUMBERS:
        return text
    elif text.isascii() and text.isdigit() and len(text) <= _DIGITS:
        return int(text)
    raise ValueError


def _document(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError from None
