"""Versions of packages that don't work together, as data: what pyproject.toml rules out, and why."""

from __future__ import annotations

from typing import NamedTuple


class BadPair(NamedTuple):
    """``versions`` of ``package`` don't work beside ``beside_versions`` of ``beside``; ``why`` says what breaks.

    Names are PyPI's, in lower case; versions are PEP 440 ranges, empty for all.
    """

    package: str
    versions: str
    beside: str
    beside_versions: str
    why: str


BAD_PAIRS = (
    BadPair(
        "sqlalchemy",
        ">=2.1",
        "prefect",
        "",
        "Prefect's server schedules nothing: its scheduler ends in `Can't evaluate bulk DML statement` (3.8.8, 2.1.9).",
    ),
    BadPair(
        "fastapi",
        ">=0.151",
        "prefect",
        "",
        "Prefect's server does not start: `Body() got an unexpected keyword argument 'min_items'` (3.8.8, 0.158.2).",
    ),
)
