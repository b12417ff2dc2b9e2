"""Months as a pandas frame: what was asked for, of the lake or the warehouse, with nothing else read."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from itertools import product
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.cloud.storage import Blob  # type: ignore[import-untyped]
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nyctaxi_etl import iter_trips, read_trips
from nyctaxi_etl.core.errors import NotPublished, NycTaxiError, UsageError, WarehouseError
from nyctaxi_etl.core.partition import Color, Month, Partition
from nyctaxi_etl.lakes.gcs import GcsLake, gcs_client
from nyctaxi_etl.lakes.keys import trips_key
from nyctaxi_etl.lakes.local import LocalLake
from nyctaxi_etl.lakes.parquet import staged_parquet
from nyctaxi_etl.schema.datasets import YELLOW
from nyctaxi_etl.sources.fetch import fetch
from nyctaxi_etl.sources.registry import resolve
from nyctaxi_etl.staging.files import arrow_schema
from nyctaxi_etl.transform.stream import stage
from nyctaxi_etl.warehouses.base import table_columns
from nyctaxi_etl.warehouses.duckdb.warehouse import DuckDB

if TYPE_CHECKING:
    from pathlib import Path

    from support.google import Cloud

ROWS = 3_000
MONTHS = tuple(Partition(Color.YELLOW, Month(2021, number)) for number in (1, 2))
COLUMNS = ["pickup_datetime", "total_amount", "passenger_count"]


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with January and February 2021, generated, in its warehouse and its lake."""
    data_dir = tmp_path_factory.mktemp("data")
    for partition in MONTHS:
        raw = fetch(resolve("sample"), partition, data_dir / "raw", sample_rows=ROWS)
        (data_dir / partition.stem).mkdir()
        staged = stage(raw, YELLOW, data_dir / partition.stem)
        DuckDB(str(data_dir / "nyctaxi.duckdb")).replace("yellow_taxi_data", YELLOW, staged, "run")
        path = data_dir / f"{partition.stem}.parquet"
        staged_parquet(staged, path)
        LocalLake(data_dir / "lake").put(trips_key(partition), path, {}, str(partition))
    return data_dir


@pytest.fixture
def bucket(held: Path, google: Cloud, monkeypatch: pytest.MonkeyPatch) -> GcsLake:
    """The same lake in a bucket."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", google.storage)
    lake = GcsLake(gcs_client(google.storage), google.bucket, "nyc")
    for partition in MONTHS:
        lake.put(trips_key(partition), held / f"{partition.stem}.parquet", {}, str(partition))
    return lake


@pytest.fixture(params=["duckdb", "lake", pytest.param("gs", marks=pytest.mark.server)])
def at(request: pytest.FixtureRequest, held: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each place that months are read from."""
    monkeypatch.setenv("NYCTAXI_DATA_DIR", str(held))
    place: str = request.param
    return str(request.getfixturevalue("bucket").address) if place == "gs" else place


def test_everything(at: str, held: Path) -> None:
    """Without more words all columns come, with their declared types, in the order of the months and their rows."""
    frame = read_trips("yellow", 2021, "1-2", at=at)
    kinds = [pd.ArrowDtype(field.type) for field in arrow_schema(table_columns(YELLOW))]
    assert list(frame.dtypes) == kinds
    whole = [pq.read_table(held / f"{partition.stem}.parquet") for partition in MONTHS]
    came = pa.Table.from_pandas(frame, arrow_schema(table_columns(YELLOW)), preserve_index=False)
    assert (
        came.drop_columns(["file_month"]).replace_schema_metadata() == pa.concat_tables(whole).replace_schema_metadata()
    )
    assert frame["file_month"].value_counts().to_dict() == {
        partition.month.first_day: table.num_rows for partition, table in zip(MONTHS, whole, strict=True)
    }


def test_columns_and_rows(at: str) -> None:
    """Only the columns asked for come, in that order, of the rows that meet the condition."""
    whole = read_trips("yellow", "2021", [2], at=at)
    frame = read_trips("yellow", 2021, 2, COLUMNS, "total_amount > 20 AND passenger_count = 1 -- one", at=at)
    assert list(frame.columns) == COLUMNS
    wanted = whole[(whole["total_amount"] > 20) & (whole["passenger_count"] == 1)]
    assert 0 < len(frame) < len(whole)
    pd.testing.assert_frame_equal(frame, wanted[COLUMNS].reset_index(drop=True))


def test_values_are_bound(at: str) -> None:
    """A condition's values come from parameters, whatever is in them; months are a column like any other."""
    since = {"since": datetime(2021, 1, 20)}  # noqa: DTZ001 - published without a zone
    frame = read_trips("yellow", 2021, "1-2", ["file_month"], "pickup_datetime < $since", parameters=since, at=at)
    assert len(frame) > ROWS / 3
    nothing = {"flag": "Y' OR 'a' = 'a"}
    where = "store_and_fwd_flag = $flag"
    assert read_trips("yellow", 2021, 1, ["file_month"], where, parameters=nothing, at=at).empty


def test_batches(at: str) -> None:
    """The same rows come as record batches, each as large as is asked for at most."""
    batches = list(iter_trips("yellow", 2021, "1-2", COLUMNS, at=at, batch_rows=1_000))
    assert max(batch.num_rows for batch in batches) <= 1_000 < len(batches) * 1_000
    came = pa.Table.from_batches(batches).to_pandas(types_mapper=pd.ArrowDtype)
    pd.testing.assert_frame_equal(came, read_trips("yellow", 2021, "1-2", COLUMNS, at=at))


def test_a_month_that_is_not_there(at: str) -> None:
    """Every missing month is named, before anything is read, with the command that puts one there."""
    with pytest.raises(NotPublished, match=r"doesn't have yellow/2021-03, yellow/2021-04\.") as caught:
        read_trips("yellow", 2021, "2-4", at=at)
    assert "--color yellow --year 2021 --months 3 " in caught.value.hint
    with pytest.raises(NotPublished, match="green/2021-01"):
        read_trips("green", 2021, 1, at=at)


def test_what_is_asked_wrongly(at: str) -> None:
    """Unknown columns and colours are named, and so is what DuckDB says of a condition."""
    with pytest.raises(UsageError, match="yellow trips have no column 'fare'") as caught:
        read_trips("yellow", 2021, 1, ["fare"], at=at)
    assert "fare_amount" in caught.value.hint
    with pytest.raises(UsageError, match="blue"):
        read_trips("blue", 2021, 1, at=at)
    with pytest.raises(UsageError, match="2 colours"):
        read_trips("yellow,green", 2021, 1, at=at)
    with pytest.raises(UsageError, match="No column"):
        read_trips("yellow", 2021, 1, [], at=at)
    for where in ("fare > 3", "total_amount >", "vendor_id = $one", "EXISTS (SELECT 1 FROM lake)"):
        with pytest.raises(UsageError, match="no condition"):
            read_trips("yellow", 2021, 1, where=where, at=at)
    with pytest.raises(NycTaxiError, match="yellow/2021-01"):
        read_trips("yellow", 2021, 1, where="store_and_fwd_flag::INTEGER = 1", at=at)


@pytest.mark.parametrize("where", ["", "  ", "\n"])
def test_an_empty_condition_is_none(held: Path, where: str) -> None:
    """A condition without a word is no condition."""
    assert len(read_trips("yellow", 2021, 1, ["vendor_id"], where, data_dir=held)) == len(
        read_trips("yellow", 2021, 1, ["vendor_id"], data_dir=held)
    )


HOSTILE = (
    "1 = 1; COPY (SELECT 1) TO 'OUT'",
    "1 = 1); COPY (SELECT 1) TO 'OUT'; SELECT (1",
    "1 = 1) UNION ALL SELECT 1; COPY (SELECT (1) TO 'OUT'",
    "1 = 1; ATTACH 'OUT' AS other",
    "1 = 1; SET enable_external_access = true; COPY (SELECT 1) TO 'OUT'",
    "1 = 1; EXPORT DATABASE 'OUT'",
    "1 = 1; CREATE TABLE mine AS SELECT 1",
    "1 = 1; DROP TABLE yellow_taxi_data",
    "1 = 1; INSTALL httpfs",
    "EXISTS (COPY (SELECT 1) TO 'OUT')",
    "EXISTS (FROM query('COPY (SELECT 1) TO ''OUT'''))",
    "EXISTS (DELETE FROM yellow_taxi_data RETURNING 1)",
    "EXISTS (FROM read_csv('SECRET'))",
    "EXISTS (FROM read_text('SECRET'))",
    "EXISTS (FROM 'SECRET')",
    "EXISTS (FROM glob('SECRET'))",
    "EXISTS (FROM sniff_csv('SECRET'))",
    "EXISTS (FROM read_parquet('https://127.0.0.1:1/x.parquet'))",
    "EXISTS (FROM frame_of_the_caller)",
    "1 = 1 FROM read_csv('SECRET')",
    "1 = 1 UNION SELECT 1",
    "1 = 1 LIMIT 1",
    "1 = 1, 2 = 2",
    "(1 = 1",
    "1 = 1)",
    "1 = 1 /*",
    "'1 = 1",
    "count(*) > 1",
    "\ud800 = 1",
    "error('no')",
    "((" * 50,
)


def test_hostile_conditions(at: str, held: Path, tmp_path: Path) -> None:
    """A condition is one expression on the rows: nothing else is run, read or written, and the refusal is ours."""
    frame_of_the_caller = pd.DataFrame({"x": [1]})
    secret, out = tmp_path / "secret.csv", tmp_path / "out"
    secret.write_text("x\n1\n")
    before = (held / "nyctaxi.duckdb").read_bytes()
    passed = []
    for text, end in product(HOSTILE, ("", ";", "; -- ", " --\n") if at == "duckdb" else ("",)):
        where = text.replace("OUT", str(out)).replace("SECRET", str(secret)) + end
        try:
            read_trips("yellow", 2021, 1, ["vendor_id"], where, at=at)
        except NycTaxiError:
            assert not out.exists(), where
        else:
            passed.append(where)
    assert passed == []
    assert (held / "nyctaxi.duckdb").read_bytes() == before
    assert len(frame_of_the_caller) == 1


SCRAPS = st.sampled_from(
    [
        *("1", "=", "(", ")", ";", ",", "--", "/*", "*/", "'", '"', "$$", "\n", "\\", "\x00", "é", "$a", "?", ".", "*"),
        *("vendor_id", "SELECT", "FROM", "WHERE", "UNION", "ALL", "AND", "NOT", "EXISTS", "COPY", "TO", "'OUT'"),
        *("COPY (SELECT 1) TO 'OUT'", "; COPY (SELECT 1) TO 'OUT'; SELECT 1", "read_csv('OUT')", "INTO", "AS", "x"),
    ]
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scraps=st.lists(SCRAPS, min_size=1, max_size=12))
def test_any_condition(held: Path, tmp_path: Path, scraps: list[str]) -> None:
    """Whatever stands in a condition: it selects some of the rows, or is refused by an error of ours."""
    out = tmp_path / "out"
    where = " ".join(scraps).replace("OUT", str(out))
    try:
        some = read_trips("yellow", 2021, 1, ["vendor_id", "total_amount"], where, data_dir=held)
    except NycTaxiError:
        pass
    else:
        assert list(some.columns) == ["vendor_id", "total_amount"]
        assert len(some) <= ROWS
    assert not out.exists()


@pytest.mark.parametrize("value", [object(), {1, 2}, 2**300, "\ud800", lambda: 1])
def test_values_that_are_none(held: Path, value: object) -> None:
    """A value that no column can have is refused by an error of ours."""
    with pytest.raises(UsageError, match="no condition"):
        read_trips("yellow", 2021, 1, ["vendor_id"], "vendor_id = $x", parameters={"x": value}, data_dir=held)


def test_a_condition_that_fails_late(held: Path) -> None:
    """A row in the middle that the condition does not suit is an error of ours, also while batches come."""
    where = (
        "CASE WHEN total_amount > (SELECT quantile_cont(total_amount, 0.99) FROM yellow_taxi_data) THEN error('no') END"
    )
    with pytest.raises(NycTaxiError, match="yellow/2021-01"):
        for _ in iter_trips("yellow", 2021, 1, ["vendor_id"], where, data_dir=held, batch_rows=10):
            pass
    with pytest.raises(UsageError, match="batch_rows=0"):
        iter_trips("yellow", 2021, 1, batch_rows=0, data_dir=held)


def test_a_condition_has_subqueries_on_its_rows(at: str) -> None:
    """What is forbidden is what lies elsewhere: an expression may still be a long one."""
    where = "total_amount > (SELECT 20 WHERE 1 = 1) AND list_contains([1, 2], vendor_id) /* both */ -- and no more"
    frame = read_trips("yellow", 2021, 1, ["total_amount"], where, at=at)
    assert frame["total_amount"].min() > 20


def test_others_read_the_same_file(held: Path) -> None:
    """A file that this process reads, or reads twice, is read with settings of each its own."""
    path = str(held / "nyctaxi.duckdb")
    with duckdb.connect(path, read_only=True) as other:
        assert len(read_trips("yellow", 2021, 1, ["vendor_id"], at=f"duckdb:///{path}")) > ROWS / 2
        both = zip(
            *(iter_trips("yellow", 2021, 1, ["vendor_id"], data_dir=held, batch_rows=9) for _ in "12"), strict=True
        )
        assert all(one.equals(two) for one, two in both)
        assert other.execute("SELECT current_setting('enable_external_access')").fetchall() == [(True,)]


def test_a_bucket_sends_only_what_is_asked_for(
    bucket: GcsLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an object the footer and the wanted columns come, not the whole."""
    noise = pa.table({"vendor_id": pa.array([1] * 10**6, pa.int16()), "tip_amount": [n / 7 for n in range(10**6)]})
    path, march = tmp_path / "march.parquet", Partition(Color.YELLOW, Month(2020, 3))
    pq.write_table(noise, path)
    bucket.put(trips_key(march), path, {}, str(march))
    sent = list[int]()
    whole = Blob.download_as_bytes

    def download(blob: Blob, *args: Any, **options: Any) -> bytes:
        sent.append(len(came := whole(blob, *args, **options)))
        return bytes(came)

    monkeypatch.setattr(Blob, "download_as_bytes", download)
    frame = read_trips("yellow", 2020, 3, ["vendor_id"], "vendor_id = 1", at=bucket.address)
    assert len(frame) == 10**6
    assert 0 < sum(sent) < path.stat().st_size / 2


def test_a_column_declared_later_is_null(tmp_path: Path) -> None:
    """A month that was written before a column was declared has nulls there."""
    path = tmp_path / "lake" / trips_key(MONTHS[0])
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"vendor_id": pa.array([1, 2], pa.int16())}), path)
    frame = read_trips("yellow", 2021, 1, ["vendor_id", "cbd_congestion_fee"], at="lake", data_dir=tmp_path)
    assert frame["vendor_id"].to_list() == [1, 2]
    assert frame["cbd_congestion_fee"].isna().all()


def test_a_folder_named_like_a_pattern(tmp_path: Path, held: Path) -> None:
    """A lake's folder may have any name."""
    folder = tmp_path / "it's [1] *lake*"
    LocalLake(folder).put(trips_key(MONTHS[0]), held / f"{MONTHS[0].stem}.parquet", {}, str(MONTHS[0]))
    assert len(read_trips("yellow", 2021, 1, ["vendor_id"], at=str(folder))) > ROWS / 2


def test_warehouses_that_cannot_be_read(tmp_path: Path) -> None:
    """No file, a file without a ledger, another kind of file, one that this process writes to: each is told apart."""
    with pytest.raises(NotPublished, match=r"nyctaxi\.duckdb doesn't have"):
        read_trips("yellow", 2021, 1, data_dir=tmp_path)
    path = tmp_path / "other.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE yellow_taxi_data (x INTEGER)")
        with pytest.raises(WarehouseError, match="can't be opened"):
            read_trips("yellow", 2021, 1, at=f"duckdb:///{path}")
    with pytest.raises(NotPublished, match=r"other\.duckdb doesn't have"):
        read_trips("yellow", 2021, 1, at=f"duckdb:///{path}")
    path.write_text("x" * 10_000)
    with pytest.raises(WarehouseError, match="can't be opened"):
        read_trips("yellow", 2021, 1, at=f"duckdb:///{path}")


@pytest.mark.parametrize("call", [read_trips, iter_trips], ids=["read_trips", "iter_trips"])
def test_the_old_spelling_is_refused(held: Path, call: Any) -> None:
    """``lake=`` says at once what it is called now."""
    with pytest.raises(UsageError, match=r"^lake='gs://bucket/nyc': where to read is said by at= now\.$") as caught:
        call("yellow", 2021, 1, lake="gs://bucket/nyc", data_dir=held)
    assert caught.value.hint == "Write at='gs://bucket/nyc'."


def test_a_relative_file(held: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three slashes are a path from where one is, as for --to."""
    monkeypatch.chdir(held)
    assert len(read_trips("yellow", 2021, 1, ["vendor_id"], at="duckdb:///nyctaxi.duckdb")) > ROWS / 2


@pytest.mark.parametrize("at", ["postgresql://user@host/db", "sqlite:///trips.db", "bigquery:", "s3://bucket/nyc"])
def test_what_is_not_read(at: str, held: Path) -> None:
    """Other databases and clouds are refused, and nothing is made of their names."""
    with pytest.raises(UsageError, match=r"^at=.*not a lake that can be opened"):
        read_trips("yellow", 2021, 1, at=at, data_dir=held)


def test_reading_leaves_the_file_as_it_was(held: Path) -> None:
    """No byte of it changes, nor its time; nothing is made beside it, and a file that isn't there is not made."""
    path = held / "nyctaxi.duckdb"
    before = (path.read_bytes(), path.stat().st_mtime_ns, sorted(held.iterdir()))
    read_trips("yellow", 2021, "1-2", ["vendor_id"], data_dir=held)
    assert (path.read_bytes(), path.stat().st_mtime_ns, sorted(held.iterdir())) == before
    with pytest.raises(NotPublished):
        read_trips("yellow", 2021, 1, at=f"duckdb:///{held / 'none.duckdb'}")
    assert sorted(held.iterdir()) == before[2]


def test_a_damaged_month_is_named(tmp_path: Path) -> None:
    """A file of the lake that is no Parquet is said to be unreadable, with its month."""
    path = tmp_path / "lake" / trips_key(MONTHS[0])
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PAR1 and nothing more")
    with pytest.raises(NycTaxiError, match="yellow/2021-01"):
        read_trips("yellow", 2021, 1, at="lake", data_dir=tmp_path)


def test_the_package_stays_light() -> None:
    """Importing it brings none of what reading needs, and it has no other names."""
    script = "import sys, nyctaxi_etl; assert not {'pandas', 'pyarrow', 'duckdb', 'pydantic'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, env={"PYTHONPATH": ":".join(sys.path)})
    import nyctaxi_etl

    with pytest.raises(AttributeError, match="no_such"):
        nyctaxi_etl.no_such  # noqa: B018
