"""Write the months that the bench loads, and copies of the first one for the peers that can't clean.

``python bench/workload.py FOLDER ROWS COUNT --forms csv parquet [--copies]`` writes into ``FOLDER/months/FORM`` and
prints what it wrote as JSON. Parquet is the first month alone, as the TLC publishes these years.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
from itertools import product
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pgpq import ArrowToPostgresBinaryEncoder
from pyarrow import csv

from nyctaxi_etl.core.partition import Color, Month, Partition
from nyctaxi_etl.sample.months import write_month
from nyctaxi_etl.schema.datasets import FIRST_MONTHS

# The columns of a yellow month of 2021 as DataTalksClub publishes it.
COLUMNS = {
    "VendorID": "smallint",
    "tpep_pickup_datetime": "timestamp",
    "tpep_dropoff_datetime": "timestamp",
    "passenger_count": "smallint",
    "trip_distance": "double precision",
    "RatecodeID": "smallint",
    "store_and_fwd_flag": "text",
    "PULocationID": "smallint",
    "DOLocationID": "smallint",
    "payment_type": "smallint",
    "fare_amount": "double precision",
    "extra": "double precision",
    "mta_tax": "double precision",
    "tip_amount": "double precision",
    "tolls_amount": "double precision",
    "improvement_surcharge": "double precision",
    "total_amount": "double precision",
    "congestion_surcharge": "double precision",
}
ARROW = {
    "smallint": pa.int16(),
    "timestamp": pa.timestamp("us"),
    "double precision": pa.float64(),
    "text": pa.string(),
}
PATTERNS = {
    "smallint": rb"\d*",
    "timestamp": rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d",
    "double precision": rb"-?\d*(?:\.\d+)?",
    "text": rb"[^,]*",
}
WHOLE_LINE = re.compile(b",".join(PATTERNS[kind] for kind in COLUMNS.values()))
YEAR = 2021
MONTHS = 12
PASSENGERS = list(COLUMNS).index("passenger_count")
# The published months of 2021 are gzip; Arrow packs at level 9 otherwise, which takes five times as long to make and no
# other time to read.
GZIP_LEVEL = 3


def month(number: int) -> Partition:
    """Return a month by its number from January of ``YEAR``; the thirteenth is of the next year."""
    years, before = divmod(number - 1, MONTHS)
    return Partition(Color.YELLOW, Month(YEAR + years, before + 1))


def write_csv(folder: Path, rows: int, count: int) -> None:
    """Generate the first ``count`` months since that year with ``rows`` rows each."""
    for partition in map(month, range(1, count + 1)):
        write_month(partition, folder / f"{partition.stem}.csv.gz", rows)


def write_parquet(folder: Path, rows: int, _count: int) -> None:
    """Generate the first month as the TLC publishes it: the official columns in one row group, gzip, version 1.0.

    The generator's own row groups are small, which is other work to read.
    """
    path = folder / f"{month(1).stem}.parquet"
    write_month(month(1), path, rows)
    table = pq.read_table(path)
    packed = {"compression": "gzip", "compression_level": GZIP_LEVEL}
    pq.write_table(table, path, row_group_size=max(1, len(table)), version="1.0", **packed)


def write_every(folder: Path, rows: int, count: int) -> None:
    """Generate all months of all colours in ``count`` years since 2009."""
    first = FIRST_MONTHS[Color.YELLOW].year
    months = [Month(year, number) for year, number in product(range(first, first + count), range(1, MONTHS + 1))]
    for color, one in product(Color, months):
        if one >= FIRST_MONTHS[color]:
            partition = Partition(color, one)
            write_month(partition, folder / f"{partition.stem}.parquet", rows)


WRITERS = {"csv": write_csv, "parquet": write_parquet, "every": write_every}


def clean(raw: Path, path: Path) -> tuple[int, int]:
    r"""Copy the lines that a typed table takes; return how many rows those are, and how many without passengers.

    Left out are blank lines, carriage returns and rows with a field that does not parse: each of them ends ``\copy``.
    """
    kept = empty = 0
    with gzip.open(raw) as lines, gzip.open(path, "wb", compresslevel=6) as output:
        header = next(lines).strip()
        if header.decode().split(",") != list(COLUMNS):
            message = f"{raw.name} has other columns than expected: {header.decode()}"
            raise SystemExit(message)
        output.write(header + b"\n")
        for line in lines:
            text = line.rstrip(b"\r\n")
            if text and WHOLE_LINE.fullmatch(text):
                output.write(text + b"\n")
                kept += 1
                empty += text.split(b",")[PASSENGERS] == b"0"
    return kept, empty


def encode(cleaned: Path, path: Path) -> None:
    """Write the same rows as Postgres' binary COPY takes them."""
    types = {name: ARROW[kind] for name, kind in COLUMNS.items()}
    options = csv.ConvertOptions(column_types=types, strings_can_be_null=True)
    with csv.open_csv(cleaned, convert_options=options) as reader, path.open("wb") as output:
        encoder = ArrowToPostgresBinaryEncoder(reader.schema)
        output.write(encoder.write_header())
        for batch in reader:
            output.write(encoder.write_batch(batch))
        output.write(encoder.finish())


def write_copies(folder: Path) -> dict[str, object]:
    """Write ``cleaned.csv.gz`` and ``encoded.bin`` of the first month, and tell of their rows and columns."""
    cleaned, months = folder / "cleaned.csv.gz", folder / "months"
    kept, empty = clean(months / "csv" / f"{month(1).stem}.csv.gz", cleaned)
    encode(cleaned, folder / "encoded.bin")
    passengers = pq.read_table(months / "parquet" / f"{month(1).stem}.parquet", columns=["passenger_count"])[0]
    counts = {
        "cleaned": kept,
        "cleaned_kept": kept - empty,
        "parquet_kept": len(passengers) - pc.sum(pc.equal(passengers, 0)).as_py(),
    }
    return {"counts": counts, "ddl": ", ".join(f'"{name}" {kind}' for name, kind in COLUMNS.items())}


def main() -> None:
    """Write everything into the folder named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("rows", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("--forms", nargs="+", choices=WRITERS, default=["csv"])
    parser.add_argument("--copies", action="store_true")
    asked = parser.parse_args()
    for form in asked.forms:
        folder = asked.folder / "months" / form
        folder.mkdir(parents=True)
        WRITERS[form](folder, asked.rows, asked.count)
    print(json.dumps(write_copies(asked.folder) if asked.copies else {}))


if __name__ == "__main__":
    main()
