"""The way to a server: redirects, certificates, proxies, and the least speed."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from nyctaxi_etl.core import pace
from nyctaxi_etl.core.errors import Blocked, NycTaxiError, Transient, UsageError
from nyctaxi_etl.core.progress import Event, listening
from nyctaxi_etl.sources import registry as sources
from nyctaxi_etl.sources.fetch import fetch
from support.january import (
    CSV,
    GZIP,
    HALF,
    JANUARY,
    PARQUET,
    publish,
    sha256_of,
    source_of,
    visible_files,
)
from support.web import NO_SUCH_KEY, Fault, Site, serving

if TYPE_CHECKING:
    from pathlib import Path


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
        raw = fetch(source_of(site, PARQUET), JANUARY, into)
    assert raw.sha256 == sha256_of(site.folder / PARQUET)
    # On a machine that is busy for a third of a second an honest transfer is cut off and gone on with, too.
    assert len(site.hits) >= 2
    assert any("less than 1,000 bytes a second" in event.note for event in events)
    site.always[GZIP] = fault
    with pytest.raises(Transient, match="less than 1,000 bytes a second") as caught:
        fetch(source_of(site, GZIP), JANUARY, into)
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
        assert fetch(source_of(secure, PARQUET), JANUARY, into).is_current()
        assert secure.statuses == [200, 206]


def test_a_slow_line_is_no_drip(site: Site, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the floor or above nothing is cut; a floor of 0 cuts nothing."""
    monkeypatch.setattr(pace, "FLOOR_SECONDS", 1.0)
    publish(site.folder / CSV, b"x" * 120)
    site.always[CSV] = Fault(cut=0, drip=0.01)
    assert fetch(source_of(site, CSV), JANUARY, into, floor=5).bytes == 120
    publish(site.folder / CSV, b"y" * 120, days_ago=0)
    assert fetch(source_of(site, CSV), JANUARY, into, floor=0).bytes == 120
    assert site.statuses == [200, 200]


def test_follows_to_another_host_without_telling_it_anything(site: Site, into: Path) -> None:
    """As a release's download does; the signed address it leads to is kept nowhere, cookies are not carried over."""
    target = f"{site.url.replace('127.0.0.1', 'localhost')}/{PARQUET}?signature=secret"
    headers = {"Location": target, "Set-Cookie": "session=1"}
    site.once["release/" + PARQUET] = [Fault(status=302, headers=headers)]
    site.once[f"{PARQUET}?signature=secret"] = [Fault(status=200, body=(site.folder / PARQUET).read_bytes())]
    raw = fetch(source_of(site, "release/" + PARQUET), JANUARY, into)
    assert raw.url == f"{site.url}/release/{PARQUET}"
    assert not {"authorization", "cookie", "referer"} & set(site.hits[1].headers)
    assert not any("secret" in path.read_text(errors="replace") for path in into.rglob("*.json"))


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/x", "file:///etc/passwd", "http://[bad"])
def test_follows_to_nothing_but_http(site: Site, into: Path, location: str) -> None:
    """Other schemes and broken addresses are refused, not asked again."""
    site.always[PARQUET] = Fault(status=302, headers={"Location": location})
    with pytest.raises(NycTaxiError):
        fetch(source_of(site, PARQUET), JANUARY, into)
    assert visible_files(into) == []


def test_a_circle_is_left(site: Site, into: Path) -> None:
    """An address that leads to itself is refused."""
    site.always[PARQUET] = Fault(status=302, headers={"Location": f"/{PARQUET}"})
    with pytest.raises(Blocked, match="redirects"):
        fetch(source_of(site, PARQUET), JANUARY, into)


def test_an_untrusted_certificate_is_said_at_once(site: Site, into: Path, authority: Path) -> None:
    """No second attempt: it won't be trusted in a second either."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(authority)
    events: list[Event] = []
    with serving(site.folder, tls) as secure, listening(events.append):
        with pytest.raises(Blocked, match="certificate is not trusted") as caught:
            fetch(source_of(secure, PARQUET), JANUARY, into)
        assert "SSL_CERT_FILE" in caught.value.hint
        assert not events


def test_encrypted_stays_encrypted(site: Site, into: Path, authority: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An https address that leads to an http one is refused."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(authority)
    with serving(site.folder, tls) as secure:
        assert fetch(source_of(secure, PARQUET), JANUARY, into).url.startswith("https://")
        secure.always[GZIP] = Fault(status=302, headers={"Location": f"{site.url}/{GZIP}"})
        # The last address is encrypted again, so what is asked in the end looks well.
        site.always[GZIP] = Fault(status=302, headers={"Location": f"{secure.url}/{PARQUET}"})
        site.hits.clear()
        with pytest.raises(Blocked, match="not encrypted"):
            fetch(source_of(secure, GZIP), JANUARY, into)
        assert site.hits == []
        site.always[GZIP] = Fault(status=302, headers={"Location": f"{secure.url}/{GZIP}"})
        with pytest.raises(Blocked, match="not encrypted"):
            fetch(source_of(site, GZIP), JANUARY, into)
        assert len(site.hits) == 1


@pytest.mark.parametrize("proxy", ["nonsense://user:secret@host:1", "socks5://user:secret@host:1"])
def test_a_proxy_that_makes_no_sense(site: Site, into: Path, proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said without its password."""
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(UsageError, match="ALL_PROXY") as caught:
        fetch(source_of(site, PARQUET), JANUARY, into)
    assert "secret" not in caught.value.message + caught.value.hint


def test_a_proxy_that_wants_a_password(into: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its 407 is a refusal, named, on plain http."""
    monkeypatch.setenv("HTTP_PROXY", site.url)
    site.always[f"http://tlc.test/{PARQUET}"] = Fault(status=407)
    with pytest.raises(Blocked, match="407"):
        fetch(sources.Source("site", "http://tlc.test", (PARQUET,)), JANUARY, into)
