"""Time and memory follow a file's size, whatever stands in it; and what is cut off is told."""

from __future__ import annotations

from functools import partialmethod
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from isal import igzip

from nyctaxi_etl.core import limits
from nyctaxi_etl.core.errors import CorruptFile, SchemaDrift
from nyctaxi_etl.readers import csv_blocks
from nyctaxi_etl.readers.csv import CsvFile
from nyctaxi_etl.schema.datasets import FHV, YELLOW
from nyctaxi_etl.staging import rejects
from nyctaxi_etl.transform import text_casts
from nyctaxi_etl.transform.casts import convert
from support.command import python
from support.published import csv_file, stage_csv, stage_file, stage_parquet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TIME = "2019-01-05 10:00:00"
HEADER = "VendorID,tpep_pickup_datetime,passenger_count,fare_amount,store_and_fwd_flag"
ROW = f"1,{TIME},1,7.5,N"
# What a process may take that stages a small file; Python, Arrow and its libraries are some 90 of it.
MEGABYTES = 300


def _peak(path: Path) -> tuple[str, float]:
    """Stage a yellow file in a process of its own; return its counts or its error, and the most memory it took."""
    code = f"""
import resource
from pathlib import Path
from nyctaxi_etl.schema.datasets import YELLOW
from nyctaxi_etl.core.errors import NycTaxiError
from support.published import stage_file
try:
    staged = stage_file(Path({str(path)!r}), YELLOW).staged
    print(staged.lineage.rows_read, staged.lineage.rows_loaded, staged.lineage.rows_rejected)
except NycTaxiError as error:
    print(error)
status = Path("/proc/self/status")
if status.exists():  # what getrusage says begins with what the parent had
    print(int(status.read_text().partition("VmHWM:")[2].split()[0]) / (1 << 10))
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20))
"""
    outcome, megabytes = python(code, 60).splitlines()
    return outcome, float(megabytes)


def test_bad_lines_cost_no_more_the_more_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a block with a thousand lines that are no rows each is set aside, and Arrow reads the block twice at most."""
    read = mock.Mock(wraps=CsvFile._read)
    monkeypatch.setattr(CsvFile, "_read", partialmethod(read))
    lines = ["1,2,3" if line % 11 == 0 else ROW for line in range(11_000)]
    outcome = stage_csv("\n".join([HEADER, *lines, ""]), YELLOW)
    assert [reject.line for reject in outcome.rejects] == list(range(2, 11_002, 11))
    assert {reject[1:] for reject in outcome.rejects} == {("3 fields where 5 are named", "1,2,3")}
    assert outcome.staged.lineage.rows_loaded == 10_000
    assert read.call_count == 2


@pytest.mark.parametrize("bad", ["junk", "2019-02-29 00:00:00", "2019-01-01 24:00:00"])
def test_bad_values_cost_no_more_the_more_they_are(monkeypatch: pytest.MonkeyPatch, bad: str) -> None:
    """Values that don't cast are known by their look, not found by halving; a block is read again once a column."""
    halved = mock.Mock(wraps=text_casts._cast_each)
    read = mock.Mock(wraps=CsvFile._read)
    monkeypatch.setattr(text_casts, "_cast_each", halved)
    monkeypatch.setattr(CsvFile, "_read", partialmethod(read))
    lines = [ROW.replace(TIME, bad).replace("7.5", "x") if line % 3 == 0 else ROW for line in range(9_000)]
    outcome = stage_csv("\n".join([HEADER, *lines, ""]), YELLOW)
    assert [reject.line for reject in outcome.rejects] == list(range(2, 9_002, 3))
    assert (read.call_count, halved.call_count) == (3, 2)


@pytest.mark.parametrize("quote", ["", '"'])
def test_a_blank_line_and_a_lone_return_are_not_made_up_for(quote: str) -> None:
    """A blank line takes no row off that a lone carriage return adds: each reject has its own line and text."""
    nobody = f"2,{TIME},0,7.5,{quote}N{quote}"
    glued = f"{ROW}\r{ROW}"
    for gap in ("", "\n"):
        outcome = stage_csv(f"{HEADER}\n{ROW}\n{gap}{nobody}\n{glued}\n", YELLOW)
        first = 3 + len(gap)
        assert [(reject.line, reject.raw) for reject in outcome.rejects] == [(first, nobody), (first + 1, glued)]
        assert (outcome.staged.lineage.rows_read, outcome.staged.lineage.rows_loaded) == (3, 1)


def test_a_byte_order_mark_is_part_of_its_value_wherever_blocks_begin() -> None:
    """Arrow cuts a mark off that begins what it parses; a row that begins with one reads the same in any block."""
    row = ROW.replace("1,", "\ufeff1,", 1)
    content = f"{HEADER}\n{row}\n{ROW}\n{row}\n{ROW}"
    with mock.patch.object(csv_blocks, "BLOCK_BYTES", 20):
        assert stage_csv(content, YELLOW).table == stage_csv(content, YELLOW).table
    assert stage_csv(content, YELLOW).values("vendor_id") == [None, 1, None, 1]


ODD_LINES = [
    '1,{t},1,7.5,"N"',
    '"1","{t}","1","7.5","N"',
    '1,{t},1,7.5,"N""x"',
    '1,{t},1,7.5,"a,b"',
    '1,{t},1,7.5,N"x',
    '1,{t},1,7.5,"N"x',
    '1,{t},1,7.5,""',
    '1,{t},1,7.5,"""',
    '1,{t},1,7.5,""""',
    '1,{t},1,7.5,"a"b"',
    '1,{t},1,7.5,a"b,"',
    '"1,{t}",1,7.5,N',
    '1,{t},1,7.5,"N"\r',
    '1,{t},1,7.5,"a\rb"',
    "1,{t},1,7.5,N,",
    '1,{t},1,7.5,N,""',
    "1,{t},1,7.5,N, ,",
    "1,{t},1,7.5,N,x",
    "1,{t},1,7.5",
    "1,{t},1,7.5,caf\u00e9",
    ' "1",{t},1,7.5,N',
    ",,,,",
    " ",
    "\r",
    "\x00,{t},1,7.5,N",
]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(ODD_LINES), min_size=1, max_size=8))
@example(ODD_LINES)
def test_a_line_means_the_same_alone_and_beside_others(odd: list[str]) -> None:
    """Lines that are judged by their commas and quotes are the rows, or no rows, that each is alone."""
    # So many plain rows first that they say how many fields a row has.
    begin = [HEADER, *[ROW] * 10]
    lines = [line.format(t=TIME) for line in odd]
    together = stage_csv("\n".join([*begin, *lines, ""]), YELLOW)
    alone = [stage_csv("\n".join([*begin, line, ""]), YELLOW) for line in lines]
    assert together.table.slice(10).to_pylist() == [row for one in alone for row in one.table.slice(10).to_pylist()]
    told = [(number, *reject[1:]) for number, one in enumerate(alone, start=12) for reject in one.rejects]
    assert [tuple(reject) for reject in together.rejects] == told


# Bounds


def test_a_kept_reject_is_cut_and_says_so() -> None:
    """Of a long line its first bytes are kept, no character halved, with a mark and how long it was."""
    accents = "\u00e9" * 5_000
    outcome = stage_csv(f"{HEADER}\n{ROW}\nx{accents}\n{'y' * 4_096}\n", YELLOW)
    cut, whole = (reject.raw for reject in outcome.rejects)
    assert cut == f"x{accents[:2_047]} ... cut off here: 10,001 bytes in all"
    assert whole == "y" * 4_096


def test_a_kept_parquet_reject_is_cut_too() -> None:
    """A row of Parquet with a long text is kept as far as one of CSV."""
    columns = {"pickup_datetime": pa.array([None]), "dispatching_base_num": ["\x00" + "x" * 9_000]}
    (reject,) = stage_parquet(columns, FHV).rejects
    assert reject.raw.endswith(" bytes in all")
    assert len(reject.raw) < 4_200


def test_a_line_of_64_kib_is_no_row() -> None:
    """A line far longer than any row is set aside, in whatever company."""
    long = f"1,{TIME},1,7.5,{'N' * limits.LINE_BYTES}"
    for beside in ("", "1,2\n"):
        outcome = stage_csv(f"{HEADER}\n{long}\n{ROW}\n{beside}", YELLOW)
        assert outcome.rejects[0][:2] == (2, "longer than 65,536 bytes")
        assert outcome.staged.lineage.rows_loaded == 1


def test_a_meaning_that_comes_too_often_is_refused() -> None:
    """Four columns may mean the same, five are no month."""
    assert stage_csv(f"{','.join(['pickup_datetime'] * 4)}\n,,,{TIME}\n", YELLOW).staged.lineage.rows_loaded == 1
    with pytest.raises(SchemaDrift, match="5 of its columns mean pickup_datetime"):
        stage_csv(f"{','.join(['pickup_datetime'] * 5)}\n,,,,{TIME}\n", YELLOW)


def test_too_many_names_are_no_header() -> None:
    """A header of more names than anybody has columns is refused, one of a thousand read."""
    names = [f"u{index}" for index in range(limits.FIELDS)]
    with pytest.raises(SchemaDrift, match="its first line is 1,001 names, of which no month has more than 1,000"):
        stage_csv(",".join(["pickup_datetime", *names]) + f"\n{TIME}\n", YELLOW)
    content = ",".join(["pickup_datetime", *names[1:]]) + f"\n{TIME}{',' * 999}\nx{',' * 999}\n"
    assert stage_csv(content, YELLOW).staged.lineage.rows_loaded == 1


def test_a_header_without_an_end_is_refused(tmp_path: Path) -> None:
    """A first line that is not over in a mebibyte is refused before it is read on."""
    path = csv_file(tmp_path, b"pickup_datetime" + b"," * (2 << 20), YELLOW, zipped=True)
    with pytest.raises(SchemaDrift, match="longer than 65,536 bytes"):
        stage_file(path, YELLOW)
    blank = csv_file(tmp_path, b"\n" * (limits.HEAD_BYTES - 8) + b"pickup_datetime\n", YELLOW)
    with pytest.raises(SchemaDrift, match="longer than 65,536 bytes"):
        stage_file(blank, YELLOW)


def test_what_gzip_swells_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that unzips to more bytes or more rows than a month can is refused on the way; a small one may."""
    path = csv_file(tmp_path, f"{HEADER}\n" + f"{ROW}\n" * 20_000, YELLOW, zipped=True)
    monkeypatch.setattr(csv_blocks, "BLOCK_BYTES", 10_000)
    assert stage_file(path, YELLOW).staged.lineage.rows_loaded == 20_000
    monkeypatch.setattr(limits, "UNZIPPED_BYTES", 100_000)
    with pytest.raises(CorruptFile, match="unzips to more than 16 times its"):
        stage_file(path, YELLOW)
    monkeypatch.setattr(limits, "UNZIPPED_BYTES", 10_000_000)
    monkeypatch.setattr(limits, "ROWS", 1_000)
    with pytest.raises(CorruptFile, match="a file of more rows than its"):
        stage_file(path, YELLOW)


def test_parquet_of_more_rows_than_bytes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A month of Parquet that says one thing a million times is refused before its rows fill the disk."""
    columns = {"pickup_datetime": pa.nulls(100_000, pa.timestamp("us"))}
    assert stage_parquet(columns, FHV).staged.lineage.rows_loaded == 100_000
    monkeypatch.setattr(limits, "ROWS", 10_000)
    with pytest.raises(CorruptFile, match="a file of more rows than its"):
        stage_parquet(columns, FHV)


def test_many_short_lines_are_several_blocks(tmp_path: Path) -> None:
    """A block has so many lines at most, whatever their length, and none is lost between two."""
    path = csv_file(tmp_path, "pickup_datetime,fare_amount\n" + ",1\n" * 200_000 + ",x\n", YELLOW)
    assert max(block.data.count(b"\n") for block in CsvFile(path, YELLOW.columns).blocks()) == limits.BLOCK_LINES
    outcome = stage_file(path, YELLOW)
    assert (outcome.staged.lineage.rows_loaded, [reject.line for reject in outcome.rejects]) == (200_000, [200_002])


ROWS = f"{ROW}\n".encode()
NAMES = ",".join([HEADER, *(f"u{index}" for index in range(8_000))])
EVIL: dict[str, tuple[Callable[[], bytes], str]] = {
    "commas": (lambda: b"pickup_datetime\n" + b"," * 400_000 + b"\n", "1 0 1"),
    "rejects of a megabyte": (
        lambda: f"{HEADER}\n".encode() + (b"x" * 1_000_000 + b"\n" + ROWS) * 100,
        "200 100 100",
    ),
    "surplus fields": (
        lambda: f"{HEADER}\n".encode() + (ROWS[:-1] + b",x" * 200_000 + b"\n" + ROWS) * 20,
        "40 20 20",
    ),
    "lone quotes": (
        lambda: f"{HEADER}\n".encode() + ROWS * 70_000 + b'"\n' * 60_000,
        "130000 70000 60000",
    ),
    "unknown columns": (
        f"{NAMES}\n{ROW}{',' * 8_000}\n".encode,
        "its first line is 8,005 names, of which no month has more than 1,000",
    ),
}


@pytest.mark.parametrize("kind", EVIL)
def test_evil_files_take_no_memory(tmp_path: Path, kind: str) -> None:
    """Files that are small and evil are loaded or refused in little memory."""
    content, outcome = EVIL[kind]
    path = csv_file(tmp_path, b"", YELLOW, zipped=True)
    path.write_bytes(igzip.compress(content()))
    said, megabytes = _peak(path)
    assert outcome in said
    assert megabytes < MEGABYTES


def test_rejects_are_written_by_their_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few long rejects are written as soon as many short ones."""
    monkeypatch.setattr(rejects, "REJECTS_BYTES", 10_000)
    batch = rejects.rejected(pa.array(["no"] * 3), np.arange(3), pa.array(["x" * 4_000] * 3))
    with rejects.rejects_file(tmp_path / "rejects.parquet") as write:
        for _ in range(4):
            write(batch)
    sizes = pq.ParquetFile(tmp_path / "rejects.parquet").metadata
    assert [sizes.row_group(index).num_rows for index in range(4)] == [3] * 4


# What casts

NUMERALS = st.text("0123456789+-.eEinfatyINFx_() ", max_size=9) | st.floats().map(repr)
TIMES = st.from_regex(
    r"[0-2][0-9]{3}-[01][0-9]-[0-3][0-9]([ T][0-2][0-9](:[0-6][0-9](:[0-6][0-9](\.[0-9]{0,7})?)?)?)?Z?\Z"
)


def _casts(text: str, kind: pa.DataType) -> bool:
    try:
        pa.array([text]).cast(kind)
    except pa.ArrowInvalid:
        return False
    return True


@settings(max_examples=200, deadline=None)
@given(NUMERALS | st.text(max_size=4))
@example("nan(1_a)")
@example("+Infinity")
@example("1e999")
@example("1\n")
def test_what_looks_like_a_number_is_what_casts(text: str) -> None:
    """The shape of a number is exactly what Arrow casts to a double."""
    assert text_casts._cast_shaped(pa.array([text]), pa.float64(), text_casts._NUMERAL)[1].to_pylist() == [
        not _casts(text, pa.float64())
    ]
    with mock.patch.object(text_casts, "_cast_each", wraps=text_casts._cast_each) as halved:
        text_casts._cast_shaped(pa.array([text, "1"]), pa.float64(), text_casts._NUMERAL)
    assert halved.call_count == 1


@settings(max_examples=200, deadline=None)
@given(TIMES | st.dates().map(str) | st.text(max_size=4))
@example("1900-02-29")
@example("2000-02-29")
@example("2019-04-31 10")
@example("0000-02-29")
@example("2019-01-01\n")
def test_what_looks_like_a_time_is_what_casts(text: str) -> None:
    """The shape of a time is exactly what Arrow casts to a timestamp, days that there are not included."""
    wanted = pa.timestamp("us")
    with mock.patch.object(text_casts, "_cast_each", wraps=text_casts._cast_each) as halved:
        marked = text_casts._cast_shaped(pa.array([text, "2019-01-01"]), wanted, text_casts._TIME)[1]
    assert marked.to_pylist() == [not _casts(text, wanted), False]
    assert halved.call_count == 1


def test_times_of_another_unit_that_overflow_are_marked_at_once() -> None:
    """Times beyond the calendar in seconds or days are found by comparing, not by halving."""
    column = next(column for column in FHV.columns if column.name == "pickup_datetime")
    for kind in (pa.timestamp("s"), pa.timestamp("ms"), pa.date64()):
        values = pa.array([0, 2**62, -(2**63)] * 1_000, pa.int64()).cast(kind)
        with mock.patch.object(text_casts, "_cast_each", side_effect=AssertionError):
            result = convert(values, column)
        assert result.bad is not None
        assert result.bad.to_pylist() == [False, True, True] * 1_000


@pytest.mark.parametrize("name", ["tpep_pickup_datetime", "store_and_fwd_flag", "request_source"])
def test_one_long_text_said_often_takes_no_memory(tmp_path: Path, name: str) -> None:
    """A kilobyte of Parquet that says a mebibyte 5,000 times is set aside row by row, each cut and told so."""
    rows, word = 5_000, "x" * (1 << 20)
    said = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([word]))
    times = pa.array([TIME] * rows)
    path = tmp_path / "yellow_tripdata_2019-01.parquet"
    pq.write_table(pa.table({"tpep_pickup_datetime": times, name: said} if name[0] != "t" else {name: said}), path)
    assert path.stat().st_size < 200_000
    outcome, megabytes = _peak(path)
    loaded = rows if name == "store_and_fwd_flag" else 0  # a flag that means nothing is null, and counted
    assert outcome == f"{rows} {loaded} {rows - loaded}"
    assert megabytes < MEGABYTES


def test_long_texts_take_no_memory(tmp_path: Path) -> None:
    """Nor do texts of a mebibyte that are each written out, in pages that pack them to nothing."""
    path = tmp_path / "yellow_tripdata_2019-01.parquet"
    schema = pa.schema([("tpep_pickup_datetime", pa.string()), ("request_source", pa.string())])
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=False) as writer:
        rows = pa.table([[TIME] * 20, ["x" * (1 << 20)] * 20], schema=schema)
        for _ in range(40):
            writer.write_table(rows)
    assert path.stat().st_size < 200_000
    outcome, megabytes = _peak(path)
    assert outcome == "800 0 800"
    assert megabytes < MEGABYTES
