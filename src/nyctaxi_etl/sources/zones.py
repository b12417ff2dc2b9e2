"""The zone lookup as a source publishes it: fetched and read, each row a zone of its own, or refused."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from nyctaxi_etl.core.errors import CorruptFile, NotPublished, SchemaDrift
from nyctaxi_etl.core.pace import FLOOR_BYTES
from nyctaxi_etl.core.signatures import WEB_PAGE, kind_of
from nyctaxi_etl.schema.columns import key
from nyctaxi_etl.schema.datasets import ZONES, ZONES_TABLE
from nyctaxi_etl.sources.connection import connect
from nyctaxi_etl.sources.download import download
from nyctaxi_etl.sources.registry import SOURCE_NAMES
from nyctaxi_etl.sources.request import DownloadRequest, blocked_by_page
from nyctaxi_etl.staging.files import arrow_schema

if TYPE_CHECKING:
    from nyctaxi_etl.sources.registry import Source

# What stands where others name their month: in what a download and a lake tell of themselves.
SUBJECT = "zones"
FILE = f"{ZONES_TABLE}.csv"
_PUBLISHED = f"misc/{FILE}"
# What the TLC publishes, and so the package has it.
FILE_BYTES = 12_331
CEILING_BYTES = 64 * FILE_BYTES


@dataclass(frozen=True)
class ZoneLookup:
    """The lookup as it was read: its rows in the columns of ``ZONES``, and where they came from."""

    rows: pa.Table
    url: str
    sha256: str


def read_zones(source: Source, into: Path, floor: int = FLOOR_BYTES) -> ZoneLookup:
    """Have the published file here, in the folder ``into``, and read it.

    Raises ``NotPublished`` where the source has none, ``Blocked`` for a web page, ``CorruptFile`` and ``SchemaDrift``
    for other files, ``Transient`` where no attempt to download it succeeded.
    """
    path = into / FILE
    url = _fetch(source, path, floor)
    return ZoneLookup(_parsed(path, url), url, hashlib.sha256(path.read_bytes()).hexdigest())


def _fetch(source: Source, path: Path, floor: int) -> str:
    """Put the published file to ``path`` and return where it came from."""
    if source.is_remote:
        return _download(f"{source.base}/{_PUBLISHED}", path, floor)
    if not source.base:
        path.write_bytes(resources.files("nyctaxi_etl.sources").joinpath(FILE).read_bytes())
        return f"sample:{FILE}"
    for own in (Path(source.base, _PUBLISHED), Path(source.base, FILE)):
        if own.is_file():
            if own.stat().st_size > CEILING_BYTES:
                raise _corrupt(own.as_posix(), f"larger than {CEILING_BYTES:,} bytes")
            shutil.copyfile(own, path)
            return own.as_posix()
    message = f"{SUBJECT}: not in the folder {source.base}."
    raise NotPublished(message, f"Looked for {_PUBLISHED}, {FILE}.")


def _download(url: str, path: Path, floor: int) -> str:
    """Download the file to ``path`` and return its address."""
    request = DownloadRequest(SUBJECT, url, path, floor=floor, ceiling=CEILING_BYTES)
    with connect() as client:
        published = download(client, request)
    if isinstance(published, str):
        message = f"{SUBJECT}: not published at {url}."
        raise NotPublished(message, f"Name another source: {SOURCE_NAMES} have it.")
    if kind_of(path.read_bytes()) == WEB_PAGE:
        raise blocked_by_page(SUBJECT, url)
    return url


def _parsed(path: Path, url: str) -> pa.Table:
    """Read the CSV file: each row a zone of its own, every value as it stands (``N/A`` is a text like any other)."""
    try:
        with csv.open_csv(path) as reader:
            names = list(reader.schema.names)
        as_text = csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
        rows = _named(csv.read_csv(path, convert_options=as_text), url).cast(arrow_schema(ZONES))
    except pa.ArrowInvalid as error:
        raise _corrupt(url, str(error).splitlines()[0]) from error
    ids = rows.column(ZONES[0].name)
    if rows.num_rows == 0 or ids.null_count or pc.count_distinct(ids).as_py() != rows.num_rows:
        raise _corrupt(url, "its ids are not one for each row")
    return rows


def _named(table: pa.Table, url: str) -> pa.Table:
    """Return the declared columns under their names, in their order. Raises ``SchemaDrift`` if one is lacking."""
    published = {key(name): name for name in table.schema.names}
    names = {column.name: next((published[k] for k in column.keys if k in published), "") for column in ZONES}
    lacking = [name for name, original in names.items() if not original]
    if lacking:
        message = f"{SUBJECT}: {url} has no column for {', '.join(lacking)}."
        raise SchemaDrift(message, f"Its columns are {', '.join(table.schema.names)}. Is it another file?")
    return table.select(list(names.values())).rename_columns(list(names))


def _corrupt(url: str, what: str) -> CorruptFile:
    return CorruptFile(f"{SUBJECT}: {url} can't be read ({what}).", "Replace the file, or name another `source=`.")
