"""Where months are loaded. Every warehouse makes the same promise, and one contract test suite holds all to it.

After ``replace`` the month is wholly the new one or wholly the old one, other months are untouched, and twice is the
same as once. The ledger row is committed together with the rows. With ELT all of it is said of two tables at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from nyctaxi_etl.core.errors import QualityError, UsageError, WarehouseError
from nyctaxi_etl.core.partition import Month
from nyctaxi_etl.schema.columns import FILE_MONTH

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    import pyarrow as pa

    from nyctaxi_etl.schema.columns import Column, Dataset
    from nyctaxi_etl.staging.stage import Stage
    from nyctaxi_etl.warehouses.ledger import LedgerRow

_OWNER = "nyctaxi "
# The comment by which a table that explains ids is known as ours.
LOOKUP_MARK = "nyctaxi lookup: what the ids of trips mean"


@dataclass(frozen=True)
class Capabilities:
    """What a warehouse can do that not every one can: declared, so that nobody has to ask what it is.

    ``streams``: it takes a month while that is still being conformed; its transaction lasts longer, but no one waits.
    ``loads_from_uri``: it fetches months from the lake by itself, by their ``uri``, and takes them from nowhere else.
    """

    streams: bool = False
    loads_from_uri: bool = False


class Warehouse(Protocol):
    """What holds tables of trips and their ledger. Open it with ``with``; it is used by one thread at a time."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do that not every warehouse can."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def loaded(self, table: str) -> tuple[LedgerRow, ...]:
        """Return the ledger's rows of ``table``, by month; none if the table isn't there."""

    def replace(self, table: str, dataset: Dataset, staged: Stage, run_id: str, raw_table: str | None = None) -> int:
        """Replace one month of ``table`` by the staged rows in one transaction, and return how many there are now.

        With ``raw_table`` the staged rows, all that could be parsed, go into that, and the month of ``table`` is made
        of it by the dataset's drop rules, in the same transaction and with a ledger row for each.

        Makes the tables and the ledger if need be, and adds columns that the dataset has gained. Raises
        ``WarehouseError`` for a table that isn't ours, ``QualityError`` if the rows don't add up, ``UsageError`` for
        a rule that can't be applied in SQL, ``Transient`` if trying again may help; then the month is what it was.
        """

    def replace_table(self, table: str, columns: Sequence[Column], rows: pa.Table) -> int:
        """Replace all rows of a small ``table`` that explains ids by ``rows``, and return how many there are now.

        One transaction, which makes the table if need be; its first column is its key. Raises ``WarehouseError`` for a
        table that isn't ours, ``QualityError`` if the rows that are counted aren't those that were given, and
        ``Transient`` if trying again may help; then the table is what it was.
        """

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run one statement that only reads, and return its rows.

        Raises ``UsageError`` for a statement that writes, which changes nothing; ``WarehouseError`` for what the
        database refuses, ``Transient`` if trying again may help.
        """


def check_ours(table: str, dataset: Dataset, mark: str | None) -> None:
    """Refuse a table that carries another's mark, or none. Raises ``WarehouseError``."""
    if mark is None or not mark.startswith(owner_mark(dataset)):
        raise foreign_table(table, dataset)


def foreign_table(table: str, dataset: Dataset) -> WarehouseError:
    """Return the error for a table that isn't ours, or not of this colour."""
    message = f"There is a table {table} that does not hold {dataset.color} trips of nyctaxi."
    return WarehouseError(message, "It is left as it is: choose another name with `table=`, or rename that one.")


def is_ours(mark: str | None) -> bool:
    """Tell whether a table's comment is of our making, whatever its colour."""
    return mark is not None and mark.startswith(_OWNER)


def check_columns(table: str, types: Mapping[str, str], declared: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the ``declared`` columns that ``table`` lacks; both are types by name.

    Raises ``WarehouseError`` if a column has another type than the declared one.
    """
    for name, kind in declared.items():
        if name in types and types[name] != kind:
            message = f"Column {name} of table {table} is {types[name]}, where {kind} is declared."
            raise WarehouseError(message, "Load into a new table with `table=`, or change the column's type.")
    return tuple(name for name in declared if name not in types)


def check_rows(row: LedgerRow, counted: int) -> None:
    """Refuse to commit unless the table counts exactly the rows that its ledger row says were read and not rejected.

    Raises ``QualityError``.
    """
    expected = row.lineage.rows_read - row.lineage.rows_rejected
    if counted != expected:
        partition = f"{row.color}/{Month.of(row.file_month)}"
        message = f"{partition}: {row.table_name} counts {counted} rows where {expected} were read and kept."
        raise QualityError(
            message, "Nothing was committed; the month is what it was. Run it again; if it persists, report it."
        )


def check_lookup(table: str, mark: str | None) -> None:
    """Refuse to replace a table that is not a lookup of ours by its comment. Raises ``WarehouseError``."""
    if mark != LOOKUP_MARK:
        message = f"There is a table {table} that is not nyctaxi's lookup."
        raise WarehouseError(message, "It is left as it is: rename it, or load into another database.")


def check_lookup_rows(table: str, counted: int, rows: pa.Table) -> int:
    """Return the number of a lookup's rows, once counted. Raises ``QualityError`` unless all that were read are in."""
    if counted != rows.num_rows:
        message = f"{table} counts {counted} rows where {rows.num_rows} were read."
        raise QualityError(message, "Nothing was committed. Run it again; if it persists, report it.")
    return counted


def tuples_of(rows: pa.Table) -> Iterable[tuple[Any, ...]]:
    """Return the rows of a small table as tuples of Python's values."""
    return zip(*(column.to_pylist() for column in rows.columns), strict=True)


def refused_write(text: str) -> UsageError:
    """Return the error for a query that writes; ``text`` is what the database says of it."""
    return UsageError(f"A query only reads: {text}", "Nothing was changed. Write with the database's own client.")


def target_tables(table: str, raw_table: str | None) -> tuple[str, ...]:
    """Return the tables that a month goes into, in that order. Raises ``UsageError`` if the two are one.

    Upper and lower case are one: databases tell them apart or don't.
    """
    if not raw_table:
        return (table,)
    if raw_table.lower() == table.lower():
        message = f"{table} can't hold the rows as they came and the clean ones."
        raise UsageError(message, "Name another table with `table=`.")
    return raw_table, table


def owner_mark(dataset: Dataset) -> str:
    """Return the beginning of the comment by which a table is known as ours."""
    return f"{_OWNER}{dataset.color} trips"


def table_columns(dataset: Dataset) -> tuple[Column, ...]:
    """Return the columns of a table of trips: the dataset's and ``file_month``."""
    return (*dataset.columns, FILE_MONTH)
