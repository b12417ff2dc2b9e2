"""What a server says of a file, parsed once: each header becomes a value, or nothing where it makes no sense."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PARTIAL = 206
# Real validators have some 40 characters; they are sent back, and kept in the ledger and with an object in a bucket.
_LONGEST_VALIDATOR = 500
_LONGEST_WORDS = 300
# Below 2**63, so that every database can hold it.
_NUMBER = re.compile(r"\d{1,18}", re.ASCII)
_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", re.ASCII)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII | re.IGNORECASE)
_LONGEST_NAME = 253  # RFC 1035: a name of a host; 63 for each of its labels


@dataclass(frozen=True)
class Answer:
    """A status line and headers as values.

    ``etag`` and ``last_modified`` are the server's own words, ``None`` where it said nothing, empty where what it said
    can't be sent back. ``if_range`` is the one that a resumed download may rely on, empty if there is none.
    ``bytes`` is the whole file's size, ``start`` the byte that the body begins with; 0 and -1 where it didn't tell.
    ``retry_after`` counts seconds.
    """

    status: int
    words: str
    etag: str | None
    last_modified: str | None
    if_range: str
    bytes: int
    start: int
    retry_after: float | None
    content_type: str

    @property
    def is_page(self) -> bool:
        """Tell whether the server calls the body a web page."""
        return "html" in self.content_type


def parsed(status: int, reason: str, headers: Mapping[str, str]) -> Answer:
    """Read a status line and its headers, whose names are in lower case; nothing in them is an error."""
    start, total = _range(headers.get("content-range", ""))
    if status != PARTIAL:
        start, total = -1, number(headers.get("content-length", ""))
    etag, modified = headers.get("etag"), headers.get("last-modified")
    return Answer(
        status=status,
        words=f"{status} {printable(reason)}".strip(),
        etag=etag if etag is None or is_sendable(etag) else "",
        last_modified=modified if modified is None or _when(modified) else "",
        if_range=_strong(headers),
        bytes=total,
        start=start,
        retry_after=retry_after(headers.get("retry-after", "")),
        content_type=headers.get("content-type", "").lower(),
    )


def retry_after(text: str) -> float | None:
    """Return for how many seconds a server asks to be left alone, written as a number or as a date."""
    text = text.strip()
    if _NUMBER.fullmatch(text):
        return float(text)
    when = _when(text)
    return max(0.0, (when - datetime.now(UTC)).total_seconds()) if when else None


def number(text: str) -> int:
    """Return the number that ``text`` is, 0 if it is none or none that counts bytes."""
    return int(text) if _NUMBER.fullmatch(text) else 0


def is_sendable(text: object) -> bool:
    """Tell whether ``text`` can stand in a header: printable ASCII, and not longer than any real validator."""
    return isinstance(text, str) and len(text) <= _LONGEST_VALIDATOR and text.isascii() and text.isprintable()


def is_host(name: str) -> bool:
    """Tell whether ``name``, in ASCII, can name a host: an IP address in brackets, or labels with dots between."""
    if name.startswith("["):
        return name.endswith("]")
    labels = name.removesuffix(".").split(".")
    return len(name) <= _LONGEST_NAME and all(_LABEL.fullmatch(label) for label in labels)


def printable(text: str) -> str:
    """Return a server's words, or a library's about them, as a message can have them: short, all of it printable."""
    words = " ".join("".join(letter if letter.isprintable() else " " for letter in text[: 2 * _LONGEST_WORDS]).split())
    return words if len(words) <= _LONGEST_WORDS else f"{words[:_LONGEST_WORDS]}..."


def _strong(headers: Mapping[str, str]) -> str:
    """Return the validator that proves byte-for-byte sameness, as RFC 9110 13.1.5 allows it in If-Range.

    A weak ETag never does, and rules out the date; a date does if it was over for a second when the answer was made.
    """
    etag = headers.get("etag", "")
    if etag:
        return etag if is_sendable(etag) and not etag.startswith("W/") else ""
    modified, answered = _when(headers.get("last-modified", "")), _when(headers.get("date", ""))
    old = modified and answered and answered - modified >= timedelta(seconds=1)
    return headers["last-modified"] if old else ""


def _range(text: str) -> tuple[int, int]:
    """Return first byte and total of a Content-Range; (-1, 0) if it has none, total 0 if it has no number."""
    match = _RANGE.fullmatch(text.strip())
    return (int(match[1]), number(match[2])) if match else (-1, 0)


def _when(text: str) -> datetime | None:
    """Return the instant that an HTTP date names; other texts name none, nor do dates that no calendar has."""
    if not is_sendable(text):
        return None
    try:
        when = parsedate_to_datetime(text)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
