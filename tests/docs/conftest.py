"""What the tests of the documentation share: an environment to run its blocks in, and a folder with loaded months."""

from __future__ import annotations

import os
import shlex
import sys
from typing import TYPE_CHECKING

import pytest

from support.pages import ROOT, ROWS, clean_environment, make_month, run
from support.web import serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

# What the blocks fetch from a site.
PUBLISHED = (
    *(f"trip-data/yellow_tripdata_2021-0{number}.parquet" for number in (1, 2, 3)),
    "green/green_tripdata_2021-01.csv.gz",
)


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """An environment where ``nyctaxi`` and ``python`` are ours, months small and both sites on the loopback."""
    programs, site = tmp_path_factory.mktemp("bin"), tmp_path_factory.mktemp("site")
    for name, arguments in (("nyctaxi", "-m nyctaxi_etl"), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {arguments} "$@"\n')
        (programs / name).chmod(0o755)
    for key in PUBLISHED:
        make_month(site / key)
    with serving(site) as server:
        yield clean_environment() | {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "src"),
            "PYTHONIOENCODING": "utf-8",
            "NO_PROXY": "127.0.0.1",
            "NYCTAXI_DIRECT": "true",
            "NYCTAXI_SAMPLE_ROWS": str(ROWS),
            "NYCTAXI_TLC_URL": server.url,
            "NYCTAXI_DATATALKS_URL": server.url,
        }


@pytest.fixture(scope="session")
def loaded(environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the README's first commands were run."""
    folder = tmp_path_factory.mktemp("loaded")
    run(["nyctaxi", "ingest", "--color", "yellow", "--year", "2021", "--months", "1-3"], environment, folder)
    run(["nyctaxi", "zones", "--source", "sample"], environment, folder)
    return folder
