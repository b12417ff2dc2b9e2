"""Files come whole or not at all, come once, and what came instead of them is named."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import stamina
import stamina.instrumentation

from nyctaxi_etl.core import limits, pace
from nyctaxi_etl.core import retry as retrying
from nyctaxi_etl.core.errors import Blocked, CorruptFile, NotPublished, NycTaxiError, Transient, UsageError
from nyctaxi_etl.core.partition import Color, Month, Partition
from nyctaxi_etl.core.progress import Event, listening
from nyctaxi_etl.core.retry import LONGEST_WAIT_SECONDS, Pauses, may_pass
from nyctaxi_etl.sources import connection, partial
from nyctaxi_etl.sources import fetch as extract
from nyctaxi_etl.sources import registry as sources
from nyctaxi_etl.sources.cache import discard
from nyctaxi_etl.sources.download import ATTEMPTS
from nyctaxi_etl.sources.fetch import fetch
from nyctaxi_etl.sources.request import DownloadRequest
from support.web import NO_SUCH_KEY, PAGE, Fault, Site, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nyctaxi_etl.core.partition import RawFile

JANUARY = Partition(Color.YELLOW, Month(2021, 1))
PARQUET = f"trip-data/{JANUARY.stem}.parquet"
GZIP = f"yellow/{JANUARY.stem}.csv.gz"
CSV = f"{JANUARY.stem}.csv"
HALF = 100_000
REAL = os.environ.get("NYCTAXI_REAL_DATA")
NO_ETAG = frozenset({"ETag"})
NO_VALIDATORS = frozenset({"ETag", "Last-Modified"})

CHILD = """
import sys
from pathlib import Path
from nyctaxi_etl.sources.fetch import fetch
from nyctaxi_etl.core.partition import Color, Month, Partition
from nyctaxi_etl.sources.registry import Source
url, key, into = sys.argv[1:]
raw = fetch(Source("site", url, (key,)), Partition(Color.YELLOW, Month(2021, 1)), Path(into))
print(raw.sha256)
"""


@pytest.fixture(autouse=True)
def _alone_with_the_loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No pause between attempts, and no proxy of the machine's in between."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    stamina.set_testing(True, attempts=ATTEMPTS)
    yield
    stamina.set_testing(False)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site with January in Parquet, csv.gz and csv, changed last a day ago."""
    folder = tmp_path / "site"
    for key, body in _bodies().items():
        _publish(folder / key, body)
    with serving(folder) as running:
        yield running


@pytest.fixture
def into(tmp_path: Path) -> Path:
    """The raw folder, not there yet."""
    return tmp_path / "data" / "raw"


@cache
def _bodies() -> dict[str, bytes]:
    """Make January once for all tests: in Parquet, csv.gz and csv."""
    lines = "".join(f"{n},{line}\n" for n, line in enumerate(_noise(400_000).hex("\n", -20).split())).encode()
    return {PARQUET: _parquet(list(range(60_000))), GZIP: gzip.compress(lines, mtime=0), CSV: lines}


def _noise(size: int) -> bytes:
    """Make bytes that don't compress, always the same."""
    return hashlib.shake_256(b"taxi").digest(size)


def _parquet(values: list[int]) -> bytes:
    sink = pa.BufferOutputStream()
    plain = {"compression": "none", "use_dictionary": False, "write_page_checksum": True}
    pq.write_table(pa.table({"id": values}), sink, row_group_size=20_000, **plain)
    return bytes(sink.getvalue())


def _publish(path: Path, body: bytes, days_ago: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    os.utime(path, (time.time() - days_ago * 86_400,) * 2)


def _source(site: Site, *keys: str) -> sources.Source:
    return sources.Source("site", site.url, keys)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _left(into: Path) -> list[str]:
    """Name the files that a reader of the raw folder sees."""
    return sorted(path.name for path in into.rglob("*") if path.is_file() and not path.name.endswith(".lock"))


def _child(site: Site, key: str, into: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, site.url, key, str(into)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _until(condition: threading.Event | None = None, path: Path | None = None, size: int = 1) -> None:
    end = time.monotonic() + 30
    while not (condition.is_set() if condition else path and path.exists() and path.stat().st_size >= size):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


# --- a file that comes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [PARQUET, GZIP, CSV])
def test_brings_the_published_bytes(site: Site, into: Path, key: str) -> None:
    """The file is byte for byte the published one, below its source's name and its own key."""
    raw = fetch(_source(site, key), JANUARY, into)
    assert raw.path == into / "site" / key
    assert raw.path.read_bytes() == (site.folder / key).read_bytes()
    assert (raw.sha256, raw.bytes) == (_sha256(site.folder / key), (site.folder / key).stat().st_size)
    assert raw.is_current()


def test_remembers_where_it_came_from(site: Site, into: Path) -> None:
    """The side file has the URL, the server's validators, size, sha256 and time; nothing else is left behind."""
    raw = fetch(_source(site, PARQUET), JANUARY, into)
    side = json.loads((raw.path.parent / f"{raw.path.name}.json").read_text())
    assert side == {name: getattr(raw, name) for name in side}
    assert set(side) == {"url", "etag", "last_modified", "bytes", "sha256", "mtime_ns"}
    assert side["url"] == f"{site.url}/{PARQUET}"
    assert side["etag"].startswith('"')
    assert side["last_modified"].endswith("GMT")
    assert _left(into) == [raw.path.name, f"{raw.path.name}.json"]


def test_asks_for_the_bytes_as_they_are(site: Site, into: Path) -> None:
    """No compression in transit, no cookie, no credential."""
    fetch(_source(site, GZIP), JANUARY, into)
    asked = site.hits[0].headers
    assert asked["accept-encoding"] == "identity"
    assert not {"authorization", "cookie", "referer"} & set(asked)


def test_compressed_once_more_by_the_server_is_kept_as_sent(site: Site, into: Path) -> None:
    """A server that calls a csv.gz's own gzip a transfer encoding doesn't get it unpacked."""
    site.always[GZIP] = Fault(headers={"Content-Encoding": "gzip"})
    assert fetch(_source(site, GZIP), JANUARY, into).sha256 == _sha256(site.folder / GZIP)


def test_a_url_as_source_has_a_folder_of_its_own(site: Site, into: Path) -> None:
    """Host and port become one safe folder name, and the layouts are tried in turn."""
    (site.folder / PARQUET).unlink()
    raw = fetch(sources.resolve(site.url), JANUARY, into)
    assert raw.path == into / site.url.removeprefix("http://").replace(":", "_") / GZIP
    assert site.statuses == [404, 200]


def test_tells_how_far_it_is(site: Site, into: Path) -> None:
    """Events count bytes up to the total, at most ten a second or so, and say when the file is checked."""
    events: list[Event] = []
    with listening(events.append):
        fetch(_source(site, PARQUET), JANUARY, into)
    total = (site.folder / PARQUET).stat().st_size
    assert [event.done for event in events] == sorted(event.done for event in events)
    assert (events[-1].done, events[-1].total, events[-1].unit) == (total, total, "bytes")
    assert {(event.step, event.subject) for event in events} == {("extract", str(JANUARY))}
    assert len(events) < 10


# --- never twice -----------------------------------------------------------------------------------------------------


def test_a_complete_file_is_not_brought_again(site: Site, into: Path) -> None:
    """Unchanged there: 304, no byte of it moves, and nothing is rewritten."""
    first = fetch(_source(site, PARQUET), JANUARY, into)
    events: list[Event] = []
    with listening(events.append):
        again = fetch(_source(site, PARQUET), JANUARY, into)
    assert again == first
    assert site.statuses == [200, 304]
    assert site.sent == first.bytes
    assert [event.note for event in events] == ["unchanged at its source"]


def test_by_date_where_there_is_no_etag(site: Site, into: Path) -> None:
    """Last-Modified alone is enough for a 304."""
    site.always[PARQUET] = Fault(without=NO_ETAG)
    first = fetch(_source(site, PARQUET), JANUARY, into)
    assert fetch(_source(site, PARQUET), JANUARY, into) == first
    assert site.statuses == [200, 304]
    assert "if-none-match" not in site.hits[1].headers


@pytest.mark.parametrize("without", [frozenset(), NO_ETAG])
def test_a_server_deaf_to_conditions_sends_nothing_twice(site: Site, into: Path, without: frozenset[str]) -> None:
    """A 200 with the validator that the kept copy has is closed before its body is read."""
    _publish(site.folder / CSV, b"x" * 30_000_000)
    site.always[CSV] = Fault(deaf=frozenset({"if-none-match", "if-modified-since"}), without=without)
    first = fetch(_source(site, CSV), JANUARY, into)
    assert fetch(_source(site, CSV), JANUARY, into) == first
    assert site.statuses == [200, 200]
    assert site.hits[1].sent < first.bytes


def test_nothing_proves_sameness_so_it_is_brought(site: Site, into: Path) -> None:
    """Without validators an equal length says nothing."""
    site.always[PARQUET] = Fault(without=NO_VALIDATORS)
    for _ in range(2):
        raw = fetch(_source(site, PARQUET), JANUARY, into)
    assert site.sent == 2 * raw.bytes


@pytest.mark.parametrize("etag", ['W/"1"', ""])
def test_a_weak_validator_answered_with_200_is_brought(site: Site, into: Path, etag: str) -> None:
    """A weak ETag, or a date of this very second, doesn't prove the same bytes."""
    now = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    headers = {"ETag": etag} if etag else {"Last-Modified": now}
    deaf = frozenset({"if-none-match", "if-modified-since"})
    site.always[PARQUET] = Fault(headers=headers, deaf=deaf, without=frozenset() if etag else NO_ETAG)
    for _ in range(2):
        raw = fetch(_source(site, PARQUET), JANUARY, into)
    assert site.sent == 2 * raw.bytes


def test_a_file_replaced_at_the_source_is_brought(site: Site, into: Path) -> None:
    """The TLC replaces files in place: the new one takes the old one's place."""
    first = fetch(_source(site, PARQUET), JANUARY, into)
    _publish(site.folder / PARQUET, _parquet(list(range(50_000))), days_ago=0)
    again = fetch(_source(site, PARQUET), JANUARY, into)
    assert again.sha256 == _sha256(again.path) == _sha256(site.folder / PARQUET) != first.sha256


@pytest.mark.parametrize("damage", ["bytes", "side", "gone", "url"])
def test_a_copy_that_proves_nothing_is_brought_again(site: Site, into: Path, damage: str) -> None:
    """Changed since it was hashed, without or with a broken side file, or of another URL: not a copy to rely on."""
    raw = fetch(_source(site, PARQUET), JANUARY, into)
    side = raw.path.parent / f"{raw.path.name}.json"
    if damage == "bytes":
        raw.path.write_bytes(b"PAR1")
    elif damage == "url":
        side.write_text(side.read_text().replace(site.url, "https://elsewhere.test"))
    else:
        side.write_text("{") if damage == "side" else side.unlink()
    again = fetch(_source(site, PARQUET), JANUARY, into)
    assert again.sha256 == _sha256(again.path) == raw.sha256
    assert "if-none-match" not in site.hits[1].headers


def test_unreachable_is_an_error_even_with_a_copy(site: Site, into: Path) -> None:
    """Whether the copy is still the published one can't be known; the message tells that and from when it is."""
    raw = fetch(_source(site, PARQUET), JANUARY, into)
    site.always[PARQUET] = Fault(status=503)
    with pytest.raises(Transient, match=f"A whole copy from {raw.last_modified} is here") as caught:
        fetch(_source(site, PARQUET), JANUARY, into)
    assert str(raw.path.parent) in caught.value.hint
    assert raw.is_current()


# --- breaks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reset", [False, True])
def test_goes_on_where_it_broke(site: Site, into: Path, *, reset: bool) -> None:
    """A closed or reset connection costs the rest, not the file: Range with If-Range, every byte sent about once."""
    site.once[PARQUET] = [Fault(cut=HALF, reset=reset)]
    raw = fetch(_source(site, PARQUET), JANUARY, into)
    assert raw.sha256 == _sha256(site.folder / PARQUET)
    assert site.statuses == [200, 206]
    start = int(site.hits[1].headers["range"].removeprefix("bytes=").removesuffix("-"))
    assert start <= HALF
    assert reset or start == HALF
    assert site.hits[1].headers["if-range"] == raw.etag


def test_goes_on_by_date_where_there_is_no_etag(site: Site, into: Path) -> None:
    """Last-Modified is used in If-Range if there is no ETag and it lies back."""
    site.once[PARQUET] = [Fault(cut=HALF, without=NO_ETAG)]
    site.always[PARQUET] = Fault(without=NO_ETAG)
    raw = fetch(_source(site, PARQUET), JANUARY, into)
    assert site.statuses == [200, 206]
    assert site.hits[1].headers["if-range"] == raw.last_modified


@pytest.mark.parametrize("etag", ['W/"weak"', ""])
def test_begins_again_without_a_strong_validator(site: Site, into: Path, etag: str) -> None:
    """A weak ETag is never sent in If-Range, and nothing is resumed blindly."""
    without = frozenset() if etag else NO_VALIDATORS
    site.once[PARQUET] = [Fault(cut=HALF, headers={"ETag": etag}, without=without)]
    raw = fetch(_source(site, PARQUET), JANUARY, into)
    assert raw.sha256 == _sha256(site.folder / PARQUET)
    assert site.statuses == [200, 200]
    assert not {"range", "if-range"} & set(site.hits[1].headers)


def test_begins_again_when_the_file_changed_in_between(site: Site, into: Path) -> None:
    """The halves of two versions are never put together: a 200 to the Range request starts the file anew."""
    site.always[PARQUET] = Fault(cut=HALF)
    with pytest.raises(Transient):
        fetch(_source(site, PARQUET), JANUARY, into)
    del site.always[PARQUET]
    _publish(site.folder / PARQUET, _parquet(list(range(60_000, 0, -1))))
    site.hits.clear()
    raw = fetch(_source(site, PARQUET), JANUARY, into)
    assert raw.sha256 == _sha256(site.folder / PARQUET)
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
    raw = fetch(_source(site, PARQUET), JANUARY, into)
    assert raw.sha256 == _sha256(site.folder / PARQUET)
    assert site.statuses == [200, 206, 200]
    assert "range" not in site.hits[2].headers


def test_begins_again_when_there_is_no_such_range(site: Site, into: Path) -> None:
    """A 416 starts the file anew."""
    site.once[PARQUET] = [Fault(cut=HALF), Fault(status=416)]
    assert fetch(_source(site, PARQUET), JANUARY, into).sha256 == _sha256(site.folder / PARQUET)
    assert site.statuses == [200, 416, 200]


def test_a_body_shorter_than_promised_is_never_a_file(site: Site, into: Path) -> None:
    """After the last attempt it is Transient, what came is kept for the next run, and no file is there."""
    site.always[CSV] = Fault(more=1000)
    with pytest.raises(Transient, match="broke"):
        fetch(_source(site, CSV), JANUARY, into)
    assert site.statuses.count(200) == ATTEMPTS
    assert _left(into) == [f"{CSV}.part", f"{CSV}.part.json"]


def test_a_rest_shorter_than_its_range_is_asked_for_again(site: Site, into: Path) -> None:
    """A 206 that ends early, though well-formed, isn't the end of the file."""
    site.once[PARQUET] = [Fault(cut=HALF), Fault(headers={"Content-Length": "1000"}, cut=1000)]
    raw = fetch(_source(site, PARQUET), JANUARY, into)
    assert raw.sha256 == _sha256(site.folder / PARQUET)
    assert [hit.headers.get("range") for hit in site.hits] == [None, f"bytes={HALF}-", f"bytes={HALF + 1000}-"]


def test_a_server_that_falls_silent(site: Site, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is a break like any other: the rest is asked for again, and at last it is Transient."""
    monkeypatch.setattr(connection, "READ_SECONDS", 0.3)
    site.once[PARQUET] = [Fault(cut=HALF, hold=threading.Event())]
    fetch(_source(site, PARQUET), JANUARY, into)
    assert site.statuses == [200, 206]
    site.always[GZIP] = Fault(cut=HALF, hold=threading.Event())
    with pytest.raises(Transient, match="silent"):
        fetch(_source(site, GZIP), JANUARY, into)


def test_a_killed_download_goes_on_in_the_next_run(site: Site, into: Path) -> None:
    """After a SIGKILL in the middle, the next process asks for the rest only."""
    body = _noise(4_000_000)
    _publish(site.folder / CSV, body)
    site.once[CSV] = [Fault(cut=3_000_000, hold=threading.Event())]
    part = into / "site" / f"{CSV}.part"
    child = _child(site, CSV, into)
    _until(path=part, size=2_000_000)
    child.kill()
    child.communicate()
    assert _left(into) == [part.name, f"{part.name}.json"]
    raw = fetch(_source(site, CSV), JANUARY, into)
    assert raw.path.read_bytes() == body
    assert site.statuses == [200, 206]
    assert site.hits[1].sent <= 2_000_000


def test_killed_when_all_was_there_asks_for_a_byte(site: Site, into: Path) -> None:
    """A ``.part`` that is complete but was not renamed yet isn't brought again."""
    raw = fetch(_source(site, PARQUET), JANUARY, into)
    part = raw.path.with_name(f"{raw.path.name}.part")
    side = {"url": raw.url, "etag": raw.etag, "last_modified": raw.last_modified, "if_range": raw.etag}
    part.with_name(f"{part.name}.json").write_text(json.dumps(side | {"bytes": raw.bytes}))
    raw.path.rename(part)
    again = fetch(_source(site, PARQUET), JANUARY, into)
    assert again.sha256 == raw.sha256
    assert (site.hits[1].status, site.hits[1].sent) == (206, 1)


def test_a_part_of_another_address_is_not_gone_on_with(site: Site, into: Path) -> None:
    """What was begun elsewhere is dropped."""
    site.always[PARQUET] = Fault(cut=HALF)
    with pytest.raises(Transient):
        fetch(_source(site, PARQUET), JANUARY, into)
    side = into / "site" / f"{PARQUET}.part.json"
    side.write_text(side.read_text().replace("127.0.0.1", "elsewhere.test"))
    del site.always[PARQUET]
    site.hits.clear()
    fetch(_source(site, PARQUET), JANUARY, into)
    assert site.statuses == [200]
    assert "range" not in site.hits[0].headers


def test_interrupted_between_two_blocks_leaves_no_file(site: Site, into: Path) -> None:
    """A listener that stops the work leaves only what the next run goes on with, and the lock is free."""

    def stop(_event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), listening(stop):
        fetch(_source(site, PARQUET), JANUARY, into)
    assert not (into / "site" / PARQUET).exists()
    assert fetch(_source(site, PARQUET), JANUARY, into).sha256 == _sha256(site.folder / PARQUET)


# --- bounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        Fault(cut=HALF, drip=0.05),
        Fault(cut=HALF, drip=0.05, without=frozenset({"Content-Length"})),
        Fault(drip=0.05, drips_head=True),
        Fault(status=403, body=NO_SUCH_KEY, cut=0, drip=0.05),
    ],
    ids=["body", "body of no length", "headers", "refusal"],
)
def test_a_drip_is_cut_off(site: Site, into: Path, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than the floor over a minute, wherever it comes from, ends as Transient; what came is gone on with."""
    monkeypatch.setattr(pace, "FLOOR_SECONDS", 0.3)
    site.once[PARQUET] = [fault]
    events: list[Event] = []
    with listening(events.append):
        raw = fetch(_source(site, PARQUET), JANUARY, into)
    assert raw.sha256 == _sha256(site.folder / PARQUET)
    # On a machine that is busy for a third of a second an honest transfer is cut off and gone on with, too.
    assert len(site.hits) >= 2
    assert any("less than 1,000 bytes a second" in event.note for event in events)
    site.always[GZIP] = fault
    with pytest.raises(Transient, match="less than 1,000 bytes a second") as caught:
        fetch(_source(site, GZIP), JANUARY, into)
    assert "NYCTAXI_MIN_SPEED" in caught.value.hint


def test_a_drip_over_an_encrypted_line_is_cut_off(
    site: Site, into: Path, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is cut below its encryption."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    monkeypatch.setattr(pace, "FLOOR_SECONDS", 0.3)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(authority)
    with serving(site.folder, tls) as secure:
        secure.once[PARQUET] = [Fault(cut=HALF, drip=0.05)]
        assert fetch(_source(secure, PARQUET), JANUARY, into).is_current()
        assert secure.statuses == [200, 206]


def test_a_slow_line_is_no_drip(site: Site, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the floor or above nothing is cut; a floor of 0 cuts nothing."""
    monkeypatch.setattr(pace, "FLOOR_SECONDS", 0.3)
    _publish(site.folder / CSV, b"x" * 120)
    site.always[CSV] = Fault(cut=0, drip=0.01)
    assert fetch(_source(site, CSV), JANUARY, into, floor=20).bytes == 120
    _publish(site.folder / CSV, b"y" * 120, days_ago=0)
    assert fetch(_source(site, CSV), JANUARY, into, floor=0).bytes == 120
    assert site.statuses == [200, 200]


@pytest.mark.parametrize("without", [frozenset(), frozenset({"Content-Length"})])
def test_a_body_without_an_end_is_corrupt(
    site: Site, into: Path, without: frozenset[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is taken beyond the ceiling, nothing is kept, and it is not asked for again."""
    monkeypatch.setattr(extract, "DownloadRequest", lambda *given: replace(DownloadRequest(*given), ceiling=3_000_000))
    headers = {} if without else {"Content-Length": "4000000"}
    site.always[CSV] = Fault(endless=True, headers=headers, without=without)
    with pytest.raises(CorruptFile, match="larger than 3,000,000 bytes"):
        fetch(_source(site, CSV), JANUARY, into)
    assert len(site.hits) == 1
    assert _left(into) == []


def test_more_than_was_announced_is_corrupt(site: Site, into: Path) -> None:
    """A rest that goes on behind the whole file's end is not taken."""
    size = (site.folder / CSV).stat().st_size
    rest = {"Content-Range": f"bytes {HALF}-{size - 1}/{size}", "Content-Length": "900000000"}
    site.once[CSV] = [Fault(cut=HALF), Fault(headers=rest, endless=True)]
    with pytest.raises(CorruptFile, match=f"behind the {size:,} bytes that the server announced"):
        fetch(_source(site, CSV), JANUARY, into)
    assert _left(into) == []


def test_no_room_is_said_before_anything_is_taken(site: Site, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is larger than the room on the disk, less a reserve, is not begun."""
    _with_room(monkeypatch, 100_000)
    with pytest.raises(NycTaxiError, match="no room for the 5") as caught:
        fetch(_source(site, GZIP), JANUARY, into)
    assert "`data_dir=`" in caught.value.hint
    assert _left(into) == []
    _with_room(monkeypatch, 10_000_000)
    assert fetch(_source(site, GZIP), JANUARY, into).is_current()


def test_a_body_without_an_end_leaves_room(site: Site, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no length was announced the room is looked at meanwhile; beyond the largest month it is no month."""
    _with_room(monkeypatch, 2_000_000)
    site.always[CSV] = Fault(endless=True, without=frozenset({"Content-Length"}))
    with pytest.raises(NycTaxiError, match="no room for more of it"):
        fetch(_source(site, CSV), JANUARY, into)
    monkeypatch.setattr(partial, "LARGEST_MONTH_BYTES", 1_000_000)
    with pytest.raises(CorruptFile, match="more than any month has"):
        fetch(_source(site, CSV), JANUARY, into)
    assert _left(into) == []


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


# --- what makes no sense ---------------------------------------------------------------------------------------------


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
        raw = fetch(_source(site, PARQUET), JANUARY, into)
        assert raw.sha256 == _sha256(site.folder / PARQUET)
        assert raw.etag.isascii()
        assert raw.last_modified.isascii()


@pytest.mark.parametrize(
    "wrong", ["Fri, 06 Nov 2026 08:49:37 +99999999999", "9" * 5000, "-5", "\xb2", "soon", "1e9", "nan"]
)
def test_a_retry_after_that_makes_no_sense(site: Site, into: Path, wrong: str) -> None:
    """The server is busy, and nobody knows until when."""
    site.always[PARQUET] = Fault(status=503, headers={"Retry-After": wrong})
    with pytest.raises(Transient) as caught:
        fetch(_source(site, PARQUET), JANUARY, into)
    assert caught.value.retry_after is None


@pytest.mark.parametrize("digits", ["bytes 0-1/{}", "bytes {}-1/5", "bytes 100000-{}/5", "bytes \xb2-1/5"])
def test_a_content_range_of_five_thousand_digits(site: Site, into: Path, digits: str) -> None:
    """A rest that can't be placed is not taken: the file is begun anew."""
    site.once[PARQUET] = [Fault(cut=HALF), Fault(headers={"Content-Range": digits.format("9" * 5000)})]
    assert fetch(_source(site, PARQUET), JANUARY, into).sha256 == _sha256(site.folder / PARQUET)
    assert site.statuses == [200, 206, 200]


def test_two_versions_are_never_joined_by_a_senseless_etag(site: Site, into: Path) -> None:
    """A rest whose ETag can't be read is not of the version that was begun."""
    site.once[PARQUET] = [Fault(cut=HALF), Fault(headers={"ETag": '"\xff"'})]
    assert fetch(_source(site, PARQUET), JANUARY, into).is_current()
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
        fetch(_source(site, PARQUET), JANUARY, into)
    assert len(site.hits) == 1
    assert len(caught.value.message) < 200
    assert "secret" not in caught.value.message


def test_a_page_of_a_redirect_is_not_read(site: Site, into: Path) -> None:
    """What comes with a redirect may have no end."""
    site.once["first"] = [Fault(status=302, headers={"Location": f"/{PARQUET}"}, endless=True)]
    site.once["first"][0] = replace(site.once["first"][0], without=frozenset({"Content-Length"}))
    assert fetch(_source(site, "first"), JANUARY, into).is_current()


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
            fetch(_source(site, PARQUET), JANUARY, into)
        del site.always[PARQUET]
        side = into / "site" / f"{PARQUET}.part.json"
    else:
        fetch(_source(site, PARQUET), JANUARY, into)
        side = into / "site" / f"{PARQUET}.json"
    known = json.loads(side.read_text())
    side.write_text(damage if isinstance(damage, str) else json.dumps(known | damage))
    site.hits.clear()
    raw = fetch(_source(site, PARQUET), JANUARY, into)
    assert raw.sha256 == _sha256(raw.path)
    assert fetch(_source(site, PARQUET), JANUARY, into) == raw
    if of == "file":
        assert site.statuses == [200, 304]


def test_a_damaged_lock_is_made_anew(site: Site, into: Path) -> None:
    """Nothing is ever written to a lock, so one with something in it is nobody's."""
    fetch(_source(site, CSV), JANUARY, into)
    (into / "site" / f".{CSV}.lock").write_bytes(b"rubbish" * 1000)
    assert fetch(_source(site, CSV), JANUARY, into).is_current()


# --- busy servers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(site: Site, into: Path, status: int) -> None:
    """Busy once is no error; the listener is told what is waited for."""
    site.once[PARQUET] = [Fault(status=status, headers={"Content-Type": "text/html"}, body=PAGE)]
    events: list[Event] = []
    with listening(events.append):
        fetch(_source(site, PARQUET), JANUARY, into)
    assert site.statuses == [status, 200]
    assert f"answered {status}" in events[0].note
    assert "Trying again" in events[0].note


def test_a_server_that_stays_busy_is_given_up(site: Site, into: Path) -> None:
    """After four attempts the month fails, with what the server asked for."""
    site.always[PARQUET] = Fault(status=503, headers={"Retry-After": "7"})
    with pytest.raises(Transient, match="503") as caught:
        fetch(_source(site, PARQUET), JANUARY, into)
    assert site.statuses == [503] * ATTEMPTS
    assert caught.value.retry_after == 7


def test_waits_as_long_as_the_server_asked(site: Site, into: Path) -> None:
    """Retry-After is the pause, in seconds; without it the pause grows and is never the same."""
    stamina.set_testing(False)
    waits: list[float] = []
    stamina.instrumentation.set_on_retry_hooks([lambda details: waits.append(details.wait_for)])
    site.once[PARQUET] = [Fault(status=429, headers={"Retry-After": "0"}), Fault(status=503)]
    try:
        fetch(_source(site, PARQUET), JANUARY, into)
    finally:
        stamina.instrumentation.set_on_retry_hooks(None)
    assert waits[0] == 0
    assert 2 <= waits[1] <= 3


def test_retry_after_may_be_a_date(site: Site, into: Path) -> None:
    """An HTTP date is understood as the time until then."""
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    site.always[PARQUET] = Fault(status=503, headers={"Retry-After": soon})
    with pytest.raises(Transient) as caught:
        fetch(_source(site, PARQUET), JANUARY, into)
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
                fetch(_source(site, PARQUET), JANUARY, into)
        finally:
            stamina.instrumentation.set_on_retry_hooks(None)
    assert waits == [0.5]
    assert site.statuses == [503, 503]
    assert not may_pass(caught.value)


def test_pauses_that_a_server_asks_for_add_up() -> None:
    """Together they are two minutes at most; the pause after one failure is the same however often it is asked for."""
    pauses = Pauses()
    first = Transient("busy", retry_after=70)
    assert [pauses(first), pauses(first)] == [70, 70]
    assert pauses(Transient("busy", retry_after=70)) == LONGEST_WAIT_SECONDS - 70
    assert pauses(Transient("busy", retry_after=70)) is False
    assert pauses(Transient("busy", retry_after=0)) == 0
    assert pauses(Transient("broken")) is True
    assert pauses(Blocked("a web page")) is False


def test_work_as_a_whole_is_not_tried_again_where_a_server_was_waited_for() -> None:
    """The loop around it would wait as long once more; what may pass by itself it tries again."""
    assert may_pass(Transient("broken"))
    assert not may_pass(Transient("busy", retry_after=7))
    assert not may_pass(Blocked("a web page"))


def test_nobody_there_is_transient(site: Site, into: Path) -> None:
    """A refused connection is tried again, then named with the address."""
    site.server_close()
    with pytest.raises(Transient, match=site.url) as caught:
        fetch(_source(site, PARQUET), JANUARY, into)
    assert "again" in caught.value.hint


# --- what came instead -----------------------------------------------------------------------------------------------


def test_not_published_says_from_when_to_when(site: Site, into: Path) -> None:
    """A 404 at every candidate is not published; the hint has the source's own first and last month."""
    site.folder.joinpath(GZIP).unlink()
    with pytest.raises(NotPublished, match="yellow/2021-01: not published") as caught:
        fetch(sources.resolve("datatalks", {"datatalks": site.url}), JANUARY, into)
    assert "datatalks has yellow from 2019-01 to 2021-07" in caught.value.hint
    assert len(site.hits) == 1
    assert _left(into) == []


def test_not_published_at_the_tlc_tells_the_delay(site: Site, into: Path) -> None:
    """A 403 with a bucket's XML is the TLC's way to say it; months come about two months late."""
    site.always[PARQUET] = Fault(status=403, headers={"Content-Type": "application/xml"}, body=NO_SUCH_KEY)
    with pytest.raises(NotPublished, match="not published") as caught:
        fetch(sources.resolve("tlc", {"tlc": site.url}), JANUARY, into)
    assert "yellow from 2009-01 on, a month about two months after its end" in caught.value.hint


def test_a_bucket_without_a_content_type(site: Site, into: Path) -> None:
    """The XML is recognized by its first bytes, and the next candidate is tried."""
    site.always[PARQUET] = Fault(status=403, body=NO_SUCH_KEY)
    assert fetch(_source(site, PARQUET, GZIP), JANUARY, into).path.name.endswith(".csv.gz")


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
        fetch(_source(site, PARQUET, GZIP), JANUARY, into)
    assert ("web page" in caught.value.message) == bool(fault.body and b"html" in fault.body.lower())
    assert len(site.hits) == 1
    assert _left(into) == []


@pytest.mark.parametrize("key", [GZIP, CSV])
def test_a_page_under_a_data_files_name_is_blocked(site: Site, into: Path, key: str) -> None:
    """The first bytes tell a web page whatever the server calls it."""
    _publish(site.folder / key, b"\xef\xbb\xbf" + PAGE)
    with pytest.raises(Blocked, match="web page"):
        fetch(_source(site, key), JANUARY, into)
    assert _left(into) == []


def _flipped(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 255]) + body[middle + 1 :]


@pytest.mark.parametrize(
    ("key", "damage", "what"),
    [
        (GZIP, lambda body: body[:-9], "damaged gzip"),
        (GZIP, _flipped, "damaged gzip"),
        (GZIP, lambda body: body + b"and more", "damaged gzip"),
        (GZIP, gzip.decompress, "not a gzip"),
        (PARQUET, lambda body: body[:-9], "cut short"),
        (PARQUET, lambda body: body[:100] + b"\xff" * 300_000 + body[300_100:], "damaged Parquet"),
        (PARQUET, _flipped, "damaged Parquet"),
        (PARQUET, lambda body: b"PAR1" + body[200_000:], "damaged Parquet"),
        (PARQUET, lambda _body: b"not Parquet at all", "not a Parquet"),
        (CSV, gzip.compress, "compressed"),
        (CSV, lambda _body: b"", "empty"),
    ],
)
def test_a_corrupt_file_is_refused(site: Site, into: Path, key: str, damage: object, what: str) -> None:
    """Every file is decoded to its last byte before it gets its name; file, URL and fault are named."""
    assert callable(damage)
    _publish(site.folder / key, damage((site.folder / key).read_bytes()))
    with pytest.raises(CorruptFile, match=what) as caught:
        fetch(_source(site, key), JANUARY, into)
    assert Path(key).name in caught.value.message
    assert f"{site.url}/{key}" in caught.value.message
    assert _left(into) == []


def test_gzip_that_swells_without_end_is_refused(site: Site, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file that unzips to more than any month is not decoded to its last byte."""
    _publish(site.folder / GZIP, gzip.compress(bytes(3 << 20)))
    monkeypatch.setattr(limits, "UNZIPPED_BYTES", 1 << 20)
    with pytest.raises(CorruptFile, match="unzips to more than 16 times its"):
        fetch(_source(site, GZIP), JANUARY, into)
    assert _left(into) == []


def test_a_corrupt_successor_leaves_the_good_copy(site: Site, into: Path) -> None:
    """What is here and whole stays when the source's new file is damaged."""
    raw = fetch(_source(site, GZIP), JANUARY, into)
    _publish(site.folder / GZIP, (site.folder / GZIP).read_bytes()[:-1])
    with pytest.raises(CorruptFile):
        fetch(_source(site, GZIP), JANUARY, into)
    assert raw.is_current()
    assert raw.sha256 == _sha256(raw.path)


def test_gzip_in_several_members_is_whole(site: Site, into: Path) -> None:
    """Parts that were compressed one by one and joined are one file."""
    _publish(site.folder / GZIP, gzip.compress(b"a,b\n") + gzip.compress(b"1,2\n") + b"\0" * 100)
    assert fetch(_source(site, GZIP), JANUARY, into).is_current()


# --- the way there ---------------------------------------------------------------------------------------------------


def test_follows_to_another_host_without_telling_it_anything(site: Site, into: Path) -> None:
    """As a release's download does; the signed address it leads to is kept nowhere, cookies are not carried over."""
    target = f"{site.url.replace('127.0.0.1', 'localhost')}/{PARQUET}?signature=secret"
    headers = {"Location": target, "Set-Cookie": "session=1"}
    site.once["release/" + PARQUET] = [Fault(status=302, headers=headers)]
    site.once[f"{PARQUET}?signature=secret"] = [Fault(status=200, body=(site.folder / PARQUET).read_bytes())]
    raw = fetch(_source(site, "release/" + PARQUET), JANUARY, into)
    assert raw.url == f"{site.url}/release/{PARQUET}"
    assert not {"authorization", "cookie", "referer"} & set(site.hits[1].headers)
    assert not any("secret" in path.read_text(errors="replace") for path in into.rglob("*.json"))


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/x", "file:///etc/passwd", "http://[bad"])
def test_follows_to_nothing_but_http(site: Site, into: Path, location: str) -> None:
    """Other schemes and broken addresses are refused, not asked again."""
    site.always[PARQUET] = Fault(status=302, headers={"Location": location})
    with pytest.raises(NycTaxiError):
        fetch(_source(site, PARQUET), JANUARY, into)
    assert _left(into) == []


def test_a_circle_is_left(site: Site, into: Path) -> None:
    """An address that leads to itself is refused."""
    site.always[PARQUET] = Fault(status=302, headers={"Location": f"/{PARQUET}"})
    with pytest.raises(Blocked, match="redirects"):
        fetch(_source(site, PARQUET), JANUARY, into)


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A certificate for the loopback address that nobody has signed, with its key."""
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("openssl, which makes the certificate, is not installed")
    pem = tmp_path / "site.pem"
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", str(pem), "-out", str(tmp_path / "cert")]
    subprocess.run([openssl, "req", "-x509", *made, *names], check=True, capture_output=True)
    with pem.open("a") as file:
        file.write((tmp_path / "cert").read_text())
    return pem


def test_an_untrusted_certificate_is_said_at_once(site: Site, into: Path, authority: Path) -> None:
    """No second attempt: it won't be trusted in a second either."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(authority)
    events: list[Event] = []
    with serving(site.folder, tls) as secure, listening(events.append):
        with pytest.raises(Blocked, match="certificate is not trusted") as caught:
            fetch(_source(secure, PARQUET), JANUARY, into)
        assert "SSL_CERT_FILE" in caught.value.hint
        assert not events


def test_encrypted_stays_encrypted(site: Site, into: Path, authority: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An https address that leads to an http one is refused."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(authority)
    with serving(site.folder, tls) as secure:
        assert fetch(_source(secure, PARQUET), JANUARY, into).url.startswith("https://")
        secure.always[GZIP] = Fault(status=302, headers={"Location": f"{site.url}/{GZIP}"})
        # The last address is encrypted again, so what is asked in the end looks well.
        site.always[GZIP] = Fault(status=302, headers={"Location": f"{secure.url}/{PARQUET}"})
        site.hits.clear()
        with pytest.raises(Blocked, match="not encrypted"):
            fetch(_source(secure, GZIP), JANUARY, into)
        assert site.hits == []
        site.always[GZIP] = Fault(status=302, headers={"Location": f"{secure.url}/{GZIP}"})
        with pytest.raises(Blocked, match="not encrypted"):
            fetch(_source(site, GZIP), JANUARY, into)
        assert len(site.hits) == 1


@pytest.mark.parametrize("proxy", ["nonsense://user:secret@host:1", "socks5://user:secret@host:1"])
def test_a_proxy_that_makes_no_sense(site: Site, into: Path, proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said without its password."""
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(UsageError, match="ALL_PROXY") as caught:
        fetch(_source(site, PARQUET), JANUARY, into)
    assert "secret" not in caught.value.message + caught.value.hint


def test_a_proxy_that_wants_a_password(into: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its 407 is a refusal, named, on plain http."""
    monkeypatch.setenv("HTTP_PROXY", site.url)
    site.always[f"http://tlc.test/{PARQUET}"] = Fault(status=407)
    with pytest.raises(Blocked, match="407"):
        fetch(sources.Source("site", "http://tlc.test", (PARQUET,)), JANUARY, into)


# --- two at once -----------------------------------------------------------------------------------------------------


def test_two_processes_bring_one_file_once(site: Site, into: Path) -> None:
    """The second waits for the first, finds the file whole and unchanged, and moves nothing."""
    gate = threading.Event()
    site.once[PARQUET] = [Fault(cut=HALF, hold=gate)]
    first = _child(site, PARQUET, into)
    _until(path=into / "site" / f"{PARQUET}.part.json")
    second = _child(site, PARQUET, into)
    time.sleep(1.5)  # enough for it to start and to run into the lock
    assert len(site.hits) == 1
    gate.set()
    sums = {child.communicate(timeout=30)[0].strip() for child in (first, second)}
    assert sums == {_sha256(site.folder / PARQUET)}
    assert site.statuses == [200, 304]
    assert site.sent == (site.folder / PARQUET).stat().st_size


def test_a_dead_process_holds_no_lock(site: Site, into: Path) -> None:
    """A lock goes with its holder, however that ends."""
    site.once[PARQUET] = [Fault(cut=0, hold=threading.Event())]
    child = _child(site, PARQUET, into)
    _until(path=into / "site" / f"{PARQUET}.part.json")
    child.send_signal(signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
    child.communicate()
    begun = time.monotonic()
    fetch(_source(site, PARQUET), JANUARY, into)
    assert time.monotonic() - begun < 5


def test_threads_wait_for_each_other_too(site: Site, into: Path) -> None:
    """In one process as well; who waits says so."""
    gate = threading.Event()
    site.once[PARQUET] = [Fault(cut=HALF, hold=gate)]
    found: list[RawFile] = []
    notes: list[str] = []
    thread = threading.Thread(target=lambda: found.append(fetch(_source(site, PARQUET), JANUARY, into)))
    thread.start()
    _until(path=into / "site" / f"{PARQUET}.part.json")

    def open_gate(event: Event) -> None:
        notes.append(event.note)
        gate.set()

    with listening(open_gate):
        found.append(fetch(_source(site, PARQUET), JANUARY, into))
    thread.join()
    assert found[0] == found[1]
    assert "another process" in notes[0]
    assert site.statuses == [200, 304]


# --- folders and the sample ------------------------------------------------------------------------------------------


def test_a_folders_file_is_used_where_it_lies(site: Site, into: Path) -> None:
    """Nothing is copied, written or locked; its path stands for a URL, its time of change for Last-Modified."""
    raw = fetch(sources.resolve(str(site.folder / "yellow")), JANUARY, into)
    assert raw.path == site.folder / GZIP
    assert (raw.url, raw.etag) == (raw.path.as_posix(), "")
    assert raw.sha256 == _sha256(raw.path)
    assert datetime.fromisoformat(raw.last_modified).timestamp() == int(raw.path.stat().st_mtime)
    assert raw.is_current()
    assert not into.exists()
    assert len(list(raw.path.parent.iterdir())) == 1


def test_a_folders_order_is_itself_then_colour_then_trip_data(site: Site, into: Path) -> None:
    """Of several files of a month the first found in the declared order is used."""
    folder = sources.resolve(str(site.folder))
    for name in (CSV, GZIP, PARQUET):
        assert fetch(folder, JANUARY, into).path == site.folder / name
        (site.folder / name).unlink()
    with pytest.raises(NotPublished, match="not in the folder") as caught:
        fetch(folder, JANUARY, into)
    assert PARQUET in caught.value.hint


@pytest.mark.parametrize(
    ("name", "body", "what"),
    [
        (f"{JANUARY.stem}.parquet", b"PAR1 and then it stops", "cut short"),
        (f"{JANUARY.stem}.parquet", b"nothing of the kind", "not a Parquet"),
        (f"{JANUARY.stem}.csv.gz", b"a,b,c\n", "not a gzip"),
        (f"{JANUARY.stem}.csv", PAGE, "a web page"),
        (f"{JANUARY.stem}.csv", b"", "empty"),
    ],
)
def test_a_folders_file_that_is_something_else(tmp_path: Path, into: Path, name: str, body: bytes, what: str) -> None:
    """First and last bytes are looked at before anything else is done; the file is named and stays."""
    path = tmp_path / name
    path.write_bytes(body)
    with pytest.raises(CorruptFile, match=what) as caught:
        fetch(sources.resolve(str(tmp_path)), JANUARY, into)
    assert str(path) in caught.value.message
    assert path.read_bytes() == body


def test_the_sample_is_generated_once(into: Path) -> None:
    """It is whole csv.gz of the asked rows, kept by month and rows, and made again only if it is damaged."""
    source = sources.resolve("sample")
    raw = fetch(source, JANUARY, into, sample_rows=300)
    assert raw.path == into / "sample" / f"{JANUARY.stem}-300.csv.gz"
    assert gzip.decompress(raw.path.read_bytes()).count(b"\n") >= 300
    assert fetch(source, JANUARY, into, sample_rows=300) == raw
    assert fetch(source, JANUARY, into, sample_rows=200).path != raw.path
    raw.path.write_bytes(b"damaged")
    assert fetch(source, JANUARY, into, sample_rows=300).sha256 == raw.sha256


# --- discard, and disks ----------------------------------------------------------------------------------------------


def test_discard_removes_a_fetched_copy(site: Site, into: Path) -> None:
    """File and side file go, and the next fetch brings it whole."""
    raw = fetch(_source(site, PARQUET), JANUARY, into)
    discard(raw)
    discard(raw)
    assert _left(into) == []
    assert fetch(_source(site, PARQUET), JANUARY, into).sha256 == raw.sha256
    assert site.statuses == [200, 200]


def test_discard_leaves_what_is_not_ours(site: Site, into: Path) -> None:
    """A user's own file stays, even one in somebody's raw folder; so does a copy replaced since."""
    kept = fetch(_source(site, CSV), JANUARY, into)
    own = fetch(sources.resolve(str(kept.path.parent)), JANUARY, into)
    discard(own)
    assert kept.is_current()
    _publish(site.folder / CSV, b"newer\n", days_ago=0)
    newer = fetch(_source(site, CSV), JANUARY, into)
    discard(kept)
    assert newer.is_current()


def test_a_file_where_the_folder_should_be(site: Site, tmp_path: Path) -> None:
    """A raw folder that can't be made is the user's to mend, and named."""
    blocked = tmp_path / "raw"
    blocked.write_text("")
    with pytest.raises(UsageError, match=str(blocked)) as caught:
        fetch(_source(site, PARQUET), JANUARY, blocked)
    assert "`data_dir=`" in caught.value.hint


def test_a_lock_that_cannot_be_had_is_named(site: Site, into: Path) -> None:
    """Something else in the lock's place is an error, not an endless wait."""
    (into / "site" / f".{CSV}.lock").mkdir(parents=True)
    with pytest.raises(UsageError, match="can't be locked"):
        fetch(_source(site, CSV), JANUARY, into)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of a file's size to stand in for a full disk")
def test_a_full_disk_is_named(site: Site, into: Path) -> None:
    """No room is an error with a place and a next move; with room again, the download goes on."""
    import resource

    _publish(site.folder / CSV, _noise(4_000_000))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, limits[1]))
    try:
        with pytest.raises(NycTaxiError, match=f"{into}.*: File too large") as caught:
            fetch(_source(site, CSV), JANUARY, into)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "Make room" in caught.value.hint
    assert not (into / "site" / CSV).exists()
    assert fetch(_source(site, CSV), JANUARY, into).sha256 == _sha256(site.folder / CSV)
    assert site.statuses == [200, 206]


# --- the real files --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not REAL, reason="NYCTAXI_REAL_DATA, a folder with real trip records, is not set")
def test_real_files_pass_and_real_damage_does_not(into: Path) -> None:
    """Every official Parquet file and csv.gz is whole to us; the truncated one and the web page are not."""
    real = Path(REAL or "")
    with serving(real) as running:
        good = [path.relative_to(real).as_posix() for path in real.glob("[dt]*/*/*_tripdata_*")]
        for key in good:
            assert fetch(_source(running, key), JANUARY, into).sha256 == _sha256(real / key)
        assert len(good) == 16
        with pytest.raises(CorruptFile, match="cut short"):
            fetch(_source(running, "bad/green_tripdata_2025-02.truncated.parquet"), JANUARY, into)
        with pytest.raises(Blocked, match="web page"):
            fetch(_source(running, "bad/yellow_tripdata_2019-03.html_page.csv"), JANUARY, into)
