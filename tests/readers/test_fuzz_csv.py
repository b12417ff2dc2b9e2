"""CSV files, damaged and distorted in every way: each of their lines is loaded or rejected, or the file refused by us.

Some hundred inputs run with every test run. ``python tests/readers/test_fuzz_csv.py 50000`` runs as many as it is told,
from the real files that ``NYCTAXI_REAL_DATA`` names and from generated ones; a number behind it is the first seed.
"""

from __future__ import annotations

import csv
import gzip
import math
import os
import random
import re
import resource
import sys
import tempfile
import time
import zlib
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from unittest import mock

import pytest

from nyctaxi_etl.core.errors import NycTaxiError, QualityError
from nyctaxi_etl.core.partition import Color, Month, Partition
from nyctaxi_etl.readers import csv_blocks
from nyctaxi_etl.sample.months import write_month
from nyctaxi_etl.schema.datasets import DATASETS
from support.published import Outcome, stage_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FEW = 300
MOST_ROWS = 40
MOST_SECONDS = 20.0
MOST_BYTES = 600 << 20
_MONTHS = ("yellow/2009-01", "yellow/2016-07", "green/2014-02", "fhv/2018-02", "fhvhv/2019-02")
_ODD_BYTES = (
    *(b'"', b'""', b'"""', b",", b",,,,", b"\r", b"\n", b"\r\n", b"\n\n", b"\r\r\n", b"\x00", b"\xff", b"\xef\xbb\xbf"),
    *(
        b"\xc3",
        b"\xc3\xa9",
        b" ",
        b"\t",
        b"\x0b",
        b"\x0c",
        b"\x1c",
        b"\x85",
        b"\xc2\x85",
        b"\xe2\x80\xa8",
        b"'",
        b"\\",
        b";",
    ),
    *(b"0x1", b"x", b"e", b"-", b"\x1a", b"#", b"<<<<<<< HEAD\n", b"\xf0\x9f\x9a\x95"),
)
_ODD_VALUES = (
    *(
        b"",
        b" ",
        b"NaN",
        b"NULL",
        b"inf",
        b"-1",
        b"1e400",
        b"99999999999999999999",
        b"0x1F",
        b"1,5",
        b"+1",
        b"1.",
        b".5",
    ),
    *(b"2019-02-30 00:00:00", b"2019-01-01", b"2019-01-01T00:00:00Z", b"0000-00-00", b"9999-12-31 23:59:59.9999999"),
    *(b'"', b'""', b'"a', b'a"', b'"a"b', b'"a""b"', b'"a,b"', b'"a\rb"', b'"a\nb"', b'" 1 "', b"x" * 5_000, b"\xff"),
    *(b"y" * 70_000, b"No Charge", b"CMT", b"0", b"\x00", b"caf\xc3\xa9", b"\xc3\xa9" * 3_000),
)
_BLANKS = (b"", b" ", b"\t", b"\r", b"\x0c", b" \r")
_ENDS = (b"\n", b"\r\n", b"\r", b"\n\r", b"\n\n", b"\r\r\n")
_PICKUPS = frozenset(("tpeppickupdatetime", "lpeppickupdatetime", "trippickupdatetime", "pickupdatetime", "pickupdate"))


# Distortions of lines without their ends, of which the first is the header.


def _in_a_line(lines: list[bytes], rng: random.Random) -> None:
    """Put odd bytes into a line, or take some out."""
    index = rng.randrange(len(lines))
    line = lines[index]
    place = rng.randrange(len(line) + 1)
    lines[index] = line[:place] + rng.choice(_ODD_BYTES) + line[place + rng.choice((0, 0, 1, 5)) :]


def _in_a_field(lines: list[bytes], rng: random.Random) -> None:
    index = rng.randrange(len(lines))
    fields = lines[index].split(b",")
    fields[rng.randrange(len(fields))] = rng.choice(_ODD_VALUES)
    lines[index] = b",".join(fields)


def _in_a_column(lines: list[bytes], rng: random.Random) -> None:
    """Give some rows an odd value in the same column."""
    place = rng.randrange(lines[0].count(b",") + 1)
    value = rng.choice(_ODD_VALUES)
    for index in range(1, len(lines)):
        fields = lines[index].split(b",")
        if place < len(fields) and rng.random() < 0.5:
            fields[place] = value
            lines[index] = b",".join(fields)


def _width(lines: list[bytes], rng: random.Random) -> None:
    """Give some rows fields too many or too few."""
    more = rng.choice((b",", b",,", b",x", b", ", b',""', b"," * 1_200))
    for index in range(rng.choice((0, 1)), len(lines)):
        if rng.random() < rng.choice((0.1, 1.0)):
            lines[index] = lines[index] + more if rng.random() < 0.7 else lines[index].rpartition(b",")[0]


def _quotes(lines: list[bytes], rng: random.Random) -> None:
    """Quote every field of some rows."""
    share = rng.choice((0.3, 1.0))
    for index, line in enumerate(lines):
        if rng.random() < share:
            lines[index] = b",".join(b'"' + field.replace(b'"', b'""') + b'"' for field in line.split(b","))


def _blank_lines(lines: list[bytes], rng: random.Random) -> None:
    for _ in range(rng.choice((1, 2, 8))):
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(_BLANKS))


def _glued(lines: list[bytes], rng: random.Random) -> None:
    """Join two lines by what may pass for a line's end."""
    if len(lines) > 2:
        index = rng.randrange(len(lines) - 1)
        lines[index : index + 2] = [
            rng.choice((b"\r", b"", b",", b'"', b"\x0b", b"\xe2\x80\xa8")).join(lines[index : index + 2])
        ]


def _order(lines: list[bytes], rng: random.Random) -> None:
    index, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(4):
        case 0:
            lines[index], lines[other] = lines[other], lines[index]
        case 1:
            lines.insert(index, lines[other])
        case 2:
            del lines[index:other]
        case _:
            lines[index] = lines[index][: rng.randrange(len(lines[index]) + 1)]


def _header(lines: list[bytes], rng: random.Random) -> None:
    names = lines[0].split(b",")
    index = rng.randrange(len(names))
    match rng.randrange(7):
        case 0:
            rng.shuffle(names)
        case 1:
            names[index] = rng.choice(names)
        case 2:
            names[index] = rng.choice((b"", b"caf\xc3\xa9", b"\xff", b'"', b'"a,b"', b"\x00", b"pickup_datetime"))
        case 3:
            names[index] = names[index].upper().replace(b"_", b" ")
        case 4:
            names += [b"u%d" % number for number in range(rng.choice((1, 900, 1_200)))]
        case 5:
            del names[index]
        case _:
            names[0] = b"\xef\xbb\xbf" + names[0]
    lines[0] = b",".join(names)


_DISTORTIONS: tuple[Callable[[list[bytes], random.Random], None], ...] = (
    *(_in_a_line, _in_a_line, _in_a_field, _in_a_field, _in_a_column, _width, _quotes),
    *(_blank_lines, _glued, _order, _header),
)


def _joined(lines: list[bytes], rng: random.Random) -> bytes:
    """Return the file: one kind of line's end or several, and perhaps none at last."""
    ends = rng.choice((_ENDS[:1], _ENDS[:1], _ENDS[1:2], _ENDS[:2], _ENDS))
    data = b"".join(line + rng.choice(ends) for line in lines)
    return data.rstrip(b"\r\n") if rng.random() < 0.3 else data


def _damaged(data: bytes, rng: random.Random) -> bytes:
    spoiled = bytearray(data)
    place = rng.randrange(len(data) + 1)
    match rng.randrange(5):
        case 0:
            return data[:place]
        case 1:
            for _ in range(rng.choice((1, 2, 20))):
                spoiled[rng.randrange(len(spoiled))] = rng.randrange(256)
        case 2:
            spoiled[place:place] = rng.randbytes(rng.choice((1, 16, 500)))
        case 3:
            del spoiled[place : place + rng.choice((1, 4, 64))]
        case _:
            spoiled += rng.choice((bytes(8), b"junk", bytes(data[:30]), bytes(data)))
    return bytes(spoiled)


# The invariant


class Line(NamedTuple):
    """A line that isn't blank: its number and its bytes."""

    number: int
    raw: bytes


def lines_of(content: bytes) -> tuple[bytes, list[Line]]:
    """Return the header and the lines after it, as anybody would count them."""
    every = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    lines = [Line(number, raw) for number, raw in enumerate(every, start=1) if raw.strip()]
    return lines[0].raw.strip(), lines[1:]


def check(outcome: Outcome, content: bytes) -> None:
    """Hold a staged file to the promise: every line is loaded with its values or rejected with its text."""
    header, lines = lines_of(content)
    staged = outcome.staged
    assert staged.lineage.rows_read == len(lines)
    assert staged.lineage.rows_read == staged.lineage.rows_loaded + staged.lineage.rows_rejected
    assert outcome.table.num_rows == staged.lineage.rows_loaded
    numbers = [reject.line for reject in outcome.rejects]
    assert len(numbers) == staged.lineage.rows_rejected
    assert numbers == sorted(set(numbers))
    texts = {line.number: line.raw.rstrip(b"\r") for line in lines}
    for reject in outcome.rejects:
        raw = texts.pop(reject.line)
        assert reject.reason
        whole = raw.decode("utf-8", "backslashreplace")
        if len(raw) <= 4_096:
            assert reject.raw == whole
        else:
            kept, mark, rest = reject.raw.rpartition(" ... cut off here: ")
            assert mark
            assert rest == f"{len(raw):,} bytes in all"
            assert whole.startswith(kept)
            assert len(kept.encode()) > 4_090
    _check_values(outcome, header, list(texts.values()))


def _check_values(outcome: Outcome, header: bytes, raws: list[bytes]) -> None:
    """Compare the loaded rows' pickup times and totals with what Python's own reader finds."""
    names = [re.sub(r"[\s_\"'\ufeff]", "", name).lower() for name in _fields(header)]
    pickups = [index for index, name in enumerate(names) if name in _PICKUPS]
    totals = [index for index, name in enumerate(names) if name in {"totalamount", "totalamt"}]
    rows = [_fields(raw) for raw in raws]
    if len(pickups) == 1:
        for row, loaded in zip(rows, outcome.values("pickup_datetime"), strict=True):
            assert _time(row[pickups[0]]) == loaded
    if len(totals) == 1 and "total_amount" in outcome.table.column_names:
        for row, loaded in zip(rows, outcome.values("total_amount"), strict=True):
            assert _amount(row[totals[0]]) == loaded


def _fields(raw: bytes) -> list[str]:
    return next(csv.reader([raw.rstrip(b"\r").decode("utf-8", "replace")]))


def _time(text: str) -> datetime | None:
    text = text.strip()
    whole, point, fraction = text.partition(".")
    return None if text.lower() in {"", "nan", "null"} else datetime.fromisoformat(whole + point + fraction[:6])


def _amount(text: str) -> float | None:
    text = text.strip()
    number = float("nan" if text.lower() in {"", "null"} else text)
    return None if math.isnan(number) else number


def run_one(seed: int, originals: Sequence[tuple[Partition, list[bytes]]], folder: Path) -> str:
    """Make the input of this seed, stage it, hold it to the invariant, and say what became of it."""
    rng = random.Random(seed)  # noqa: S311 - a seed is to give the same file again
    partition, source = rng.choice(originals)
    start = rng.randrange(1, len(source))
    lines = [source[0], *source[start : start + rng.choice((0, 1, 3, 12, 12, MOST_ROWS, MOST_ROWS, MOST_ROWS))]]
    for _ in range(rng.choice((0, 1, 1, 2, 3, 6))):
        if lines:
            rng.choice(_DISTORTIONS)(lines, rng)
    content = _joined(lines, rng)
    if content and rng.random() < 0.1:
        content = _damaged(content, rng)
    zipped = rng.random() < 0.3
    data = gzip.compress(content, rng.choice((0, 1, 9))) if zipped else content
    is_damaged = zipped and rng.random() < 0.3
    data = _damaged(data, rng) if is_damaged else data
    path = folder / f"{partition.stem}.csv{'.gz' if zipped else ''}"
    path.write_bytes(data)
    # Blocks of a line or two, but not where damage to gzip has made a long file of it.
    block, portion = rng.choice((1 << 20, 1 << 20, 40, 300, 3_000)), rng.choice((1 << 16, 2))
    block, portion = (1 << 20, 1 << 16) if is_damaged else (block, portion)
    started = time.process_time()
    try:
        with mock.patch.multiple(csv_blocks, BLOCK_BYTES=block, BLOCK_LINES=portion):
            outcome = stage_file(
                path, DATASETS[partition.color], partition.month, max_unparsable=rng.choice((0.05, 1.0, 1.0, 1.0))
            )
    except QualityError:
        assert not lines_of(_unzipped(data) if zipped else data)[1]
        return "QualityError"
    except NycTaxiError as error:
        return type(error).__name__
    finally:
        assert time.process_time() - started < MOST_SECONDS
    check(outcome, _unzipped(data) if zipped else data)
    return "loaded"


def _unzipped(data: bytes) -> bytes:
    """Return what a gzip file holds; junk after its end is no part of it."""
    whole = b""
    while data:
        member = zlib.decompressobj(wbits=31)
        try:
            whole += member.decompress(data)
        except zlib.error:
            assert whole
            break
        assert member.eof
        data = member.unused_data.lstrip(b"\x00")
    return whole


def originals(folder: Path) -> list[tuple[Partition, list[bytes]]]:
    """Return some lines of every layout: generated, and of the real files where they are."""
    files: list[tuple[Partition, list[bytes]]] = []
    for text in _MONTHS:
        color, _, month = text.partition("/")
        partition = Partition(Color(color), Month.parse(month))
        path = folder / f"{partition.stem}.csv"
        write_month(partition, path, 500)
        files.append((partition, _lines(path)))
    real = os.environ.get("NYCTAXI_REAL_DATA")
    for path in sorted(Path(real).rglob("*.csv*")) if real else []:
        color, is_trips, rest = path.name.partition("_tripdata_")
        if is_trips and "bad" not in path.parts:
            files.append((Partition(Color(color), Month.parse(rest[:7])), _lines(path)))
    return files


def _lines(path: Path) -> list[bytes]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        return file.read(200_000).splitlines()[:-1]


@pytest.fixture(scope="module")
def few_originals(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Partition, list[bytes]]]:
    """Return generated and real rows to distort."""
    return originals(tmp_path_factory.mktemp("originals"))


@pytest.mark.parametrize("first", range(0, FEW, FEW // 10))
def test_any_csv_is_accounted_for_or_refused(
    first: int, few_originals: list[tuple[Partition, list[bytes]]], tmp_path: Path
) -> None:
    """No file ends in anything but each of its lines as a row or a reject, or an error of ours."""
    for seed in range(first, first + FEW // 10):
        run_one(seed, few_originals, tmp_path)


def main(count: int, first: int = 0) -> None:
    """Run many inputs with a bound on memory; a line says which seed fails."""
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        files = originals(Path(name))
        for seed in range(first, first + count):
            try:
                outcomes[run_one(seed, files, Path(name))] += 1
            except Exception as error:  # noqa: BLE001 - any is what is looked for
                outcomes[f"BROKEN {type(error).__name__}"] += 1
                sys.stdout.write(f"seed {seed}: {type(error).__name__}: {str(error)[:300]}\n")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 << 10 if sys.platform == "linux" else 1)
    assert peak < MOST_BYTES
    sys.stdout.write(f"{sum(outcomes.values())} inputs, {peak >> 20} MB: {dict(outcomes)}\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
