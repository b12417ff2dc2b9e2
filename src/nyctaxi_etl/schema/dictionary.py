"""The data dictionary of a colour in Markdown, derived from its dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nyctaxi_etl.schema.columns import FILE_MONTH, Dataset
from nyctaxi_etl.schema.datasets import DATASETS

if TYPE_CHECKING:
    from nyctaxi_etl.core.partition import Color
    from nyctaxi_etl.schema.columns import Column


def describe(color: Color) -> str:
    """Return a colour's columns, published names and rules as Markdown tables."""
    dataset = DATASETS[color]
    head = [f"# {dataset.table}", "", dataset.about, f"Published since {dataset.first_month}.", ""]
    return "\n".join([*head, *_columns(dataset), "", *_rules(dataset)])


def _columns(dataset: Dataset) -> list[str]:
    rows = [_column(column) for column in (*dataset.columns, FILE_MONTH)]
    return ["| column | DuckDB | Postgres | published as | meaning |", "|---|---|---|---|---|", *rows]


def _column(column: Column) -> str:
    names = ", ".join(f"`{name}`" for name in column.aliases)
    return f"| {column.name} | {column.types.duckdb} | {column.types.postgres} | {names} | {column.about} |"


def _rules(dataset: Dataset) -> list[str]:
    rows = [f"| {rule.name} | {rule.action} | {rule.why} |" for rule in dataset.rules]
    return ["| rule | what happens to the row | why |", "|---|---|---|", *rows]
