"""Files come whole or not at all: from a site, a folder or the sample."""

from __future__ import annotations

import gzip
import json
import sys
from datetime import datetime
from pathlib import Path

import pytest

from nyctaxi_etl.core.errors import Blocked, CorruptFile, NotPublished, NycTaxiError, UsageError
from nyctaxi_etl.core.progress import Event, listening
from nyctaxi_etl.sources import registry as sources
from nyctaxi_etl.sources.fetch import fetch
from support.january import (
    CSV,
    GZIP,
    JANUARY,
    PARQUET,
    REAL,
    noise,
    publish,
    sha256_of,
    source_of,
    visible_files,
)
from support.web import PAGE, Fault, Site, serving


@pytest.mark.parametrize("key", [PARQUET, GZIP, CSV])
def test_brings_the_published_bytes(site: Site, into: Path, key: str) -> None:
    """The file is byte for byte the published one, below its source's name and its own key."""
    raw = fetch(source_of(site, key), JANUARY, into)
    assert raw.path == into / "site" / key
    assert raw.path.read_bytes() == (site.folder / key).read_bytes()
    assert (raw.sha256, raw.bytes) == (sha256_of(site.folder / key), (site.folder / key).stat().st_size)
    assert raw.is_current()


def test_remembers_where_it_came_from(site: Site, into: Path) -> None:
    """The side file has the URL, the server's validators, size, sha256 and time; nothing else is left behind."""
    raw = fetch(source_of(site, PARQUET), JANUARY, into)
    side = json.loads((raw.path.parent / f"{raw.path.name}.json").read_text())
    assert side == {name: getattr(raw, name) for name in side}
    assert set(side) == {"url", "etag", "last_modified", "bytes", "sha256", "mtime_ns"}
    assert side["url"] == f"{site.url}/{PARQUET}"
    assert side["etag"].startswith('"')
    assert side["last_modified"].endswith("GMT")
    assert visible_files(into) == [raw.path.name, f"{raw.path.name}.json"]


def test_asks_for_the_bytes_as_they_are(site: Site, into: Path) -> None:
    """No compression in transit, no cookie, no credential."""
    fetch(source_of(site, GZIP), JANUARY, into)
    asked = site.hits[0].headers
    assert asked["accept-encoding"] == "identity"
    assert not {"authorization", "cookie", "referer"} & set(asked)


def test_compressed_once_more_by_the_server_is_kept_as_sent(site: Site, into: Path) -> None:
    """A server that calls a csv.gz's own gzip a transfer encoding doesn't get it unpacked."""
    site.always[GZIP] = Fault(headers={"Content-Encoding": "gzip"})
    assert fetch(source_of(site, GZIP), JANUARY, into).sha256 == sha256_of(site.folder / GZIP)


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
        fetch(source_of(site, PARQUET), JANUARY, into)
    total = (site.folder / PARQUET).stat().st_size
    assert [event.done for event in events] == sorted(event.done for event in events)
    assert (events[-1].done, events[-1].total, events[-1].unit) == (total, total, "bytes")
    assert {(event.step, event.subject) for event in events} == {("extract", str(JANUARY))}
    assert len(events) < 10


def test_a_folders_file_is_used_where_it_lies(site: Site, into: Path) -> None:
    """Nothing is copied, written or locked; its path stands for a URL, its time of change for Last-Modified."""
    raw = fetch(sources.resolve(str(site.folder / "yellow")), JANUARY, into)
    assert raw.path == site.folder / GZIP
    assert (raw.url, raw.etag) == (raw.path.as_posix(), "")
    assert raw.sha256 == sha256_of(raw.path)
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


def test_a_file_where_the_folder_should_be(site: Site, tmp_path: Path) -> None:
    """A raw folder that can't be made is the user's to mend, and named."""
    blocked = tmp_path / "raw"
    blocked.write_text("")
    with pytest.raises(UsageError, match=str(blocked)) as caught:
        fetch(source_of(site, PARQUET), JANUARY, blocked)
    assert "`data_dir=`" in caught.value.hint


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of a file's size to stand in for a full disk")
def test_a_full_disk_is_named(site: Site, into: Path) -> None:
    """No room is an error with a place and a next move; with room again, the download goes on."""
    import resource

    publish(site.folder / CSV, noise(4_000_000))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, limits[1]))
    try:
        with pytest.raises(NycTaxiError, match=f"{into}.*: File too large") as caught:
            fetch(source_of(site, CSV), JANUARY, into)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "Make room" in caught.value.hint
    assert not (into / "site" / CSV).exists()
    assert fetch(source_of(site, CSV), JANUARY, into).sha256 == sha256_of(site.folder / CSV)
    assert site.statuses == [200, 206]


@pytest.mark.skipif(not REAL, reason="NYCTAXI_REAL_DATA, a folder with real trip records, is not set")
def test_real_files_pass_and_real_damage_does_not(into: Path) -> None:
    """Every official Parquet file and csv.gz is whole to us; the truncated one and the web page are not."""
    real = Path(REAL or "")
    with serving(real) as running:
        good = [path.relative_to(real).as_posix() for path in real.glob("[dt]*/*/*_tripdata_*")]
        for key in good:
            assert fetch(source_of(running, key), JANUARY, into).sha256 == sha256_of(real / key)
        assert len(good) == 16
        with pytest.raises(CorruptFile, match="cut short"):
            fetch(source_of(running, "bad/green_tripdata_2025-02.truncated.parquet"), JANUARY, into)
        with pytest.raises(Blocked, match="web page"):
            fetch(source_of(running, "bad/yellow_tripdata_2019-03.html_page.csv"), JANUARY, into)
