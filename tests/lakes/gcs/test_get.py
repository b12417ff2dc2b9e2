"""Months out of a bucket: whole, of one object, and checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nyctaxi_etl.core.errors import LakeError, NycTaxiError, Transient
from nyctaxi_etl.lakes.gcs_upload import ATTEMPTS
from support.bucket_place import (
    JANUARY,
    KEY,
    NEW,
    Place,
    generation_of,
    google_error,
    is_media,
)
from support.lake_files import noise
from support.proxy import Fault

if TYPE_CHECKING:
    from pathlib import Path


def test_a_copy_is_alone_where_it_was_asked_for(place: Place, new: Path, tmp_path: Path) -> None:
    """By the object's name, and nothing else is left there."""
    place.put_old(new)
    copy = place.lake.get(KEY, tmp_path / "into", str(JANUARY))
    assert copy == tmp_path / "into" / f"{JANUARY.stem}.parquet"
    assert list(copy.parent.iterdir()) == [copy]


def test_a_broken_download_goes_on_where_it_stopped(place: Place, new: Path, tmp_path: Path) -> None:
    """With the rest of the very same generation."""
    place.put_old(new)
    place.gate.faults.append(Fault(is_media, times=2, short=300_000))
    assert place.lake.get(KEY, tmp_path / "into", str(JANUARY)).read_bytes() == new.read_bytes()
    asked = [asked for asked in place.gate.asked if is_media(asked)]
    assert [one.headers["range"] for one in asked] == ["bytes=0-", "bytes=300000-", "bytes=600000-"]
    assert all(f"generation={generation_of(place)}" in one.path for one in asked)


@pytest.mark.parametrize(("status", "told"), [(503, "503"), (206, "nothing came")])
def test_a_download_that_brings_nothing_is_given_up(
    strict: Place, new: Path, tmp_path: Path, status: int, told: str
) -> None:
    """Whether refused or empty; no file that could be taken for the object is left."""
    strict.put_old(new)
    strict.gate.faults.append(Fault(is_media, times=1000, status=status))
    with pytest.raises(Transient, match=told):
        strict.lake.get(KEY, tmp_path / "into", str(JANUARY))
    assert sum(is_media(asked) for asked in strict.gate.asked) == ATTEMPTS
    assert not [path for path in (tmp_path / "into").iterdir() if path.suffix != ".part"]


def test_damaged_bytes_are_not_taken(place: Place, new: Path, tmp_path: Path) -> None:
    """The checksum is compared with the bucket's; the next attempt brings the right ones."""
    place.put_old(new)
    wrong = bytearray(new.read_bytes())
    wrong[1000] ^= 1
    place.gate.faults.append(Fault(is_media, status=200, body=bytes(wrong)))
    with pytest.raises(Transient, match="damaged"):
        place.lake.get(KEY, tmp_path / "into", str(JANUARY))
    assert list((tmp_path / "into").iterdir()) == []
    assert place.lake.get(KEY, tmp_path / "into", str(JANUARY)).read_bytes() == new.read_bytes()


def test_an_object_replaced_while_it_is_read_is_not_mixed(strict: Place, old: Path, new: Path, tmp_path: Path) -> None:
    """Its generation is gone: Google answers 404, and reading it anew gives the other one."""
    strict.put_old(new)
    put = lambda: strict.other.put(KEY, old, NEW, str(JANUARY))  # noqa: E731
    strict.gate.faults.append(Fault(is_media, short=300_000))
    strict.gate.faults.append(
        Fault(is_media, meanwhile=put, times=ATTEMPTS, status=404, body=google_error(404, "No such object"))
    )
    with pytest.raises(Transient, match="replaced it while it was read"):
        strict.lake.get(KEY, tmp_path / "into", str(JANUARY))
    assert sum(is_media(asked) for asked in strict.gate.asked) == 2  # what is gone is not asked for again
    strict.gate.faults.clear()
    assert strict.lake.get(KEY, tmp_path / "into", str(JANUARY)).read_bytes() == old.read_bytes()


@pytest.mark.parametrize(
    ("status", "said", "kind", "told"),
    [
        (404, "No such object", Transient, "another run replaced it while it was read"),
        (403, "does not have storage.objects.get access", LakeError, "not allowed"),
    ],
)
def test_an_object_that_is_open_and_goes_is_told(  # noqa: PLR0913, PLR0917 - a row of the table above
    strict: Place, new: Path, status: int, said: str, kind: type[NycTaxiError], told: str
) -> None:
    """Replaced, or no longer to be read: in our words, at once."""
    strict.put_old(new)
    strict.gate.faults.append(Fault(is_media, times=99, status=status, body=google_error(status, said)))
    with strict.lake.open(KEY) as file, pytest.raises(kind, match=told):
        file.read(10)
    assert sum(is_media(asked) for asked in strict.gate.asked) == 1


def test_a_full_disk_is_told(place: Place, new: Path, tmp_path: Path) -> None:
    """As an error that names the place."""
    place.put_old(new)
    with pytest.raises(LakeError, match="old"):
        place.lake.get(KEY, noise(tmp_path / "old", 1, ""), str(JANUARY))
