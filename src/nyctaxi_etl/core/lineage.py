"""Where a month came from, what it was made into, and what was counted: one value, from the source to the ledger."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from nyctaxi_etl.core.partition import RawFile


class Fingerprint(NamedTuple):
    """What a month's rows are made of: two months with the same fingerprint have the same rows.

    ``sha256`` is of the published bytes, ``dataset_version`` a digest of the declared columns, ``rules`` names the
    rules that drop rows with a digest of all rules.
    """

    sha256: str
    dataset_version: str
    rules: str


@dataclass(frozen=True)
class Lineage:
    """The published file of a month, what it was conformed to, and how many rows of it are where.

    ``source`` is tlc, datatalks, sample, folder, or a host; ``source_url`` where exactly the file came from;
    ``source_etag`` and ``source_last_modified`` are the server's own words, empty if it gave none; ``source_bytes`` and
    ``source_sha256`` are of the file as published. ``rows_read = rows_rejected + rows_loaded``; ``flags`` counts, by
    rule, rows that are marked but kept. The counts are 0 until the month has been staged.
    """

    source: str
    source_url: str
    source_etag: str
    source_last_modified: str
    source_bytes: int
    source_sha256: str
    dataset_version: str
    rules: str
    rows_read: int = 0
    rows_rejected: int = 0
    rows_loaded: int = 0
    flags: Mapping[str, int] = field(default_factory=dict)
    unknown_columns: tuple[str, ...] = ()

    @classmethod
    def of(cls, raw: RawFile, dataset_version: str, rules: str) -> Self:
        """Return the lineage of what a published file is to be made into; nothing has been counted yet."""
        return cls(
            source=raw.source,
            source_url=raw.url,
            source_etag=raw.etag,
            source_last_modified=raw.last_modified,
            source_bytes=raw.bytes,
            source_sha256=raw.sha256,
            dataset_version=dataset_version,
            rules=rules,
        )

    @property
    def fingerprint(self) -> Fingerprint:
        """What decides whether another month is the same."""
        return Fingerprint(self.source_sha256, self.dataset_version, self.rules)

    def loading(self, rows: int) -> Self:
        """Return the lineage with so many rows loaded, and all others that were read rejected."""
        return replace(self, rows_loaded=rows, rows_rejected=self.rows_read - rows)
