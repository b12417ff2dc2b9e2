"""SQL that is written once: a ``Dialect`` says what differs between databases, the statements are the same.

Text only; nothing here speaks to anyone. Names are quoted; a month is a literal, so that a database reads no other
partition than that month's. Values of the ledger are placeholders, or whatever else the caller has for them.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from nyctaxi_etl.core.errors import UsageError
from nyctaxi_etl.schema.columns import FILE_MONTH, quote
from nyctaxi_etl.warehouses.ledger import KEY, LEDGER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nyctaxi_etl.core.partition import Month
    from nyctaxi_etl.schema.columns import Column, Dataset, Predicate

# What values of a type word are to a rule; all others are numbers.
_KINDS: Mapping[str, str] = {"time": "time", "day": "day", "text": "text", "flag": "text"}


@dataclass(frozen=True)
class Dialect:
    """What differs between databases in the SQL of nyctaxi.

    ``types`` is the database's column of ``schema.columns.TYPES``, ``mark`` quotes an identifier, ``placeholder``
    stands for a value, ``time_literal`` is the word before a quoted timestamp. ``options``: what a column means is
    said where it is defined, not by ``COMMENT ON``.
    """

    types: Literal["duckdb", "postgres", "sqlalchemy", "bigquery"]
    mark: str = '"'
    placeholder: str = "?"
    time_literal: str = "TIMESTAMP"
    options: bool = False

    def quote(self, name: str) -> str:
        """Return an identifier, quoted."""
        return quote(name, self.mark)

    def path(self, *names: str) -> str:
        """Return a full name of these parts, each quoted."""
        return ".".join(map(self.quote, names))

    def names(self, columns: Iterable[Column]) -> str:
        """Return the columns' names, quoted, with commas between."""
        return ", ".join(self.quote(column.name) for column in columns)

    def type_of(self, column: Column) -> str:
        """Return the column's type."""
        name: str = getattr(column.types, self.types)
        return name

    def definition(self, column: Column) -> str:
        """Return a column's name and type, and what it means where that is said here."""
        about = f" OPTIONS(description={json.dumps(column.about, ensure_ascii=False)})" if self.options else ""
        return f"{self.quote(column.name)} {self.type_of(column)}{about}"

    def definitions(self, columns: Iterable[Column]) -> str:
        """Return columns as a table's definition has them, with commas between. Any but the month may be null."""
        return ", ".join(self.definition(c) + (" NOT NULL" if c is FILE_MONTH else "") for c in columns)

    def month_is(self, month: Month) -> str:
        """Return the condition that keeps a statement within one month."""
        return f"{self.quote(FILE_MONTH.name)} = {day(month)}"


def day(month: Month) -> str:
    """Return the first day of a month as a literal."""
    return f"DATE '{month.first_day}'"


# -- tables -----------------------------------------------------------------------------------------------------------


def add_columns(dialect: Dialect, path: str, columns: Iterable[Column]) -> str:
    """Return the statement that adds columns to a table, if they aren't there, all in one: DuckDB takes one only."""
    added = ", ".join(f"ADD COLUMN IF NOT EXISTS {dialect.definition(column)}" for column in columns)
    return f"ALTER TABLE {path} {added}"


def comment_on(dialect: Dialect, table: str, mark: str, columns: Iterable[Column] = ()) -> tuple[str, ...]:
    """Return the statements that say what a table is, and what its columns mean."""
    path = dialect.quote(table)
    things = {f"TABLE {path}": mark} | {f"COLUMN {path}.{dialect.quote(c.name)}": c.about for c in columns}
    return tuple(f"COMMENT ON {thing} IS '{text.replace(chr(39), chr(39) * 2)}'" for thing, text in things.items())


# -- months -----------------------------------------------------------------------------------------------------------


def delete_month(dialect: Dialect, path: str, month: Month) -> str:
    """Return the statement that deletes a table's month."""
    return f"DELETE FROM {path} WHERE {dialect.month_is(month)}"  # noqa: S608 - names are quoted


def insert_month(  # noqa: PLR0913, PLR0917 - what goes from where to where
    dialect: Dialect, path: str, names: Sequence[str], source: str, month: Month, where: str = "TRUE"
) -> str:
    """Return the statement that inserts the rows of ``source`` for which ``where`` holds as a table's month.

    ``names`` are the columns that the source has but for the month itself.
    """
    listed = ", ".join(map(dialect.quote, names))
    rows = f"SELECT {listed}, {day(month)} FROM {source} WHERE {where}"  # noqa: S608 - names are quoted
    return f"INSERT INTO {path} ({listed}, {dialect.quote(FILE_MONTH.name)}) {rows}"


def count_month(dialect: Dialect, path: str, month: Month, where: str = "TRUE") -> str:
    """Return the query for how many rows a table has of a month for which ``where`` holds."""
    return f"SELECT count(*) FROM {path} WHERE {dialect.month_is(month)} AND {where}"  # noqa: S608 - names are quoted


# -- the ledger -------------------------------------------------------------------------------------------------------


def is_ledger_row(dialect: Dialect, texts: Iterable[str] = ()) -> str:
    """Return the condition for one month's row; the values of ``KEY`` are placeholders, or these ``texts``."""
    values = texts or [dialect.placeholder] * len(KEY)
    return " AND ".join(f"{dialect.quote(name)} = {text}" for name, text in zip(KEY, values, strict=True))


def select_ledger(path: str, where: str) -> str:
    """Return the query for the ledger's rows for which ``where`` holds."""
    return f"SELECT * FROM {path} WHERE {where}"  # noqa: S608 - names are quoted


def delete_ledger(path: str, where: str) -> str:
    """Return the statement that deletes the ledger's rows for which ``where`` holds."""
    return f"DELETE FROM {path} WHERE {where}"  # noqa: S608 - names are quoted


def insert_ledger(dialect: Dialect, path: str, texts: Iterable[str] = ()) -> str:
    """Return the statement that inserts one row; the values are placeholders, or these ``texts``."""
    values = ", ".join(texts or [dialect.placeholder] * len(LEDGER))
    return f"INSERT INTO {path} ({dialect.names(LEDGER)}) VALUES ({values})"  # noqa: S608 - names are quoted


# -- rules ------------------------------------------------------------------------------------------------------------


def condition(dialect: Dialect, predicate: Predicate, month: Month) -> str:
    """Compile a predicate to SQL that is true or false, never null."""
    column = dialect.quote(predicate.column)
    if predicate.operator == "outside month":
        start, end = (f"{dialect.time_literal} '{edge:%Y-%m-%d %H:%M:%S}'" for edge in (month.start, month.next.start))
        return f"({column} < {start} OR {column} >= {end}) IS TRUE"
    value = dialect.quote(predicate.value) if isinstance(predicate.value, str) else repr(predicate.value)
    return f"({column} {predicate.operator} {value}) IS TRUE"


def drop_condition(dialect: Dialect, dataset: Dataset, month: Month) -> str:
    """Return the condition under which a rule of the dataset's drops a row: true or false, never null.

    Raises ``UsageError`` for a rule that databases may judge otherwise than the transform step.
    """
    rules = [rule for rule in dataset.rules if rule.action == "drop"]
    for rule in rules:
        if not _is_judged_alike(rule.predicate, dataset):
            message = f"The rule {rule.name} of {dataset.color} can't be applied within a warehouse."
            raise UsageError(message, "Use `mode=etl`, or declare the rule by numbers or times: texts sort by place.")
    return f"({' OR '.join(condition(dialect, rule.predicate, month) for rule in rules) or '1 = 0'})"


def _is_judged_alike(predicate: Predicate, dataset: Dataset) -> bool:
    """Tell whether every database finds a predicate true of the same rows as the transform step does.

    It does if numbers or times are compared; texts are compared by a collation, which databases have of their own.
    """
    kinds = {column.name: _KINDS.get(column.type, "number") for column in dataset.columns}
    value, kind = predicate.value, kinds.get(predicate.column)
    if predicate.operator == "outside month":
        return kind == "time"
    if isinstance(value, str):
        return kind == kinds.get(value) and kind in {"number", "time"}
    return kind == "number" and value is not None and math.isfinite(value)
