"""Settings: declared in ``declared``, read from the environment and ``.env``, the command line put over them.

Every option of the command line has a setting of the same name, so that a team sets its defaults once.
"""

from nyctaxi_etl.settings.declared import SETTINGS, Setting, Settings
from nyctaxi_etl.settings.environment import (
    OutputSettings,
    bigquery_emulator,
    output_settings,
    settings,
    storage_emulator,
    warnings,
)
from nyctaxi_etl.settings.prefect_defaults import has_prefect_server, prepare_prefect

__all__ = [
    "SETTINGS",
    "OutputSettings",
    "Setting",
    "Settings",
    "bigquery_emulator",
    "has_prefect_server",
    "output_settings",
    "prepare_prefect",
    "settings",
    "storage_emulator",
    "warnings",
]
