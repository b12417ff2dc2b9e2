"""Ctrl-C and other signals: the command ends soon and in order, and what it was at can be done again."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

from support.command import END_SECONDS, assert_clean_end, nyctaxi, rows_of, start, stopped
from support.web import Fault, serving

if TYPE_CHECKING:
    from pathlib import Path

MONTH = ("ingest", "--color", "fhv", "--year", "2021", "--months", "1", "--direct")
# A month in one process, large enough to be stopped in.
LARGE = ("ingest", "--color", "green", "--year", "2021", "--months", "1", "--source", "sample", "--direct")


def test_ctrl_c_in_a_direct_run(tmp_path: Path) -> None:
    """Ctrl-C between two blocks: the month is wholly absent or wholly in, and the same command completes."""
    settings = {"NYCTAXI_SAMPLE_ROWS": "600000"}
    done = stopped(start(*LARGE, folder=tmp_path, settings=settings), "transform", signal.SIGINT)
    assert_clean_end(done, tmp_path)
    held = rows_of(tmp_path, "green_taxi_data")
    again = nyctaxi(*LARGE, "--json", folder=tmp_path, settings=settings)
    assert again.code == 0, again.err
    assert again.json["totals"]["rows_read"] == 600_000
    assert held in ([], [("2021-01-01", again.json["totals"]["rows_loaded"])])


def test_ctrl_c_while_a_server_is_silent(folder: Path) -> None:
    """Ctrl-C doesn't wait for a source that has stopped sending."""
    held = threading.Event()
    with serving(folder / "source") as site:
        site.once["trip-data/fhv_tripdata_2021-01.parquet"] = [Fault(status=404)]
        site.once["fhv/fhv_tripdata_2021-01.csv.gz"] = [
            Fault(
                status=200,
                headers={"Content-Type": "application/gzip"},
                body=b"\x1f\x8b" * 100_000,
                cut=70_000,
                hold=held,
            )
        ]
        process = start(*MONTH, "--source", site.url, folder=folder)
        done = stopped(process, "extract", signal.SIGINT, group=True)
        held.set()
    assert done.code == 130, done.err
    assert done.seconds < END_SECONDS
    assert done.err.count("Interrupted.") == 1


def test_sigterm_is_answered_like_ctrl_c(tmp_path: Path) -> None:
    """A container's stop, or ``kill``: the same end in order, with the exit code that a shell expects of it."""
    process = start(*LARGE, folder=tmp_path, settings={"NYCTAXI_SAMPLE_ROWS": "600000"})
    done = stopped(process, "transform", signal.SIGTERM)
    assert (done.code, done.out, done.err.count("Interrupted.")) == (143, "", 1)
    assert "Traceback" not in done.err
    assert list((tmp_path / "data" / "staging").iterdir()) == []
    assert rows_of(tmp_path, "green_taxi_data") == []


def test_ctrl_c_twice_ends_at_once(tmp_path: Path) -> None:
    """In the middle of a load into DuckDB, the process is not aborted; the next run removes what was staged."""
    settings = {"NYCTAXI_SAMPLE_ROWS": "300000"}
    process = start(*LARGE, folder=tmp_path, settings=settings)
    done = stopped(process, " load", signal.SIGINT, signal.SIGINT)
    assert (done.code, done.out) == (130, ""), done.err
    assert "Stopped at once." in done.err or "Interrupted." in done.err
    assert "terminate" not in done.err
    again = nyctaxi(*LARGE, folder=tmp_path, settings=settings)
    assert again.code == 0, again.err
    assert list((tmp_path / "data" / "staging").iterdir()) == []
