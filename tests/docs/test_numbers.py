"""Numbers on the pages are those of the code: who changes one in the code is told which sentence says the old one."""

from __future__ import annotations

import pytest

from nyctaxi_etl.core import claims, limits
from nyctaxi_etl.core.pace import FLOOR_BYTES, FLOOR_SECONDS
from nyctaxi_etl.core.partition import Color
from nyctaxi_etl.core.retry import LONGEST_WAIT_SECONDS
from nyctaxi_etl.lakes import gcs_upload
from nyctaxi_etl.lakes.parquet import ROW_GROUP_BYTES, ROW_GROUP_ROWS
from nyctaxi_etl.orchestration import tasks
from nyctaxi_etl.orchestration.runners import GRACE_SECONDS
from nyctaxi_etl.orchestration.server.pulse import SILENT_SECONDS
from nyctaxi_etl.schema.datasets import FIRST_MONTHS, LARGEST_MONTH_BYTES
from nyctaxi_etl.settings import SETTINGS
from nyctaxi_etl.settings.declared import LEAST_BILLED_BYTES
from nyctaxi_etl.sources import download, registry
from nyctaxi_etl.sources.partial import RESERVE_BYTES
from nyctaxi_etl.sources.request import CEILING_BYTES
from nyctaxi_etl.warehouses.bigquery.commit import PAUSES
from nyctaxi_etl.warehouses.duckdb.warehouse import LOCK_SECONDS
from nyctaxi_etl.warehouses.postgres import locks
from nyctaxi_etl.warehouses.sqlalchemy.sqlite_file import BUSY_SECONDS
from support.pages import DOCS, ROOT

WORDS = {1: "a", 2: "two", 3: "three", 4: "four", 6: "six", 10: "ten"}


def minutes(seconds: float) -> str:
    """Return whole minutes as the pages have them."""
    return f"{WORDS[round(seconds / 60)]} minute{'s' if seconds > 60 else ''}"


def mebibytes(count: int) -> str:
    """Return bytes as the pages have them."""
    whole = count >> 20
    return f"{whole} MiB" if whole else f"{count >> 10} KiB"


def share(name: str) -> str:
    """Return a setting's share as a percentage."""
    return f"{SETTINGS[name].default:.0%}".replace("%", " %")


COURSE = registry.SOURCES["datatalks"].published[Color.YELLOW]
CLAIMS = {
    "README.md": (
        f"any month of any colour since {FIRST_MONTHS[Color.YELLOW].year}",
        f"every name since {FIRST_MONTHS[Color.YELLOW].year}",
    ),
    "docs/what-happens-when.md": (
        f"{WORDS[download.ATTEMPTS]} attempts with growing pauses",
        f"up to {minutes(LONGEST_WAIT_SECONDS)} in all",
        f"below {FLOOR_BYTES:,} bytes a second over {minutes(FLOOR_SECONDS)}",
        f"{CEILING_BYTES // LARGEST_MONTH_BYTES} times the largest month ever",
        f"the room on the disk less {mebibytes(RESERVE_BYTES)}",
        f"above {share('max_unparsable')} the month fails",
        f"the server gets {SILENT_SECONDS:.0f} seconds to come back",
    ),
    "docs/how-it-works.md": (f"{WORDS[SETTINGS['jobs'].default]} months side by side",),
    "docs/lake.md": (
        f"at most {ROW_GROUP_ROWS:,} rows and at most {mebibytes(ROW_GROUP_BYTES)} of them",
        f"until {WORDS[gcs_upload.ATTEMPTS]} attempts in a row",
        f"up to {minutes(LONGEST_WAIT_SECONDS)} in all",
        f"`NYCTAXI_BIGQUERY_MAX_BYTES` ({SETTINGS['bigquery_max_bytes'].default:,} by default)",
        f"can't be less than {LEAST_BILLED_BYTES:,}",
        f"is tried {WORDS[len(PAUSES) + 1]} times within some minutes",
    ),
    "docs/guarantees.md": (
        f"longer than {limits.REJECT_BYTES:,} bytes",
        f"| a row | {mebibytes(limits.LINE_BYTES)} |",
        f"| a line | {mebibytes(limits.ENDLESS_LINE_BYTES)} |",
        f"| {mebibytes(limits.HEADER_BYTES)}, {limits.FIELDS:,} names, ended within the first MiB |",
        f"most rows | {limits.SURPLUS_FIELDS} |",
        f"mean the same | {limits.SAME_MEANING} |",
        f"| {mebibytes(limits.UNZIPPED_BYTES)}, or {limits.UNZIPPED_RATIO} times its size",
        f"| {limits.ROWS:,}, or one for each {WORDS[limits.CSV_ROW_BYTES]} bytes of CSV",
        f"unpacked | {mebibytes(limits.PAGE_BYTES)} |",
        f"| {limits.TEXT_CHARACTERS:,} characters |",
        f"| {limits.REJECT_BYTES:,} bytes are kept |",
        f"within {WORDS[int(GRACE_SECONDS)]} seconds is left behind",
        f"| up to {minutes(LOCK_SECONDS)}, then the month fails",
        f"| up to {minutes(sum(locks._WAITS_SECONDS))} at a time",
        f"SQLite up to {minutes(BUSY_SECONDS)}",
    ),
    "docs/prefect.md": (
        f"it gets {SILENT_SECONDS:.0f} seconds to answer",
        f"{tasks._RETRIES} retries with growing, jittered pauses",
        f"replaces the month; {tasks._RETRIES} retries",
        f"into the lake; {tasks._RETRIES} retries",
    ),
    "docs/troubleshooting.md": (
        f"{WORDS[download.ATTEMPTS]} attempts with growing pauses",
        f"up to {minutes(LONGEST_WAIT_SECONDS)} in all",
        f"{CEILING_BYTES // LARGEST_MONTH_BYTES} times the largest month",
        f"More than {share('max_unparsable')} of its rows",
        f"does so for {minutes(LOCK_SECONDS)}; for SQLite {WORDS[round(BUSY_SECONDS / 60)]}",
        f"for {minutes(sum(locks._WAITS_SECONDS))}*",
    ),
    "docs/data.md": (
        f"from {FIRST_MONTHS[Color.GREEN]})",
        f"from {FIRST_MONTHS[Color.FHV]})",
        f"from {FIRST_MONTHS[Color.FHVHV]})",
        f"of more than {limits.REJECT_BYTES:,} bytes the first",
        f"more than {share('max_unparsable')} of a month's rows",
    ),
    "docs/reference.md": (
        f"yellow and green {COURSE[0]} to {COURSE[1]}",
        f"yellow since {FIRST_MONTHS[Color.YELLOW]}",
    ),
}


@pytest.mark.parametrize(("page", "text"), [(page, text) for page, texts in CLAIMS.items() for text in texts])
def test_numbers_are_those_of_the_code(page: str, text: str) -> None:
    """The page has the sentence with the number that the code has."""
    assert text in (ROOT / page).read_text(encoding="utf-8")


def test_rules_of_thumb_are_those_of_the_code() -> None:
    """What the pages say in words: a day of cache, a day until leftovers go, half of the pickups, a whole MiB."""
    assert tasks._CACHE.days == 1
    assert "cached for one day" in (DOCS / "prefect.md").read_text(encoding="utf-8")
    assert claims._STALE_SECONDS == 24 * 3600
    assert "it removes after a day" in (DOCS / "guarantees.md").read_text(encoding="utf-8")
    assert SETTINGS["max_outside_month"].default == 1 / 2
    assert "more than half of its pickups" in (DOCS / "data.md").read_text(encoding="utf-8")
    assert limits.HEAD_BYTES == 1 << 20
    assert "ended within the first MiB" in (DOCS / "guarantees.md").read_text(encoding="utf-8")
