"""Where months are published: one row a source. A folder and a base URL are rows made on the spot."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from nyctaxi_etl.core.addresses import folder_of, refuse_secret
from nyctaxi_etl.core.answer import is_host
from nyctaxi_etl.core.errors import UsageError
from nyctaxi_etl.core.partition import Color, Month
from nyctaxi_etl.core.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nyctaxi_etl.core.partition import Partition

SAMPLE = "sample"
_FOLDER = "folder"

_TLC_KEYS = ("trip-data/{stem}.parquet",)
_DATATALKS_KEYS = ("{color}/{stem}.csv.gz",)
# In a folder: itself, then {color}/, then trip-data/; in each, Parquet before csv.gz before csv.
_FOLDER_KEYS = tuple(
    f"{folder}{{stem}}{ending}"
    for folder in ("", "{color}/", "trip-data/")
    for ending in (".parquet", ".csv.gz", ".csv")
)
_COURSE = (Month(2019, 1), Month(2021, 7))


@dataclass(frozen=True)
class Source:
    """A place that months come from.

    ``base`` is a URL or a folder, empty for the generated sample; ``keys`` are tried below it in order.
    ``published`` tells the first and last month of a colour where the source's differ from the TLC's; a last month
    of ``None`` is not known. ``about`` says what is published there.
    """

    name: str
    base: str
    keys: tuple[str, ...]
    published: Mapping[Color, tuple[Month, Month | None]] = field(default_factory=dict)
    about: str = ""

    @property
    def url_setting(self) -> str:
        """The setting of a named source's base URL."""
        return f"{self.name}_url"

    @property
    def is_remote(self) -> bool:
        """Tell whether the source is reached over the network."""
        return self.base.startswith(("http://", "https://"))

    def candidates(self, partition: Partition) -> tuple[str, ...]:
        """Return the keys under which this month may be found, in the order to try them."""
        return tuple(key.format(stem=partition.stem, color=partition.color) for key in self.keys)


# Every source that has a name. Each with a base URL has a setting for another one: ``Source.url_setting``.
SOURCES: Mapping[str, Source] = {
    source.name: source
    for source in (
        Source(
            "tlc",
            "https://d37ci6vzurychx.cloudfront.net",
            _TLC_KEYS,
            about="the TLC's own site: Parquet, all colours, yellow since 2009-01, about two months behind",
        ),
        Source(
            "datatalks",
            "https://github.com/DataTalksClub/nyc-tlc-data/releases/download",
            _DATATALKS_KEYS,
            {Color.YELLOW: _COURSE, Color.GREEN: _COURSE, Color.FHV: (_COURSE[0], None)},
            about="the CSV copies of DataTalksClub's course: yellow and green 2019-01 to 2021-07, fhv from 2019-01",
        ),
        Source(
            SAMPLE,
            "",
            (),
            about="generated on your machine, NYCTAXI_SAMPLE_ROWS rows a month; made up, never real",
        ),
    )
}
# What a user may name: for help and hints.
SOURCE_NAMES = ", ".join(SOURCES)


def resolve(text: str, urls: Mapping[str, str] | None = None) -> Source:
    """Return the source that a text names: one of ``SOURCES``, a folder or an http(s) base URL.

    ``urls`` has other base URLs for sources, by their names.

    Raises:
        UsageError: There is no such folder, or the URL is none of http(s), or holds a password or a query.
    """
    source = SOURCES.get(text)
    if source and source.base:
        url = (urls or {}).get(source.name, source.base)
        return replace(source, base=_base_url(url, source.url_setting))
    if source:
        return source
    if "://" in text:
        url = _base_url(text, "source")
        host = urlsplit(url).netloc
        # A host may be called as a source is: the ledger must tell the two apart.
        is_taken = host in SOURCES or host == _FOLDER
        return Source(url if is_taken else host, url, (*_TLC_KEYS, *_DATATALKS_KEYS, *_FOLDER_KEYS[:3]))
    return Source(_FOLDER, str(_folder(text)), _FOLDER_KEYS)


def _base_url(text: str, about: str) -> str:
    """Return a base address without a slash at its end; ``about`` is the argument or setting that it was given by."""
    refuse_secret(about, text)
    scheme = text.partition(":")[0]
    try:
        parts = urlsplit(text)
        _ = parts.port
        is_one = parts.scheme in {"http", "https"} and _is_host(parts.hostname or "")
    except ValueError:  # an open bracket, or a port that is none
        is_one = False
    if not is_one:
        message = f"{scheme[:8]}://...: not an http or https address."
        hint = f"Name {SOURCE_NAMES}, a folder or an http(s) base URL."
        other = "Write it as https://host or https://host/folder."
        raise UsageError(message, hint if about == "source" else other, about=about)
    if parts.query or parts.fragment:
        message = f"{parts.scheme}://{parts.netloc}{parts.path}?...: a base address can't have a query."
        hint = "Months' names are put behind it: leave out all from the question mark on."
        raise UsageError(message, hint, about=about)
    return text.rstrip("/")


def _is_host(name: str) -> bool:
    """Tell whether an address can be asked for at this host, which may be written in any alphabet."""
    if ":" in name:
        return is_host(f"[{name}]")
    try:
        return is_host(name if name.isascii() else name.encode("idna").decode())
    except UnicodeError:
        return False


def _folder(text: str) -> Path:
    refuse_secret("source", text)
    folder = folder_of(text, "source")
    if not folder.is_dir():
        message = f"{text}: there is no such folder."
        names = f"Name {SOURCE_NAMES}, an existing folder or an http(s) base URL."
        raise UsageError(message, f"{did_you_mean(text, SOURCES)}{names}", about="source")
    return folder_of(str(folder.resolve()), "source")
