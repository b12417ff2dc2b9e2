"""Whatever stands in a file, each of its rows is loaded with its values or set aside with its line."""

from __future__ import annotations

import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nyctaxi_etl.core.errors import CorruptFile, NycTaxiError, QualityError, SchemaDrift
from nyctaxi_etl.readers import csv_blocks
from nyctaxi_etl.readers.opening import open_trips
from nyctaxi_etl.schema.datasets import ESSENTIAL, FHV, FHVHV, GREEN, SIGNS, YELLOW
from support.published import csv_file, stage_csv, stage_file, stage_parquet

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nyctaxi_etl.core.partition import Color
    from nyctaxi_etl.schema.columns import Column, Dataset

SLOW = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TIME = "2019-01-05 10:00:00"
HEADER = "VendorID,tpep_pickup_datetime,passenger_count,fare_amount,store_and_fwd_flag"
ROW = f"1,{TIME},1,7.5,N"


class Cell(NamedTuple):
    """A value as it is published, and as it is to be loaded."""

    text: str
    value: Any


class Line(NamedTuple):
    """A line of a file: its row's cells, or why it is none; ``raw`` is what stands in the file but the line's end."""

    raw: bytes
    values: tuple[Any, ...] | None = None
    reason: str = ""


def _cells(pairs: dict[str, Any]) -> st.SearchStrategy[Cell]:
    return st.sampled_from([Cell(text, value) for text, value in pairs.items()])


@st.composite
def _times(draw: st.DrawFn) -> Cell:
    day = draw(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)))  # noqa: DTZ001 - published without a zone
    whole = day.replace(microsecond=0)
    digits = draw(st.text("0123456789", max_size=9))
    micros = int(digits[:6].ljust(6, "0"))
    text = whole.isoformat(draw(st.sampled_from(" T"))) + ("." + digits if digits else "")
    return Cell(text, whole + timedelta(microseconds=micros))


@st.composite
def _whole(draw: st.DrawFn, bits: int) -> Cell:
    number = draw(st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1))
    shapes = [f"{number}", f"{number}.0", f" {number} ", f"{number}e0", f"{number}."]
    return Cell(draw(st.sampled_from(shapes)), number)


@st.composite
def _decimal(draw: st.DrawFn) -> Cell:
    number = draw(st.floats(allow_nan=False, allow_infinity=False))
    return Cell(draw(st.sampled_from([repr(number), f" {number!r}", f"{number!r} "])), number)


@st.composite
def _texts(draw: st.DrawFn) -> Cell:
    text = draw(st.text('AB01 "\té—,', max_size=6))
    return Cell(text, text.strip() or None)


NOTHING = _cells({"": None, " ": None, "NULL": None, "null": None, "NaN": None, "nan": None})
CELLS: dict[str, st.SearchStrategy[Cell]] = {
    "time": _times() | NOTHING,
    "id": _whole(16) | NOTHING,
    "count": _whole(16) | NOTHING,
    "seconds": _whole(32) | NOTHING,
    "money": _decimal() | NOTHING,
    "miles": _decimal() | NOTHING,
    "degrees": _decimal() | NOTHING,
    "text": _texts() | NOTHING,
    "flag": _cells({"Y": "Y", "n": "N", "N ": "N", "1": "Y", "0.0": "N", "*": None}) | NOTHING,
    "code": _whole(16) | _cells({"what": None, "1e9": None, "1.5": None, "1_0": None}) | NOTHING,
}


@st.composite
def _names(draw: st.DrawFn, column: Column, color: Color) -> str:
    foreign = {name for other, names in SIGNS.items() if other != color for name in names} - {*SIGNS[color]}
    name = draw(st.sampled_from([name for name in (column.name, *column.aliases) if name not in foreign]))
    name = draw(st.sampled_from([name, name.upper(), name.title()])).replace("_", draw(st.sampled_from(["_", "", " "])))
    return draw(st.sampled_from(["{}", " {}", "{} ", '"{}"'])).format(name)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


@st.composite
def _row(draw: st.DrawFn, columns: Sequence[Column | None]) -> tuple[list[str], tuple[Any, ...]]:
    """Make a row's fields, quoted where they must be and sometimes where not, and its values."""
    cells = [draw(CELLS[column.type] if column else _texts()) for column in columns]
    always = draw(st.booleans())
    fields = []
    for cell in cells:
        must = "," in cell.text or cell.text.startswith('"')
        fields.append(_quoted(cell.text) if must or always else cell.text)
    return fields, tuple(cell.value for cell, column in zip(cells, columns, strict=True) if column)


@st.composite
def _line(draw: st.DrawFn, columns: Sequence[Column | None]) -> Line:
    """Make a good row, a blank line, or a row that is none in one of many ways."""
    fields, values = draw(_row(columns))
    when = next(index for index, column in enumerate(columns) if column and column.type == "time")
    kind = draw(st.sampled_from(["good"] * 6 + ["blank", *DAMAGES]))
    if kind == "blank":
        return Line(draw(st.sampled_from([b"", b"  ", b"\t"])))
    if kind == "good":
        return Line(",".join(fields + [""] * draw(st.integers(0, 3))).encode(), values)
    fields[when] = TIME
    return Line(DAMAGES[kind](fields, when), None, kind)


def _replaced(value: str) -> Callable[[list[str], int], bytes]:
    return lambda fields, when: ",".join([*fields[:when], value, *fields[when + 1 :]]).encode(
        "utf-8", "surrogateescape"
    )


DAMAGES: dict[str, Callable[[list[str], int], bytes]] = {
    "short": lambda fields, _when: ("x," * (len(fields) - 2) + "x").encode(),
    "overlong": lambda fields, _when: ",".join([*fields, "", "x"]).encode(),
    "surplus": lambda fields, _when: ",".join([*fields, "x"]).encode(),
    "open quote": lambda fields, _when: ",".join([*fields[:-1], '"x']).encode(),
    "quote over lines": lambda fields, when: ",".join([*fields[:when], '"x']).encode(),
    "junk": _replaced("junk"),
    "hexadecimal": _replaced("0x7E3"),
    "no such day": _replaced("2019-02-30 00:00:00"),
    "year 0": _replaced("0000-01-01 00:00:00"),
    "quoted comma": _replaced('"2019,5"'),
    "zone": _replaced(TIME + "+05:00"),
    "not utf-8": _replaced("2019\udcff"),
    "nul": _replaced("2019\x00"),
    "lone return": _replaced("20\r19"),
}


class File(NamedTuple):
    """A generated file: its bytes, its dataset with the columns that it has in order, and its lines."""

    dataset: Dataset
    content: bytes
    columns: tuple[Column, ...]
    lines: list[tuple[int, Line]]


@st.composite
def _files(draw: st.DrawFn) -> File:
    dataset = draw(st.sampled_from([YELLOW, GREEN, FHV, FHVHV]))
    essential = ESSENTIAL.get(dataset.color, ())
    required = [column for column in dataset.columns if column.required or column.name in essential]
    others = [column for column in dataset.columns if column not in required]
    picked = draw(st.lists(st.sampled_from(others), min_size=1, max_size=6, unique_by=lambda column: column.name))
    columns: list[Column | None] = draw(st.permutations([*required, *picked, *draw(st.sampled_from([[], [None]]))]))
    before, after = (draw(st.lists(st.sampled_from([b"", b" "]), max_size=2)) for _ in range(2))
    header = ",".join(draw(_names(column, dataset.color)) if column else "mystery" for column in columns).encode()
    lines = draw(st.lists(_line(columns), max_size=25))
    every = [*before, header, *after, *(line.raw for line in lines)]
    ends = [draw(st.sampled_from([b"\n", b"\r\n"])) for _ in range(2)]
    head = b"".join(line + ends[0] for line in every[: len(before) + 1])
    tail = b"".join(line + ends[1] for line in every[len(before) + 1 :])
    content = draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + head + tail
    if draw(st.booleans()):
        content = content.removesuffix(b"\n").removesuffix(b"\r")
    first = len(before) + 1 + len(after) + 1
    numbered = [(number, line) for number, line in enumerate(lines, start=first) if line.raw.strip()]
    return File(dataset, content, tuple(column for column in columns if column), numbered)


def _expected(file: File) -> tuple[list[tuple[Any, ...]], list[tuple[int, str]]]:
    """Return the rows to be loaded, and the lines to be set aside with their text."""
    names = [column.name for column in file.columns]
    count = names.index("passenger_count") if "passenger_count" in names else None
    good, bad = [], []
    for number, line in file.lines:
        if line.values is None or (count is not None and line.values[count] == 0):
            bad.append((number, line.raw.decode("utf-8", "backslashreplace")))
        else:
            good.append(line.values)
    return good, bad


@SLOW
@given(file=_files(), block=st.sampled_from([7, 60, 200, 1 << 20]), zipped=st.booleans())
def test_every_line_is_a_row_or_a_reject(file: File, block: int, zipped: bool) -> None:  # noqa: FBT001 - drawn
    """Of any file each line that isn't blank is loaded with its exact values or set aside with its number and text."""
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(csv_blocks, "BLOCK_BYTES", block):
        path = csv_file(Path(folder), file.content, file.dataset, zipped=zipped)
        if not file.lines:
            with pytest.raises(QualityError, match="has a header but no rows"):
                stage_file(path, file.dataset)
            return
        outcome = stage_file(path, file.dataset)
    good, bad = _expected(file)
    names = [column.name for column in file.columns]
    assert list(zip(*(outcome.values(name) for name in names), strict=True)) == good
    assert [(reject.line, reject.raw) for reject in outcome.rejects] == bad
    staged = outcome.staged
    assert (staged.lineage.rows_read, staged.lineage.rows_loaded, staged.lineage.rows_rejected) == (
        len(file.lines),
        len(good),
        len(bad),
    )


@SLOW
@given(
    content=st.binary(max_size=400) | st.binary(max_size=300).map(lambda junk: HEADER.encode() + b"\n" + junk),
    block=st.sampled_from([7, 60, 1 << 20]),
)
def test_any_bytes_are_rows_or_a_known_error(content: bytes, block: int) -> None:
    """Of bytes that mean nothing, each line is still counted, or the file is refused in words."""
    with mock.patch.object(csv_blocks, "BLOCK_BYTES", block):
        try:
            outcome = stage_csv(content, YELLOW)
        except NycTaxiError:
            return
    body = content.removeprefix(b"\xef\xbb\xbf").lstrip().split(b"\n")[1:]
    assert outcome.staged.lineage.rows_read == sum(1 for line in body if line.strip())
    assert outcome.staged.lineage.rows_read == outcome.table.num_rows + len(outcome.rejects)


def test_the_layout_is_that_of_most_rows() -> None:
    """A first row with fields too many is set aside, and so is no other."""
    outcome = stage_csv(f"{HEADER}\n{ROW},,,,,,x\n" + f"{ROW},\n" * 40 + f"{ROW}\n", YELLOW)
    assert [(reject.line, reject.reason) for reject in outcome.rejects] == [(2, "11 fields where 5 are named")]
    assert outcome.staged.lineage.rows_loaded == 41


def test_a_surplus_field_with_a_value_is_no_row() -> None:
    """Values beyond the names would be in the wrong columns: such a row is set aside, whatever the others are."""
    outcome = stage_csv(f"{HEADER}\n{ROW},,\n{ROW},x,\n{ROW},nan,\n", YELLOW)
    assert [(reject.line, reject.reason) for reject in outcome.rejects] == [(3, "surplus field 1: 'x' does not fit")]
    assert outcome.staged.lineage.rows_loaded == 2


def test_a_hexadecimal_number_is_none() -> None:
    """0x1 is no number of a taxi, alone or beside others."""
    for others in ("", f"1,{TIME},x,7.5,N\n"):
        outcome = stage_csv(f"{HEADER}\n0x1,{TIME},0X1,7.5,N\n0x1,{TIME},1,7.5,N\n{others}", YELLOW)
        assert outcome.rejects[0][:2] == (2, "passenger_count: '0X1' does not fit")
        assert outcome.values("vendor_id") == [None]


@pytest.mark.parametrize("bad", [b"junk", b'"open', b"a\rb", b"caf\xe9"])
def test_a_row_reads_the_same_beside_a_bad_one(bad: bytes) -> None:
    """What a row means never depends on the other rows of its block."""
    row = b'1,%s,NULL,nan,"N"x,\xff\n' % TIME.encode()
    content = HEADER.encode() + b",mystery\n" + row + b"2," + bad + b",1,1,N,\n"
    alone, beside = stage_csv(content[: content.rindex(b"2,")], YELLOW), stage_csv(content, YELLOW)
    assert beside.table == alone.table
    assert alone.values("passenger_count", "fare_amount", "store_and_fwd_flag") == [(None, None, None)]
    assert [reject.line for reject in beside.rejects] == [3]
    assert alone.staged.lineage.flags == {"unknown_store_and_fwd_flag": 1}


def test_a_reject_after_blank_lines_has_its_line() -> None:
    """Blank lines count as lines, and are never taken for the rejected one."""
    outcome = stage_csv(f"{HEADER}\n\n{ROW}\n\r\n2,{TIME},0,1,N\r\n\n\n3,{TIME},0,1,N", YELLOW)
    assert [(reject.line, reject.raw[:1]) for reject in outcome.rejects] == [(5, "2"), (8, "3")]


def test_null_words_are_null_beside_a_bad_line() -> None:
    """NULL in a text column is null in the line-by-line reading too."""
    content = f"Pickup_date,Dispatching_base_num\n{TIME},NULL\n{TIME},B1,too,many\n"
    assert stage_csv(content, FHV).values("dispatching_base_num") == [None]


def test_rows_that_swallow_and_split_are_not_made_up_for() -> None:
    """A quote left open and a lone carriage return in one block don't balance each other's rows."""
    glued = f"{ROW}\r{ROW}"
    swallowing = f'{ROW[:-1]}"N\n1,{TIME},1,7.5,Y"\n'
    outcome = stage_csv(f"{HEADER}\n{glued}\n{swallowing}{ROW}\n", YELLOW)
    assert [reject.line for reject in outcome.rejects] == [2, 3]
    assert outcome.staged.lineage.rows_loaded == 2


def test_an_open_quote_at_the_end_is_no_row() -> None:
    """A quote left open in the last line is seen beside a quote that is part of a value, and before blank lines."""
    outcome = stage_csv(f'Pickup_date,Dispatching_base_num\n{TIME},B"1\n{TIME},"B2\n\n', FHV)
    assert outcome.values("dispatching_base_num") == ['B"1']
    assert [(reject.line, reject.reason) for reject in outcome.rejects] == [
        (3, "not readable as text: a quote is not closed")
    ]


def test_one_column_is_a_layout_too() -> None:
    """A file of pickups alone is read, and its blank lines are no rows."""
    outcome = stage_csv(f"pickup_datetime\n{TIME}\n  \n\n{TIME}\n", FHV)
    assert (outcome.staged.lineage.rows_read, outcome.staged.lineage.rows_loaded) == (2, 2)


@pytest.mark.parametrize("content", [b"", b"\n\r\n  ", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n"])
def test_an_empty_file_is_refused(content: bytes) -> None:
    """A file without a word is damaged."""
    with pytest.raises(CorruptFile, match=r"yellow_tripdata_2019-01.csv is empty"):
        stage_csv(content, YELLOW)


@pytest.mark.parametrize("content", [HEADER, f"{HEADER}\n", f"\n\n{HEADER}", f"{HEADER}\r\n\r\n \n", f"\ufeff{HEADER}"])
def test_a_header_alone_is_refused(content: str) -> None:
    """A file with a header and no rows loads nothing, with or without a line's end."""
    with pytest.raises(QualityError, match="has a header but no rows"):
        stage_csv(content, YELLOW)


@pytest.mark.parametrize(
    "content",
    [
        "<!DOCTYPE html><title>Log in</title>",
        "\n <HTML>",
        "\ufeff<html>",
        "<?xml version='1.0'?><Error/>",
        "PK\x03\x04zipped",
        "PAR1 and so on",
        b"\x1f\x8b\x08\x00",
    ],
)
def test_another_kind_of_file_is_refused(content: bytes | str) -> None:
    """A web page, an error message or another format under a data file's name is told as what it is."""
    with pytest.raises(CorruptFile, match="not what its name says"):
        stage_csv(content, YELLOW)


@pytest.mark.parametrize("header", ['"VendorID,pickup', "VendorID\rpickup_datetime", "x" * 200_000])
def test_a_header_that_is_none_is_refused(header: str) -> None:
    """A first line that can't be split into names is refused in words."""
    with pytest.raises(SchemaDrift, match="its first line is not readable as text"):
        stage_csv(f"{header}\n{ROW}\n", YELLOW)


def test_a_missing_pickup_time_is_refused() -> None:
    """Without a required column there is nothing to load; the message says what was looked for and found."""
    with pytest.raises(SchemaDrift, match="no column means pickup_datetime; its columns begin 'a,b'") as caught:
        stage_csv("a,b\n1,2\n", YELLOW)
    assert "tpep_pickup_datetime" in caught.value.hint


def test_a_line_without_end_is_refused() -> None:
    """A file that is one line of megabytes is refused before it fills the memory."""
    small = mock.patch.multiple(csv_blocks, ENDLESS_LINE_BYTES=500, BLOCK_BYTES=100)
    with small, pytest.raises(CorruptFile, match="line 2 is longer than 500 bytes"):
        stage_csv(f"{HEADER}\n" + "x" * 1_000, YELLOW)


@pytest.mark.parametrize("damage", [slice(0, -9), slice(0, 40), slice(3, None)])
def test_damaged_gzip_is_refused(tmp_path: Path, damage: slice) -> None:
    """A gzip file that is cut off or changed is refused, wherever it is noticed."""
    path = csv_file(tmp_path, f"{HEADER}\n" + f"{ROW}\n" * 2_000, YELLOW, zipped=True)
    path.write_bytes(path.read_bytes()[damage])
    with pytest.raises(CorruptFile, match="damaged or cut off"):
        stage_file(path, YELLOW)


def test_a_changed_gzip_is_refused(tmp_path: Path) -> None:
    """A flipped bit fails the checksum at the end."""
    path = csv_file(tmp_path, f"{HEADER}\n" + f"{ROW}\n" * 2_000, YELLOW, zipped=True)
    data = bytearray(path.read_bytes())
    data[-6] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptFile, match="damaged or cut off"):
        stage_file(path, YELLOW)


def test_unknown_columns_are_listed_and_index_columns_are_not() -> None:
    """Names that nothing knows are named as published; what pandas left is nothing to report."""
    outcome = stage_csv(f",Unnamed: 0,__index_level_0__,{HEADER}, Mystery ,\n0,0,0,{ROW},1,\n", YELLOW)
    assert outcome.staged.lineage.unknown_columns == ("Mystery",)
    assert outcome.values("vendor_id", "fare_amount") == [(1, 7.5)]


def test_names_that_no_database_stores_are_named_all_the_same() -> None:
    """An unknown name that isn't UTF-8, or holds a NUL, is listed in characters that any ledger takes."""
    outcome = stage_csv(HEADER.encode() + b",caf\xe9,nu\x00l\n" + ROW.encode() + b",1,1\n", YELLOW)
    assert outcome.staged.lineage.unknown_columns == ("caf\ufffd", "nu\ufffdl")


def test_words_far_into_a_file_are_read() -> None:
    """Codes as words and fractions that begin after the first blocks are read as if they had been there before."""
    word = f"CMT,{TIME}.123456789,1.0,7.5,1.0\n"
    with mock.patch.object(csv_blocks, "BLOCK_BYTES", 2_000), mock.patch.object(csv_blocks, "HEAD_BYTES", 1_000):
        outcome = stage_csv(f"{HEADER}\n" + f"{ROW}\n" * 500 + word * 500, YELLOW)
    assert outcome.values("vendor_id", "passenger_count") == [(1, 1)] * 1_000
    assert outcome.values("store_and_fwd_flag") == ["N"] * 500 + ["Y"] * 500


# Parquet


def _pickups(count: int = 3) -> pa.Array:
    start = datetime(2019, 1, 5, 10)  # noqa: DTZ001 - published without a zone
    return pa.array([start + timedelta(minutes=minute) for minute in range(count)], pa.timestamp("us"))


def test_a_rejected_parquet_row_keeps_its_number_and_values() -> None:
    """What can't be loaded of Parquet is kept as JSON with the row's number from 1."""
    counts = pa.array([1, 99_999, 0], pa.int64())
    outcome = stage_parquet({"pickup_datetime": _pickups(), "passenger_count": counts, "other": [1, 2, 3]}, YELLOW)
    assert outcome.rejects == [
        (
            2,
            "passenger_count: '99999' does not fit",
            '{"pickup_datetime": "2019-01-05 10:01:00", "passenger_count": 99999}',
        ),
        (3, "no_passengers", '{"pickup_datetime": "2019-01-05 10:02:00", "passenger_count": 0}'),
    ]
    assert outcome.staged.lineage.unknown_columns == ("other",)


def test_a_rejected_row_may_hold_what_python_cannot() -> None:
    """Times beyond the calendar, and text that is not UTF-8, can be set aside too."""
    times = pa.array([0, 2**62, -(2**63)]).cast(pa.timestamp("us"))
    texts = pa.array([b"B1", b"B\xff", None]).cast(pa.binary()).view(pa.string())
    bases = pa.DictionaryArray.from_arrays(pa.array([0, 1, 1], pa.int32()), texts[:2])
    outcome = stage_parquet({"pickup_datetime": times, "dispatching_base_num": texts}, FHV)
    assert outcome.values("dispatching_base_num") == ["B1"]
    assert [reject.line for reject in outcome.rejects] == [2, 3]
    assert "4611686018427387904" in outcome.rejects[0].raw
    assert "B\\\\xff" in outcome.rejects[0].raw
    again = stage_parquet({"pickup_datetime": _pickups(), "dispatching_base_num": bases}, FHV)
    assert [reject.reason for reject in again.rejects] == ["dispatching_base_num: 'B\\\\xff' does not fit"] * 2


def test_row_groups_of_any_size_are_read(tmp_path: Path) -> None:
    """Empty row groups between others end nothing."""
    path = tmp_path / "fhv_tripdata_2019-01.parquet"
    table = pa.table({"pickup_datetime": _pickups()})
    with pq.ParquetWriter(path, table.schema) as writer:
        for rows in (table, table[:0], table[:1], table[:0]):
            writer.write_table(rows)
    assert stage_file(path, FHV).values("pickup_datetime") == [*_pickups().to_pylist(), _pickups()[0].as_py()]


def test_two_columns_of_one_name_are_both_read() -> None:
    """A name that comes twice fills one column from both."""
    table = pa.Table.from_arrays(
        [_pickups(2), pa.array(["B1", None]), pa.array([None, "B2"])],
        names=["pickup_datetime", "Dispatching_base_num", "Dispatching_base_num"],
    )
    assert stage_parquet(table, FHV).values("dispatching_base_num") == ["B1", "B2"]


def test_names_with_a_dot_are_other_columns() -> None:
    """What pandas calls the second of two equal columns is unknown, not a part of the first."""
    columns = {"pickup_datetime": _pickups(), "pickup_datetime.1": pa.array([1, 2, 3]), "fare_amount": [1.0, 2.0, 3.0]}
    outcome = stage_parquet(columns, YELLOW)
    assert outcome.values("pickup_datetime") == _pickups().to_pylist()
    assert outcome.values("fare_amount") == [1.0, 2.0, 3.0]
    assert outcome.staged.lineage.unknown_columns == ("pickup_datetime.1",)


def test_names_that_are_not_text_are_refused(tmp_path: Path) -> None:
    """A Parquet file whose names are not UTF-8 is damaged."""
    path = tmp_path / "fhv_tripdata_2019-01.parquet"
    pq.write_table(pa.table({"pickup_datetime": _pickups(), "mystery": [1, 2, 3]}), path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"mystery", b"myst\xffry"))
    with pytest.raises(CorruptFile, match="is not a whole Parquet file"):
        open_trips(path, FHV.columns)


def test_an_empty_parquet_file_is_refused() -> None:
    """A Parquet file with columns and no rows loads nothing."""
    with pytest.raises(QualityError, match="no rows"):
        stage_parquet({"pickup_datetime": _pickups(0)}, FHV)


@pytest.mark.parametrize(
    "content",
    [b"", b"PAR1", b"junk", b"PAR1" + bytes(8) + b"PAR1", b"PAR1xxxx\xff\xff\xff\xffPAR1", HEADER.encode() * 9],
)
def test_what_is_no_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    """Bytes that aren't Parquet are refused in words."""
    path = tmp_path / "fhv_tripdata_2019-01.parquet"
    path.write_bytes(content)
    with pytest.raises(CorruptFile, match="is not a whole Parquet file"):
        open_trips(path, FHV.columns)


@pytest.mark.parametrize("content", [b"<!doctype html>", b"\x1f\x8b\x08"])
def test_another_kind_named_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    """A web page or a zipped file under a Parquet name is told as what it is."""
    path = tmp_path / "fhv_tripdata_2019-01.parquet"
    path.write_bytes(content)
    with pytest.raises(CorruptFile, match="not what its name says"):
        open_trips(path, FHV.columns)


def test_a_missing_file_is_no_damaged_file(tmp_path: Path) -> None:
    """A path that isn't there is said to be just that."""
    with pytest.raises(FileNotFoundError):
        open_trips(tmp_path / "gone.parquet", FHV.columns)


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 10_000), value=st.integers(0, 255), keep=st.integers(1, 10_000))
def test_damaged_parquet_is_rows_or_a_known_error(place: int, value: int, keep: int) -> None:
    """A Parquet file with a changed byte, cut short or not, is read or refused in words."""
    table = pa.table({"pickup_datetime": _pickups(50), "dispatching_base_num": [f"B{n}" for n in range(50)]})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fhv_tripdata_2019-01.parquet"
        pq.write_table(table, path)
        data = bytearray(path.read_bytes())
        data[place % len(data)] = value
        path.write_bytes(data[: max(keep, len(data) // 2)])
        try:
            outcome = stage_file(path, FHV)
        except NycTaxiError:
            return
    assert outcome.staged.lineage.rows_read == outcome.table.num_rows + len(outcome.rejects)
