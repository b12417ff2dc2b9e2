"""What a commit must never do: count otherwise than was staged, mix two runs, lean on more than an emulator has."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from google.cloud import bigquery

from nyctaxi_etl.core.errors import (
    QualityError,
    Transient,
    UsageError,
    WarehouseError,
)
from nyctaxi_etl.core.progress import Event, listening
from nyctaxi_etl.schema.columns import Column
from nyctaxi_etl.warehouses.bigquery.commit import PAUSES
from nyctaxi_etl.warehouses.bigquery.jobs import Jobs
from nyctaxi_etl.warehouses.bigquery.sql import literal
from nyctaxi_etl.warehouses.ledger import LEDGER_TABLE
from support.bigquery_place import CONFLICT, JANUARY, Place, monthly
from support.bigquery_proxy import HOST, PROJECT, Proxy, failed
from support.months import TRIPS, stage_rows, trips
from support.rules import RULED, ruled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.bigquery import Bucket


DAYS_60 = 60 * 24 * 3600 * 1000


@pytest.mark.parametrize("which", ["default_table_expiration_ms", "default_partition_expiration_ms"])
def test_a_dataset_whose_tables_expire_is_refused(place: Place, which: str, tmp_path: Path) -> None:
    """Before anything moves, with the command that takes it back; what is there can still be asked.

    A public repository on loading 2019's rows into the sandbox: "BigQuery accepts the load jobs (exit code 0, status
    DONE) but immediately treats all rows as expired — `COUNT(*)` returns 0."
    """
    dataset = place.client().get_dataset(place.dataset)
    setattr(dataset, which, DAYS_60)
    place.client().update_dataset(dataset, [which])
    place.proxy.calls.clear()
    for step in (place.ledger, lambda: place.put(stage_rows(tmp_path, "2021-01", trips([1]))), place.names):
        with pytest.raises(UsageError, match=r"60 days .*by its default expiration") as caught:
            step()
        command = "bq update --default_table_expiration 0 --default_partition_expiration 0"
        assert f"{command} {PROJECT}:{place.dataset}" in caught.value.hint
    assert {call.method for call in place.proxy.calls} == {"GET"}
    assert place.query("SELECT 1") == [(1,)]


@pytest.mark.parametrize("name", ["trips", LEDGER_TABLE])
@pytest.mark.usefixtures("old")
def test_a_table_that_expires_is_refused(place: Place, name: str, tmp_path: Path) -> None:
    """What is made under a dataset's default keeps it when that is taken back; the hint's SQL takes it from there."""
    place.expire(name)
    for step in (place.ledger, lambda: place.put(stage_rows(tmp_path, "2021-01", trips([1])))):
        with pytest.raises(UsageError, match=rf"{name} at 2126-01-02 00:00 UTC") as caught:
            step()
        sql = f"ALTER TABLE `{PROJECT}.{place.dataset}.{name}` SET OPTIONS (expiration_timestamp = NULL)"
        assert sql in caught.value.hint
    assert not place.proxy.started("load")


def test_a_table_whose_partitions_expire_is_refused(place: Place, tmp_path: Path) -> None:
    """Its months go one by one, and the ledger would call them unchanged."""
    place.put(stage_rows(tmp_path, "2021-01", trips([1])))
    table = place.client().get_table(f"{place.dataset}.trips")
    table.time_partitioning = bigquery.TimePartitioning("MONTH", "file_month", expiration_ms=DAYS_60)
    place.client().update_table(table, ["time_partitioning"])
    for step in (place.ledger, lambda: place.put(stage_rows(tmp_path, "2021-02", trips([2])))):
        with pytest.raises(UsageError, match=r"trips 60 days after each month") as caught:
            step()
        assert "SET OPTIONS (partition_expiration_days = NULL)" in caught.value.hint


def test_a_lookup_that_expires_is_refused(place: Place) -> None:
    """As trips are."""
    place.names()
    place.expire("names")
    with pytest.raises(UsageError, match="names at 2126-01-02"):
        place.names()


def test_that_tables_can_be_made_is_proved_by_one(place: Place) -> None:
    """It is empty, would expire by itself, and is dropped."""
    jobs = Jobs(place.client(), place.dataset)
    jobs.prove_write_access()
    made, dropped = (call for call in place.proxy.calls if call.method in {"POST", "DELETE"})
    left = datetime.fromtimestamp(int(made.body["expirationTime"]) / 1000, UTC) - datetime.now(UTC)
    assert timedelta() < left <= timedelta(hours=1)
    assert made.body["tableReference"]["tableId"] in dropped.path
    assert place.tables() == set()


@pytest.mark.usefixtures("slept")
def test_a_conflict_of_two_commits_is_retried(place: Place, old: list[tuple[Any, ...]], tmp_path: Path) -> None:
    """BigQuery cancels one of two transactions on a table, which then goes again: nothing is loaded twice."""
    place.fail("script", lambda call, _answer: failed(call, "invalidQuery", CONFLICT), times=2)
    assert place.put(stage_rows(tmp_path, "2021-03", trips([6]))) == 1
    assert len(place.proxy.started("script")) == 3
    assert len(place.proxy.started("load")) == 1
    assert place.rows() == [*old, *monthly(date(2021, 3, 1), [6])]


def test_a_conflict_that_goes_on_is_told(
    place: Place, old: list[tuple[Any, ...]], slept: list[float], tmp_path: Path
) -> None:
    """After ten attempts in some minutes, told every second, the month fails for a passing reason."""
    place.fail("script", lambda call, _answer: failed(call, "invalidQuery", CONFLICT), times=100)
    events: list[Event] = []
    with listening(events.append), pytest.raises(Transient, match="concurrent update"):
        place.put(stage_rows(tmp_path, "2021-03", trips([6])))
    assert len(place.proxy.started("script")) == len(PAUSES) + 1 == 10
    assert sum(PAUSES) / 2 - 1 <= sum(slept) <= sum(PAUSES)
    assert set(slept) == {1}
    assert sum("another program's commit" in event.note for event in events) == len(slept)
    assert place.rows() == old


def test_a_pause_can_be_broken_off(place: Place, slept: list[float], tmp_path: Path) -> None:
    """Whoever listens stops the run within a second."""
    place.fail("script", lambda call, _answer: failed(call, "invalidQuery", CONFLICT), times=100)

    def listen(event: Event) -> None:
        if "another program's commit" in event.note:
            raise KeyboardInterrupt

    with listening(listen), pytest.raises(KeyboardInterrupt):
        place.put(stage_rows(tmp_path, "2021-03", trips([6])))
    assert slept == []


def test_the_ledger_is_changed_before_rows_are_paid_for(place: Place, tmp_path: Path) -> None:
    """Statements of a transaction that is canceled are billed, and the ledger is what every month changes."""
    place.put(stage_rows(tmp_path, "2021-01", ruled(range(3)), RULED), RULED, raw_table="trips_raw")
    (script,) = place.proxy.started("script")
    changes = [one.split(" WHERE")[0] for one in script.sql.split(";\n") if one.startswith(("DELETE", "INSERT"))]
    ledger = [number for number, one in enumerate(changes) if one.startswith("DELETE") and LEDGER_TABLE in one]
    assert ledger == [0, 1]


def test_the_lookup_makes_way_for_others_too(place: Place, slept: list[float]) -> None:
    """It is replaced by a transaction as months are."""
    place.fail("script", lambda call, _answer: failed(call, "invalidQuery", CONFLICT), times=2)
    assert place.names() == 2
    assert len(place.proxy.started("script")) == 3
    assert slept


def test_a_table_that_is_no_lookup_is_refused(place: Place, old: list[tuple[Any, ...]]) -> None:
    """A user's table stays as it is, and so does one of trips."""
    place.by_hand("CREATE TABLE names AS SELECT 5 AS x")
    for table in ("names", "trips"):
        with pytest.raises(WarehouseError, match=f"{table} that is not nyctaxi's lookup"):
            place.names(table)
    assert place.query("SELECT * FROM names") == [(5,)]
    assert place.rows() == old


def test_a_lookup_is_replaced_as_a_whole(place: Place) -> None:
    """By whatever rows come."""
    for _ in range(2):
        assert place.names() == 2
    assert sorted(place.query("SELECT id, name FROM names")) == [(1, "a"), (2, "b")]


def test_threads_load_months_side_by_side(place: Place, tmp_path: Path) -> None:
    """Six months, four at once, into an empty dataset: load jobs overlap, commits queue.

    The emulator would never cancel one of two transactions; that no two of ours are underway at once is what counts.
    """
    months = [stage_rows(tmp_path, f"2021-0{n}", trips(range(50 * n, 50 * n + 50))) for n in range(1, 7)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(place.put, months)) == [50] * 6
    assert [row[0] for row in place.rows()] == list(range(50, 350))
    assert [row.lineage.rows_loaded for row in place.ledger()] == [50] * 6
    assert place.proxy.scripts_at_once == 1
    assert place.tables() == {"trips", LEDGER_TABLE}


def test_threads_load_the_same_month(place: Place, tmp_path: Path) -> None:
    """One wins, and no row is lost or doubled."""
    staged = [stage_rows(tmp_path, "2021-01", trips(range(start, start + 50))) for start in (0, 100, 200)]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(place.put, staged)) == [50] * 3
    numbers = [row[0] for row in place.rows()]
    assert numbers in [list(range(start, start + 50)) for start in (0, 100, 200)]
    assert len(place.ledger()) == 1


@pytest.fixture
def bare(emulated: int, bucket: Bucket, numbers: Iterator[int]) -> Place:
    """An empty dataset in the emulator itself, without the proxy that mends it."""
    url = f"http://{HOST}:{emulated}"
    found = Place(url, f"d{next(numbers)}", Proxy(emulated), bucket)
    found.make("US")
    return found


def test_a_bare_emulator_is_enough(bare: Place, tmp_path: Path) -> None:
    """Months as ETL and as ELT, again and with other rows, a column that is gained, and the lookup."""
    for numbers in ([1, 2, 3], [7, 8]):
        assert bare.put(stage_rows(tmp_path, "2021-01", trips(numbers)), max_bytes=10**9) == len(numbers)
    assert bare.rows() == monthly(JANUARY, [7, 8])
    assert bare.put(stage_rows(tmp_path, "2021-01", ruled(range(9)), RULED), RULED, "elt", raw_table="elt_raw") == 6
    assert [len(bare.ledger(table)) for table in ("trips", "elt", "elt_raw")] == [1, 1, 1]
    wider = replace(TRIPS, columns=(*TRIPS.columns, Column("flag", "text")))
    assert bare.put(stage_rows(tmp_path, "2021-02", [(*trips([4])[0], "Y")], wider), wider) == 1
    assert bare.query("SELECT flag FROM trips WHERE trip = 4") == [("Y",)]
    assert bare.names() == 2
    with pytest.raises(QualityError, match="4 rows"):
        bare.put(stage_rows(tmp_path, "2021-01", trips([6, 7, 8, 9]), lost=1))
    assert len(bare.rows()) == 3


@pytest.mark.parametrize(
    "text", ["", '"', '""', "\\", '\\"', "a\n\r\tb", "\x7f", "'; DROP TABLE x; --", "Ä🚕 @x ?", "`"]
)
def test_a_text_is_a_literal(bare: Place, text: str) -> None:
    """Whatever is in it; the emulator lacks BigQuery's escapes for what can't be seen."""
    assert bare.query(f"SELECT {literal(text, 'STRING')}") == [(text,)]
