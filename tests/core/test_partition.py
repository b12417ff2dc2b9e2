"""Months, ranges, partitions: what a user writes becomes values, and nonsense one clear line."""

from __future__ import annotations

import os
from datetime import date, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nyctaxi_etl.core.errors import UsageError
from nyctaxi_etl.core.partition import Color, Month, Partition
from nyctaxi_etl.core.selection import parse_colors, parse_months, parse_years, select
from nyctaxi_etl.schema.datasets import FIRST_MONTHS
from support.published import raw_file

if TYPE_CHECKING:
    from pathlib import Path

MONTHS = st.builds(Month, st.integers(1, 9999), st.integers(1, 12))
TODAY = date(2021, 6, 15)


@given(MONTHS)
def test_parse_is_the_inverse_of_str(month: Month) -> None:
    """A month can be written and read back."""
    assert Month.parse(str(month)) == month
    assert Month.of(month.first_day) == month


@given(MONTHS, MONTHS)
def test_months_are_ordered_as_their_days_and_names(one: Month, other: Month) -> None:
    """Months compare as time does, and so do their names."""
    assert (one < other) == (one.first_day < other.first_day) == (str(one) < str(other))


@given(st.builds(Month, st.integers(1, 9998), st.integers(1, 12)))
def test_the_next_month_begins_where_this_one_ends(month: Month) -> None:
    """No instant is in two months or in none."""
    days = (month.next.first_day - month.first_day).days
    assert 28 <= days <= 31
    assert month.next > month
    assert month.start == datetime.combine(month.first_day, datetime.min.time())


@pytest.mark.parametrize(
    "text",
    ["2021-1", "2021-13", "2021-00", "0000-01", "21-01", "2021-01 ", "", "\uff12\uff10\uff12\uff11-01", "2021/01"],
)
def test_what_is_no_month_is_refused(text: str) -> None:
    """A month is four digits, a hyphen and two."""
    with pytest.raises(UsageError, match=r"is not a (month|year)"):
        Month.parse(text)


@pytest.mark.parametrize(("year", "number"), [(0, 1), (10_000, 1), (-1, 1), (2021, 0), (2021, 13)])
def test_a_month_out_of_the_calendar_is_refused(year: int, number: int) -> None:
    """There is no thirteenth month and no year 0."""
    with pytest.raises(UsageError) as caught:
        Month(year, number)
    assert caught.value.hint


def test_a_partition_has_one_name() -> None:
    """The colour and month are named the same way everywhere, and so is the published file."""
    partition = Partition(Color.FHVHV, Month(2019, 2))
    assert (str(partition), partition.stem) == ("fhvhv/2019-02", "fhvhv_tripdata_2019-02")


@pytest.mark.parametrize(
    ("text", "months"),
    [
        ("1", (1,)),
        ("1-3", (1, 2, 3)),
        ("1,3,5-7", (1, 3, 5, 6, 7)),
        ("7,1", (1, 7)),
        ("1-3,2-4", (1, 2, 3, 4)),
        (" 1 - 3 ", (1, 2, 3)),
        ("01-12", tuple(range(1, 13))),
    ],
)
def test_months_are_read(text: str, months: tuple[int, ...]) -> None:
    """Ranges and lists of months may be mixed; each month comes once, in order."""
    assert parse_months(text) == months


@pytest.mark.parametrize(
    "text", ["0", "13", "3-1", "1-", "-3", "", ",", "1,", "one", "1.5", "1-2-3", "0-5", "12-13", "\uff11"]
)
def test_months_that_are_none_are_refused(text: str) -> None:
    """Nonsense names the argument and what was given, and shows how it is written."""
    with pytest.raises(UsageError, match=f"^months={text}: ") as caught:
        parse_months(text)
    assert "1-3" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "years"), [("2021", (2021,)), ("2019-2021", (2019, 2020, 2021)), ("2021,2019", (2019, 2021))]
)
def test_years_are_read(text: str, years: tuple[int, ...]) -> None:
    """A year, a range or a list."""
    assert parse_years(text) == years


@pytest.mark.parametrize("text", ["20211", "2021-2019", "x", "", "21", "0", "21-2021"])
def test_years_that_are_none_are_refused(text: str) -> None:
    """Nonsense names the argument."""
    with pytest.raises(UsageError, match=r"^year="):
        parse_years(text)


def test_colors_are_read() -> None:
    """Colours may be repeated, listed and written in capitals; each comes once, in the order given."""
    assert parse_colors(["Green,yellow", " fhv ", "green"]) == (Color.GREEN, Color.YELLOW, Color.FHV)


@pytest.mark.parametrize(
    ("texts", "word"), [(["pink"], "pink"), (["yellow,pink"], "pink"), ([], "nothing"), ([" ,"], "nothing")]
)
def test_colors_that_are_none_are_refused(texts: list[str], word: str) -> None:
    """An unknown colour is named, and so are the known ones."""
    with pytest.raises(UsageError, match=f"{word} is not a colour") as caught:
        parse_colors(texts)
    assert "yellow, green, fhv, fhvhv" in caught.value.hint


def test_a_request_is_laid_out_in_order() -> None:
    """Every colour, year and month of a request is a partition, and nothing is left out without a note."""
    kept, notes = select([Color.YELLOW, Color.GREEN], [2020, 2019], [1, 2], FIRST_MONTHS, TODAY)
    months = ["2019-01", "2019-02", "2020-01", "2020-02"]
    assert [str(partition) for partition in kept] == [
        f"{color}/{month}" for color in ("yellow", "green") for month in months
    ]
    assert notes == ()


def test_months_that_cannot_be_are_left_out_with_a_note() -> None:
    """Months before the first published one, and months that have not begun, are left out of a range."""
    kept, notes = select([Color.FHVHV], [2019, 2021], range(1, 13), FIRST_MONTHS, TODAY)
    assert (str(kept[0]), str(kept[-1]), len(kept)) == ("fhvhv/2019-02", "fhvhv/2021-06", 17)
    assert notes == (
        "Left out 1 month of fhvhv before 2019-02, its first published one.",
        "Left out 6 months of fhvhv not begun yet.",
    )


@pytest.mark.parametrize(("year", "words"), [(1999, "before 2009-01"), (2999, "not begun yet")])
def test_a_request_of_which_nothing_remains_is_refused(year: int, words: str) -> None:
    """A request of no month at all says why."""
    with pytest.raises(UsageError, match=words):
        select([Color.YELLOW], [year], [1], FIRST_MONTHS, TODAY)


def test_a_raw_file_knows_whether_it_is_unchanged(tmp_path: Path) -> None:
    """A file that was changed, touched or removed since it was hashed is no longer current."""
    path = tmp_path / "yellow_tripdata_2021-01.csv"
    path.write_text("a")
    raw = raw_file(path, Partition(Color.YELLOW, Month(2021, 1)))
    assert raw.is_current()
    os.utime(path, ns=(0, 0))
    assert not raw.is_current()
    path.unlink()
    assert not raw.is_current()


def test_a_partition_is_read_as_it_is_written() -> None:
    """``yellow/2021-01`` and nothing else."""
    partition = Partition(Color.FHV, Month(2019, 1))
    assert Partition.parse(str(partition)) == partition
    for text in ("fhv", "fhv/2019", "blue/2019-01", "", "fhv/2019-01/x", "FHV/2019-01"):
        with pytest.raises(UsageError):
            Partition.parse(text)
