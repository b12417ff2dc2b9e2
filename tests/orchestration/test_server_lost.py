"""Prefect's server dies or falls silent while months are loaded: they are told of, and the command ends soon."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nyctaxi_etl.orchestration.server import pulse
from support.command import Done, start
from support.ports import free_port
from support.web import Fault, serving

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

    from support.prefect import PrefectServer

# 30 seconds are promised; a busy machine is slow besides.
END_SECONDS = 60
STOP_SECONDS = 30
INGEST = ("ingest", "--color", "fhv", "--year", "2021", "--json", "--source")


def until(process: subprocess.Popen[str], word: str) -> None:
    """Wait until stderr says ``word``."""
    assert process.stderr is not None
    for line in process.stderr:
        if word in line:
            return
    raise AssertionError(word)


def begun(server: PrefectServer, folder: Path, word: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a run with this server, and wait until it says ``word``."""
    settings = {**server.environment(), "NYCTAXI_SAMPLE_ROWS": "500"}
    process = start(*INGEST, *arguments, folder=folder, settings=settings)
    until(process, word)
    return process


@contextmanager
def halted(server: PrefectServer) -> Iterator[None]:
    """Let the server answer nobody for as long as the block lasts."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)
        server.ask("flow_runs")


def test_the_report_outlives_the_server(prefect_running: PrefectServer, tmp_path: Path) -> None:
    """The months go on and are reported with a note; nothing is called wrong usage; stderr has no noise.

    Ctrl-C in another run of the same silent server is heard in good time; that one waits for a silent source as well.
    """
    (tmp_path / "other").mkdir()
    release = threading.Event()
    with serving(tmp_path / "other") as site:
        site.once["trip-data/fhv_tripdata_2021-01.parquet"] = [
            Fault(status=200, headers={"Content-Type": "binary/octet-stream"}, body=bytes(9), cut=4, hold=release)
        ]
        other = begun(prefect_running, tmp_path / "other", " extract", site.url, "--months", "1")
        process = begun(prefect_running, tmp_path, " transform", "sample", "--months", "1-3")
        with halted(prefect_running):
            started = time.monotonic()
            other.send_signal(signal.SIGINT)
            other.communicate(timeout=END_SECONDS)
            assert other.returncode == 130
            assert time.monotonic() - started < STOP_SECONDS
            out, err = process.communicate(timeout=END_SECONDS)
        release.set()
    report = Done(process.returncode, out, err, 0).json
    assert (process.returncode, report["exit_code"]) == (0, 0)
    assert [result["outcome"] for result in report["results"]] == ["loaded"] * 3
    assert [note.partition(" in ")[0] for note in report["notes"]] == ["Prefect's server was lost"]
    assert "Error" not in err
    assert "ERROR" not in err


class Clock:
    """A clock that a test sets, and whose sleepers it wakes."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asleep, self.awake = threading.Semaphore(0), threading.Semaphore(0)

    def monotonic(self) -> float:
        """Return the time."""
        return self.now

    def sleep(self, _seconds: float) -> None:
        """Say that somebody sleeps, and sleep until woken."""
        self.asleep.release()
        self.awake.acquire()


def test_a_pulse_is_asked_for_some_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that answers is there, one that has not answered for long enough is lost, not before."""
    clock, answers = Clock(), [True]
    monkeypatch.setattr(pulse, "time", clock)
    heart = pulse.Pulse(lambda: answers[0])
    assert not heart.is_lost()
    assert clock.asleep.acquire(timeout=STOP_SECONDS)

    def is_lost_at(seconds: float, *, answered: bool) -> bool:
        clock.now, answers[0] = seconds, answered
        clock.awake.release()
        assert clock.asleep.acquire(timeout=STOP_SECONDS)
        return heart.is_lost()

    assert not is_lost_at(100, answered=True)
    assert not is_lost_at(100 + pulse.SILENT_SECONDS, answered=False)
    assert is_lost_at(101 + pulse.SILENT_SECONDS, answered=False)
    assert not is_lost_at(200, answered=True)


def test_the_pulse_of_a_server_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens at its address any more."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    monkeypatch.setattr("nyctaxi_etl.orchestration.server.pulse.SILENT_SECONDS", 0.5)
    with temporary_settings(updates={PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"}):
        heart = pulse.server_pulse()
        assert not heart.is_lost()
        time.sleep(1)
        assert heart.is_lost()
