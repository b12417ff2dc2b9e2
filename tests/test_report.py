"""A report says the same to people, to machines and to scripts."""

from __future__ import annotations

import json

import pytest

from nyctaxi_etl.errors import CorruptFile, NotPublished
from nyctaxi_etl.model import Color, Month, Partition
from nyctaxi_etl.report import COLUMNS, Failure, LoadReport, Outcome, PartitionResult

JANUARY, FEBRUARY = (Partition(Color.YELLOW, Month(2021, number)) for number in (1, 2))
LOADED = PartitionResult(
    JANUARY,
    "loaded",
    "yellow_taxi_data",
    rows_read=1_369_769,
    rows_rejected=26_726,
    rows_loaded=1_343_043,
    flags={"negative_fare": 6_769},
    unknown_columns=("mystery", "other"),
    bytes=25_031_880,
    seconds=3.14159,
)
FAILED = PartitionResult(
    FEBRUARY,
    "failed",
    "yellow_taxi_data",
    seconds=1.0,
    failure=Failure.of(CorruptFile("It is cut off.", "Fetch it again.")),
)


def _report(*results: PartitionResult) -> LoadReport:
    return LoadReport("ingest", "tlc", "duckdb", results)


def test_the_dictionary_is_the_contract() -> None:
    """Scripts find exactly the promised keys, in values that JSON knows."""
    report = json.loads(json.dumps(_report(LOADED, FAILED).as_dict()))
    assert report == {
        "command": "ingest",
        "source": "tlc",
        "destination": "duckdb",
        "results": [
            {
                "partition": "yellow/2021-01",
                "color": "yellow",
                "month": "2021-01",
                "outcome": "loaded",
                "table": "yellow_taxi_data",
                "rows_read": 1_369_769,
                "rows_rejected": 26_726,
                "rows_loaded": 1_343_043,
                "flags": {"negative_fare": 6_769},
                "unknown_columns": ["mystery", "other"],
                "bytes": 25_031_880,
                "seconds": 3.142,
                "error": None,
            },
            {
                "partition": "yellow/2021-02",
                "color": "yellow",
                "month": "2021-02",
                "outcome": "failed",
                "table": "yellow_taxi_data",
                "rows_read": 0,
                "rows_rejected": 0,
                "rows_loaded": 0,
                "flags": {},
                "unknown_columns": [],
                "bytes": 0,
                "seconds": 1.0,
                "error": {"type": "CorruptFile", "message": "It is cut off.", "hint": "Fetch it again."},
            },
        ],
        "totals": {
            "months": 2,
            "rows_read": 1_369_769,
            "rows_rejected": 26_726,
            "rows_loaded": 1_343_043,
            "bytes": 25_031_880,
            "seconds": 4.142,
            "outcomes": {"failed": 1, "loaded": 1},
        },
        "exit_code": 1,
    }


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ((), 0),
        (("loaded",), 0),
        (("planned", "unchanged", "loaded"), 0),
        (("loaded", "missing"), 1),
        (("failed", "loaded"), 1),
    ],
)
def test_the_exit_code_tells_whether_every_month_is_in(outcomes: tuple[Outcome, ...], code: int) -> None:
    """Zero if all went well, one if a month failed or is missing."""
    assert _report(*(PartitionResult(JANUARY, outcome, "t") for outcome in outcomes)).exit_code == code


def test_the_text_has_a_line_a_month_the_totals_and_the_notes() -> None:
    """People read an aligned table, and below it what the numbers don't say."""
    missing = PartitionResult(FEBRUARY, "missing", "t", failure=Failure.of(NotPublished("Not there.")))
    assert _report(LOADED, missing).as_text().splitlines() == [
        "month           outcome              rows read  rejected  loaded     size     seconds",
        "yellow/2021-01  loaded               1,369,769  26,726    1,343,043  25.0 MB  3.1",
        "yellow/2021-02  missing",
        "total           1 loaded, 1 missing  1,369,769  26,726    1,343,043  25.0 MB  3.1",
        "yellow/2021-01: flagged 6,769 negative_fare",
        "yellow/2021-01: unknown columns, not loaded: mystery, other",
        "yellow/2021-02: Not there.",
    ]


def test_a_month_that_failed_shows_its_counts_and_a_planned_one_none() -> None:
    """Nothing is counted of a month that was not read."""
    assert FAILED.as_row() == ("yellow/2021-02", "failed", "0", "0", "0", "", "1.0")
    assert PartitionResult(JANUARY, "planned", "t").as_row() == ("yellow/2021-01", "planned", "", "", "", "", "")
    assert FAILED.notes() == ("yellow/2021-02: It is cut off. Fetch it again.",)


def test_the_markdown_is_a_table() -> None:
    """Every row of the Markdown has the cells of the header."""
    head, rule, *rows = _report(LOADED, FAILED).as_markdown().splitlines()
    assert head == f"| {' | '.join(COLUMNS)} |"
    assert rule == "|---|---|---|---|---|---|---|"
    assert len(rows) == 3
    assert {row.count("|") for row in rows} == {len(COLUMNS) + 1}
