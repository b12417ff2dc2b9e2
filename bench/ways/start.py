"""How long it takes to start, and to find that there is nothing to do."""

from __future__ import annotations

import sys

from bench.destinations import (
    EVERY,
    JANUARY,
    every_month,
    many_months,
    new_prefect,
    nowhere,
    one_month,
    one_of_every,
    used_prefect,
)
from bench.recipes import none, nothing_to_do, unchanged
from bench.ways.way import Way
from bench.workbench import NYCTAXI

MANY_PERIOD = ("--color", "yellow", "--year", "2021-2022")

START = (
    Way("help", "nyctaxi --help", nowhere, lambda _bench, _into: [*NYCTAXI, "--help"], none, group="start"),
    Way(
        "import-flows",
        "nyctaxi's flows, imported as a deployment does",
        nowhere,
        lambda _bench, _into: [sys.executable, "-c", "import nyctaxi_etl.flows"],
        none,
        group="start",
    ),
    Way(
        "unchanged-month",
        "nyctaxi ingest --direct, one month unchanged",
        one_month,
        nothing_to_do("ingest", *JANUARY, "--direct", source="usual"),
        unchanged,
        group="start",
    ),
    Way(
        "unchanged-month-of-700",
        "nyctaxi ingest --direct, one month unchanged, 700 in the ledger",
        one_of_every,
        nothing_to_do("ingest", *JANUARY, "--direct", source="own"),
        unchanged,
        group="start",
    ),
    Way(
        "unchanged-every-month",
        "nyctaxi ingest --direct, every month of every colour unchanged, 700 in the ledger",
        every_month,
        nothing_to_do("ingest", *EVERY, "--direct", source="own"),
        unchanged,
        group="start",
    ),
    Way(
        "unchanged-upload",
        "nyctaxi upload --direct, 24 months unchanged",
        many_months,
        nothing_to_do("upload", *MANY_PERIOD, "--direct", source="own"),
        unchanged,
        group="start",
    ),
    Way(
        "unchanged-warehouse",
        "nyctaxi warehouse --direct, 24 months unchanged",
        many_months,
        nothing_to_do("warehouse", *MANY_PERIOD, "--direct"),
        unchanged,
        group="start",
    ),
    Way(
        "unchanged-month-no-server",
        "nyctaxi ingest, one month unchanged, with Prefect and no server running",
        used_prefect,
        nothing_to_do("ingest", *JANUARY, source="usual"),
        unchanged,
        group="start",
    ),
    Way(
        "unchanged-month-first-day",
        "nyctaxi ingest, the same on the first day, when Prefect makes its database",
        new_prefect,
        nothing_to_do("ingest", *JANUARY, source="usual"),
        unchanged,
        group="start",
    ),
    Way(
        "unchanged-month-prefect",
        "nyctaxi ingest, one month unchanged, with a Prefect server running",
        one_month,
        nothing_to_do("ingest", *JANUARY, source="usual"),
        unchanged,
        group="prefect",
    ),
)
