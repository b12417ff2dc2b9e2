"""How a colour is declared: columns, rules and one table of types. Casts, DDL and docs are derived from it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from nyctaxi_etl.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nyctaxi_etl.core.partition import Color, Month

TypeWord = Literal[
    "id", "count", "code", "seconds", "money", "miles", "degrees", "text", "flag", "time", "day", "total"
]


class TypeRow(NamedTuple):
    """One type word in every dialect."""

    arrow: str
    duckdb: str
    postgres: str
    sqlalchemy: str
    bigquery: str


_SMALL = TypeRow("int16", "SMALLINT", "smallint", "SmallInteger", "INT64")
_DOUBLE = TypeRow("double", "DOUBLE", "double precision", "Double", "FLOAT64")
_TEXT = TypeRow("string", "VARCHAR", "text", "Text", "STRING")

TYPES: Mapping[str, TypeRow] = {
    "id": _SMALL,
    "count": _SMALL,
    "code": _SMALL,
    "seconds": TypeRow("int32", "INTEGER", "integer", "Integer", "INT64"),
    "money": _DOUBLE,
    "miles": _DOUBLE,
    "degrees": _DOUBLE,
    "text": _TEXT,
    "flag": _TEXT,
    "time": TypeRow("timestamp[us]", "TIMESTAMP", "timestamp", "DateTime", "DATETIME"),
    "total": TypeRow("int64", "BIGINT", "bigint", "BigInteger", "INT64"),
    "day": TypeRow("date32", "DATE", "date", "Date", "DATE"),
}


@dataclass(frozen=True)
class Column:
    """A canonical column.

    ``aliases`` are published names that mean it; case, blanks, quotes and underscores don't count, and neither does
    the canonical name need repeating. ``codes`` maps published words (compared in upper case) to canonical values; a
    word that is neither there nor of the column's type is null and counted. ``required``: a file without it is refused.
    """

    name: str
    type: TypeWord
    aliases: tuple[str, ...] = ()
    codes: Mapping[str, str] = field(default_factory=dict)
    about: str = ""
    required: bool = False

    @property
    def types(self) -> TypeRow:
        """This column's type in every dialect."""
        return TYPES[self.type]

    @property
    def keys(self) -> tuple[str, ...]:
        """Every name that means this column, as ``key`` reduces it."""
        return tuple(dict.fromkeys(key(name) for name in (self.name, *self.aliases)))


Operator = Literal["=", "<", "outside month"]


class Predicate(NamedTuple):
    """A condition as data: a column, an operator, and a number or another column (none for ``outside month``).

    True, or not: a null in it makes it not true.
    """

    column: str
    operator: Operator
    value: float | str | None = None


class Rule(NamedTuple):
    """A row for which ``predicate`` is true is dropped to the rejects, or flagged: counted and kept."""

    name: str
    predicate: Predicate
    action: Literal["drop", "flag"]
    why: str


@dataclass(frozen=True)
class Dataset:
    """A colour's declared schema and rules, and what is known of its publication."""

    color: Color
    columns: tuple[Column, ...]
    rules: tuple[Rule, ...]
    first_month: Month
    about: str

    @property
    def table(self) -> str:
        """The table that the colour's trips are loaded into, unless another is named."""
        return f"{self.color}_taxi_data"

    @property
    def version(self) -> str:
        """A short digest of all that shapes a loaded row but the rules: it changes when the declaration does."""
        return _digest(
            (column.name, column.type, column.keys, tuple(sorted(column.codes.items())), column.required)
            for column in self.columns
        )

    @property
    def rules_id(self) -> str:
        """The drop rules by name with a digest of all rules, as the ledger keeps it: ``no_passengers#1f0c...``."""
        drops = "+".join(rule.name for rule in self.rules if rule.action == "drop")
        return f"{drops or 'none'}#{_digest((rule.name, *rule.predicate, rule.action) for rule in self.rules)}"

    def column(self, name: str) -> Column:
        """Return the column of that canonical name."""
        return next(column for column in self.columns if column.name == name)


FILE_MONTH = Column(
    "file_month", "day", about="First day of the month of the file that the row came in.", required=True
)


# Tables that nyctaxi or a database makes for itself; and {table}_file_month is the index of a table in SQLAlchemy's
# databases, taxi_zone_lookup_pkey that of a key in Postgres, where tables and indexes share their names.
_RESERVED = re.compile(r"(?:nyctaxi_|taxi_zone_lookup|sqlite_).*|(?:.*_)?file_month")


def key(name: str) -> str:
    """Reduce a published column name to what counts of it: ``" Trip_type "`` -> ``triptype``."""
    return re.sub(r"[\s_\"'\ufeff]", "", name).lower()


def table_name(text: str) -> str:
    """Return ``text`` if it can name a table in every warehouse and leave room for a partition's ending.

    Raises ``UsageError`` otherwise.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,47}", text, re.ASCII):
        message = f"{text!r} can't name a table."
        hint = "Use letters, digits and underscores, at most 48, not beginning with a digit."
        raise UsageError(message, hint, about="table")
    if _RESERVED.fullmatch(text.lower()):
        message = f"{text!r} is a name that nyctaxi or a database has for tables and indexes of its own."
        hint = "Not to begin with nyctaxi_, taxi_zone_lookup or sqlite_, nor to end with file_month: choose another."
        raise UsageError(message, hint, about="table")
    return text.lower()


def quote(identifier: str, mark: str = '"') -> str:
    """Quote an identifier for SQL: the one place where a name becomes part of a statement."""
    return mark + identifier.replace(mark, mark * 2) + mark


def _digest(parts: Iterable[object]) -> str:
    text = repr(tuple(parts))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
