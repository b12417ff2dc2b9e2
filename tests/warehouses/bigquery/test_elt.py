"""ELT within BigQuery: every row that parses, and the clean table made of it by the same rules."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from nyctaxi_etl.core.errors import (
    QualityError,
    UsageError,
)
from nyctaxi_etl.core.partition import Color, Month, Partition
from nyctaxi_etl.schema.datasets import DATASETS, GREEN
from nyctaxi_etl.sources.fetch import fetch
from nyctaxi_etl.sources.registry import resolve
from nyctaxi_etl.staging.files import arrow_schema
from nyctaxi_etl.transform.clean import matches
from nyctaxi_etl.transform.stream import stage
from nyctaxi_etl.warehouses.base import table_columns
from support.bigquery_place import JANUARY, REAL, Place
from support.months import stage_rows
from support.rules import PLAIN, RULED, UNSURE, in_words, ruled, ruled_by

if TYPE_CHECKING:
    from nyctaxi_etl.schema.columns import Predicate
    from nyctaxi_etl.staging.files import StagedFile


def test_elt_keeps_all_and_cleans_within(place: Place, tmp_path: Path) -> None:
    """The raw table has every row that parsed, the clean one those that no rule drops: zero passengers, not null."""
    staged = stage_rows(tmp_path, "2021-01", ruled(range(9)), RULED, rejected=2)
    assert place.put(staged, RULED, raw_table="trips_raw") == 6
    assert place.rows("trips_raw", RULED) == [(*row, JANUARY) for row in ruled(range(9))]
    assert place.rows("trips", RULED) == [(*row, JANUARY) for row in ruled(range(9)) if row[-1] != 0]
    counts = [
        (row.table_name, row.lineage.rows_read, row.lineage.rows_rejected, row.lineage.rows_loaded)
        for row in (*place.ledger("trips_raw"), *place.ledger("trips"))
    ]
    assert counts == [("trips_raw", 11, 2, 9), ("trips", 11, 5, 6)]
    assert len(place.proxy.started("script")) == len(place.proxy.started("load")) == 1


def test_elt_that_fails_leaves_both_tables(place: Place, tmp_path: Path) -> None:
    """The raw table is of the same transaction."""
    place.put(stage_rows(tmp_path, "2021-01", ruled(range(9)), RULED), RULED, raw_table="trips_raw")
    with pytest.raises(QualityError, match="trips_raw counts 2 rows where 3 "):
        place.put(stage_rows(tmp_path, "2021-01", ruled([11, 12]), RULED, lost=1), RULED, raw_table="trips_raw")
    assert [row[0] for row in place.rows("trips_raw", RULED)] == list(range(9))
    assert [row[0] for row in place.rows("trips", RULED)] == [1, 2, 4, 5, 7, 8]


@pytest.mark.parametrize("raw_table", ["trips", "Trips"])
def test_elt_wants_two_tables(place: Place, raw_table: str, tmp_path: Path) -> None:
    """Otherwise no rule would be applied; every warehouse takes upper and lower case for one."""
    with pytest.raises(UsageError, match="trips"):
        place.put(stage_rows(tmp_path, "2021-01", ruled([1]), RULED), RULED, raw_table=raw_table)
    assert place.proxy.calls == []


@pytest.mark.parametrize("predicate", UNSURE, ids=in_words)
def test_a_rule_that_bigquery_may_judge_otherwise_is_refused(
    place: Place, predicate: Predicate, tmp_path: Path
) -> None:
    """As by every warehouse: before BigQuery is asked for anything."""
    staged = stage_rows(tmp_path, "2021-01", ruled([1]), RULED)
    with pytest.raises(UsageError, match="rule_1 of green") as caught:
        place.put(staged, ruled_by(PLAIN[0], predicate), raw_table="trips_raw")
    assert "`mode=etl`" in caught.value.hint
    assert place.proxy.calls == []


@pytest.mark.parametrize("predicates", [*((one,) for one in PLAIN), ()], ids=in_words)
def test_any_plain_rule_drops_the_same_rows(place: Place, predicates: tuple[Predicate, ...], tmp_path: Path) -> None:
    """The clean table has just the rows that the transform step would have kept."""
    schema = arrow_schema(RULED.columns)
    rows = ruled(range(8))
    batch = pa.RecordBatch.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema)
    lost = [matches(one, batch, Month(2021, 1)).to_pylist() for one in predicates]
    kept = [row[0] for index, row in enumerate(rows) if not any(mask[index] for mask in lost)]
    staged = stage_rows(tmp_path, "2021-01", rows, RULED)
    assert place.put(staged, ruled_by(*predicates), raw_table="trips_raw") == len(kept)
    assert [row[0] for row in place.rows()] == kept


def test_elt_is_estimated_for_both_tables(place: Place, tmp_path: Path) -> None:
    """From what is staged, for the raw table doesn't hold the month yet."""
    place.put(stage_rows(tmp_path, "2021-01", ruled([1]), RULED), RULED, raw_table="trips_raw", max_bytes=10**9)
    sources = [call.sql for call in place.proxy.started("estimate") if call.sql.startswith("INSERT")]
    assert len(sources) == 2
    assert all("trips_raw_2021_01_staging_" in sql for sql in sources)


@pytest.mark.skipif(not REAL, reason="NYCTAXI_REAL_DATA, a folder with real trip records, is not set")
@pytest.mark.parametrize(
    ("folder", "partition"),
    [
        ("datatalks/green", "green/2020-04"),
        ("datatalks/green", "green/2019-01"),
        ("eras", "yellow/2014-03"),
        ("eras", "yellow/2019-01"),
        ("eras", "fhv/2018-02"),
        ("eras", "fhvhv/2020-01"),
    ],
)
def test_elt_ends_as_etl_does(place: Place, folder: str, partition: str, tmp_path: Path) -> None:
    """Real months of every colour: the rules applied before the load and within BigQuery leave the same rows."""
    color, _, month = partition.partition("/")
    found = Partition(Color(color), Month.parse(month))
    raw = fetch(resolve(str(Path(str(REAL)) / folder)), found, tmp_path / "raw")
    dataset = DATASETS[found.color]
    etl = stage(raw, dataset, tmp_path / "etl")
    elt = stage(raw, replace(dataset, rules=()), tmp_path / "elt")
    rows = place.put(_named(etl), dataset, "etl")
    assert place.put(_named(elt), dataset, "elt", raw_table="elt_raw") == rows == etl.lineage.rows_loaded
    names = ", ".join(column.name for column in table_columns(dataset))
    one, two = (f"SELECT {names}, COUNT(*) AS n FROM {table} GROUP BY {names}" for table in ("etl", "elt"))
    for difference in (f"({one}) EXCEPT DISTINCT ({two})", f"({two}) EXCEPT DISTINCT ({one})"):
        assert place.query(f"SELECT COUNT(*) FROM ({difference}) AS d") == [(0,)]
    assert place.query("SELECT COUNT(*) FROM elt_raw") == [(elt.lineage.rows_loaded,)]
    (of_etl,), (of_elt,) = place.ledger("etl"), place.ledger("elt")
    assert (of_etl.lineage.rows_read, of_etl.lineage.rows_rejected) == (
        of_elt.lineage.rows_read,
        of_elt.lineage.rows_rejected,
    )
    if found.color is GREEN.color:
        assert elt.lineage.rows_loaded > etl.lineage.rows_loaded


def _named(staged: StagedFile) -> StagedFile:
    """Give the month's file a name of its own, as the folders of the lake do."""
    path = staged.path.with_stem(f"{staged.path.parent.parent.name}-{staged.path.parent.name}-{staged.path.stem}")
    return replace(staged, path=staged.path.rename(path))
