"""Every command, declared once: its name, what it does, and which settings are its options.

What a command needs follows from its options: one that takes ``source`` reads a source, one that takes ``lake`` passes
the lake, one that takes ``to`` ends in a warehouse.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """A command: ``summary`` is its line in the list of commands, ``about`` the first sentence of its own help.

    ``options`` are settings, by their names, in the order of ``--help``.
    """

    name: str
    summary: str
    about: str
    options: tuple[str, ...]

    def __str__(self) -> str:
        return self.name

    def takes(self, setting: str) -> bool:
        """Tell whether a setting is an option of this command."""
        return setting in self.options


_WHAT = ("color", "year", "months")
_HOW = ("dry_run", "json", "data_dir", "verbose", "debug")
_RUN = ("jobs", "force", "dry_run", "json", "direct", "data_dir", "verbose", "debug")

INGEST = Command(
    "ingest",
    "Bring months into a warehouse.",
    "Bring months from a source into a warehouse; each month is wholly the old or wholly the new one.",
    (*_WHAT, "source", "to", "table", *_RUN),
)
UPLOAD = Command(
    "upload",
    "Bring months into the lake.",
    "Bring months from a source into the lake, as Parquet, with what is known of them.",
    (*_WHAT, "source", "lake", "mode", "raw", *_RUN),
)
WAREHOUSE = Command(
    "warehouse",
    "Bring months from the lake into a warehouse.",
    "Bring months from the lake into a warehouse; each month is wholly the old or wholly the new one.",
    (*_WHAT, "lake", "to", "table", "mode", *_RUN),
)
ZONES = Command(
    "zones",
    "Bring the names of zones into the lake and a warehouse.",
    "Bring the lookup of zones, which trips refer to, from a source into the lake and a warehouse, as a whole.",
    ("source", "lake", "to", *_HOW),
)
BLOCKS_INIT = Command(
    "blocks-init",
    "Register Prefect blocks.",
    "Register credentials from the settings as Prefect blocks; those already there are replaced.",
    ("check", "json", "verbose", "debug"),
)

# The commands on months, each of which is a flow, too.
ON_MONTHS = (INGEST, UPLOAD, WAREHOUSE)
# Every command that has settings for options.
COMMANDS = {command.name: command for command in (*ON_MONTHS, ZONES, BLOCKS_INIT)}
# Every setting that some command has for an option.
OPTIONS = frozenset(name for command in COMMANDS.values() for name in command.options)
