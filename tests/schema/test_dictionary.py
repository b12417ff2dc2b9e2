"""The data dictionary says what is declared."""

from __future__ import annotations

import pytest

from nyctaxi_etl.core.partition import Color
from nyctaxi_etl.schema.datasets import DATASETS
from nyctaxi_etl.schema.dictionary import describe


@pytest.mark.parametrize("color", Color)
def test_every_column_name_and_rule_is_described(color: Color) -> None:
    """A reader finds all columns with their types and published names, all rules, and since when it is published."""
    dataset, text = DATASETS[color], describe(color)
    lines = text.splitlines()
    assert lines[0] == f"# {color}_taxi_data"
    assert f"Published since {dataset.first_month}." in lines
    for column in dataset.columns:
        (line,) = [line for line in lines if line.startswith(f"| {column.name} |")]
        assert f"| {column.types.duckdb} | {column.types.postgres} |" in line
        assert all(f"`{alias}`" in line for alias in column.aliases)
        assert line.endswith(f"| {column.about} |")
    for rule in dataset.rules:
        assert f"| {rule.name} | {rule.action} | {rule.why} |" in lines
    assert any(line.startswith("| file_month | DATE | date |") for line in lines)


@pytest.mark.parametrize("color", Color)
def test_the_tables_are_tables(color: Color) -> None:
    """Each row has as many cells as its header, so that Markdown shows it."""
    tables = [block for block in describe(color).split("\n\n") if block.startswith("| ")]
    widths = [{line.count("|") for line in block.splitlines() if line.startswith("|")} for block in tables]
    assert widths == [{6}, {4}]
