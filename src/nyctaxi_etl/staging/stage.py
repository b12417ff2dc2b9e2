"""The promise of a month that is ready to be put somewhere, be it in a file or conformed while it is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    import pyarrow as pa

    from nyctaxi_etl.core.lineage import Lineage
    from nyctaxi_etl.core.partition import Partition


class Stage(Protocol):
    """A month's rows, conformed to its dataset and cleaned by its rules."""

    @property
    def partition(self) -> Partition:
        """The month that the rows are of."""

    @property
    def lineage(self) -> Lineage:
        """Where they came from; its counts are final when the last batch has been taken."""

    @property
    def rows_expected(self) -> int:
        """How many rows ``batches`` will give; 0: not known yet."""

    @property
    def schema(self) -> pa.Schema:
        """The schema of the batches: the canonical columns that the published file has, in their dataset's order."""

    def batches(self) -> Generator[pa.RecordBatch]:
        """Yield the rows, from the first again each time.

        Raises ``CorruptFile`` for damaged bytes; a month that is conformed meanwhile also ``SchemaDrift``,
        ``WrongFile`` and ``QualityError``.
        """

    @property
    def rejects(self) -> Path | None:
        """The Parquet file of the rows that were set aside, if there are any."""

    @property
    def uri(self) -> str:
        """Where a lake has the month, for a warehouse that fetches it from there itself; empty if none has it."""
