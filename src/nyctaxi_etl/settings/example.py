"""The file ``.env.example``, made of the rows of settings."""

from __future__ import annotations

from itertools import groupby

from nyctaxi_etl.settings.declared import SETTINGS

_HEAD = """\
# Settings of nyctaxi. Copy this file to .env, and take away the # before those that you change.
# The command line wins over the environment, and the environment over .env. Never put .env into Git.
# In single quotes a value is taken as it stands, but for ${NAME}, which is replaced by a variable everywhere in this
# file; put a backslash before a single quote and before a backslash. Without quotes, blanks at the end and what follows
# " #" are left out. nyctaxi warns of each that it reads otherwise than it stands here.
"""


def env_example() -> str:
    """Return the text of ``.env.example``: each setting with its default, commented out, and what it means."""
    parts = [_HEAD]
    for section, rows in groupby(SETTINGS.values(), key=lambda row: row.section):
        parts.append(f"# -- {section} --\n")
        parts += [f"# {row.about}\n#{row.variable}={row.default_text}\n" for row in rows]
    return "\n".join(parts)
