"""The declaration is complete and unambiguous, its digests change with it, and names are safe in every dialect."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pytest
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as st

from nyctaxi_etl.core.errors import UsageError
from nyctaxi_etl.core.partition import Color, Month
from nyctaxi_etl.schema.columns import FILE_MONTH, TYPES, Column, Predicate, Rule, key, quote, table_name
from nyctaxi_etl.schema.datasets import ADDED_COLUMNS, DATASETS, FHV, FIRST_MONTHS, GREEN, YELLOW, ZONES, ZONES_TABLE
from nyctaxi_etl.warehouses.ledger import LEDGER, LEDGER_TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nyctaxi_etl.schema.columns import Dataset

EVERY = [*(dataset.columns for dataset in DATASETS.values()), ZONES]


@pytest.mark.parametrize("columns", EVERY, ids=lambda columns: columns[0].name)
def test_a_name_means_one_column(columns: Sequence[Column]) -> None:
    """No published name means two columns, or what pandas calls an index."""
    keys = Counter(name for column in columns for name in column.keys)
    assert [name for name, count in keys.items() if count > 1] == []
    assert not ADDED_COLUMNS & keys.keys()


@pytest.mark.parametrize("columns", [*EVERY, LEDGER], ids=lambda columns: columns[0].name)
def test_every_column_is_declared_in_full(columns: Sequence[Column]) -> None:
    """Every column has a plain name, a known type and a meaning that fits into a table."""
    for column in columns:
        assert re.fullmatch("[a-z][a-z0-9_]{0,47}", column.name)
        assert column.types is TYPES[column.type]
        assert column.about.endswith(".")
        assert "|" not in column.about


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=str)
def test_rules_speak_of_declared_columns(dataset: Dataset) -> None:
    """A rule's columns are the dataset's, its name is not a column's, and only one rule of two colours drops rows."""
    names = {column.name for column in dataset.columns}
    for rule in dataset.rules:
        assert dataset.column(rule.predicate.column).name == rule.predicate.column
        assert not isinstance(rule.predicate.value, str) or rule.predicate.value in names
        assert rule.name not in names
    drops = [rule.name for rule in dataset.rules if rule.action == "drop"]
    assert drops == (["no_passengers"] if dataset.color in {Color.YELLOW, Color.GREEN} else [])


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=str)
def test_a_dataset_can_refuse_a_file(dataset: Dataset) -> None:
    """The pickup time is required, and nothing else: no file ever had all the columns."""
    assert [column.name for column in dataset.columns if column.required] == ["pickup_datetime"]
    assert dataset.table == f"{dataset.color}_taxi_data"
    assert FIRST_MONTHS[dataset.color] == dataset.first_month


@pytest.mark.parametrize("word", TYPES)
def test_a_type_means_the_same_everywhere(word: str) -> None:
    """Arrow, DuckDB and SQLAlchemy know the type words; what DuckDB has comes back as Arrow's type."""
    row = TYPES[word]
    assert issubclass(getattr(sqlalchemy, row.sqlalchemy), sqlalchemy.types.TypeEngine)
    relation = duckdb.sql(f"SELECT NULL::{row.duckdb} AS value")
    assert relation
    assert relation.to_arrow_table().schema.field("value").type == pa.type_for_alias(row.arrow)


@pytest.mark.parametrize(
    "name", ["Trip_type ", " trip_type", "TRIP TYPE", "\ufefftriptype", '"Trip_Type"', "__trip__type__", "trip\ttype"]
)
def test_names_are_matched_by_what_counts(name: str) -> None:
    """Case, blanks, quotes and underscores don't count."""
    assert key(name) == "triptype"


@pytest.mark.parametrize("name", ["trips", "_t", "Yellow_2021", "x" * 48])
def test_a_plain_table_name_is_taken(name: str) -> None:
    """Letters, digits and underscores can name a table; case doesn't count in any warehouse."""
    assert table_name(name) == name.lower()


@pytest.mark.parametrize(
    "name",
    [LEDGER_TABLE, ZONES_TABLE, f"{ZONES_TABLE}_pkey", "NYCTAXI_reads", "sqlite_x", "trips_file_month", "file_month"],
)
def test_a_name_that_is_taken_is_refused(name: str) -> None:
    """The ledger, the lookup and the names of indexes are nobody's table of trips."""
    with pytest.raises(UsageError, match="for tables and indexes of its own"):
        table_name(name)


@pytest.mark.parametrize("name", ["", "1st", 'a"b', "a b", "a;b", "a-b", "x" * 49, "é", "a\n", "schema.table", "²"])
def test_any_other_table_name_is_refused(name: str) -> None:
    """What would need quotes, or leave no room for a partition's ending, can't name a table."""
    with pytest.raises(UsageError, match="can't name a table"):
        table_name(name)


@given(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_a_quoted_name_is_one_name(name: str) -> None:
    """Whatever a name holds, quoted it is that name and nothing else."""
    assert duckdb.execute(f"SELECT 1 AS {quote(name)}").description[0][0] == name


def test_another_mark_quotes_too() -> None:
    """BigQuery and MariaDB quote with backticks."""
    assert quote("a`b", "`") == "`a``b`"


# Digests


def _with(dataset: Dataset, name: str, /, **changes: Any) -> Dataset:
    columns = [replace(column, **changes) if column.name == name else column for column in dataset.columns]
    return replace(dataset, columns=tuple(columns))


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "vendor"},
        {"type": "text"},
        {"aliases": ("vendor_name", "VendorID", "Who")},
        {"codes": {"CMT": "1", "VTS": "2", "DDS": "4"}},
        {"codes": {}},
        {"required": True},
    ],
    ids=str,
)
def test_the_version_changes_with_what_shapes_a_row(changes: dict[str, Any]) -> None:
    """A month is loaded again when its column's name, type, aliases, codes or need have changed."""
    assert _with(YELLOW, "vendor_id", **changes).version != YELLOW.version


def test_the_version_changes_with_the_columns() -> None:
    """A month is loaded again when a column is added, removed or moved."""
    first, *others = GREEN.columns
    versions = {
        replace(GREEN, columns=tuple(columns)).version for columns in (others, [*others, first], [first, *others])
    }
    assert len(versions) == 3
    assert GREEN.version in versions


@pytest.mark.parametrize(
    "changes",
    [{"about": "Other words."}, {"aliases": ("Vendor_Name", "vendorid", "VendorID")}],
    ids=["about", "aliases"],
)
def test_the_version_stays_with_the_words_around(changes: dict[str, Any]) -> None:
    """Other words about a column, or another way to write the same alias, load nothing again."""
    assert _with(YELLOW, "vendor_id", **changes).version == YELLOW.version


def test_the_version_stays_with_the_rules_and_the_order_of_codes() -> None:
    """Rules have a digest of their own; a map has no order."""
    codes = dict(reversed(tuple(YELLOW.column("vendor_id").codes.items())))
    assert _with(YELLOW, "vendor_id", codes=codes).version == YELLOW.version
    assert replace(YELLOW, rules=(), about="", first_month=Month(2010, 1)).version == YELLOW.version


def test_the_rules_are_named_with_a_digest_of_all() -> None:
    """The ledger shows which rules dropped rows, and whether any rule has changed since."""
    assert YELLOW.rules_id.startswith("no_passengers#")
    assert FHV.rules_id.startswith("none#")
    drop, *flags = YELLOW.rules
    others = (
        (),
        tuple(flags),
        (*flags, drop),
        (drop._replace(action="flag"), *flags),
        (drop._replace(predicate=Predicate("passenger_count", "<", 1)), *flags),
        (*YELLOW.rules, Rule("far", Predicate("trip_distance", "<", 99), "drop", "")),
    )
    assert len({YELLOW.rules_id, *(replace(YELLOW, rules=rules).rules_id for rules in others)}) == 7
    assert replace(YELLOW, rules=(drop._replace(why="Else."), *flags)).rules_id == YELLOW.rules_id


def test_the_month_is_a_column_of_every_table() -> None:
    """Every loaded row says which file it came in."""
    assert (FILE_MONTH.name, FILE_MONTH.types.postgres, FILE_MONTH.required) == ("file_month", "date", True)
