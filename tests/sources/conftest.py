"""A site that publishes January, and a folder to fetch it into."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from nyctaxi_etl.sources.download import ATTEMPTS
from support.january import (
    january_bodies,
    publish,
)
from support.loopback import alone_with_the_loopback
from support.web import Site, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _alone_with_the_loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No pause between attempts, and no proxy of the machine's in between."""
    with alone_with_the_loopback(monkeypatch, ATTEMPTS):
        yield


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site with January in Parquet, csv.gz and csv, changed last a day ago."""
    folder = tmp_path / "site"
    for key, body in january_bodies().items():
        publish(folder / key, body)
    with serving(folder) as running:
        yield running


@pytest.fixture
def into(tmp_path: Path) -> Path:
    """The raw folder, not there yet."""
    return tmp_path / "data" / "raw"


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
