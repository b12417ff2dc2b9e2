"""A report says the same to people, to machines and to scripts."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from nyctaxi_etl.core.amounts import size
from nyctaxi_etl.core.errors import CorruptFile, NotPublished
from nyctaxi_etl.core.partition import Color, Month, Partition
from nyctaxi_etl.core.report import COLUMNS, Failure, LoadReport, Outcome, PartitionResult

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
    started=1000.5,
)
FAILED = PartitionResult(
    FEBRUARY,
    "failed",
    "yellow_taxi_data",
    seconds=1.0,
    started=1000.0,
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
                "replaced": None,
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
                "replaced": None,
            },
        ],
        "totals": {
            "months": 2,
            "rows_read": 1_369_769,
            "rows_rejected": 26_726,
            "rows_loaded": 1_343_043,
            "bytes": 25_031_880,
            "seconds": 4.142,
            "wall_seconds": 3.642,
            "outcomes": {"failed": 1, "loaded": 1},
        },
        "notes": [],
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
        "month           outcome              rows read  rejected     loaded     size  seconds",
        "yellow/2021-01  loaded               1,369,769    26,726  1,343,043  25.0 MB      3.1",
        "yellow/2021-02  missing",
        "total           1 loaded, 1 missing  1,369,769    26,726  1,343,043  25.0 MB      3.1",
        "yellow/2021-01: flagged 6,769 negative_fare",
        "yellow/2021-01: unknown columns, not loaded: mystery, other",
        "yellow/2021-02: Not there.",
    ]


def test_a_month_that_failed_shows_its_counts_and_a_planned_one_none() -> None:
    """Nothing is counted of a month that was not read."""
    assert FAILED.as_row() == ("yellow/2021-02", "failed", "0", "0", "0", "", "1.0")
    assert PartitionResult(JANUARY, "planned", "t").as_row() == ("yellow/2021-01", "planned", "", "", "", "", "")
    assert _report(FAILED).as_notes() == ["yellow/2021-02: It is cut off. Fetch it again."]


def test_the_markdown_is_a_table() -> None:
    """Every row of the Markdown has the cells of the header."""
    head, rule, *rows = _report(LOADED, FAILED).as_markdown().splitlines()
    assert head == f"| {' | '.join(COLUMNS)} |"
    assert rule == "|---|---|---|---|---|---|---|"
    assert len(rows) == 3
    assert {row.count("|") for row in rows} == {len(COLUMNS) + 1}


def _missing(color: Color, year: int, number: int) -> PartitionResult:
    partition = Partition(color, Month(year, number))
    error = NotPublished("Not in the folder.", f"Looked for {partition.stem}.csv.")
    return PartitionResult(partition, "missing", "t", seconds=0.25, failure=Failure.of(error))


def test_months_of_which_the_same_is_said_are_one_row_and_one_note() -> None:
    """A range of months is a row and a note; a gap, another colour and another reason begin a new one."""
    months = [_missing(Color.GREEN, 2020 + number // 12, number % 12 + 1) for number in range(15)]
    other = PartitionResult(Partition(Color.GREEN, Month(2021, 4)), "failed", "t", failure=Failure("E", "Broken.", ""))
    report = _report(*months, other, _missing(Color.GREEN, 2021, 5), _missing(Color.FHV, 2021, 6), LOADED)
    assert [row[:2] for row in report.as_rows()[:-1]] == [
        ("green/2020-01 to\N{NO-BREAK SPACE}2021-03", "missing"),
        ("green/2021-04", "failed"),
        ("green/2021-05", "missing"),
        ("fhv/2021-06", "missing"),
        ("yellow/2021-01", "loaded"),
    ]
    assert report.as_rows()[0][-1] == "3.8"
    assert report.as_notes()[:3] == [
        "green 2020-01 to 2021-03, 2021-05: Not in the folder (16 months). Looked for green_tripdata_YYYY-MM.csv.",
        "green/2021-04: Broken.",
        "fhv/2021-06: Not in the folder. Looked for fhv_tripdata_2021-06.csv.",
    ]
    assert len(report.as_dict()["results"]) == 19


def test_equal_failures_and_unknown_columns_are_one_note() -> None:
    """So are months that failed for one reason, or have the same unknown columns; their counts stay rows."""
    failures = [
        PartitionResult(partition, "failed", "t", failure=Failure("E", f"No room for {partition.month}.", "Make room."))
        for partition in (JANUARY, FEBRUARY)
    ]
    loaded = [replace(LOADED, partition=partition, flags={}) for partition in (JANUARY, FEBRUARY)]
    assert [row[0] for row in _report(*failures).as_rows()] == ["yellow/2021-01 to\N{NO-BREAK SPACE}2021-02", "total"]
    assert _report(*failures).as_notes() == [
        "yellow 2021-01 to 2021-02: No room for YYYY-MM (2 months). Make room.",
    ]
    assert [row[0] for row in _report(*loaded).as_rows()] == ["yellow/2021-01", "yellow/2021-02", "total"]
    assert _report(*loaded).as_notes() == [
        "yellow 2021-01 to 2021-02: unknown columns, not loaded: mystery, other (2 months)",
    ]


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (40, ("month", "outcome", "loaded")),
        (60, ("month", "outcome", "rows read", "rejected", "loaded")),
        (80, COLUMNS),
        (120, COLUMNS),
    ],
)
def test_a_narrow_table_leaves_columns_out_and_cuts_nothing(width: int, columns: tuple[str, ...]) -> None:
    """Size goes first, then seconds, then what was rejected; every cell that is shown is whole."""
    unchanged = replace(LOADED, partition=FEBRUARY, outcome="unchanged")
    missing = [_missing(Color.YELLOW, 2021, number) for number in range(3, 13)]
    report = _report(LOADED, unchanged, *missing)
    table = report.as_table(width)
    assert {len(line) for lines in table for line in lines} <= set(range(width + 1))
    assert len({len(line) for lines in table for line in lines}) == 1
    shown = [COLUMNS.index(name) for name in columns]
    for lines, row in zip(table, [COLUMNS, *report.as_rows()], strict=True):
        words = [word for index in shown for word in row[index].split()]
        assert sorted(" ".join(lines).split()) == sorted(words)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (27_123, "27.1 kB"),
        (999_960, "1.0 MB"),
        (25_031_880, "25.0 MB"),
        (1_234_000_000, "1.2 GB"),
        (5e16, "50,000.0 TB"),
    ],
)
def test_sizes_have_a_unit_that_fits(count: float, text: str) -> None:
    """A small file is never shown as 0.0 MB."""
    assert size(count) == text
