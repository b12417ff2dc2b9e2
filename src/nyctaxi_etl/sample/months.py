"""Makes a month: any month of any colour at any size, shaped like the published file of that month, defects included.

For trying things without a network, and for measuring. Nothing in it happened; the same month is the same file always.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from isal import igzip

from nyctaxi_etl.core.partition import Color, Month
from nyctaxi_etl.core.progress import Event, tell
from nyctaxi_etl.sample.defects import TORN, WORD, add_defects
from nyctaxi_etl.sample.eras import CRLF, canonical, csv_layout, parquet_columns
from nyctaxi_etl.sample.meter import metered
from nyctaxi_etl.sample.trips import NULL, VOCABULARY, Dice, dispatched, hailed_by_app, journeys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from nyctaxi_etl.core.partition import Partition
    from nyctaxi_etl.sample.eras import CsvLayout
    from nyctaxi_etl.sample.trips import Numbers, Trips
    from nyctaxi_etl.schema.columns import Column

_CHUNK = 32_000  # even, so that each refund has its neighbour in the same chunk
_ROW_GROUP = 1 << 20  # as in the published files
_GZIP_LEVEL = 2
_PARQUET_LEVEL = 3  # Arrow packs gzip at level 9 otherwise, five times slower
_QUOTED_COMMA = '","'
_VTS = 2
# The published files are gzip before 2023-02 and zstd since.
_ZSTD_SINCE = Month(2023, 2)
_KINDS = {Color.YELLOW: metered, Color.GREEN: metered, Color.FHV: dispatched, Color.FHVHV: hailed_by_app}
_SCALES = {"money": 100, "miles": 100, "degrees": 1_000_000}
# Beyond any amount or distance that the sample has, in cents and hundredths of a mile.
_BOUND = 100_000
# Where a word takes the place of a number: the first of these that the layout has.
_WORD_COLUMNS = ("fare_amount", "trip_miles", "pickup_location_id")
_A_WORD = "see receipt"


def write_month(partition: Partition, path: Path, rows: int) -> None:
    """Write a made-up month of exactly ``rows`` rows as ``path`` ends: ``.csv.gz``, ``.csv`` or ``.parquet``.

    The same partition, rows and ending give the same trips everywhere, and the same bytes where isal and pyarrow pack
    them alike (version, processor). Memory doesn't grow with ``rows``. Raises ``ValueError`` for another ending or a
    negative number.
    """
    if rows < 0:
        message = f"A month can't have {rows} rows."
        raise ValueError(message)
    if path.name.endswith(".parquet"):
        _write_parquet(partition, path, rows)
    elif path.name.endswith((".csv", ".csv.gz")):
        _write_csv(partition, path, rows)
    else:
        message = f"{path.name}: a month is made as .csv.gz, .csv or .parquet."
        raise ValueError(message)


def _draw(partition: Partition, rows: int) -> Iterator[Trips]:
    for first in range(0, rows, _CHUNK):
        dice = Dice(f"{partition} {rows} {first}", min(_CHUNK, rows - first))
        trips = _KINDS[partition.color](partition, dice, journeys(partition, dice, first, rows))
        yield add_defects(partition, dice, first, rows, trips)
        tell(Event(str(partition), "extract", first + dice.count, rows))


def _write_parquet(partition: Partition, path: Path, rows: int) -> None:
    columns = parquet_columns(partition.color, partition.month)
    schema = pa.schema([(name, pa.type_for_alias(alias)) for name, alias in columns])
    compression = "zstd" if partition.month >= _ZSTD_SINCE else "gzip"
    with pq.ParquetWriter(path, schema, compression=compression, compression_level=_PARQUET_LEVEL) as writer:
        for trips in _draw(partition, rows):
            arrays = [_values(canonical(partition.color, field.name), field.type, trips) for field in schema]
            writer.write_batch(pa.record_batch(arrays, schema=schema), row_group_size=_ROW_GROUP)


def _values(column: Column, kind: pa.DataType, trips: Trips) -> pa.Array:
    """Return a column as Parquet has it."""
    values = trips[column.name]
    missing = values == NULL
    if pa.types.is_null(kind):
        return pa.nulls(len(values))
    if column.name in VOCABULARY:
        return _text_of(VOCABULARY[column.name], values).cast(kind)
    values = np.where(missing, 0, values)
    if column.type == "time":
        return pa.array(values, mask=missing).cast(pa.timestamp("s")).cast(kind)
    if column.type in _SCALES:
        return pa.array(values / _SCALES[column.type], mask=missing)
    return pa.array(values, mask=missing).cast(kind)


def _write_csv(partition: Partition, path: Path, rows: int) -> None:
    layout = csv_layout(partition.color, partition.month)
    numbers = {"money": _numbers(_WRITERS[layout.numbers][0]), "miles": _numbers(_WRITERS[layout.numbers][1])}
    with _opened(path) as file:
        file.write(_head(layout).encode())
        for trips in _draw(partition, rows):
            file.write(_lines(partition.color, layout, numbers, trips))


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file to be written, gzipped if its name says so."""
    with path.open("wb") as raw:
        if path.suffix != ".gz":
            yield raw
            return
        # No time and no name in the gzip header, or no two files would be the same.
        with igzip.IGzipFile(filename="", mode="wb", compresslevel=_GZIP_LEVEL, fileobj=raw, mtime=0) as packed:
            yield cast("BinaryIO", packed)


def _head(layout: CsvLayout) -> str:
    header = layout.header.replace(",", _QUOTED_COMMA) if layout.quoted else layout.header
    return _edge(layout) + header + _edge(layout) + layout.gap


def _lines(color: Color, layout: CsvLayout, numbers: Mapping[str, pa.Array], trips: Trips) -> memoryview:
    """Return the rows as the bytes of the file."""
    names = layout.header.split(",")
    columns = [canonical(color, name) for name in names]
    fields = [_field(layout, name, column, numbers, trips) for name, column in zip(names, columns, strict=True)]
    word = next(index for wanted in _WORD_COLUMNS for index, column in enumerate(columns) if column.name == wanted)
    fields[word] = pc.if_else(pa.array(trips["unparsable"] == WORD), _A_WORD, fields[word])
    # A torn line ends in the middle: it is joined of the first half of the fields, for the torn rows alone.
    torn = trips["unparsable"] == TORN
    half = [field.filter(pa.array(torn)) for field in fields[: len(fields) // 2]]
    lines = pc.replace_with_mask(_joined(layout, fields, layout.trailing), pa.array(torn), _joined(layout, half, ""))
    # Arrow keeps texts one after the other in one buffer, which is the file's bytes: nothing is copied.
    length = int(np.frombuffer(lines.buffers()[1], np.int32)[len(lines)])
    return memoryview(lines.buffers()[2])[:length]


def _joined(layout: CsvLayout, fields: list[pa.Array], trailing: str) -> pa.Array:
    comma = _QUOTED_COMMA if layout.quoted else ","
    lines = pc.binary_join_element_wise(*fields, comma, null_handling="replace", null_replacement="")
    return pc.binary_join_element_wise(_edge(layout), lines, _edge(layout) + trailing + CRLF, "")


def _edge(layout: CsvLayout) -> str:
    return '"' if layout.quoted else ""


def _field(layout: CsvLayout, name: str, column: Column, numbers: Mapping[str, pa.Array], trips: Trips) -> pa.Array:
    """Return a column as the layout writes it; null is nothing."""
    values = trips[column.name]
    if name in layout.empty:
        return pa.nulls(len(values), pa.string())
    if name in layout.unmetered:  # a null rate code says that the meter's data are missing
        values = np.where(trips["ratecode_id"] == NULL, NULL, values)
    if column.name in layout.words:
        others, vts = (_text_of(words, values) for words in layout.words[column.name])
        return others if others.equals(vts) else pc.if_else(pa.array(trips["vendor_id"] == _VTS), vts, others)
    if column.name in VOCABULARY:
        return _text_of(VOCABULARY[column.name], values)
    if column.type in numbers:  # looked up, not written: a month has millions, of a few thousand different ones
        return numbers[column.type].take(pa.array(values + _BOUND, mask=values == NULL))
    if column.type == "degrees":
        # 2009 to 2014 write -73.991956999999999, since 2015 what a float of 32 bits is: -74.00164794921875.
        degrees = values / _SCALES["degrees"]
        single = degrees.astype(np.float32).astype(np.float64) if layout.numbers == "sql" else degrees
        return pa.array([f"{degree:.17g}" for degree in single.tolist()])
    whole = pa.array(values, mask=values == NULL)
    return (whole.cast(pa.timestamp("s")) if column.type == "time" else whole).cast(pa.string())


def _text_of(words: tuple[str, ...], values: Numbers) -> pa.Array:
    return pa.array(words, pa.string()).take(pa.array(values, mask=values == NULL))


def _numbers(write: Callable[[int], str]) -> pa.Array:
    """Return the text of every number from ``-_BOUND`` to ``_BOUND``."""
    return pa.array([write(number) for number in range(-_BOUND, _BOUND)])


def _exact(hundredths: int) -> str:
    return f"{hundredths / 100:.17g}"


def _short(hundredths: int) -> str:
    return f"{hundredths / 100:.12g}"


def _bare(hundredths: int) -> str:
    return f"{hundredths // 100 or ''}.{hundredths % 100:02d}"


# How money and miles are written: 8.9000000000000004 and 0.5, or 8.9 and .50.
_WRITERS: Mapping[str, tuple[Callable[[int], str], Callable[[int], str]]] = {
    "binary": (_exact, _exact),
    "sql": (_short, _bare),
}
