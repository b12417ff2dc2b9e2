"""Tables, ledgers and lookups that are there already: ours are changed, others refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
from google.cloud import bigquery

from nyctaxi_etl.core.errors import (
    WarehouseError,
)
from nyctaxi_etl.schema.columns import Column
from nyctaxi_etl.schema.datasets import FHV
from nyctaxi_etl.warehouses.ledger import LEDGER_TABLE
from support.bigquery_place import FEBRUARY, JANUARY, Place, monthly
from support.bigquery_proxy import PROJECT, Fault, refusal
from support.months import TRIPS, stage_rows, trips

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.usefixtures("old")
def test_a_dropped_table_is_not_loaded(place: Place, tmp_path: Path) -> None:
    """What the ledger says of a table that a user dropped doesn't count, and goes when a month is in the new one."""
    place.by_hand("DROP TABLE trips")
    assert place.ledger() == ()
    place.put(stage_rows(tmp_path, "2021-03", trips([9])))
    assert [row.file_month for row in place.ledger()] == [date(2021, 3, 1)]
    assert place.query(f"SELECT run_id FROM {LEDGER_TABLE}") == [("run",)]


@pytest.mark.usefixtures("old")
def test_a_foreign_table_in_the_place_of_ours_is_not_loaded(place: Place) -> None:
    """The ledger remembers ours, which was there before."""
    place.by_hand("DROP TABLE trips")
    place.by_hand("CREATE TABLE trips AS SELECT 5 AS trip")
    assert place.ledger() == ()


@pytest.mark.usefixtures("old")
def test_a_dropped_ledger_is_made_anew(place: Place, tmp_path: Path) -> None:
    """Without the ledger nothing counts as loaded; the table is ours still."""
    place.by_hand(f"DROP TABLE {LEDGER_TABLE}")
    assert place.ledger() == ()
    place.put(stage_rows(tmp_path, "2021-01", trips([9])))
    assert place.rows() == monthly(FEBRUARY, [4, 5]) + monthly(JANUARY, [9])


def test_a_gained_column_is_added(place: Place, old: list[tuple[Any, ...]], tmp_path: Path) -> None:
    """Columns that the dataset gains are null in the months loaded before, and come with their description."""
    about = 'Tip, USD; "cash"\nor card.'
    wider = replace(TRIPS, columns=(Column("tip", "money", about=about), *TRIPS.columns, Column("flag", "text")))
    row = (0.5, *trips([6])[0], "Y")
    place.put(stage_rows(tmp_path, "2021-03", [row], wider), wider)
    assert place.rows() == [*old, (*trips([6])[0], date(2021, 3, 1))]
    assert place.query("SELECT tip, flag FROM trips WHERE trip = 6") == [(0.5, "Y")]
    assert set(place.query("SELECT tip, flag FROM trips WHERE trip < 6")) == {(None, None)}
    (asked,) = (call.sql for call in place.proxy.started("statement") if call.sql.startswith("ALTER"))
    assert r'`tip` FLOAT64 OPTIONS(description="Tip, USD; \"cash\"\nor card.")' in asked


def test_a_lost_column_stays(place: Place, old: list[tuple[Any, ...]], tmp_path: Path) -> None:
    """A column that the dataset loses stays in the table, null from then on."""
    narrower = replace(TRIPS, columns=TRIPS.columns[:-1])
    place.put(stage_rows(tmp_path, "2021-03", [row[:-1] for row in trips([6])], narrower), narrower)
    assert place.rows() == [*old, (*trips([6])[0][:-1], None, date(2021, 3, 1))]


def test_a_column_of_another_type_is_refused(place: Place, old: list[tuple[Any, ...]], tmp_path: Path) -> None:
    """The error names the column, and nothing is touched."""
    other = replace(TRIPS, columns=(*TRIPS.columns[:-1], Column("zone", "seconds")))
    with pytest.raises(WarehouseError, match="zone"):
        place.put(stage_rows(tmp_path, "2021-01", [(1, None, None, 5)], other), other)
    assert place.rows() == old


@pytest.mark.parametrize("kind", ["TABLE", "VIEW"])
def test_a_foreign_table_is_refused(place: Place, kind: str, tmp_path: Path) -> None:
    """A table or view of that name that nyctaxi did not make stays as it is, and the hint says what to do."""
    place.by_hand(f"CREATE {kind} trips AS SELECT 5 AS trip")
    with pytest.raises(WarehouseError, match="trips") as caught:
        place.put(stage_rows(tmp_path, "2021-01", trips([1])))
    assert "`table=`" in caught.value.hint
    assert place.query("SELECT * FROM trips") == [(5,)]
    assert not place.proxy.started("load")


def test_an_unpartitioned_table_is_refused(place: Place, tmp_path: Path) -> None:
    """Even under our own mark: every load would read the whole table."""
    table = bigquery.Table(f"{PROJECT}.{place.dataset}.trips", [bigquery.SchemaField("trip", "INT64")])
    table.description = "nyctaxi green trips"
    place.client().create_table(table)
    with pytest.raises(WarehouseError, match="not partitioned by month"):
        place.put(stage_rows(tmp_path, "2021-01", trips([1])))


def test_another_colours_table_is_refused(place: Place, old: list[tuple[Any, ...]], tmp_path: Path) -> None:
    """A table holds one colour."""
    with pytest.raises(WarehouseError, match="fhv"):
        place.put(stage_rows(tmp_path, "2021-01", [(None,) * len(FHV.columns)], FHV), FHV)
    assert place.rows() == old


def test_the_ledger_is_no_table_for_trips(place: Place, tmp_path: Path) -> None:
    """The one name that is taken in every warehouse."""
    with pytest.raises(WarehouseError, match=LEDGER_TABLE):
        place.put(stage_rows(tmp_path, "2021-01", trips([1])), table=LEDGER_TABLE)


def test_a_foreign_ledger_is_refused(place: Place, tmp_path: Path) -> None:
    """A table of the ledger's name that nyctaxi did not make stays as it is."""
    place.by_hand(f"CREATE TABLE {LEDGER_TABLE} AS SELECT 5 AS x")
    with pytest.raises(WarehouseError, match="not nyctaxi's ledger"):
        place.put(stage_rows(tmp_path, "2021-01", trips([1])))
    assert place.tables() == {LEDGER_TABLE}


def test_tables_made_at_the_same_moment(place: Place, tmp_path: Path) -> None:
    """A table that another program makes between our look and our making of it is taken as it is."""
    makes = Fault(
        lambda call: call.method == "POST" and call.path.partition("?")[0].endswith("/tables"),
        lambda _call, _answer: refusal(409, "duplicate", "Already Exists: Table"),
        times=2,
        late=True,
    )
    place.proxy.faults.append(makes)
    assert place.put(stage_rows(tmp_path, "2021-01", trips([1]))) == 1
