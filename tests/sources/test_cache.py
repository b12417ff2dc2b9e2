"""What was fetched is kept with what proves it, is not fetched again, and by one process at a time."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest

from nyctaxi_etl.core.errors import Transient, UsageError
from nyctaxi_etl.core.progress import Event, listening
from nyctaxi_etl.sources import registry as sources
from nyctaxi_etl.sources.cache import discard
from nyctaxi_etl.sources.download import ATTEMPTS
from nyctaxi_etl.sources.fetch import fetch
from support.january import (
    CSV,
    HALF,
    JANUARY,
    NO_ETAG,
    NO_VALIDATORS,
    PARQUET,
    fetching_child,
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

    from nyctaxi_etl.core.partition import RawFile


def test_a_complete_file_is_not_brought_again(site: Site, into: Path) -> None:
    """Unchanged there: 304, no byte of it moves, and nothing is rewritten."""
    first = fetch(source_of(site, PARQUET), JANUARY, into)
    events: list[Event] = []
    with listening(events.append):
        again = fetch(source_of(site, PARQUET), JANUARY, into)
    assert again == first
    assert site.statuses == [200, 304]
    assert site.sent == first.bytes
    assert [event.note for event in events] == ["unchanged at its source"]


def test_by_date_where_there_is_no_etag(site: Site, into: Path) -> None:
    """Last-Modified alone is enough for a 304."""
    site.always[PARQUET] = Fault(without=NO_ETAG)
    first = fetch(source_of(site, PARQUET), JANUARY, into)
    assert fetch(source_of(site, PARQUET), JANUARY, into) == first
    assert site.statuses == [200, 304]
    assert "if-none-match" not in site.hits[1].headers


@pytest.mark.parametrize("without", [frozenset(), NO_ETAG])
def test_a_server_deaf_to_conditions_sends_nothing_twice(site: Site, into: Path, without: frozenset[str]) -> None:
    """A 200 with the validator that the kept copy has is closed before its body is read."""
    publish(site.folder / CSV, b"x" * 30_000_000)
    site.always[CSV] = Fault(deaf=frozenset({"if-none-match", "if-modified-since"}), without=without)
    first = fetch(source_of(site, CSV), JANUARY, into)
    assert fetch(source_of(site, CSV), JANUARY, into) == first
    assert site.statuses == [200, 200]
    assert site.hits[1].sent < first.bytes


def test_nothing_proves_sameness_so_it_is_brought(site: Site, into: Path) -> None:
    """Without validators an equal length says nothing."""
    site.always[PARQUET] = Fault(without=NO_VALIDATORS)
    for _ in range(2):
        raw = fetch(source_of(site, PARQUET), JANUARY, into)
    assert site.sent == 2 * raw.bytes


@pytest.mark.parametrize("etag", ['W/"1"', ""])
def test_a_weak_validator_answered_with_200_is_brought(site: Site, into: Path, etag: str) -> None:
    """A weak ETag, or a date of this very second, doesn't prove the same bytes."""
    now = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    headers = {"ETag": etag} if etag else {"Last-Modified": now}
    deaf = frozenset({"if-none-match", "if-modified-since"})
    site.always[PARQUET] = Fault(headers=headers, deaf=deaf, without=frozenset() if etag else NO_ETAG)
    for _ in range(2):
        raw = fetch(source_of(site, PARQUET), JANUARY, into)
    assert site.sent == 2 * raw.bytes


def test_a_file_replaced_at_the_source_is_brought(site: Site, into: Path) -> None:
    """The TLC replaces files in place: the new one takes the old one's place."""
    first = fetch(source_of(site, PARQUET), JANUARY, into)
    publish(site.folder / PARQUET, parquet_bytes(list(range(50_000))), days_ago=0)
    again = fetch(source_of(site, PARQUET), JANUARY, into)
    assert again.sha256 == sha256_of(again.path) == sha256_of(site.folder / PARQUET) != first.sha256


@pytest.mark.parametrize("damage", ["bytes", "side", "gone", "url"])
def test_a_copy_that_proves_nothing_is_brought_again(site: Site, into: Path, damage: str) -> None:
    """Changed since it was hashed, without or with a broken side file, or of another URL: not a copy to rely on."""
    raw = fetch(source_of(site, PARQUET), JANUARY, into)
    side = raw.path.parent / f"{raw.path.name}.json"
    if damage == "bytes":
        raw.path.write_bytes(b"PAR1")
    elif damage == "url":
        side.write_text(side.read_text().replace(site.url, "https://elsewhere.test"))
    else:
        side.write_text("{") if damage == "side" else side.unlink()
    again = fetch(source_of(site, PARQUET), JANUARY, into)
    assert again.sha256 == sha256_of(again.path) == raw.sha256
    assert "if-none-match" not in site.hits[1].headers


def test_unreachable_is_an_error_even_with_a_copy(site: Site, into: Path) -> None:
    """Whether the copy is still the published one can't be known; the message tells that and from when it is."""
    raw = fetch(source_of(site, PARQUET), JANUARY, into)
    site.always[PARQUET] = Fault(status=503)
    with pytest.raises(Transient, match=f"A whole copy from {raw.last_modified} is here") as caught:
        fetch(source_of(site, PARQUET), JANUARY, into)
    assert str(raw.path.parent) in caught.value.hint
    assert raw.is_current()


@pytest.mark.parametrize(
    "damage",
    [
        "[" * 100_000,
        "[]",
        "null",
        '{"url": 1}',
        "\ufeff{}",
        {"etag": 5},
        {"etag": "\xe9"},
        {"etag": "a\r\nX-Y: z"},
        {"last_modified": ["x"]},
        {"last_modified": "\ud800"},
        {"bytes": "9" * 5000},
        {"bytes": True},
        {"bytes": 1e308},
        {"mtime_ns": None},
        {"sha256": 7},
        {"sha256": "short"},
    ],
)
@pytest.mark.parametrize("of", ["file", "part"])
def test_a_damaged_side_file_costs_one_download(site: Site, into: Path, damage: str | dict[str, Any], of: str) -> None:
    """Whatever stands in it, of a copy or of a part: the file is brought anew, and the run after it knows it."""
    if of == "part":
        site.once[PARQUET] = [Fault(cut=HALF)] * ATTEMPTS
        site.always[PARQUET] = Fault(cut=HALF)
        with pytest.raises(Transient):
            fetch(source_of(site, PARQUET), JANUARY, into)
        del site.always[PARQUET]
        side = into / "site" / f"{PARQUET}.part.json"
    else:
        fetch(source_of(site, PARQUET), JANUARY, into)
        side = into / "site" / f"{PARQUET}.json"
    known = json.loads(side.read_text())
    side.write_text(damage if isinstance(damage, str) else json.dumps(known | damage))
    site.hits.clear()
    raw = fetch(source_of(site, PARQUET), JANUARY, into)
    assert raw.sha256 == sha256_of(raw.path)
    assert fetch(source_of(site, PARQUET), JANUARY, into) == raw
    if of == "file":
        assert site.statuses == [200, 304]


def test_a_damaged_lock_is_made_anew(site: Site, into: Path) -> None:
    """Nothing is ever written to a lock, so one with something in it is nobody's."""
    fetch(source_of(site, CSV), JANUARY, into)
    (into / "site" / f".{CSV}.lock").write_bytes(b"rubbish" * 1000)
    assert fetch(source_of(site, CSV), JANUARY, into).is_current()


def test_two_processes_bring_one_file_once(site: Site, into: Path) -> None:
    """The second waits for the first, finds the file whole and unchanged, and moves nothing."""
    gate = threading.Event()
    site.once[PARQUET] = [Fault(cut=HALF, hold=gate)]
    first = fetching_child(site, PARQUET, into)
    wait_until(path=into / "site" / f"{PARQUET}.part.json")
    second = fetching_child(site, PARQUET, into)
    time.sleep(1.5)  # enough for it to start and to run into the lock
    assert len(site.hits) == 1
    gate.set()
    sums = {child.communicate(timeout=30)[0].strip() for child in (first, second)}
    assert sums == {sha256_of(site.folder / PARQUET)}
    assert site.statuses == [200, 304]
    assert site.sent == (site.folder / PARQUET).stat().st_size


def test_a_dead_process_holds_no_lock(site: Site, into: Path) -> None:
    """A lock goes with its holder, however that ends."""
    site.once[PARQUET] = [Fault(cut=0, hold=threading.Event())]
    child = fetching_child(site, PARQUET, into)
    wait_until(path=into / "site" / f"{PARQUET}.part.json")
    child.send_signal(signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
    child.communicate()
    begun = time.monotonic()
    fetch(source_of(site, PARQUET), JANUARY, into)
    assert time.monotonic() - begun < 5


def test_threads_wait_for_each_other_too(site: Site, into: Path) -> None:
    """In one process as well; who waits says so."""
    gate = threading.Event()
    site.once[PARQUET] = [Fault(cut=HALF, hold=gate)]
    found: list[RawFile] = []
    notes: list[str] = []
    thread = threading.Thread(target=lambda: found.append(fetch(source_of(site, PARQUET), JANUARY, into)))
    thread.start()
    wait_until(path=into / "site" / f"{PARQUET}.part.json")

    def open_gate(event: Event) -> None:
        notes.append(event.note)
        gate.set()

    with listening(open_gate):
        found.append(fetch(source_of(site, PARQUET), JANUARY, into))
    thread.join()
    assert found[0] == found[1]
    assert "fetched already" in notes[0]
    assert site.statuses == [200, 304]


def test_discard_removes_a_fetched_copy(site: Site, into: Path) -> None:
    """File and side file go, and the next fetch brings it whole."""
    raw = fetch(source_of(site, PARQUET), JANUARY, into)
    discard(raw)
    discard(raw)
    assert visible_files(into) == []
    assert fetch(source_of(site, PARQUET), JANUARY, into).sha256 == raw.sha256
    assert site.statuses == [200, 200]


def test_discard_leaves_what_is_not_ours(site: Site, into: Path) -> None:
    """A user's own file stays, even one in somebody's raw folder; so does a copy replaced since."""
    kept = fetch(source_of(site, CSV), JANUARY, into)
    own = fetch(sources.resolve(str(kept.path.parent)), JANUARY, into)
    discard(own)
    assert kept.is_current()
    publish(site.folder / CSV, b"newer\n", days_ago=0)
    newer = fetch(source_of(site, CSV), JANUARY, into)
    discard(kept)
    assert newer.is_current()


def test_a_lock_that_cannot_be_had_is_named(site: Site, into: Path) -> None:
    """Something else in the lock's place is an error, not an endless wait."""
    (into / "site" / f".{CSV}.lock").mkdir(parents=True)
    with pytest.raises(UsageError, match="can't be locked"):
        fetch(source_of(site, CSV), JANUARY, into)
