"""What the pages tell a reader to run runs, and what they show as its output is what comes."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from textwrap import indent
from typing import TYPE_CHECKING

import duckdb
import pytest

from support.markdown import Block, blocks
from support.pages import BLOCKS, DOCS, README, ROOT, excuse, make_month, run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from support.postgres import PostgresServer

CALLS = [block for block in BLOCKS if block.language == "shell" and re.search(r"^nyctaxi ", block.text, re.MULTILINE)]
# The file that one of the blocks expects in a folder.
DOWNLOADED = "yellow_tripdata_2021-01.csv.gz"


def of(language: str) -> pytest.MarkDecorator:
    """Run a test with each block of a language."""
    return pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == language], ids=str)


@pytest.mark.skipif(not shutil.which("bash"), reason="the blocks are written for a POSIX shell")
@pytest.mark.parametrize("block", CALLS, ids=str)
def test_shell_blocks_run(
    block: Block, environment: Mapping[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Every block that calls nyctaxi does what it says, in an empty folder, to its last line."""
    excuse(block)
    text = block.text
    if block.note == "with postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        text = text.replace("postgresql://etl@db.example.com/trips", shlex.quote(server.uri()))
        text = re.sub("PGPASSWORD=.*", f"PGPASSWORD={shlex.quote(server.password)}", text)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    make_month(tmp_path / "downloads" / DOWNLOADED)
    run(["bash", "-euc", text], environment, tmp_path)


@of("python")
def test_python_blocks_run(block: Block, environment: Mapping[str, str], loaded: Path) -> None:
    """Every Python block compiles, and runs where months are loaded."""
    compile(f"def fragment():\n{indent(block.text, '    ')}", str(block), "exec")  # which may hold a return
    excuse(block)
    run(["python", "-c", block.text], environment, loaded)


@of("sql")
def test_sql_blocks_run(block: Block, loaded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every SQL block runs in DuckDB where months are loaded."""
    excuse(block)
    monkeypatch.chdir(loaded)
    with duckdb.connect("data/nyctaxi.duckdb", read_only=True) as connection:
        for statement in block.text.split(";\n"):
            connection.execute(statement).fetchall()


def test_the_ledger_agrees_with_the_table(loaded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The query that compares them returns nothing, as the docs say."""
    (query,) = (block.text for block in blocks(DOCS / "guarantees.md") if block.language == "sql")
    monkeypatch.chdir(loaded)
    with duckdb.connect("data/nyctaxi.duckdb", read_only=True) as connection:
        assert connection.execute(query).fetchall() == []


def test_pasted_output_is_what_comes(environment: Mapping[str, str], tmp_path: Path) -> None:
    """The README shows the words that its commands print; numbers may change with the sample."""
    whole = {name: text for name, text in environment.items() if name != "NYCTAXI_SAMPLE_ROWS"}
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    shown = [(block.noted("output"), block.text) for block in blocks(README) if block.language == "text"]
    came = [(command, run(shlex.split(command), whole, tmp_path)) for command, _ in shown]
    assert shown
    assert [(command, words(text)) for command, text in shown] == [(command, words(text)) for command, text in came]


def words(text: str) -> list[str]:
    """Return a text's words, without its numbers and lines."""
    return re.findall(r"[A-Za-z_]+", text)


def test_the_demo_says_what_is_missing(environment: Mapping[str, str], tmp_path: Path) -> None:
    """Where nothing is loaded, the demo says so in one line and fails."""
    command = [sys.executable, str(ROOT / "examples" / "demo.py")]
    done = subprocess.run(
        command, env={**environment}, cwd=tmp_path, capture_output=True, encoding="utf-8", check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
