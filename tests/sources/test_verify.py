"""Bytes that are not what their name says are refused before they get it."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from nyctaxi_etl.core import limits
from nyctaxi_etl.core.errors import Blocked, CorruptFile
from nyctaxi_etl.sources.fetch import fetch
from support.january import (
    CSV,
    GZIP,
    JANUARY,
    PARQUET,
    publish,
    sha256_of,
    source_of,
    visible_files,
)
from support.web import PAGE, Site


@pytest.mark.parametrize("key", [GZIP, CSV])
def test_a_page_under_a_data_files_name_is_blocked(site: Site, into: Path, key: str) -> None:
    """The first bytes tell a web page whatever the server calls it."""
    publish(site.folder / key, b"\xef\xbb\xbf" + PAGE)
    with pytest.raises(Blocked, match="web page"):
        fetch(source_of(site, key), JANUARY, into)
    assert visible_files(into) == []


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
    publish(site.folder / key, damage((site.folder / key).read_bytes()))
    with pytest.raises(CorruptFile, match=what) as caught:
        fetch(source_of(site, key), JANUARY, into)
    assert Path(key).name in caught.value.message
    assert f"{site.url}/{key}" in caught.value.message
    assert visible_files(into) == []


def test_gzip_that_swells_without_end_is_refused(site: Site, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file that unzips to more than any month is not decoded to its last byte."""
    publish(site.folder / GZIP, gzip.compress(bytes(3 << 20)))
    monkeypatch.setattr(limits, "UNZIPPED_BYTES", 1 << 20)
    with pytest.raises(CorruptFile, match="unzips to more than 16 times its"):
        fetch(source_of(site, GZIP), JANUARY, into)
    assert visible_files(into) == []


def test_a_corrupt_successor_leaves_the_good_copy(site: Site, into: Path) -> None:
    """What is here and whole stays when the source's new file is damaged."""
    raw = fetch(source_of(site, GZIP), JANUARY, into)
    publish(site.folder / GZIP, (site.folder / GZIP).read_bytes()[:-1])
    with pytest.raises(CorruptFile):
        fetch(source_of(site, GZIP), JANUARY, into)
    assert raw.is_current()
    assert raw.sha256 == sha256_of(raw.path)


def test_gzip_in_several_members_is_whole(site: Site, into: Path) -> None:
    """Parts that were compressed one by one and joined are one file."""
    publish(site.folder / GZIP, gzip.compress(b"a,b\n") + gzip.compress(b"1,2\n") + b"\0" * 100)
    assert fetch(source_of(site, GZIP), JANUARY, into).is_current()
