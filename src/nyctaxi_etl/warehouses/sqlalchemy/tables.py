"""What the tables of any other database are: declared for SQLAlchemy, made, known as ours; the ledger among them.

Many databases keep no comment on a table, so ours are known by the ledger and by their columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from nyctaxi_etl.core.errors import Transient
from nyctaxi_etl.core.partition import Month
from nyctaxi_etl.schema.columns import FILE_MONTH
from nyctaxi_etl.warehouses.base import (
    LOOKUP_MARK,
    check_columns,
    check_lookup,
    foreign_table,
    owner_mark,
    table_columns,
)
from nyctaxi_etl.warehouses.ledger import KEY, LEDGER, LEDGER_TABLE, LedgerRow, lacking, succeeding

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy.engine import Connection

    from nyctaxi_etl.schema.columns import Column, Dataset

# MariaDB and others want a length for text that is part of a key.
_KEY_TEXT = sa.String(64)


def trips_table(table: str, dataset: Dataset) -> sa.Table:
    """Return the declaration of a table of trips."""
    columns = (sa.Column(c.name, _type_of(c), nullable=c is not FILE_MONTH) for c in table_columns(dataset))
    trips = sa.Table(table, sa.MetaData(), *columns, comment=owner_mark(dataset))
    sa.Index(f"{table}_{FILE_MONTH.name}", trips.c[FILE_MONTH.name])
    return trips


def make_tables(connection: Connection, table: str, dataset: Dataset) -> None:
    """Make the ledger and the table if need be, and add columns that the dataset has gained.

    Raises ``WarehouseError`` for a table that isn't ours or has a column of another type.
    """
    ledger, trips = _ledger_table(), trips_table(table, dataset)
    ledger.create(connection, checkfirst=True)
    for column in lacking(_column_names(connection, LEDGER_TABLE)):
        _add_column(connection, LEDGER_TABLE, ledger.c[column.name])
    if not sa.inspect(connection).has_table(table):
        trips.create(connection)
        connection.execute(ledger.delete().where(ledger.c.table_name == table))
        return
    if not _is_ours(connection, table, dataset):
        raise foreign_table(table, dataset)
    types = {column["name"]: _family(column["type"]) for column in sa.inspect(connection).get_columns(table)}
    for name in check_columns(table, types, {column.name: _family(column.type) for column in trips.columns}):
        _add_column(connection, table, trips.c[name])


def make_lookup(connection: Connection, table: str, columns: Sequence[Column]) -> sa.Table:
    """Make a lookup if there is no table of its name, and return its declaration."""
    made = (sa.Column(column.name, _type_of(column)) for column in columns)
    lookup = sa.Table(table, sa.MetaData(), *made, comment=LOOKUP_MARK)
    if not sa.inspect(connection).has_table(table):
        lookup.create(connection)
    return lookup


def check_is_lookup(connection: Connection, lookup: sa.Table) -> None:
    """Refuse a table or view that has other columns than the lookup. Raises ``WarehouseError``."""
    inspector = sa.inspect(connection)
    names = [column["name"] for column in inspector.get_columns(lookup.name)]
    is_ours = lookup.name in inspector.get_table_names() and names == [column.name for column in lookup.columns]
    check_lookup(lookup.name, LOOKUP_MARK if is_ours else None)


def ledger_rows_of(connection: Connection, table: str) -> tuple[LedgerRow, ...]:
    """Return the ledger's rows of ``table``, by month; none if the table or the ledger isn't there."""
    if not _looks_ours(connection, table) or not sa.inspect(connection).has_table(LEDGER_TABLE):
        return ()
    return tuple(sorted(_ledger_rows(connection, table_name=table), key=lambda row: row.file_month))


def write_ledger_row(connection: Connection, row: LedgerRow) -> None:
    """Put a row into the ledger in place of the one that it replaces.

    Raises ``Transient`` if another run has put one there meanwhile.
    """
    ledger = _ledger_table()
    key = {name: getattr(row, name) for name in KEY}
    row = succeeding(row, next(iter(_ledger_rows(connection, **key)), None))
    connection.execute(ledger.delete().where(*(ledger.c[name] == value for name, value in key.items())))
    names = [column.name for column in LEDGER]
    try:
        connection.execute(ledger.insert().values(dict(zip(names, row.values(), strict=True))))
    except IntegrityError as error:
        message = f"{row.table_name} {Month.of(row.file_month)}: another run loads the same month."
        raise Transient(message, "The month is what it was; run again.") from error


def _ledger_table() -> sa.Table:
    return sa.Table(LEDGER_TABLE, sa.MetaData(), *(_ledger_column(column) for column in LEDGER))


def _ledger_column(column: Column) -> sa.Column[Any]:
    is_key = column.name in KEY
    kind = _KEY_TEXT if is_key and column.type == "text" else _type_of(column)
    return sa.Column(column.name, kind, primary_key=is_key)


def _ledger_rows(connection: Connection, **values: object) -> list[LedgerRow]:
    """Return the ledger's rows with these values."""
    ledger, names = _ledger_table(), _column_names(connection, LEDGER_TABLE)
    lacking(names)
    columns = (column for column in ledger.c if column.name in names)
    rows = connection.execute(sa.select(*columns).where(*(ledger.c[name] == value for name, value in values.items())))
    return [LedgerRow.read({str(name): value for name, value in row.items()}) for row in rows.mappings()]


def _is_ours(connection: Connection, table: str, dataset: Dataset) -> bool:
    """Tell whether a table is in the ledger for this colour, or ours by its columns and still empty."""
    if not _looks_ours(connection, table):
        return False
    ledger, trips = _ledger_table(), trips_table(table, dataset)
    colors = connection.execute(sa.select(ledger.c.color).where(ledger.c.table_name == table)).scalars().all()
    if colors:
        return set(colors) == {str(dataset.color)}
    if not {column.name for column in trips.columns} <= _column_names(connection, table):
        return False
    return connection.execute(sa.select(sa.literal(1)).select_from(trips).limit(1)).first() is None


def _looks_ours(connection: Connection, table: str) -> bool:
    """Tell whether there is a table, not a view, of exactly this name with a column for the month."""
    return table in sa.inspect(connection).get_table_names() and FILE_MONTH.name in _column_names(connection, table)


def _column_names(connection: Connection, table: str) -> set[str]:
    return {column["name"] for column in sa.inspect(connection).get_columns(table)}


def _add_column(connection: Connection, table: str, column: sa.Column[Any]) -> None:
    quoted = connection.dialect.identifier_preparer.quote
    kind = column.type.compile(connection.dialect)
    connection.exec_driver_sql(f"ALTER TABLE {quoted(table)} ADD COLUMN {quoted(column.name)} {kind}")


def _type_of(column: Column) -> sa.types.TypeEngine[Any]:
    kind: sa.types.TypeEngine[Any] = getattr(sa, column.types.sqlalchemy)()
    return kind


def _family(kind: sa.types.TypeEngine[Any]) -> str:
    """Return what kind of value a type holds: dialects name one type in many ways."""
    families: Iterable[type] = (sa.Date, sa.DateTime, sa.Integer, sa.Numeric, sa.String)
    affinity = kind._type_affinity  # noqa: SLF001 - SQLAlchemy's own name for it, with no public one
    return next(
        (family.__name__ for family in families if affinity is not None and issubclass(affinity, family)), str(kind)
    )
