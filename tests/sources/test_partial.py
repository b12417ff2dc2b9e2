"""A download that breaks goes on where it broke, within what a file and the disk can hold."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from nyctaxi_etl.core.errors import CorruptFile, NycTaxiError, Transient
from nyctaxi_etl.core.progress import Event, listening
from nyctaxi_etl.sources import connection, partial
from nyctaxi_etl.sources import fetch as extract
from nyctaxi_etl.sources.download import ATTEMPTS
from nyctaxi_etl.sources.fetch import fetch
from nyctaxi_etl.sources.request import DownloadRequest
from support.january import (
    CSV,
    GZIP,
    HALF,
    JANUARY,
    NO_ETAG,
    NO_VALIDATORS,
    PARQUET,
    fetching_child,
    noise,
    parquet_bytes,
    publish,
    sha256_of,
    source_of,
    visible_files,
    wait_until,
)
from support.web import Fault, Site

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("reset", [False, True])
def test_goes_on_where_it_broke(site: Site, into: Path, *, reset: bool) -> None:
    """A closed or reset connection costs the rest, not the file: Range with If-Range, every byte sent about once."""
    site.once[PARQUET] = [Fault(cut=HALF, reset=reset)]
    raw = fetch(source_of(site, PARQUET), JANUARY, into)
    assert raw.sha256 == sha256_of(site.folder / PARQUET)
    assert site.statuses == [200, 206]
    start = int(site.hits[1].headers["range"].removeprefix("bytes=").removesuffix("-"))
    assert start <= HALF
    assert reset or start == HALF
    assert site.hits[1].headers["if-range"] == raw.etag


def test_goes_on_by_date_where_there_is_no_etag(site: Site, into: Path) -> None:
    """Last-Modified is used in If-Range if there is no ETag and it lies back."""
    site.once[PARQUET] = [Fault(cut=HALF, without=NO_ETAG)]
    site.always[PARQUET] = Fault(without=NO_ETAG)
    raw = fetch(source_of(site, PARQUET), JANUARY, into)
    assert site.statuses == [200, 206]
    assert site.hits[1].headers["if-range"] == raw.last_modified


@pytest.mark.parametrize("etag", ['W/"weak"', ""])
def test_begins_again_without_a_strong_validator(site: Site, into: Path, etag: str) -> None:
    """A weak ETag is never sent in If-Range, and nothing is resumed blindly."""
    without = frozenset() if etag else NO_VALIDATORS
    site.once[PARQUET] = [Fault(cut=HALF, headers={"ETag": etag}, without=without)]
    raw = fetch(source_of(site, PARQUET), JANUARY, into)
    assert raw.sha256 == sha256_of(site.folder / PARQUET)
    assert site.statuses == [200, 200]
    assert not {"range", "if-range"} & set(site.hits[1].headers)


def test_begins_again_when_the_file_changed_in_between(site: Site, into: Path) -> None:
    """The halves of two versions are never put together: a 200 to the Range request starts the file anew."""
    site.always[PARQUET] = Fault(cut=HALF)
    with pytest.raises(Transient):
        fetch(source_of(site, PARQUET), JANUARY, into)
    del site.always[PARQUET]
    publish(site.folder / PARQUET, parquet_bytes(list(range(60_000, 0, -1))))
    site.hits.clear()
    raw = fetch(source_of(site, PARQUET), JANUARY, into)
    assert raw.sha256 == sha256_of(site.folder / PARQUET)
    assert site.statuses == [200]
    assert "if-range" in site.hits[0].headers


@pytest.mark.parametrize(
    "wrong",
    [
        {"ETag": '"another"'},
        {"Content-Range": "bytes 7-99/100"},
        {"Content-Range": f"bytes {HALF}-999/1000"},
        {"Content-Range": "rubbish"},
    ],
)
def test_begins_again_when_the_rest_does_not_fit(site: Site, into: Path, wrong: dict[str, str]) -> None:
    """A 206 of another version, from another byte or of another total is not taken, whatever If-Range said."""
    site.once[PARQUET] = [Fault(cut=HALF), Fault(headers=wrong)]
    raw = fetch(source_of(site, PARQUET), JANUARY, into)
    assert raw.sha256 == sha256_of(site.folder / PARQUET)
    assert site.statuses == [200, 206, 200]
    assert "range" not in site.hits[2].headers


def test_begins_again_when_there_is_no_such_range(site: Site, into: Path) -> None:
    """A 416 starts the file anew."""
    site.once[PARQUET] = [Fault(cut=HALF), Fault(status=416)]
    assert fetch(source_of(site, PARQUET), JANUARY, into).sha256 == sha256_of(site.folder / PARQUET)
    assert site.statuses == [200, 416, 200]


def test_a_body_shorter_than_promised_is_never_a_file(site: Site, into: Path) -> None:
    """After the last attempt it is Transient, what came is kept for the next run, and no file is there."""
    site.always[CSV] = Fault(more=1000)
    with pytest.raises(Transient, match="broke"):
        fetch(source_of(site, CSV), JANUARY, into)
    assert site.statuses.count(200) == ATTEMPTS
    assert visible_files(into) == [f"{CSV}.part", f"{CSV}.part.json"]


def test_a_rest_shorter_than_its_range_is_asked_for_again(site: Site, into: Path) -> None:
    """A 206 that ends early, though well-formed, isn't the end of the file."""
    site.once[PARQUET] = [Fault(cut=HALF), Fault(headers={"Content-Length": "1000"}, cut=1000)]
    raw = fetch(source_of(site, PARQUET), JANUARY, into)
    assert raw.sha256 == sha256_of(site.folder / PARQUET)
    assert [hit.headers.get("range") for hit in site.hits] == [None, f"bytes={HALF}-", f"bytes={HALF + 1000}-"]


def test_a_server_that_falls_silent(site: Site, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is a break like any other: the rest is asked for again, and at last it is Transient."""
    monkeypatch.setattr(connection, "READ_SECONDS", 2.0)  # a busy machine is silent for a while, too
    site.once[PARQUET] = [Fault(cut=HALF, hold=threading.Event())]
    fetch(source_of(site, PARQUET), JANUARY, into)
    assert site.statuses == [200, 206]
    monkeypatch.setattr(connection, "READ_SECONDS", 0.3)
    site.always[GZIP] = Fault(cut=HALF, hold=threading.Event())
    with pytest.raises(Transient, match="silent"):
        fetch(source_of(site, GZIP), JANUARY, into)


def test_a_killed_download_goes_on_in_the_next_run(site: Site, into: Path) -> None:
    """After a SIGKILL in the middle, the next process asks for the rest only."""
    body = noise(4_000_000)
    publish(site.folder / CSV, body)
    site.once[CSV] = [Fault(cut=3_000_000, hold=threading.Event())]
    part = into / "site" / f"{CSV}.part"
    child = fetching_child(site, CSV, into)
    wait_until(path=part, size=2_000_000)
    child.kill()
    child.communicate()
    assert visible_files(into) == [part.name, f"{part.name}.json"]
    raw = fetch(source_of(site, CSV), JANUARY, into)
    assert raw.path.read_bytes() == body
    assert site.statuses == [200, 206]
    assert site.hits[1].sent <= 2_000_000


def test_killed_when_all_was_there_asks_for_a_byte(site: Site, into: Path) -> None:
    """A ``.part`` that is complete but was not renamed yet isn't brought again."""
    raw = fetch(source_of(site, PARQUET), JANUARY, into)
    part = raw.path.with_name(f"{raw.path.name}.part")
    side = {"url": raw.url, "etag": raw.etag, "last_modified": raw.last_modified, "if_range": raw.etag}
    part.with_name(f"{part.name}.json").write_text(json.dumps(side | {"bytes": raw.bytes}))
    raw.path.rename(part)
    again = fetch(source_of(site, PARQUET), JANUARY, into)
    assert again.sha256 == raw.sha256
    assert (site.hits[1].status, site.hits[1].sent) == (206, 1)


def test_a_part_of_another_address_is_not_gone_on_with(site: Site, into: Path) -> None:
    """What was begun elsewhere is dropped."""
    site.always[PARQUET] = Fault(cut=HALF)
    with pytest.raises(Transient):
        fetch(source_of(site, PARQUET), JANUARY, into)
    side = into / "site" / f"{PARQUET}.part.json"
    side.write_text(side.read_text().replace("127.0.0.1", "elsewhere.test"))
    del site.always[PARQUET]
    site.hits.clear()
    fetch(source_of(site, PARQUET), JANUARY, into)
    assert site.statuses == [200]
    assert "range" not in site.hits[0].headers


def test_interrupted_between_two_blocks_leaves_no_file(site: Site, into: Path) -> None:
    """A listener that stops the work leaves only what the next run goes on with, and the lock is free."""

    def stop(_event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), listening(stop):
        fetch(source_of(site, PARQUET), JANUARY, into)
    assert not (into / "site" / PARQUET).exists()
    assert fetch(source_of(site, PARQUET), JANUARY, into).sha256 == sha256_of(site.folder / PARQUET)


@pytest.mark.parametrize("without", [frozenset(), frozenset({"Content-Length"})])
def test_a_body_without_an_end_is_corrupt(
    site: Site, into: Path, without: frozenset[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is taken beyond the ceiling, nothing is kept, and it is not asked for again."""
    monkeypatch.setattr(extract, "DownloadRequest", lambda *given: replace(DownloadRequest(*given), ceiling=3_000_000))
    headers = {} if without else {"Content-Length": "4000000"}
    site.always[CSV] = Fault(endless=True, headers=headers, without=without)
    with pytest.raises(CorruptFile, match="larger than 3,000,000 bytes"):
        fetch(source_of(site, CSV), JANUARY, into)
    assert len(site.hits) == 1
    assert visible_files(into) == []


def test_more_than_was_announced_is_corrupt(site: Site, into: Path) -> None:
    """A rest that goes on behind the whole file's end is not taken."""
    size = (site.folder / CSV).stat().st_size
    rest = {"Content-Range": f"bytes {HALF}-{size - 1}/{size}", "Content-Length": "900000000"}
    site.once[CSV] = [Fault(cut=HALF), Fault(headers=rest, endless=True)]
    with pytest.raises(CorruptFile, match=f"behind the {size:,} bytes that the server announced"):
        fetch(source_of(site, CSV), JANUARY, into)
    assert visible_files(into) == []


def test_no_room_is_said_before_anything_is_taken(site: Site, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is larger than the room on the disk, less a reserve, is not begun."""
    _with_room(monkeypatch, 100_000)
    with pytest.raises(NycTaxiError, match="no room for the 5") as caught:
        fetch(source_of(site, GZIP), JANUARY, into)
    assert "`data_dir=`" in caught.value.hint
    assert visible_files(into) == []
    _with_room(monkeypatch, 10_000_000)
    assert fetch(source_of(site, GZIP), JANUARY, into).is_current()


def test_a_body_without_an_end_leaves_room(site: Site, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no length was announced the room is looked at meanwhile; beyond the largest month it is no month."""
    _with_room(monkeypatch, 2_000_000)
    site.always[CSV] = Fault(endless=True, without=frozenset({"Content-Length"}))
    with pytest.raises(NycTaxiError, match="no room for more of it"):
        fetch(source_of(site, CSV), JANUARY, into)
    monkeypatch.setattr(partial, "LARGEST_MONTH_BYTES", 1_000_000)
    with pytest.raises(CorruptFile, match="more than any month has"):
        fetch(source_of(site, CSV), JANUARY, into)
    assert visible_files(into) == []


def _with_room(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """Have a disk with so many bytes free beyond the reserve, and what was written since taken from them."""

    def usage(folder: Path) -> object:
        taken = sum(path.stat().st_size for path in folder.rglob("*.part"))
        return SimpleNamespace(free=partial.RESERVE_BYTES + room - taken)

    monkeypatch.setattr(partial, "ROOM_BYTES", 500_000)
    monkeypatch.setattr(shutil, "disk_usage", usage)


def test_a_month_has_a_ceiling() -> None:
    """It is 64 times the largest month ever."""
    assert DownloadRequest.ceiling == 64 * 583_000_000
