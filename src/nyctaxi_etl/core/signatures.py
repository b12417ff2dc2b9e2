"""What a file's first bytes show it to be, whatever its name says."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

BOM = b"\xef\xbb\xbf"
WEB_PAGE = "a web page"
XML = "an XML message"
_KINDS: Mapping[bytes, str] = {
    b"<!doctype html": WEB_PAGE,
    b"<html": WEB_PAGE,
    b"<?xml": XML,
    b"\x1f\x8b": "gzip",
    b"pk\x03\x04": "a zip archive",
    b"par1": "Parquet",
}
_LONGEST = max(map(len, _KINDS))


def kind_of(head: bytes) -> str:
    """Return what first bytes are of, in words for a message (``a web page``); empty if they don't show it.

    Letters' case, a byte order mark and white space before them don't count: a page has them, too.
    """
    begin = head.lstrip(BOM + b" \t\r\n\v\f")[:_LONGEST].lower()
    return next((kind for mark, kind in _KINDS.items() if begin.startswith(mark)), "")
