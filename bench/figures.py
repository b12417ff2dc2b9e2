"""The figures that have a target: each is computed from one value of each of its ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True)
class Figure:
    """A number with a target; ``value`` is the key of what is taken of each way (``median_seconds``, ``peak_mb``)."""

    name: str
    ways: tuple[str, ...]
    value: str
    formula: Callable[..., float]
    target: float
    sign: str = "<="

    def of(self, ways: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Compute it from the reduced runs, and compare it with its target."""
        value = self.formula(*(ways[way][self.value] for way in self.ways))
        met = value <= self.target if self.sign == "<=" else value >= self.target
        return {"name": self.name, "value": round(value, 3), "target": f"{self.sign} {self.target:g}", "met": met}


def ratio(way: str, other: str, target: float, sign: str = "<=", *, months: int = 1) -> Figure:
    """Return the seconds of a way as a share of another's, which is taken ``months`` times."""
    name = f"{way} / {f'{months} ' if months > 1 else ''}{other}"
    return Figure(name, (way, other), "median_seconds", lambda one, two: one / (months * two), target, sign)


def seconds(way: str, target: float) -> Figure:
    """Return the seconds of a way."""
    return Figure(f"{way}, s", (way,), "median_seconds", lambda one: one, target)


def memory(way: str, target: float) -> Figure:
    """Return the peak memory of a way."""
    return Figure(f"{way}, MB", (way,), "peak_mb", lambda one: one, target)


def growth(way: str) -> Figure:
    """Return the peak memory for a month ten times as large, as a share of the usual month's."""
    large = f"{way}-large"
    return Figure(f"memory, {large} / {way}", (large, way), "peak_mb", lambda one, two: one / two, 1.1)


def share(way: str, other: str, target: float) -> Figure:
    """Return by how many seconds a way takes longer than another."""
    return Figure(f"{way} - {other}, s", (way, other), "median_seconds", lambda one, two: one - two, target)


FIGURES = (
    ratio("parquet-duckdb", "duckdb-ctas-parquet", 1.5),
    ratio("csv-duckdb", "duckdb-ctas-csv", 1.0),
    ratio("parquet-lake", "duckdb-copy-parquet", 1.5),
    ratio("csv-lake", "duckdb-copy-csv", 1.1),
    ratio("csv-postgres", "psql-copy", 0.85),
    ratio("three-months", "psql-copy", 0.7, months=3),
    ratio("parquet-postgres", "csv-postgres", 0.75),
    ratio("parquet-postgres", "duckdb-parquet-postgres", 1.0),
    ratio("pandas-postgres", "csv-postgres", 9, ">="),
    ratio("pandas-lake-gzip", "csv-lake", 4, ">="),
    ratio("pandas-lake-gzip", "csv-lake-gcs", 4, ">="),
    memory("csv-postgres", 250),
    memory("parquet-postgres", 250),
    memory("csv-duckdb", 400),
    memory("parquet-duckdb", 400),
    memory("csv-lake", 350),
    memory("parquet-lake", 350),
    memory("csv-lake-gcs", 350),
    growth("csv-postgres"),
    growth("parquet-postgres"),
    growth("csv-duckdb"),
    growth("parquet-duckdb"),
    growth("csv-lake"),
    growth("parquet-lake"),
    seconds("help", 0.4),
    seconds("import-flows", 2.5),
    seconds("unchanged-month", 0.5),
    seconds("unchanged-month-of-700", 1),
    seconds("unchanged-every-month", 1),
    seconds("unchanged-upload", 3),
    seconds("unchanged-warehouse", 3),
    seconds("unchanged-month-prefect", 3.5),
    share("three-months-prefect", "three-months-beside", 3),
    seconds("unchanged-month-no-server", 12),
    seconds("unchanged-month-first-day", 12),
)
