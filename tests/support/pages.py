"""The pages of the documentation and their blocks, and how a test runs what they tell a reader to run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nyctaxi_etl.core.partition import Color, Month, Partition
from nyctaxi_etl.sample.months import write_month
from support.markdown import blocks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from support.markdown import Block

ROOT = Path(__file__).parents[2]
DOCS, README = ROOT / "docs", ROOT / "README.md"
PAGES = [page for page in sorted(ROOT.glob("*.md")) + sorted(DOCS.rglob("*.md")) if page.is_file()]
SOURCE = ROOT / "src" / "nyctaxi_etl"
BLOCKS = [block for page in PAGES for block in blocks(page)]
ROWS = 2_000


def clean_environment() -> dict[str, str]:
    """Return this process' environment without what would change how a block runs."""
    prefixes = ("NYCTAXI_", "PREFECT_", "PG")
    return {name: text for name, text in os.environ.items() if not name.startswith(prefixes)}


def make_month(path: Path) -> None:
    """Write a generated month to ``path``, which names it."""
    color, _, month = path.name.partition(".")[0].split("_")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_month(Partition(Color(color), Month.parse(month)), path, ROWS)


def run(command: list[str], environment: Mapping[str, str], folder: Path) -> str:
    """Run a command in ``folder``, expect it to succeed, and return its output."""
    program = shutil.which(command[0], path=environment["PATH"])
    assert program is not None
    done = subprocess.run(
        [program, *command[1:]],
        env={**environment},
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def excuse(block: Block) -> None:
    """Skip a block that says why it is not run."""
    if why := block.noted("not run"):
        pytest.skip(f"{block}: {why}")
