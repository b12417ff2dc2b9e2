"""One SQL for all: what differs between databases is the dialect's, and a rule means the same in each or is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nyctaxi_etl.core.errors import UsageError
from nyctaxi_etl.core.partition import Month
from nyctaxi_etl.schema.columns import FILE_MONTH, Column, Predicate, Rule
from nyctaxi_etl.warehouses.base import target_tables
from nyctaxi_etl.warehouses.bigquery.sql import DIALECT as BIGQUERY
from nyctaxi_etl.warehouses.duckdb.tables import DIALECT as DUCKDB
from nyctaxi_etl.warehouses.ledger import LEDGER
from nyctaxi_etl.warehouses.postgres.sql import DIALECT as POSTGRES
from nyctaxi_etl.warehouses.sql import (
    Dialect,
    add_columns,
    comment_on,
    condition,
    count_month,
    delete_month,
    drop_condition,
    insert_ledger,
    insert_month,
    is_ledger_row,
)
from support.months import TRIPS
from support.rules import PLAIN, UNSURE, in_words, ruled_by

if TYPE_CHECKING:
    from collections.abc import Sequence

SQLITE = Dialect("sqlalchemy", time_literal="")
DIALECTS = {"duckdb": DUCKDB, "postgres": POSTGRES, "bigquery": BIGQUERY, "sqlite": SQLITE}
MONTH = Month(2020, 12)
TIP = Column("tip", "money", about='Tip; "cash" isn\'t in it.')

each_dialect = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)


def test_a_condition_is_sql_of_the_dialect() -> None:
    """Quotes and the word before a time are the dialect's; names can't break out."""
    month = Predicate("pickup_datetime", "outside month")
    early = "`pickup_datetime` < DATETIME '2020-12-01 00:00:00'"
    late = "`pickup_datetime` >= DATETIME '2021-01-01 00:00:00'"
    assert condition(BIGQUERY, month, MONTH) == f"({early} OR {late}) IS TRUE"
    assert condition(DUCKDB, Predicate('a"b', "<", "c"), MONTH) == '("a""b" < "c") IS TRUE'
    assert condition(POSTGRES, Predicate("a", "=", 0), MONTH) == '("a" = 0) IS TRUE'
    assert " < '2020-12-01 00:00:00' " in condition(SQLITE, month, MONTH).replace("  ", " ")


@each_dialect
@pytest.mark.parametrize("predicate", UNSURE, ids=in_words)
def test_a_rule_that_is_judged_otherwise_is_refused_everywhere(dialect: Dialect, predicate: Predicate) -> None:
    """The error names the rule and the other way; the same rule as a flag does no harm."""
    dataset = ruled_by(PLAIN[0], predicate)
    with pytest.raises(UsageError, match="rule_1 of green") as caught:
        drop_condition(dialect, dataset, MONTH)
    assert "`mode=etl`" in caught.value.hint
    flags = replace(dataset, rules=(dataset.rules[0], dataset.rules[1]._replace(action="flag")))
    assert drop_condition(dialect, flags, MONTH) == f"({condition(dialect, PLAIN[0], MONTH)})"


@each_dialect
@pytest.mark.parametrize("predicates", [(), PLAIN[:1], PLAIN], ids=in_words)
def test_rules_that_drop_are_one_condition(dialect: Dialect, predicates: Sequence[Predicate]) -> None:
    """A row is dropped if one of them holds; without a rule none is."""
    terms = [condition(dialect, predicate, MONTH) for predicate in predicates]
    assert drop_condition(dialect, ruled_by(*predicates), MONTH) == f"({' OR '.join(terms) or '1 = 0'})"


@pytest.mark.parametrize(("dialect", "mark"), [(DUCKDB, '"'), (POSTGRES, '"'), (BIGQUERY, "`")])
def test_a_months_statements_differ_in_their_quotes_alone(dialect: Dialect, mark: str) -> None:
    """The month is a literal: a database reads no other partition."""
    expected = [
        "DELETE FROM `t` WHERE `file_month` = DATE '2020-12-01'",
        "INSERT INTO `t` (`a`, `b`, `file_month`) SELECT `a`, `b`, DATE '2020-12-01' FROM `s` WHERE x",
        "SELECT count(*) FROM `t` WHERE `file_month` = DATE '2020-12-01' AND TRUE",
    ]
    path = dialect.quote("t")
    assert [
        delete_month(dialect, path, MONTH),
        insert_month(dialect, path, ["a", "b"], dialect.quote("s"), MONTH, "x"),
        count_month(dialect, path, MONTH),
    ] == [statement.replace("`", mark) for statement in expected]


def test_a_table_is_defined_and_described_in_each_dialect() -> None:
    """Types are those of the dialect; only the month must be filled."""
    assert DUCKDB.definitions([TIP, FILE_MONTH]) == '"tip" DOUBLE, "file_month" DATE NOT NULL'
    assert POSTGRES.definitions([TIP, FILE_MONTH]) == '"tip" double precision, "file_month" date NOT NULL'
    about = '`tip` FLOAT64 OPTIONS(description="Tip; \\"cash\\" isn\'t in it.")'
    assert add_columns(BIGQUERY, "`p`.`d`.`t`", [TIP]) == f"ALTER TABLE `p`.`d`.`t` ADD COLUMN IF NOT EXISTS {about}"
    added = 'ADD COLUMN IF NOT EXISTS "tip" double precision, ADD COLUMN IF NOT EXISTS "file_month" date'
    assert add_columns(POSTGRES, '"t"', [TIP, FILE_MONTH]) == f'ALTER TABLE "t" {added}'
    assert comment_on(DUCKDB, "it's", "ours", [TIP]) == (
        "COMMENT ON TABLE \"it's\" IS 'ours'",
        'COMMENT ON COLUMN "it\'s"."tip" IS \'Tip; "cash" isn\'\'t in it.\'',
    )


def test_the_ledgers_values_are_placeholders_or_texts() -> None:
    """A script of BigQuery's has no placeholders."""
    assert insert_ledger(POSTGRES, "l").count("%s") == insert_ledger(DUCKDB, "l").count("?") == len(LEDGER)
    assert insert_ledger(BIGQUERY, "l", ["1"] * len(LEDGER)).endswith(f"VALUES ({', '.join('1' for _ in LEDGER)})")
    assert is_ledger_row(POSTGRES) == '"table_name" = %s AND "file_month" = %s'
    assert is_ledger_row(BIGQUERY, ["'t'", "d"]) == "`table_name` = 't' AND `file_month` = d"


@pytest.mark.parametrize("raw_table", ["trips", "Trips", "TRIPS"])
def test_a_month_goes_into_two_tables(raw_table: str) -> None:
    """The raw one first; one of the same name in another case is the same in some databases."""
    assert target_tables("trips", None) == ("trips",)
    assert target_tables("trips", "trips_raw") == ("trips_raw", "trips")
    with pytest.raises(UsageError, match="trips"):
        target_tables("trips", raw_table)
    assert replace(TRIPS, rules=(Rule("r", PLAIN[0], "drop", ""),)).rules_id
