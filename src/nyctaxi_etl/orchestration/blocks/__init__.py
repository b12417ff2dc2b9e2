"""Settings become Prefect blocks, and blocks become engines, buckets and clients. Credentials live here alone.

A database's block is made of components with a secret password: an address string would store and show it in clear.
"""

from __future__ import annotations

from nyctaxi_etl.orchestration.blocks.checking import check
from nyctaxi_etl.orchestration.blocks.opening import lake_behind, warehouse_of
from nyctaxi_etl.orchestration.blocks.registering import BlockStatus, is_configured, postgres_block, register
from nyctaxi_etl.orchestration.server.pulse import server_pulse
from nyctaxi_etl.orchestration.server.start import start_server

__all__ = [
    "BlockStatus",
    "check",
    "is_configured",
    "lake_behind",
    "postgres_block",
    "register",
    "server_pulse",
    "start_server",
    "warehouse_of",
]
