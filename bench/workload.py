"""Write the months that the bench loads, and copies of the first one for the competitors that can't clean.

``python bench/workload.py FOLDER ROWS MONTHS [--copies]`` prints what it wrote as JSON.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
from pathlib import Path

import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder
from pyarrow import csv

from nyctaxi_etl.core.partition import Color, Month, Partition
from nyctaxi_etl.sample.months import write_month

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


def month(number: int) -> Partition:
    """Return a month by its number from January of ``YEAR``; the thirteenth is of the next year."""
    years, before = divmod(number - 1, MONTHS)
    return Partition(Color.YELLOW, Month(YEAR + years, before + 1))


def month_path(folder: Path, number: int) -> Path:
    """Return where the month lies in a source folder."""
    return folder / f"{month(number).stem}.csv.gz"


def write_months(folder: Path, rows: int, count: int) -> None:
    """Generate the first ``count`` months since that year with ``rows`` rows each."""
    folder.mkdir(parents=True)
    for number in range(1, count + 1):
        write_month(month(number), month_path(folder, number), rows)


def clean(raw: Path, path: Path) -> int:
    r"""Copy the lines that a typed table takes, and return how many rows those are.

    Left out are blank lines, carriage returns and rows with a field that does not parse: each of them ends ``\copy``.
    """
    kept = 0
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
    return kept


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


def write_copies(folder: Path) -> dict[str, int | str]:
    """Write ``cleaned.csv.gz`` and ``encoded.bin`` of the first month, and tell of their rows and columns."""
    cleaned = folder / "cleaned.csv.gz"
    kept = clean(month_path(folder / "months", 1), cleaned)
    encode(cleaned, folder / "encoded.bin")
    return {"cleaned_rows": kept, "ddl": ", ".join(f'"{name}" {kind}' for name, kind in COLUMNS.items())}


def main() -> None:
    """Write everything into the folder named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("rows", type=int)
    parser.add_argument("months", type=int)
    parser.add_argument("--copies", action="store_true")
    asked = parser.parse_args()
    write_months(asked.folder / "months", asked.rows, asked.months)
    copies = write_copies(asked.folder) if asked.copies else {}
    print(json.dumps({"bytes": month_path(asked.folder / "months", 1).stat().st_size, **copies}))


if __name__ == "__main__":
    main()
