"""First bytes show what a file is, with white space or a byte order mark before them, in any letters' case."""

from __future__ import annotations

import pytest

from nyctaxi_etl.core.signatures import WEB_PAGE, XML, kind_of


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"<!DOCTYPE html><html>", WEB_PAGE),
        (b"\xef\xbb\xbf \r\n<HTML lang='en'>", WEB_PAGE),
        (b"\n<?xml version='1.0'?>", XML),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"PK\x03\x04", "a zip archive"),
        (b"PAR1\x15\x04", "Parquet"),
        (b"VendorID,tpep_pickup_datetime", ""),
        (b"", ""),
    ],
)
def test_first_bytes(head: bytes, kind: str) -> None:
    """Each kind is told; lines of CSV, and nothing, are of none."""
    assert kind_of(head) == kind
