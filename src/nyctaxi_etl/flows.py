"""The commands as Prefect flows, where deployments look for them: see ``orchestration.flows``."""

from nyctaxi_etl.core.errors import IncompleteRun
from nyctaxi_etl.orchestration.flows import ingest, upload, warehouse

__all__ = ["IncompleteRun", "ingest", "upload", "warehouse"]
