"""The zone lookup is read: every source's, whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nyctaxi_etl.core.errors import Blocked, CorruptFile, NotPublished, NycTaxiError, SchemaDrift
from nyctaxi_etl.schema.datasets import ZONES
from nyctaxi_etl.sources.registry import resolve
from nyctaxi_etl.sources.zones import CEILING_BYTES, FILE_BYTES, read_zones
from support.web import serving
from support.zones import HEADER, JFK, OFFICIAL, OUTSIDE, official_lookup, written_lookup

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A source's folder with the official lookup where the TLC has it."""
    return official_lookup(tmp_path)


@pytest.mark.parametrize("source", ["sample", "folder"])
def test_the_official_zones(source: str, folder: Path, tmp_path: Path) -> None:
    """All 265 are there, typed as declared, and N/A is a text."""
    rows = read_zones(resolve(str(folder) if source == "folder" else source), tmp_path).rows
    assert rows.num_rows == 265
    assert rows.schema.names == [column.name for column in ZONES]
    assert rows.schema.types == ["int16", "string", "string", "string"]
    found = {row["location_id"]: tuple(row.values()) for row in rows.to_pylist()}
    assert (found[132], found[265], found[264][1]) == (JFK, OUTSIDE, "Unknown")
    assert set(found) == set(range(1, 266))
    assert sum(column.null_count for column in rows.columns) == 0


def test_a_folder_may_hold_it_itself(tmp_path: Path) -> None:
    """Without ``misc`` the folder itself is looked in; names are matched as those of trips are."""
    made = written_lookup(tmp_path, "\ufeffservice_zone,ZONE,borough,Location ID\nBoro Zone,Here,Queens,7\n")
    lookup = read_zones(resolve(str(made)), tmp_path)
    assert lookup.rows.to_pylist() == [
        {"location_id": 7, "borough": "Queens", "zone": "Here", "service_zone": "Boro Zone"}
    ]
    assert lookup.url == (made / "taxi_zone_lookup.csv").as_posix()


def test_a_site_has_it(folder: Path, tmp_path: Path) -> None:
    """It is fetched from ``misc`` of any base URL."""
    with serving(folder) as site:
        lookup = read_zones(resolve("tlc", {"tlc": site.url}), tmp_path)
        assert (lookup.rows.num_rows, lookup.url) == (265, f"{site.url}/misc/taxi_zone_lookup.csv")
        assert read_zones(resolve("datatalks", {"datatalks": site.url}), tmp_path).sha256 == lookup.sha256


def test_a_web_page_is_no_lookup(folder: Path, tmp_path: Path) -> None:
    """A page that comes instead of the file is called one, whatever it says that it is."""
    (folder / "misc" / "taxi_zone_lookup.csv").write_text("<!DOCTYPE html><html>Log in</html>")
    with serving(folder) as site, pytest.raises(Blocked, match="with a web page"):
        read_zones(resolve(site.url), tmp_path)


def test_what_is_not_there(tmp_path: Path) -> None:
    """A source without the file is said to have none."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotPublished, match="not in the folder"):
        read_zones(resolve(str(tmp_path / "empty")), tmp_path)
    with serving(tmp_path / "empty") as site, pytest.raises(NotPublished, match="not published at"):
        read_zones(resolve(site.url), tmp_path)


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("", CorruptFile, "can't be read"),
        (HEADER, CorruptFile, "not one for each row"),
        (f"{HEADER}1,a,b,c\n1,a,b,c\n", CorruptFile, "not one for each row"),
        (f"{HEADER}x,a,b,c\n", CorruptFile, "can't be read"),
        (f"{HEADER}70000,a,b,c\n", CorruptFile, "can't be read"),
        (f"{HEADER}1,a,b\n", CorruptFile, "can't be read"),
        ("id,Borough,Zone\n1,a,b\n", SchemaDrift, "no column for location_id, service_zone"),
    ],
)
def test_what_is_no_lookup(text: str, kind: type[NycTaxiError], says: str, tmp_path: Path) -> None:
    """Another file is refused, with what is wrong with it."""
    with pytest.raises(kind, match=says):
        read_zones(resolve(str(written_lookup(tmp_path, text))), tmp_path)


def test_the_lookup_has_a_ceiling_of_its_own() -> None:
    """It is 64 times the published file, which is the one that the package has."""
    assert OFFICIAL.stat().st_size == FILE_BYTES
    assert CEILING_BYTES == 64 * FILE_BYTES
