"""What is asked of a server, what it says of the file, and the next moves that go with its refusals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nyctaxi_etl.core.errors import Blocked
from nyctaxi_etl.core.pace import FLOOR_BYTES
from nyctaxi_etl.schema.datasets import LARGEST_MONTH_BYTES

if TYPE_CHECKING:
    from pathlib import Path

    from nyctaxi_etl.core.partition import RawFile

# A file without an announced length goes on until this at most, and so does one of any announced length.
CEILING_BYTES = 64 * LARGEST_MONTH_BYTES

RESUME = "Run the same command again: it goes on where it stopped."
LOOK = "Open the address in a browser; behind a proxy set HTTPS_PROXY, or name another `source=`."


@dataclass(frozen=True)
class DownloadRequest:
    """The file to bring: from ``url`` to ``part``, unless it is the same as ``copy``, a whole one that is here.

    ``floor`` is how many bytes a second must come, over a minute; ``ceiling`` the most bytes that it may have.
    """

    subject: str
    url: str
    part: Path
    copy: RawFile | None = None
    floor: int = FLOOR_BYTES
    ceiling: int = CEILING_BYTES

    def __str__(self) -> str:
        return f"{self.subject}: {self.url}"


@dataclass(frozen=True)
class Published:
    """What the server says of a file: validators in its own words; ``bytes`` is 0 where it didn't tell.

    ``if_range`` is the validator that a resumed download may rely on, empty if there is none.
    """

    url: str
    etag: str
    last_modified: str
    if_range: str
    bytes: int


def blocked_by_page(subject: str, url: str, status: str = "200 OK") -> Blocked:
    """Return the error that says that a web page came instead of a file."""
    message = f"{subject}: {url} answered {status} with a web page, not with data."
    return Blocked(message, f"A firewall, a proxy or a log-in page is in between. {LOOK}")
