"""The key of each thing that a lake has: layer, colour, and the published file's name without its ending."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nyctaxi_etl.core.partition import Partition


def trips_key(partition: Partition) -> str:
    """Return the key of a month's rows, conformed, with the rules applied: ``trips/{color}/{stem}.parquet``."""
    return _month_key("trips", partition)


def conformed_key(partition: Partition) -> str:
    """Return the key of every row of a month that parses, which is what ELT loads: ``conformed/...``."""
    return _month_key("conformed", partition)


def rejects_key(partition: Partition) -> str:
    """Return the key of the rows of a month that were set aside, with their reasons: ``rejects/...``."""
    return _month_key("rejects", partition)


def raw_key(source: str, name: str) -> str:
    """Return the key of a file as it was published by ``source``, which may be a host and port: ``raw/...``."""
    return f"raw/{re.sub(r'[^A-Za-z0-9._-]', '_', source).strip('.') or '_'}/{name}"


def _month_key(layer: str, partition: Partition) -> str:
    return f"{layer}/{partition.color}/{partition.stem}.parquet"
