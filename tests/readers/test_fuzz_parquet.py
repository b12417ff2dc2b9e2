"""Parquet files, damaged and distorted in every way: each is loaded to the last row, or refused with an error of ours.

A few hundred inputs run with every test run. ``python tests/readers/test_fuzz_parquet.py 50000`` runs as many as
it is told, from the real files that ``NYCTAXI_REAL_DATA`` names and from generated ones; a number behind it is the
first seed.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nyctaxi_etl.core.errors import CorruptFile, NycTaxiError
from nyctaxi_etl.core.partition import Color, Month, Partition
from nyctaxi_etl.sample.months import write_month
from nyctaxi_etl.schema.datasets import DATASETS
from support.published import Outcome, stage_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROWS = 60
FEW = 300
MOST_SECONDS = 20.0
MOST_BYTES = 600 << 20
_MONTHS = ("yellow/2009-01", "yellow/2019-01", "yellow/2025-01", "green/2021-01", "fhv/2019-01", "fhvhv/2021-01")
_EXTREMES: tuple[Any, ...] = (
    *(0, -1, 1, 99_999, 2**31, -(2**63), 2**63 - 1, 1e308, 5e-324, float("nan"), float("inf"), -0.0),
    *("", " ", "NaN", "CMT", "No Charge", "\x00", "x" * 5_000, "\U0001f695", "2019-13-45 99:00:00", "0x10"),
    *(b"\xff\xfe", True, Decimal("1.50"), datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999), None),  # noqa: DTZ001 - published without a zone
)
_TYPES = (
    *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint64()),
    *(pa.float16(), pa.float32(), pa.float64(), pa.decimal128(20, 4), pa.decimal32(7, 2), pa.bool_()),
    *(pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view()),
    *(pa.timestamp("s"), pa.timestamp("ms", "UTC"), pa.timestamp("us", "America/New_York"), pa.timestamp("ns")),
    *(pa.date32(), pa.date64(), pa.time64("us"), pa.duration("ms"), pa.list_(pa.int8()), pa.null()),
)
_COMPRESSIONS = ("none", "snappy", "gzip", "zstd", "lz4", "brotli")


# Distortions of a table: each keeps the number of rows, or says how many there are by the table itself.


def _retype(table: pa.Table, rng: random.Random) -> pa.Table:
    """Save one column as another type, values that don't fit becoming null."""
    index = rng.randrange(table.num_columns)
    kind = rng.choice(_TYPES)
    column = table.column(index)
    for through in (column.type, pa.string()):
        try:
            return table.set_column(index, table.field(index).name, column.cast(through).cast(kind, safe=False))
        except (pa.ArrowException, ValueError):
            continue
    return table.set_column(index, table.field(index).name, pa.nulls(table.num_rows, kind))


def _encode(table: pa.Table, rng: random.Random) -> pa.Table:
    index = rng.randrange(table.num_columns)
    try:
        return table.set_column(index, table.field(index).name, table.column(index).dictionary_encode())
    except pa.ArrowException:
        return table


def _spoil(table: pa.Table, rng: random.Random) -> pa.Table:
    """Put an extreme value into some rows of a column, in whatever type holds both."""
    index = rng.randrange(table.num_columns)
    try:
        values = table.column(index).to_pylist()
    except (ValueError, OverflowError):  # what Python can't hold is extreme enough
        return table
    extreme = rng.choice(_EXTREMES)
    for row in rng.sample(range(len(values)), min(len(values), rng.choice((1, 2, len(values))))):
        values[row] = extreme
    for kind in (table.field(index).type, None, pa.float64(), pa.string(), pa.binary()):
        texts = kind in {pa.string(), pa.binary()}
        try:
            plain = [v if v is None or isinstance(v, bytes) else str(v) for v in values] if texts else values
            return table.set_column(index, table.field(index).name, pa.array(plain, kind))
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            continue
    return table


def _rename(table: pa.Table, rng: random.Random) -> pa.Table:
    names = table.schema.names
    index = rng.randrange(len(names))
    other = rng.choice((names[rng.randrange(len(names))], "", "\x00", "caf\u00e9", names[index].upper(), "a.b", " x "))
    return table.rename_columns([other if place == index else name for place, name in enumerate(names)])


def _swap_names(table: pa.Table, rng: random.Random) -> pa.Table:
    names = list(table.schema.names)
    rng.shuffle(names)
    return table.rename_columns(names)


def _drop(table: pa.Table, rng: random.Random) -> pa.Table:
    return table.remove_column(rng.randrange(table.num_columns)) if table.num_columns > 1 else table


def _twice(table: pa.Table, rng: random.Random) -> pa.Table:
    index = rng.randrange(table.num_columns)
    return table.append_column(table.field(index).name, table.column(rng.randrange(table.num_columns)))


def _cut(table: pa.Table, rng: random.Random) -> pa.Table:
    start = rng.randrange(table.num_rows) if table.num_rows else 0
    return table.slice(start, rng.choice((0, 1, table.num_rows)))


def _flag_passengers(table: pa.Table, _rng: random.Random) -> pa.Table:
    """Have every row dropped by the rule."""
    return table.append_column("passenger_count", pa.array([0] * table.num_rows, pa.int64()))


_DISTORTIONS: tuple[Callable[[pa.Table, random.Random], pa.Table], ...] = (
    *(_retype, _retype, _retype, _spoil, _spoil, _spoil, _encode),
    *(_rename, _swap_names, _drop, _twice, _cut, _flag_passengers),
)


# Damage to bytes


def _damage(data: bytes, rng: random.Random) -> bytes:
    spoiled = bytearray(data)
    place = rng.randrange(len(data))
    tail = max(0, len(data) - rng.choice((4, 8, 200, len(data))))
    match rng.randrange(7):
        case 0:
            return bytes(spoiled[:place])
        case 1:
            spoiled[place : place + rng.choice((1, 4, 64))] = bytes(rng.choice((1, 4, 64)))
        case 2:
            for _ in range(rng.choice((1, 2, 8))):
                spoiled[rng.randrange(len(spoiled))] = rng.randrange(256)
        case 3:  # the footer, where one byte says most
            spoiled[rng.randrange(tail, len(spoiled))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
        case 4:
            spoiled[place:place] = rng.randbytes(rng.choice((1, 16)))
        case 5:
            spoiled[-8:-4] = rng.choice((0, 1, 2**31 - 1, 2**32 - 1)).to_bytes(4, "little")
        case _:
            del spoiled[place : place + rng.choice((1, 4, 64))]
    return bytes(spoiled)


# The invariant


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(json.loads(json.dumps(value, default=str)))


def check(outcome: Outcome, rows: int, table: pa.Table | None) -> None:
    """Hold a staged file to the promise: every row is loaded or rejected, each reject with its own line and values."""
    staged = outcome.staged
    assert staged.lineage.rows_read == rows
    assert staged.lineage.rows_read == staged.lineage.rows_loaded + staged.lineage.rows_rejected
    assert outcome.table.num_rows == staged.lineage.rows_loaded
    lines = [reject.line for reject in outcome.rejects]
    assert len(lines) == staged.lineage.rows_rejected
    assert lines == sorted(set(lines))
    assert all(1 <= line <= rows and reject.reason for line, reject in zip(lines, outcome.rejects, strict=True))
    if table is None:
        return
    for reject in outcome.rejects[:5]:
        row = table.slice(reject.line - 1, 1)
        try:
            expected = {_text(column.to_pylist()[0]) for column in row.columns}
        except (ValueError, OverflowError):  # what Python can't hold
            continue
        if len(reject.raw) < 3_000:  # a longer one is cut
            assert {_text(value) for value in json.loads(reject.raw).values()} <= expected


def run_one(seed: int, originals: Sequence[tuple[Partition, pa.Table]], folder: Path) -> str:
    """Make the input of this seed, stage it, hold it to the invariant, and say what became of it."""
    rng = random.Random(seed)  # noqa: S311 - a seed is to give the same file again
    partition, table = rng.choice(originals)
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        if table.num_columns:
            table = rng.choice(_DISTORTIONS)(table, rng)
    path = folder / f"{partition.stem}.parquet"
    try:
        pq.write_table(
            table,
            path,
            row_group_size=rng.choice((7, ROWS)),
            compression=rng.choice(_COMPRESSIONS),
            use_dictionary=rng.random() < 0.5,
            data_page_version=rng.choice(("1.0", "2.0")),
            write_page_checksum=rng.random() < 0.5,
            store_schema=rng.random() < 0.8,
        )
    except (pa.ArrowException, ValueError, UnicodeError):
        return "not writable"
    is_damaged = rng.random() < 0.5
    if is_damaged:
        path.write_bytes(_damage(path.read_bytes(), rng))
    started = time.process_time()
    try:
        outcome = stage_file(path, DATASETS[partition.color], partition.month, max_unparsable=rng.choice((0.05, 1.0)))
    except NycTaxiError as error:
        return type(error).__name__
    finally:
        assert time.process_time() - started < MOST_SECONDS
    # What is written differs from the table where Parquet has no such type; the file itself says what it holds.
    check(outcome, pq.read_metadata(path).num_rows, None if is_damaged else pq.ParquetFile(path).read())
    return "loaded"


def originals(folder: Path) -> list[tuple[Partition, pa.Table]]:
    """Return a few rows of every layout: generated, and of the real files where they are."""
    tables = [(partition, _first(_generated(partition, folder))) for partition in map(_partition, _MONTHS)]
    real = os.environ.get("NYCTAXI_REAL_DATA")
    if real:
        for path in sorted(Path(real).rglob("*.parquet")):
            if "bad" not in path.parts:
                color, _, rest = path.name.partition("_tripdata_")
                tables.append((Partition(Color(color), Month.parse(rest[:7])), _first(path)))
    return tables


def _partition(text: str) -> Partition:
    color, _, month = text.partition("/")
    return Partition(Color(color), Month.parse(month))


def _generated(partition: Partition, folder: Path) -> Path:
    path = folder / f"{partition.stem}.parquet"
    write_month(partition, path, ROWS)
    return path


def _first(path: Path) -> pa.Table:
    with pq.ParquetFile(path) as file:
        return pa.Table.from_batches([next(file.iter_batches(ROWS))])


@pytest.fixture(scope="module")
def few_originals(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Partition, pa.Table]]:
    """Return generated and real rows to distort."""
    return originals(tmp_path_factory.mktemp("originals"))


@pytest.mark.parametrize("first", range(0, FEW, FEW // 10))
def test_any_parquet_is_loaded_whole_or_refused(
    first: int, few_originals: list[tuple[Partition, pa.Table]], tmp_path: Path
) -> None:
    """No file ends in anything but all of its rows or an error of ours."""
    for seed in range(first, first + FEW // 10):
        run_one(seed, few_originals, tmp_path)


def test_a_dictionary_that_lacks_a_value_is_damage(tmp_path: Path) -> None:
    """Arrow reads an index beyond its dictionary without a word: the file is damaged, and it is said."""
    path = tmp_path / "yellow_tripdata_2019-01.parquet"
    texts = ["2019-01-01 00:00:00", "2019-01-01 00:00:01"] * 20
    pq.write_table(pa.table({"tpep_pickup_datetime": texts}), path, compression="none")
    # Its header says that the dictionary page (field 7: 0x4c) has two values (field 1: 0x15), 4 in zigzag.
    path.write_bytes(path.read_bytes().replace(b"\x4c\x15\x04", b"\x4c\x15\x02", 1))
    with pytest.raises(CorruptFile, match="a dictionary lacks values that are used"):
        stage_file(path, DATASETS[Color.YELLOW])


def test_a_footer_that_counts_otherwise_is_damage(tmp_path: Path) -> None:
    """Rows that are there and not in the footer's count, or the other way round, are no whole file."""
    path = tmp_path / "yellow_tripdata_2019-01.parquet"
    pq.write_table(pa.table({"tpep_pickup_datetime": ["2019-01-01 00:00:00"] * 40}), path)
    data = path.read_bytes()
    # The footer's third field, num_rows (0x16), is 40: 80 in zigzag; it comes before the row groups (0x19).
    where = data.index(b"\x16\x50\x19", len(data) - 8 - int.from_bytes(data[-8:-4], "little"))
    path.write_bytes(data[: where + 1] + b"\x4e" + data[where + 2 :])
    with pytest.raises(CorruptFile, match="has 40 rows where its footer says 39"):
        stage_file(path, DATASETS[Color.YELLOW])


def main(count: int, first: int = 0) -> None:
    """Run many inputs with a bound on memory; a line says which seed fails."""
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        tables = originals(Path(name))
        for seed in range(first, first + count):
            Path(name, "seed").write_text(str(seed))
            try:
                outcomes[run_one(seed, tables, Path(name))] += 1
            except BaseException as error:
                outcomes[f"BROKEN {type(error).__name__}"] += 1
                sys.stdout.write(f"seed {seed}: {type(error).__name__}: {str(error)[:300]}\n")
                if isinstance(error, KeyboardInterrupt):
                    raise
            if seed % 1000 == 0:
                sys.stdout.write(f"{seed} {dict(outcomes)}\n")
                sys.stdout.flush()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    sys.stdout.write(f"{count} inputs: {dict(outcomes)}; peak {peak >> 20} MB\n")
    if peak > MOST_BYTES:
        sys.stdout.write("BROKEN: more memory than any file may take\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
