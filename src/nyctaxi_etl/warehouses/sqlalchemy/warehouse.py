"""Any other database of SQLAlchemy's: delete the month, insert it by pandas, write the ledger, in one transaction."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from nyctaxi_etl.core.errors import Transient
from nyctaxi_etl.core.partition import Month
from nyctaxi_etl.core.progress import Event, tell
from nyctaxi_etl.schema.columns import FILE_MONTH
from nyctaxi_etl.staging.files import batches
from nyctaxi_etl.warehouses.base import (
    Capabilities,
    both,
    check_cleaned,
    check_columns,
    check_rows,
    cleaned,
    drops,
    foreign,
    now,
    owner_mark,
    table_columns,
)
from nyctaxi_etl.warehouses.ledger import KEY, LEDGER, LEDGER_TABLE, LedgerRow, entry, lacking, succeeding
from nyctaxi_etl.warehouses.sqlalchemy.errors import understood
from nyctaxi_etl.warehouses.sqlalchemy.sqlite_file import READS, SUBJECT, file_of, give_back, take_turns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from sqlalchemy.engine import Connection, Engine

    from nyctaxi_etl.core.partition import Stage
    from nyctaxi_etl.schema.columns import Column, Dataset

_CHUNK_ROWS = 10_000
# MariaDB and others want a length for text that is part of a key.
_KEY_TEXT = sa.String(64)


class AnyDatabase:
    """A database behind a SQLAlchemy engine as a warehouse; months go in as fast as ``DataFrame.to_sql`` can."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._file: Path | None = None
        if engine.dialect.name == "sqlite":
            self._file = file_of(engine)
            take_turns(engine)

    # Rows are locked, or the whole file, while a month goes in.
    capabilities = Capabilities(streams=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the engine's connections."""
        self._engine.dispose()

    def loaded(self, table: str) -> tuple[LedgerRow, ...]:
        """Return the ledger's rows of ``table``, by month; none if the table isn't there."""
        if self._file and not self._file.exists():
            return ()
        with self._transaction(reads=True) as connection:
            if not _looks_ours(connection, table) or not sa.inspect(connection).has_table(LEDGER_TABLE):
                return ()
            return tuple(sorted(_ledger_rows(connection, table_name=table), key=lambda row: row.file_month))

    def replace(self, table: str, dataset: Dataset, staged: Stage, run_id: str, raw_table: str | None = None) -> int:
        """Replace one month of ``table``: see ``Warehouse.replace``."""
        names, dropped = both(table, raw_table), self._drops(dataset, staged.partition.month) if raw_table else None
        # Definitions first and by themselves: many databases commit when a table is made.
        with self._transaction(str(staged.partition)) as connection:
            for name in names:
                _prepare(connection, name, dataset)
        row = entry(names[0], staged, run_id, now())
        with self._transaction(str(staged.partition)) as connection:
            # The ledger first: its key makes a second loader of the same month wait here, before any row is written.
            _record(connection, row)
            trips = _trips(names[0], dataset)
            connection.execute(trips.delete().where(trips.c.file_month == row.file_month))
            _insert(connection, trips, staged)
            rows = _count(connection, trips, row)
            check_rows(staged, names[0], rows)
            if dropped is None:
                return rows
            tell(Event(str(staged.partition), "load", rows, rows, note=f"making {table} of {raw_table}"))
            return _clean(connection, row, table, dataset, dropped)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement that only reads, and return its rows."""
        with self._transaction(reads=True) as connection:
            plain = connection.execution_options(no_parameters=True)
            return [tuple(row) for row in plain.exec_driver_sql(sql)]

    def _drops(self, dataset: Dataset, month: Month) -> str:
        # SQLite has no literal for a time: it keeps the text, which sorts as the times do.
        word = "" if self._engine.dialect.name == "sqlite" else "TIMESTAMP"
        return drops(dataset, month, time_literal=word, mark=self._engine.dialect.identifier_preparer.initial_quote)

    @contextmanager
    def _transaction(self, subject: str = "", *, reads: bool = False) -> Iterator[Connection]:
        try:
            with self._engine.execution_options(**{READS: reads, SUBJECT: subject}).begin() as connection:
                yield connection
        except BaseException as error:
            if subject and self._file:
                give_back(self._file)
            # pandas wraps what SQLAlchemy says, which tells more.
            cause = error.__cause__ if isinstance(error, pd.errors.DatabaseError) else error
            if isinstance(cause, SQLAlchemyError):
                raise understood(cause, self._engine) from error
            raise


def _prepare(connection: Connection, table: str, dataset: Dataset) -> None:
    """Make the ledger and the table if need be, refuse a foreign one, add columns that the dataset has gained."""
    ledger, trips = _ledger(), _trips(table, dataset)
    ledger.create(connection, checkfirst=True)
    for column in lacking(_names(connection, LEDGER_TABLE)):
        _add_column(connection, LEDGER_TABLE, ledger.c[column.name])
    if not sa.inspect(connection).has_table(table):
        trips.create(connection)
        connection.execute(ledger.delete().where(ledger.c.table_name == table))
        return
    if not _is_ours(connection, table, dataset):
        raise foreign(table, dataset)
    found = {column["name"]: _family(column["type"]) for column in sa.inspect(connection).get_columns(table)}
    for name in check_columns(table, found, {column.name: _family(column.type) for column in trips.columns}):
        _add_column(connection, table, trips.c[name])


def _add_column(connection: Connection, table: str, column: sa.Column[Any]) -> None:
    quoted = connection.dialect.identifier_preparer.quote
    kind = column.type.compile(connection.dialect)
    connection.exec_driver_sql(f"ALTER TABLE {quoted(table)} ADD COLUMN {quoted(column.name)} {kind}")


def _names(connection: Connection, table: str) -> set[str]:
    return {column["name"] for column in sa.inspect(connection).get_columns(table)}


def _is_ours(connection: Connection, table: str, dataset: Dataset) -> bool:
    """Tell whether a table is in the ledger for this colour, or ours by its columns and still empty."""
    if not _looks_ours(connection, table):
        return False
    ledger, trips = _ledger(), _trips(table, dataset)
    colors = connection.execute(sa.select(ledger.c.color).where(ledger.c.table_name == table)).scalars().all()
    if colors:
        return set(colors) == {str(dataset.color)}
    return {column.name for column in trips.columns} <= _names(connection, table) and not _any_row(connection, trips)


def _looks_ours(connection: Connection, table: str) -> bool:
    """Tell whether there is a table, not a view, of exactly this name with a column for the month."""
    inspector = sa.inspect(connection)
    return table in inspector.get_table_names() and any(
        column["name"] == FILE_MONTH.name for column in inspector.get_columns(table)
    )


def _any_row(connection: Connection, trips: sa.Table) -> bool:
    return connection.execute(sa.select(sa.literal(1)).select_from(trips).limit(1)).first() is not None


def _record(connection: Connection, row: LedgerRow) -> None:
    ledger = _ledger()
    key = {name: getattr(row, name) for name in KEY}
    row = succeeding(row, next(iter(_ledger_rows(connection, **key)), None))
    connection.execute(ledger.delete().where(*(ledger.c[name] == value for name, value in key.items())))
    names = [column.name for column in LEDGER]
    try:
        connection.execute(ledger.insert().values(dict(zip(names, row.values(), strict=True))))
    except IntegrityError as error:
        message = f"{row.table_name} {Month.of(row.file_month)}: another run loads the same month."
        raise Transient(message, "The month is what it was; run again.") from error


def _ledger_rows(connection: Connection, **values: object) -> list[LedgerRow]:
    """Return the ledger's rows with these values."""
    ledger, there = _ledger(), _names(connection, LEDGER_TABLE)
    lacking(there)
    columns = (column for column in ledger.c if column.name in there)
    rows = connection.execute(sa.select(*columns).where(*(ledger.c[name] == value for name, value in values.items())))
    return [LedgerRow.read({str(name): value for name, value in row.items()}) for row in rows.mappings()]


def _insert(connection: Connection, trips: sa.Table, staged: Stage) -> None:
    done = 0
    for batch in batches(staged):
        frame = batch.to_pandas(types_mapper=pd.ArrowDtype)
        frame[FILE_MONTH.name] = staged.partition.month.first_day
        kinds = {column.name: column.type for column in trips.columns}
        frame.to_sql(trips.name, connection, if_exists="append", index=False, chunksize=_CHUNK_ROWS, dtype=kinds)
        done += batch.num_rows
        tell(Event(str(staged.partition), "load", done, staged.rows_expected))


def _clean(connection: Connection, raw: LedgerRow, table: str, dataset: Dataset, dropped: str) -> int:
    """Make the month of ``table`` anew of the raw table's rows but the ``dropped``, and return how many they are."""
    source, trips = _trips(raw.table_name, dataset), _trips(table, dataset)
    row = cleaned(raw, table, dataset, _count(connection, source, raw, dropped))
    _record(connection, row)
    connection.execute(trips.delete().where(trips.c.file_month == row.file_month))
    kept = sa.select(source).where(source.c.file_month == row.file_month, sa.literal_column(f"NOT {dropped}"))
    connection.execute(trips.insert().from_select([column.name for column in trips.columns], kept))
    check_cleaned(row, _count(connection, trips, row))
    return row.rows_loaded


def _count(connection: Connection, trips: sa.Table, row: LedgerRow, where: str = "1 = 1") -> int:
    mine = sa.select(sa.func.count()).select_from(trips)
    found = connection.execute(mine.where(trips.c.file_month == row.file_month, sa.literal_column(where)))
    return int(found.scalar_one())


def _trips(table: str, dataset: Dataset) -> sa.Table:
    columns = (
        sa.Column(c.name, getattr(sa, c.types.sqlalchemy)(), nullable=c is not FILE_MONTH)
        for c in table_columns(dataset)
    )
    trips = sa.Table(table, sa.MetaData(), *columns, comment=owner_mark(dataset))
    sa.Index(f"{table}_{FILE_MONTH.name}", trips.c[FILE_MONTH.name])
    return trips


def _ledger() -> sa.Table:
    return sa.Table(LEDGER_TABLE, sa.MetaData(), *(_ledger_column(column) for column in LEDGER))


def _ledger_column(column: Column) -> sa.Column[Any]:
    is_key = column.name in KEY
    kind = _KEY_TEXT if is_key and column.type == "text" else getattr(sa, column.types.sqlalchemy)()
    return sa.Column(column.name, kind, primary_key=is_key)


def _family(kind: sa.types.TypeEngine[Any]) -> str:
    """Return what kind of value a type holds: dialects name one type in many ways."""
    families: Iterable[type] = (sa.Date, sa.DateTime, sa.Integer, sa.Numeric, sa.String)
    affinity = kind._type_affinity  # noqa: SLF001 - SQLAlchemy's own name for it, with no public one
    return next(
        (family.__name__ for family in families if affinity is not None and issubclass(affinity, family)), str(kind)
    )
