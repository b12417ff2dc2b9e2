"""What a server answers is taken for what it is: a file, nothing, a refusal, or nonsense."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest
import stamina
import stamina.instrumentation

from nyctaxi_etl.core import retry as retrying
from nyctaxi_etl.core.errors import Blocked, NotPublished, Transient
from nyctaxi_etl.core.progress import Event, listening
from nyctaxi_etl.core.retry import may_pass
from nyctaxi_etl.sources import registry as sources
from nyctaxi_etl.sources.download import ATTEMPTS
from nyctaxi_etl.sources.fetch import fetch
from support.january import (
    GZIP,
    HALF,
    JANUARY,
    PARQUET,
    sha256_of,
    source_of,
    visible_files,
)
from support.web import NO_SUCH_KEY, PAGE, Fault, Site

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "headers",
    [
        {"ETag": '"\xff"'},
        {"ETag": '"' + "x" * 9000 + '"'},
        {"ETag": "\x01"},
        {"ETag": "", "Last-Modified": "Fri, 06 Nov 1994 08:49:37 GMT\xe9"},
        {"ETag": "", "Last-Modified": "Fri, 06 Nov 1994 08:49:37 +99999999999"},
        {"ETag": "", "Last-Modified": "Mon, 01 Jan 0001 00:00:00 +2359"},
        {"ETag": "", "Last-Modified": "yesterday"},
        {"ETag": "", "Date": "Fri, 06 Nov 1994 08:49:37 -99999999999"},
        {"Content-Type": "\xff\xfe"},
        {"Set-Cookie": "\xff=\xff; expires=never; domain=.."},
    ],
)
def test_a_header_that_makes_no_sense_says_nothing(site: Site, into: Path, headers: dict[str, str]) -> None:
    """The file comes in this run and in every later one, also where its first answer broke off."""
    site.always[PARQUET] = Fault(headers=headers)
    site.once[PARQUET] = [Fault(cut=HALF, headers=headers)]
    for _ in range(3):
        raw = fetch(source_of(site, PARQUET), JANUARY, into)
        assert raw.sha256 == sha256_of(site.folder / PARQUET)
        assert raw.etag.isascii()
        assert raw.last_modified.isascii()


@pytest.mark.parametrize(
    "wrong", ["Fri, 06 Nov 2026 08:49:37 +99999999999", "9" * 5000, "-5", "\xb2", "soon", "1e9", "nan"]
)
def test_a_retry_after_that_makes_no_sense(site: Site, into: Path, wrong: str) -> None:
    """The server is busy, and nobody knows until when."""
    site.always[PARQUET] = Fault(status=503, headers={"Retry-After": wrong})
    with pytest.raises(Transient) as caught:
        fetch(source_of(site, PARQUET), JANUARY, into)
    assert caught.value.retry_after is None


@pytest.mark.parametrize("digits", ["bytes 0-1/{}", "bytes {}-1/5", "bytes 100000-{}/5", "bytes \xb2-1/5"])
def test_a_content_range_of_five_thousand_digits(site: Site, into: Path, digits: str) -> None:
    """A rest that can't be placed is not taken: the file is begun anew."""
    site.once[PARQUET] = [Fault(cut=HALF), Fault(headers={"Content-Range": digits.format("9" * 5000)})]
    assert fetch(source_of(site, PARQUET), JANUARY, into).sha256 == sha256_of(site.folder / PARQUET)
    assert site.statuses == [200, 206, 200]


def test_two_versions_are_never_joined_by_a_senseless_etag(site: Site, into: Path) -> None:
    """A rest whose ETag can't be read is not of the version that was begun."""
    site.once[PARQUET] = [Fault(cut=HALF), Fault(headers={"ETag": '"\xff"'})]
    assert fetch(source_of(site, PARQUET), JANUARY, into).is_current()
    assert site.statuses == [200, 206, 200]


@pytest.mark.parametrize(
    "location",
    [
        f"http://{'a' * 200}.test/x",
        f"http://{'a.' * 200}test/x",
        "http://a..b/",
        "http://127.0.0.1:99999/",
        "http://[::1%25\xe9]/",
        "http://xn--a.test/",
        "http://me:secret@[x/",
        "http://a\tb/",
        f"/{'x' * 60_000}\x01",
        "javascript:alert(1)",
    ],
)
def test_sent_on_to_what_is_no_address(site: Site, into: Path, location: str) -> None:
    """It is refused at once, without repeating it."""
    site.always[PARQUET] = Fault(status=302, headers={"Location": location})
    with pytest.raises(Blocked, match="sent on to what can't be an address") as caught:
        fetch(source_of(site, PARQUET), JANUARY, into)
    assert len(site.hits) == 1
    assert len(caught.value.message) < 200
    assert "secret" not in caught.value.message


def test_a_page_of_a_redirect_is_not_read(site: Site, into: Path) -> None:
    """What comes with a redirect may have no end."""
    site.once["first"] = [Fault(status=302, headers={"Location": f"/{PARQUET}"}, endless=True)]
    site.once["first"][0] = replace(site.once["first"][0], without=frozenset({"Content-Length"}))
    assert fetch(source_of(site, "first"), JANUARY, into).is_current()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(site: Site, into: Path, status: int) -> None:
    """Busy once is no error; the listener is told what is waited for."""
    site.once[PARQUET] = [Fault(status=status, headers={"Content-Type": "text/html"}, body=PAGE)]
    events: list[Event] = []
    with listening(events.append):
        fetch(source_of(site, PARQUET), JANUARY, into)
    assert site.statuses == [status, 200]
    assert f"answered {status}" in events[0].note
    assert "Trying again" in events[0].note


def test_a_server_that_stays_busy_is_given_up(site: Site, into: Path) -> None:
    """After four attempts the month fails, with what the server asked for."""
    site.always[PARQUET] = Fault(status=503, headers={"Retry-After": "7"})
    with pytest.raises(Transient, match="503") as caught:
        fetch(source_of(site, PARQUET), JANUARY, into)
    assert site.statuses == [503] * ATTEMPTS
    assert caught.value.retry_after == 7


def test_waits_as_long_as_the_server_asked(site: Site, into: Path) -> None:
    """Retry-After is the pause, in seconds; without it the pause grows and is never the same."""
    stamina.set_testing(False)
    waits: list[float] = []
    stamina.instrumentation.set_on_retry_hooks([lambda details: waits.append(details.wait_for)])
    site.once[PARQUET] = [Fault(status=429, headers={"Retry-After": "0"}), Fault(status=503)]
    try:
        fetch(source_of(site, PARQUET), JANUARY, into)
    finally:
        stamina.instrumentation.set_on_retry_hooks(None)
    assert waits[0] == 0
    assert 2 <= waits[1] <= 3


def test_retry_after_may_be_a_date(site: Site, into: Path) -> None:
    """An HTTP date is understood as the time until then."""
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    site.always[PARQUET] = Fault(status=503, headers={"Retry-After": soon})
    with pytest.raises(Transient) as caught:
        fetch(source_of(site, PARQUET), JANUARY, into)
    assert 60 < (caught.value.retry_after or 0) <= 90


def test_a_server_is_waited_for_up_to_two_minutes_in_all(site: Site, into: Path) -> None:
    """What it asks for is granted once up to the cap: then it is asked once more, and given up."""
    stamina.set_testing(False)
    waits: list[float] = []

    def note(details: stamina.instrumentation.RetryDetails) -> None:
        waits.append(details.wait_for)

    site.always[PARQUET] = Fault(status=503, headers={"Retry-After": "3600"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrying, "LONGEST_WAIT_SECONDS", 0.5)
        stamina.instrumentation.set_on_retry_hooks([note])
        try:
            with pytest.raises(Transient) as caught:
                fetch(source_of(site, PARQUET), JANUARY, into)
        finally:
            stamina.instrumentation.set_on_retry_hooks(None)
    assert waits == [0.5]
    assert site.statuses == [503, 503]
    assert not may_pass(caught.value)


def test_nobody_there_is_transient(site: Site, into: Path) -> None:
    """A refused connection is tried again, then named with the address."""
    site.server_close()
    with pytest.raises(Transient, match=site.url) as caught:
        fetch(source_of(site, PARQUET), JANUARY, into)
    assert "again" in caught.value.hint


def test_not_published_says_from_when_to_when(site: Site, into: Path) -> None:
    """A 404 at every candidate is not published; the hint has the source's own first and last month."""
    site.folder.joinpath(GZIP).unlink()
    with pytest.raises(NotPublished, match="yellow/2021-01: not published") as caught:
        fetch(sources.resolve("datatalks", {"datatalks": site.url}), JANUARY, into)
    assert "datatalks has yellow from 2019-01 to 2021-07" in caught.value.hint
    assert len(site.hits) == 1
    assert visible_files(into) == []


def test_not_published_at_the_tlc_tells_the_delay(site: Site, into: Path) -> None:
    """A 403 with a bucket's XML is the TLC's way to say it; months come about two months late."""
    site.always[PARQUET] = Fault(status=403, headers={"Content-Type": "application/xml"}, body=NO_SUCH_KEY)
    with pytest.raises(NotPublished, match="not published") as caught:
        fetch(sources.resolve("tlc", {"tlc": site.url}), JANUARY, into)
    assert "yellow from 2009-01 on, a month about two months after its end" in caught.value.hint


def test_a_bucket_without_a_content_type(site: Site, into: Path) -> None:
    """The XML is recognized by its first bytes, and the next candidate is tried."""
    site.always[PARQUET] = Fault(status=403, body=NO_SUCH_KEY)
    assert fetch(source_of(site, PARQUET, GZIP), JANUARY, into).path.name.endswith(".csv.gz")


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=403, headers={"Content-Type": "text/html"}, body=PAGE),
        Fault(
            status=403, headers={"Content-Type": "text/html"}, body=b"<?xml version='1.0'?><html>AccessDenied</html>"
        ),
        Fault(status=403, body=b"no"),
        Fault(status=403, headers={"Content-Type": "application/xml"}, body=b"<Error><Code>Skewed</Code></Error>"),
        Fault(status=401),
        Fault(status=418),
        Fault(status=501),
        Fault(status=206, body=b"half a file that nobody asked for"),
        Fault(status=200, headers={"Content-Type": "text/html; charset=utf-8"}, body=PAGE),
        Fault(status=200, body=PAGE),
    ],
)
def test_blocked_is_not_unpublished(site: Site, into: Path, fault: Fault) -> None:
    """A firewall's or log-in's page, or a refusal, is named with its status, not retried, and nothing is kept."""
    site.always[PARQUET] = fault
    with pytest.raises(Blocked, match=str(fault.status)) as caught:
        fetch(source_of(site, PARQUET, GZIP), JANUARY, into)
    assert ("web page" in caught.value.message) == bool(fault.body and b"html" in fault.body.lower())
    assert len(site.hits) == 1
    assert visible_files(into) == []
