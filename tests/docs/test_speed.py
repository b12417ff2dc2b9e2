"""What the pages say of speed is what was measured, and the bench measures what it says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from support.markdown import rows
from support.pages import DOCS, README, ROOT

if TYPE_CHECKING:
    from pathlib import Path

MEASURED: dict[str, Any] = json.loads((DOCS / "speed.json").read_text(encoding="utf-8"))
WAYS: dict[str, dict[str, Any]] = MEASURED["ways"]
PANDAS, COPY, OURS, LARGE = (
    WAYS[name] for name in ("pandas-postgres", "psql-copy", "csv-postgres", "csv-postgres-large")
)
# None of these needs another environment or server than the tests have.
SMOKE = ("csv-postgres", "psql-copy", "encoded-copy", "parquet-duckdb", "csv-lake", "unchanged-month", "help")


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The bench's modules by name, which lie beside the package."""
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: import_module(f"bench.{name}")


def test_the_pages_have_what_was_measured() -> None:
    """``bench/page.py --check`` agrees: tables, picture and the README's rows are made of docs/speed.json."""
    assert subprocess.run([sys.executable, str(ROOT / "bench" / "page.py"), "--check"], check=False).returncode == 0


def test_ratios_are_those_of_the_seconds() -> None:
    """Each ratio follows from the seconds that the two ways take for a month."""
    told = {name: way for name, way in WAYS.items() if "ratio" in way}
    assert len(told) > 3
    for name, way in told.items():
        other = WAYS[way["beside"]]
        each, of_other = (row["median_seconds"] / row["months"] for row in (way, other))
        assert way["ratio"] == pytest.approx(each / of_other, rel=0.03), name


def test_the_readme_has_the_figures_that_were_measured(bench: Any) -> None:
    """The README's seconds and megabytes are those that were measured, rounded; the rows are the benchmark's."""
    (seconds,) = (row for row in rows(README) if row[0].startswith("seconds for"))
    (memory,) = (row for row in rows(README) if row[0].startswith("memory"))
    assert seconds[1:] == [f"{way['median_seconds']:.1f}" for way in (PANDAS, COPY, OURS)]
    assert re.findall(r"\d+", " ".join(memory[1:])) == [f"{way['peak_mb']:.0f}" for way in (PANDAS, OURS, LARGE)]
    assert f"{bench('workbench').ROWS:,} rows" in seconds[0]
    assert MEASURED["rows"] == bench("workbench").ROWS


def test_the_speed_page_is_on_what_is_measured(bench: Any) -> None:
    """Rows and months that the page names are those of the benchmark, and so is each way that it names."""
    text, workbench, places = (
        (DOCS / "speed.md").read_text(encoding="utf-8"),
        bench("workbench"),
        bench("destinations"),
    )
    assert f"{workbench.ROWS:,} yellow rows" in text
    assert (workbench.LARGE, workbench.MANY) == (10, 24)
    assert "ten times as large" in text
    assert "24 months unchanged" in text
    assert f"{places.IN_LEDGER} months in the ledger are every month of every colour for {places.EVERY_YEARS}" in text
    assert f"{places.IN_SECOND_TABLE} of them in a second table" in text
    named = {name for name in re.findall(r"`([a-z0-9]+(?:-[a-z0-9]+)+)`", text) if name != "-large"}
    assert named <= set(bench("ways").WAYS)


def test_every_figure_and_bar_is_of_a_way(bench: Any) -> None:
    """Figures, comparisons and the picture name ways that there are; each way has a service and its requirements."""
    ways = bench("ways").WAYS
    assert {name for figure in bench("figures").FIGURES for name in figure.ways} <= set(ways)
    assert {way.beside for way in ways.values() if way.beside} <= set(ways)
    assert {name for _, panel in bench("picture").PANELS for name in panel} <= set(ways)
    assert {way.group for way in ways.values()} == set(bench("services").GROUPS)
    folders = bench("peers").REQUIREMENTS
    needed = {way.needs for way in ways.values() if way.needs}
    assert {name for name in needed if not any((folder / f"{name}.txt").exists() for folder in folders)} == set()


def test_the_peers_have_our_release_of_duckdb() -> None:
    """A ratio to DuckDB's own way is not one between releases."""
    pinned = (ROOT / "bench" / "requirements" / "duckdb.txt").read_text(encoding="utf-8").splitlines()
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert {line for line in pinned if line.startswith("duckdb==")} <= set(constraints)


def test_the_picture_has_a_bar_for_each_way_in_it(bench: Any) -> None:
    """The picture is well-formed, has a bar for each measured way of its panels, and a way not measured has none."""
    module = bench("picture")
    ours, other = {"median_seconds": 2.0}, {"median_seconds": 1.0}
    made = module.picture({"rows": 10, "ways": {"csv-postgres": ours, "psql-copy": other}})
    bars = [node for node in ET.fromstring(made).iter() if node.get("class") in {"ours", "other"}]  # noqa: S314 - ours
    assert [bar.get("class") for bar in bars] == ["ours", "other"]
    assert [bar.get("width") for bar in bars] == [str(module.BAR_WIDTH), str(module.BAR_WIDTH // 2)]


def test_what_cannot_be_installed_is_skipped_with_a_word(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that pip can't make is told as such; the others are made."""
    peers = bench("peers")

    def environment(name: str, _folder: Path) -> Path:
        if name == "sling":
            raise subprocess.CalledProcessError(1, ["pip"])
        return ROOT / name

    monkeypatch.setattr(peers, "environment", environment)
    pythons, missing = peers.environments(["dlt", "sling"])
    assert pythons == {"dlt": ROOT / "dlt"}
    assert missing == {"sling": "bench/requirements/sling.txt can't be installed here"}


@pytest.mark.parametrize(("what", "ends"), [("sling run", False), ("nyctaxi ingest", True)])
def test_a_peer_that_fails_is_skipped_and_ours_ends_it(
    *, what: str, ends: bool, bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer's failure is told by its last line, and it is not run again; ours ends the bench."""
    module, failed = bench("bench"), bench("commands").CommandFailed
    way = module.Way("a-way", what, *[None] * 3, group="start")
    monkeypatch.setattr(module, "WAYS", {way.name: way})
    taken = []

    def take(way: Any, _bench: Any, turn: int) -> Any:
        taken.append((way.name, turn))
        message = "sling run ended with 1:\nfatal:\nno such host.\n"
        raise failed(message)

    monkeypatch.setattr(module, "take", take)
    if ends:
        with pytest.raises(failed, match="no such host"):
            module.measure(None, [way], 2)
    else:
        assert module.measure(None, [way], 2) == ({}, {"a-way": "no such host"})
    assert taken == [("a-way", 0)]


def test_a_wrong_count_ends_it(bench: Any) -> None:
    """A number that is wrong is told with the right one."""
    with pytest.raises(SystemExit, match=r"rows: 1,999, expected 2,000"):
        bench("commands").expect("rows", 1_999, 2_000)


@pytest.mark.server
def test_the_bench_runs(tmp_path: Path) -> None:
    """A small run measures what it is asked for, counts every row, and writes what the pages are made of."""
    command = [sys.executable, str(ROOT / "bench" / "bench.py"), "--only", ",".join(SMOKE), "--json"]
    small = ["--rows", "2000", "--repeat", "1", "--patience", "0"]
    done = subprocess.run([*command, str(tmp_path / "speed.json"), *small], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))
    assert set(report["ways"]) == set(SMOKE)
    assert report["skipped"] == {}
    assert "csv-postgres / psql-copy" in {figure["name"] for figure in report["figures"]}
    assert "csv-postgres / psql-copy" in done.stdout
