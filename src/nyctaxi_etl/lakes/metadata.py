"""What is known of a month in the lake: put together with it, so that a second run need not look inside."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from nyctaxi_etl.core.partition import RawFile, Staged

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nyctaxi_etl.core.partition import Partition
    from nyctaxi_etl.schema.columns import Dataset

_NUMBERS = frozenset({"source_bytes", "rows_read", "rows_rejected", "rows_loaded"})
_DIGITS = 18
_MAY_BE_EMPTY = frozenset({"source_url", "source_etag", "source_last_modified"})
_DOCUMENTS = frozenset({"flags", "unknown_columns"})


@dataclass(frozen=True)
class Facts:
    """Where a month in the lake came from, what it was conformed to, and its counts; as text, one fact a field."""

    source: str
    source_url: str
    source_etag: str
    source_last_modified: str
    source_bytes: int
    source_sha256: str
    dataset_version: str
    rules: str
    rows_read: int
    rows_rejected: int
    rows_loaded: int
    flags: Mapping[str, int]
    unknown_columns: tuple[str, ...]

    @classmethod
    def of(cls, staged: Staged) -> Facts:
        """Take the facts of a staged month."""
        raw = staged.raw
        return cls(
            source=raw.source,
            source_url=raw.url,
            source_etag=raw.etag,
            source_last_modified=raw.last_modified,
            source_bytes=raw.bytes,
            source_sha256=raw.sha256,
            dataset_version=staged.dataset_version,
            rules=staged.rules,
            rows_read=staged.rows_read,
            rows_rejected=staged.rows_rejected,
            rows_loaded=staged.rows_loaded,
            flags=dict(staged.flags),
            unknown_columns=staged.unknown_columns,
        )

    @classmethod
    def read(cls, texts: Mapping[str, str] | None) -> Facts | None:
        """Read the facts as ``texts`` has them; ``None`` if they are not all there: another program put the object.

        What may be empty (a source without ETags) may be missing, too: a bucket is not given it.
        """
        try:
            there = dict.fromkeys(_MAY_BE_EMPTY, "") | dict(texts or {})
            values = {field.name: _value(field.name, there[field.name]) for field in fields(cls)}
            values["unknown_columns"] = tuple(values["unknown_columns"])
            return cls(**values)
        except (KeyError, ValueError, TypeError):
            return None

    def texts(self) -> dict[str, str]:
        """Return the facts as text, as a lake keeps them."""
        return {name: json.dumps(value) if name in _DOCUMENTS else str(value) for name, value in asdict(self).items()}

    def hold(self, raw: RawFile, dataset: Dataset) -> bool:
        """Tell whether the object was made of the same bytes under the same declaration and rules."""
        known = (self.source_sha256, self.dataset_version, self.rules)
        return known == (raw.sha256, dataset.version, dataset.rules_id)

    def staged(self, partition: Partition, path: Path, uri: str) -> Staged:
        """Return the month as a warehouse takes it: from ``path``, or from ``uri`` by itself."""
        raw = RawFile(
            partition=partition,
            path=path,
            source=self.source,
            url=self.source_url,
            etag=self.source_etag,
            last_modified=self.source_last_modified,
            bytes=self.source_bytes,
            sha256=self.source_sha256,
            mtime_ns=0,
        )
        return Staged(
            raw=raw,
            path=path,
            dataset_version=self.dataset_version,
            rules=self.rules,
            rows_read=self.rows_read,
            rows_rejected=self.rows_rejected,
            rows_loaded=self.rows_loaded,
            flags=self.flags,
            unknown_columns=self.unknown_columns,
            uri=uri,
        )


def raw_facts(raw: RawFile) -> dict[str, str]:
    """Return what is known of a published file, as a lake keeps it."""
    return {
        "source": raw.source,
        "source_url": raw.url,
        "source_etag": raw.etag,
        "source_last_modified": raw.last_modified,
        "source_bytes": str(raw.bytes),
        "source_sha256": raw.sha256,
    }


def _value(name: str, text: str) -> Any:
    """Return a fact's value. Raises ``ValueError`` for a text that is none: whoever may write a lake may write this."""
    if name == "flags":
        flags = _parsed(text)
        return _checked(flags, isinstance(flags, dict) and all(type(value) is int for value in flags.values()))
    if name == "unknown_columns":
        names = _parsed(text)
        return _checked(names, isinstance(names, list) and all(isinstance(value, str) for value in names))
    if name in _NUMBERS:
        return int(_checked(text, text.isascii() and text.isdigit() and len(text) <= _DIGITS))
    return text


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError from None


def _checked(value: Any, is_right: bool) -> Any:  # noqa: FBT001 - a check's outcome
    if not is_right:
        raise ValueError
    return value
