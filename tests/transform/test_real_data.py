"""Real files of every published layout are read exactly as an independent reader counted them."""

from __future__ import annotations

import json
import os
import re
import tempfile
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from nyctaxi_etl.core.errors import CorruptFile, NycTaxiError, SchemaDrift
from nyctaxi_etl.core.partition import Color, Month
from nyctaxi_etl.readers.opening import open_trips
from nyctaxi_etl.schema.datasets import DATASETS, GREEN, ZONES
from nyctaxi_etl.staging.files import arrow_schema
from nyctaxi_etl.transform.clean import clean
from support.published import stage_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from nyctaxi_etl.schema.columns import Dataset
    from support.published import Outcome

SETTING = "NYCTAXI_REAL_DATA"
FOLDER = Path(os.environ.get(SETTING, "")) if os.environ.get(SETTING) else None
pytestmark = pytest.mark.skipif(FOLDER is None, reason=f"{SETTING} names no folder of real TLC files.")

BAD = {
    "green_tripdata_2025-02.truncated.parquet": (CorruptFile, "is not a whole Parquet file"),
    "yellow_tripdata_2019-01.conflict_markers.csv": (SchemaDrift, "<<<<<<<"),
    "yellow_tripdata_2019-03.html_page.csv": (CorruptFile, "is a web page"),
}


def _expected() -> dict[str, dict[str, Any]]:
    facts: dict[str, dict[str, Any]] = json.loads((FOLDER / "expected.json").read_text()) if FOLDER else {}
    return facts or {"(no real data)": {}}


EXPECTED = _expected()
OFFICIAL = [name for name in EXPECTED if name.startswith("tlc/trip-data/")] or list(EXPECTED)


def _file(name: str) -> Path:
    return (FOLDER or Path()) / name


def _of(path: Path) -> tuple[Dataset, Month]:
    found = re.match(r"([a-z]+)_tripdata_(\d{4}-\d{2})", path.name)
    assert found
    return DATASETS[Color(found[1])], Month.parse(found[2])


@cache
def _outcome(name: str, *, ruled: bool) -> Outcome:
    dataset, month = _of(_file(name))
    return stage_file(_file(name), dataset if ruled else replace(dataset, rules=()), month, max_unparsable=0.0)


@pytest.mark.parametrize("name", EXPECTED)
def test_every_row_is_read_with_its_values(name: str) -> None:
    """Rows, zero and null passenger counts, first and last pickup, and the fares to the cent are those of the file."""
    table, fact = _outcome(name, ruled=False).table, EXPECTED[name]
    pickups = pc.min_max(table["pickup_datetime"]).as_py()
    assert table.num_rows == fact["rows"]
    assert [str(pickups[edge]) for edge in ("min", "max")] == [fact["pickup_min"], fact["pickup_max"]]
    if "passenger_count" in table.column_names:
        counts = table["passenger_count"]
        assert pc.sum(pc.equal(counts, 0)).as_py() == fact["zero_passengers"]
        assert counts.null_count == fact["null_passengers"]
        assert round(pc.sum(table["total_amount"]).as_py(), 2) == fact["total_amount"]


@pytest.mark.parametrize("name", EXPECTED)
def test_every_row_is_loaded_or_kept_aside(name: str) -> None:
    """All rows but those without passengers are loaded, the others are in the rejects with line, reason and text."""
    outcome, fact = _outcome(name, ruled=True), EXPECTED[name]
    staged, zero = outcome.staged, fact["zero_passengers"]
    assert (staged.lineage.rows_read, staged.lineage.rows_rejected, staged.lineage.rows_loaded) == (
        fact["rows"],
        zero,
        fact["rows"] - zero,
    )
    assert outcome.table.num_rows == staged.lineage.rows_loaded
    assert {reject.reason for reject in outcome.rejects} == ({"no_passengers"} if zero else set())
    assert len({reject.line for reject in outcome.rejects}) == zero
    assert staged.lineage.unknown_columns == ()


@pytest.mark.parametrize("name", [name for name in EXPECTED if ".csv" in name and EXPECTED[name]["zero_passengers"]])
def test_rejects_are_the_lines_of_the_file(name: str) -> None:
    """A rejected line is, at its number, the file's own text."""
    import gzip

    path = _file(name)
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    lines = content.decode().split("\n")
    for reject in _outcome(name, ruled=True).rejects:
        assert lines[reject.line - 1].rstrip("\r") == reject.raw


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_in_words(name: str) -> None:
    """A truncated file, a web page and merge-conflict markers are told as what they are."""
    dataset, month = _of(_file(name))
    kind, words = BAD[name]
    with pytest.raises(NycTaxiError, match=words) as caught:
        stage_file(_file(f"bad/{name}"), dataset, month, max_unparsable=0.05)
    assert type(caught.value) is kind
    assert caught.value.hint


def test_the_zones_are_read() -> None:
    """The zone table has 265 zones, and N/A in it is text."""
    file = open_trips(_file("tlc/misc/taxi_zone_lookup.csv"), ZONES)
    (block,) = file.blocks()
    batch = clean(file.parse(block), replace(GREEN, columns=ZONES, rules=()), Month(2020, 1)).batch
    assert batch.column("location_id").to_pylist() == list(range(1, 266))
    assert batch.slice(263).to_pylist() == [
        {"location_id": 264, "borough": "Unknown", "zone": "N/A", "service_zone": "N/A"},
        {"location_id": 265, "borough": "N/A", "zone": "Outside of NYC", "service_zone": "N/A"},
    ]


# Official months, saved again in the ways of others


def _cast(table: pa.Table, kinds: dict[Callable[[pa.DataType], bool], pa.DataType]) -> pa.Table:
    """Cast the columns of some kinds to others."""
    for index, field in enumerate(table.schema):
        for is_kind, wanted in kinds.items():
            if is_kind(field.type):
                table = table.set_column(index, field.name, table.column(index).cast(wanted))
    return table


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _with_index(table: pa.Table) -> pa.Table:
    return table.append_column("__index_level_0__", pa.array(range(table.num_rows)))


def _as_numbers(kind: pa.DataType) -> Callable[[pa.Table], pa.Table]:
    return lambda table: _cast(table, {pa.types.is_integer: kind})


def _as_text(kind: pa.DataType) -> Callable[[pa.Table], pa.Table]:
    return lambda table: (
        _cast(table, {_is_text: pa.string()}).combine_chunks()
        if kind == pa.string()
        else _cast(table, {_is_text: kind})
    )


def _as_times(unit: str) -> Callable[[pa.Table], pa.Table]:
    return lambda table: _cast(table, {pa.types.is_timestamp: pa.timestamp(unit)})


def _all_text(table: pa.Table) -> pa.Table:
    """Write every value as text, as some copies of 2009 and 2010 have it."""
    return _cast(table, {lambda kind: not pa.types.is_null(kind): pa.string()})


def _null_types(table: pa.Table) -> pa.Table:
    """Give every column without a value the type of nothing."""
    for index, field in enumerate(table.schema):
        if table.column(index).null_count == table.num_rows:
            table = table.set_column(index, field.name, pa.nulls(table.num_rows))
    return table


OLD_NAMES = {
    "VendorID": "vendor_name",
    "lpep_pickup_datetime": "Trip_Pickup_DateTime",
    "lpep_dropoff_datetime": "Trip_Dropoff_DateTime",
    "passenger_count": " Passenger_Count",
    "trip_distance": "Trip_Distance",
    "RatecodeID": "Rate_Code",
    "store_and_fwd_flag": "store_and_forward",
    "payment_type": "Payment_Type",
    "fare_amount": "Fare_Amt",
    "extra": "surcharge",
    "tip_amount": "Tip_Amt",
    "tolls_amount": "Tolls_Amt",
    "total_amount": "Total_Amt",
}
OLD_WORDS: dict[str, dict[Any, str]] = {
    "VendorID": {1: "CMT", 2: "VTS"},
    "payment_type": {1: "CREDIT", 2: "Cash", 3: "No Charge", 4: "Dispute", 5: "NA"},
    "store_and_fwd_flag": {"N": "0.0", "Y": "1.0"},
}


def _in_old_style(table: pa.Table) -> pa.Table:
    """Write names, times, codes and flags as yellow 2009 and 2010 did."""
    for name, words in OLD_WORDS.items():
        values = [None if value is None else words.get(value, str(value)) for value in table[name].to_pylist()]
        table = table.set_column(table.column_names.index(name), name, pa.array(values, pa.string()))
    return _as_text(pa.string())(_cast(table, {pa.types.is_timestamp: pa.string()})).rename_columns(
        [OLD_NAMES.get(name, name) for name in table.column_names]
    )


@dataclass(frozen=True)
class Again:
    """A way of saving a month again: what is done to the table, and with which options it is written."""

    change: Callable[[pa.Table], pa.Table] = lambda table: table
    options: tuple[tuple[str, Any], ...] = ()


AGAIN = {
    "index column": Again(_with_index),
    "ids double": Again(_as_numbers(pa.float64())),
    "ids int64": Again(_as_numbers(pa.int64())),
    "ids int32": Again(_as_numbers(pa.int32())),
    "ids uint16": Again(_as_numbers(pa.uint16())),
    "string": Again(_as_text(pa.string())),
    "large_string": Again(_as_text(pa.large_string())),
    "dictionary": Again(lambda table: _cast(table, {_is_text: pa.dictionary(pa.int8(), pa.string())})),
    "binary": Again(_as_text(pa.binary()), (("store_schema", False),)),
    "ns": Again(_as_times("ns")),
    "us": Again(_as_times("us")),
    "ms": Again(_as_times("ms"), (("version", "2.4"),)),
    "96 bits": Again(options=(("use_deprecated_int96_timestamps", True),)),
    "null types": Again(_null_types),
    "gzip": Again(options=(("compression", "gzip"),)),
    "zstd": Again(options=(("compression", "zstd"), ("row_group_size", 999))),
    "snappy": Again(options=(("compression", "snappy"), ("data_page_version", "2.0"))),
    "all text": Again(_all_text),
    "names and words of 2009": Again(_in_old_style),
}


@cache
def _official(name: str) -> pa.Table:
    """Return every 20th row of a month, and so rows of all its parts."""
    table = pq.read_table(_file(name))
    return table.take(pa.array(range(0, table.num_rows, 20)))


@cache
def _as_published(name: str) -> pa.Table:
    return _staged(_official(name), name)


def _staged(table: pa.Table, name: str, **options: Any) -> pa.Table:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(name).name
        pq.write_table(table, path, **options)
        return _conformed(path)


def _conformed(path: Path) -> pa.Table:
    """Stage a file under no rules, and return its rows; every one must parse, and every column be known."""
    dataset, month = _of(path)
    outcome = stage_file(path, replace(dataset, rules=()), month, max_unparsable=0.0)
    assert outcome.staged.lineage.unknown_columns == ()
    assert outcome.staged.lineage.flags == {}
    return outcome.table


@pytest.mark.parametrize("way", AGAIN)
@pytest.mark.parametrize("name", OFFICIAL)
def test_a_month_saved_again_reads_the_same(name: str, way: str) -> None:
    """Types, units, encodings, packing, names and words may differ; the rows don't."""
    again = _staged(AGAIN[way].change(_official(name)), name, **dict(AGAIN[way].options))
    assert again.equals(_as_published(name))


@pytest.mark.parametrize("name", OFFICIAL)
@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
def test_a_month_saved_as_csv_reads_the_same(name: str, ending: str, tmp_path: Path) -> None:
    """The CSV of pandas has an index, 1.0 for 1, True blanks, and fractions in times."""
    path = tmp_path / Path(name).with_suffix(ending).name
    frame = _cast(_official(name), {pa.types.is_integer: pa.float64()}).to_pandas()
    times = [column for column in frame if "datetime" in str(column)]
    frame[times] = frame[times].apply(lambda column: column.dt.strftime("%Y-%m-%d %H:%M:%S.%f000"))
    frame.to_csv(path)
    assert _conformed(path).equals(_as_published(name))


def test_a_saved_month_has_what_was_published() -> None:
    """What the comparisons above compare with are the published columns themselves, one by one."""
    name = OFFICIAL[-1]
    published, read = _official(name), _as_published(name)
    assert read.schema == arrow_schema(GREEN.columns)
    pairs = {
        column.name: found
        for column in GREEN.columns
        for found in published.column_names
        if found.lower() in {alias.lower() for alias in (column.name, *column.aliases)}
    }
    assert len(pairs) == len(published.column_names)
    for column, found in pairs.items():
        assert read[column].cast(published[found].type).equals(published[found]), column
