"""A month's own folder, and the rejects that stay when it is gone."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Never

import pytest

from nyctaxi_etl.core.partition import Partition
from nyctaxi_etl.pipelines.workspace import keep_rejects, own_folder
from nyctaxi_etl.schema.datasets import YELLOW
from nyctaxi_etl.transform.stream import Limits, stage
from support.published import JANUARY, csv_file, raw_file, rejects_in

if TYPE_CHECKING:
    from pathlib import Path

    from nyctaxi_etl.staging.files import StagedFile

TIME = "2019-01-05 10:00:00"


def staged_file(folder: Path, counts: list[str]) -> StagedFile:
    """Stage rows of these passenger counts; each has its line as its distance."""
    rows = "".join(f"{TIME},{count},{line}\n" for line, count in enumerate(counts, start=2))
    path = csv_file(folder, f"pickup_datetime,passenger_count,trip_distance\n{rows}", YELLOW)
    return stage(raw_file(path, Partition(YELLOW.color, JANUARY)), YELLOW, folder / "work", Limits(1.0))


def test_rejects_are_kept_in_place_of_earlier_ones(tmp_path: Path) -> None:
    """The rejects of a month are those of its last load, and none if it had none."""
    place = tmp_path / "rejects" / "yellow" / "yellow_tripdata_2019-01.parquet"
    assert keep_rejects(staged_file(tmp_path, ["0", "x", "1"]), tmp_path / "rejects") == place
    assert [reject.reason for reject in rejects_in(place)] == ["no_passengers", "passenger_count: 'x' does not fit"]
    keep_rejects(staged_file(tmp_path, ["1", "0"]), tmp_path / "rejects")
    assert [(reject.line, reject.raw) for reject in rejects_in(place)] == [(3, f"{TIME},0,3")]
    assert keep_rejects(staged_file(tmp_path, ["1"]), tmp_path / "rejects") is None
    assert list(place.parent.iterdir()) == []


def test_no_rejects_need_no_folder(tmp_path: Path) -> None:
    """A first load without rejects leaves nothing."""
    assert keep_rejects(staged_file(tmp_path, ["1"]), tmp_path / "rejects") is None
    assert not (tmp_path / "rejects").exists()


def test_a_workplace_is_gone_afterwards(tmp_path: Path) -> None:
    """Each month works in a folder of its own, which is removed with all in it, whatever happened."""

    def work() -> Never:
        with own_folder(tmp_path / "staging") as one, own_folder(tmp_path / "staging") as other:
            assert one != other
            (one / "rows.arrow").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    assert list((tmp_path / "staging").iterdir()) == []


def test_workplaces_of_killed_processes_are_swept(tmp_path: Path) -> None:
    """What a killed process has left is gone when the next month begins; what is at work is not."""
    code = "import os, sys; from pathlib import Path; from nyctaxi_etl.pipelines.workspace import own_folder"
    killed = f"{code}\nwith own_folder(Path(sys.argv[1])) as f: (f / 'rows.arrow').touch(); os.kill(os.getpid(), 9)"
    with own_folder(tmp_path) as at_work:
        subprocess.run([sys.executable, "-c", killed, tmp_path], check=False)
        assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 2
        with own_folder(tmp_path) as folder:
            assert {path for path in tmp_path.iterdir() if path.is_dir()} == {at_work, folder}
