"""The zone lookup: which zone and borough the ids of trips mean. From the source into the lake and the warehouse."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from nyctaxi_etl.core.errors import CorruptFile, NotPublished, SchemaDrift
from nyctaxi_etl.core.pace import FLOOR_BYTES
from nyctaxi_etl.lakes.parquet import write_parquet
from nyctaxi_etl.orchestration import connections as places
from nyctaxi_etl.schema.columns import key
from nyctaxi_etl.schema.datasets import ZONES, ZONES_TABLE
from nyctaxi_etl.sources.download import Want, blocked_by_page, connect, download
from nyctaxi_etl.staging.files import arrow_schema
from nyctaxi_etl.warehouses.lookup import replace_lookup

if TYPE_CHECKING:
    from nyctaxi_etl.pipelines.ingest import Job
    from nyctaxi_etl.sources.registry import Source

FILE = f"{ZONES_TABLE}.csv"
KEY = f"zones/{ZONES_TABLE}.parquet"
_PUBLISHED = f"misc/{FILE}"
# What stands where others name their month: in what a download and a lake tell of themselves.
_NAME = "zones"
# What the TLC publishes, and so the package has it.
FILE_BYTES = 12_331
_CEILING_BYTES = 64 * FILE_BYTES
_PAGE = (b"<!doctype html", b"<html")


@dataclass(frozen=True)
class Lookup:
    """The lookup as it was read: its rows, and where they came from."""

    rows: pa.Table
    url: str
    sha256: str


def load(job: Job) -> Lookup:
    """Bring the lookup from the job's source into its lake and its warehouse, in place of what is there.

    Raises ``NotPublished`` where the source has none, ``Blocked`` for a web page, ``CorruptFile`` and ``SchemaDrift``
    for other files; then nothing is changed. ``WarehouseError`` for a table of that name that isn't ours.
    """
    with tempfile.TemporaryDirectory() as folder:
        lookup = read(job.source, Path(folder), job.min_speed)
        path = Path(folder, Path(KEY).name)
        facts = {"source": job.source.name, "source_url": lookup.url, "source_sha256": lookup.sha256}
        write_parquet(lookup.rows.to_batches(), lookup.rows.schema, path, facts)
        # The warehouse first: it is the one that may hold something that isn't ours.
        with places.warehouse_of(job) as warehouse:
            replace_lookup(warehouse, ZONES_TABLE, ZONES, lookup.rows)
        places.lake_of(job).put(KEY, path, facts, _NAME)
    return lookup


def report(job: Job, lookup: Lookup | None) -> dict[str, Any]:
    """Return what was done, as JSON has it; nothing was (``--dry-run``) without a ``lookup``."""
    result = {
        "outcome": "loaded" if lookup else "planned",
        "table": ZONES_TABLE,
        "key": KEY,
        "rows_loaded": lookup.rows.num_rows if lookup else 0,
        "source_url": lookup.url if lookup else "",
        "error": None,
    }
    source = job.source.base or job.source.name
    between = {"source": source, "lake": job.lake, "destination": job.to}
    return {"command": "zones", **between, "results": [result], "exit_code": 0}


def read(source: Source, into: Path, floor: int = FLOOR_BYTES) -> Lookup:
    """Have the published file here, in the folder ``into``, and read it."""
    path = into / FILE
    url = _fetch(source, path, floor)
    return Lookup(_parsed(path, url), url, hashlib.sha256(path.read_bytes()).hexdigest())


def _fetch(source: Source, path: Path, floor: int) -> str:
    """Put the published file to ``path`` and return where it came from."""
    if source.is_remote:
        return _download(f"{source.base}/{_PUBLISHED}", path, floor)
    if not source.base:
        path.write_bytes(resources.files("nyctaxi_etl").joinpath(FILE).read_bytes())
        return f"sample:{FILE}"
    for found in (Path(source.base, _PUBLISHED), Path(source.base, FILE)):
        if found.is_file():
            if found.stat().st_size > _CEILING_BYTES:
                raise _corrupt(found.as_posix(), f"larger than {_CEILING_BYTES:,} bytes")
            shutil.copyfile(found, path)
            return found.as_posix()
    message = f"zones: not in the folder {source.base}."
    raise NotPublished(message, f"Looked for {_PUBLISHED}, {FILE}.")


def _download(url: str, path: Path, floor: int) -> str:
    with connect() as client:
        published = download(client, Want(_NAME, url, path, floor=floor, ceiling=_CEILING_BYTES))
    if isinstance(published, str):
        message = f"zones: not published at {url}."
        raise NotPublished(message, "Name another source: tlc and datatalks have it, and so has sample.")
    if path.read_bytes().lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGE):
        raise blocked_by_page(_NAME, url)
    return url


def _parsed(path: Path, url: str) -> pa.Table:
    """Read the CSV file: each row a zone of its own, every value as it stands (``N/A`` is a text like any other)."""
    try:
        as_text = csv.ConvertOptions(column_types=dict.fromkeys(_header(path), pa.string()), strings_can_be_null=False)
        table = csv.read_csv(path, convert_options=as_text)
        rows = _named(table, url).cast(arrow_schema(ZONES))
    except pa.ArrowInvalid as error:
        raise _corrupt(url, str(error).splitlines()[0]) from error
    ids = rows.column(ZONES[0].name)
    if rows.num_rows == 0 or ids.null_count or pc.count_distinct(ids).as_py() != rows.num_rows:
        raise _corrupt(url, "its ids are not one for each row")
    return rows


def _header(path: Path) -> list[str]:
    with csv.open_csv(path) as reader:
        return list(reader.schema.names)


def _named(table: pa.Table, url: str) -> pa.Table:
    there = {key(name): name for name in table.schema.names}
    names = {column.name: next((there[k] for k in column.keys if k in there), "") for column in ZONES}
    lacking = [name for name, published in names.items() if not published]
    if lacking:
        message = f"zones: {url} has no column for {', '.join(lacking)}."
        raise SchemaDrift(message, f"Its columns are {', '.join(table.schema.names)}. Is it another file?")
    return table.select(list(names.values())).rename_columns(list(names))


def _corrupt(url: str, what: str) -> CorruptFile:
    return CorruptFile(f"zones: {url} can't be read ({what}).", "Replace the file, or name another --source.")
