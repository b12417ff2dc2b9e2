"""The zone lookup: which zone and borough the ids of trips mean. From the source into the lake and the warehouse."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nyctaxi_etl.lakes.parquet import write_parquet
from nyctaxi_etl.schema.datasets import ZONES, ZONES_TABLE
from nyctaxi_etl.sources.zones import SUBJECT, read_zones

if TYPE_CHECKING:
    from nyctaxi_etl.pipelines.destination import OpenWarehouse
    from nyctaxi_etl.pipelines.job import Job
    from nyctaxi_etl.pipelines.upload import OpenLake
    from nyctaxi_etl.sources.zones import ZoneLookup

KEY = f"zones/{ZONES_TABLE}.parquet"


def load_zones(job: Job, open_lake: OpenLake, open_warehouse: OpenWarehouse) -> ZoneLookup:
    """Bring the lookup from the job's source into its lake and its warehouse, in place of what is there.

    Raises ``NotPublished`` where the source has none, ``Blocked`` for a web page, ``CorruptFile`` and ``SchemaDrift``
    for other files; then nothing is changed. ``WarehouseError`` for a table of that name that isn't ours.
    """
    with tempfile.TemporaryDirectory() as folder:
        lookup = read_zones(job.source, Path(folder), job.min_speed)
        path = Path(folder, Path(KEY).name)
        metadata = {"source": job.source.name, "source_url": lookup.url, "source_sha256": lookup.sha256}
        write_parquet(lookup.rows.to_batches(), lookup.rows.schema, path, metadata)
        # The warehouse first: it is the one that may hold something that isn't ours.
        with open_warehouse(job) as warehouse:
            warehouse.replace_table(ZONES_TABLE, ZONES, lookup.rows)
        open_lake(job).put(KEY, path, metadata, SUBJECT)
    return lookup


def zones_report(job: Job, lookup: ZoneLookup | None) -> dict[str, Any]:
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
