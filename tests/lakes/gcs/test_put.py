"""Months into a bucket: what is sent, and what is asked."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING

from nyctaxi_etl.core.progress import Event, listening
from support.bucket_place import (
    CHUNK,
    JANUARY,
    KEY,
    NEW,
    OLD,
    SIZE,
    Place,
    generation_of,
    is_last_chunk,
    is_upload,
    sent_spans,
)
from support.proxy import Fault

if TYPE_CHECKING:
    from pathlib import Path


def test_an_empty_fact_is_left_out(place: Place, new: Path) -> None:
    """A missing one means the same, and what was put is found to be there after a lost answer."""
    place.lake.put(KEY, new, {"source": "folder", "source_etag": ""}, str(JANUARY))
    (begun,) = [asked for asked in place.gate.asked if is_upload(asked)]
    assert place.lake.metadata(KEY) == {"source": "folder"}
    place.gate.faults.append(Fault(is_last_chunk, meanwhile=lambda: None, status=412))
    place.lake.put(KEY, new, {"source": "folder", "source_etag": ""}, str(JANUARY))
    assert begun.status == 200


def test_objects_are_files_of_the_fake_server(fake: Place, fake_root: Path, new: Path) -> None:
    """What reads the server's folder, as a warehouse in the tests does, finds them by bucket and key."""
    fake.lake.put(KEY, new, NEW, str(JANUARY))
    assert (fake_root / fake.bucket / "nyc" / KEY).read_bytes() == new.read_bytes()


def test_the_bucket_itself_is_never_asked_for(place: Place, new: Path, tmp_path: Path) -> None:
    """That would take another role than object rights; the library does it in the background if it is let."""
    place.lake.put(KEY, new, OLD, str(JANUARY))
    place.lake.get(KEY, tmp_path / "into", str(JANUARY))
    place.lake.remove(KEY)
    place.lake.metadata(KEY)
    for thread in threading.enumerate():
        if "background" in thread.name:
            thread.join(10)
    assert not [asked.path for asked in place.gate.asked if re.search(r"/b/[^/]+/?(\?|$)", asked.path)]


def test_sends_in_chunks_with_a_precondition(place: Place, new: Path) -> None:
    """One request a chunk; first in place of nothing, then in place of what was there."""
    place.lake.put(KEY, new, OLD, str(JANUARY))
    before = generation_of(place)
    spans = [f"{start}-{min(start + CHUNK, SIZE) - 1}/{SIZE}" for start in range(0, SIZE, CHUNK)]
    assert sent_spans(place) == spans
    place.lake.put(KEY, new, NEW, str(JANUARY))
    begun = [asked.path for asked in place.gate.asked if is_upload(asked)]
    assert [re.findall(r"ifGenerationMatch=(\d+)", path) for path in begun] == [["0"], [before]]


def test_tells_how_far_it_is(place: Place, new: Path, tmp_path: Path) -> None:
    """Bytes there and back, more often than a chunk goes."""
    events: list[Event] = []
    with listening(events.append):
        place.lake.put(KEY, new, NEW, str(JANUARY))
        place.lake.get(KEY, tmp_path / "into", str(JANUARY))
    for step in ("put", "get"):
        told = [event.done for event in events if event.step == step]
        assert told == sorted(told)
        assert told[-1] == SIZE
        assert len(told) >= SIZE // CHUNK
    assert {(event.total, event.unit, event.subject) for event in events} == {(SIZE, "bytes", str(JANUARY))}
