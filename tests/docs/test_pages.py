"""The pages are complete and whole: each error, ledger column, room and decision is there, and each link leads on."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from nyctaxi_etl.core import errors
from nyctaxi_etl.warehouses.ledger import LEDGER
from support.markdown import anchors, links, rows
from support.pages import DOCS, PAGES, README, ROOT, SOURCE

README_BYTES = 12_000
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_every_error_has_its_paragraph() -> None:
    """Each kind of error that the code raises has a heading in the troubleshooting page."""
    code = "".join(path.read_text() for path in SOURCE.rglob("*.py") if path != Path(errors.__file__))
    kinds = {kind for kind in vars(errors) if isinstance(vars(errors)[kind], type)}
    raised = {kind for kind in kinds if re.search(rf"\b{kind}\(", code)}
    assert {kind.lower() for kind in raised} <= anchors(DOCS / "troubleshooting.md")


def test_every_column_of_the_ledger_is_told() -> None:
    """The page on guarantees has the ledger's columns and what they mean."""
    told = rows(DOCS / "guarantees.md")
    assert [[column.name, column.about] for column in LEDGER if [column.name, column.about] not in told] == []


def test_every_room_is_on_the_map() -> None:
    """CONTRIBUTING has a line for each room of the package, and for no other."""
    told = [re.findall(r"[a-z_]+(?:/|\.py)", row[0]) for row in rows(ROOT / "CONTRIBUTING.md")]
    rooms = {f"{path.name}/" for path in SOURCE.iterdir() if (path / "__init__.py").is_file()}
    modules = {path.name for path in SOURCE.glob("*.py") if not path.name.startswith("__")}
    assert {name for names in told for name in names} == rooms | modules


@pytest.mark.parametrize("page", [page for page in PAGES if "decisions" not in page.parts], ids=lambda page: page.name)
def test_modules_that_a_page_names_exist(page: Path) -> None:
    """Each module in backticks is in the package; records of decisions stay as they were written."""
    named = set(re.findall(r"`([a-z_]+/[a-z_/]+\.py)`", page.read_text(encoding="utf-8")))
    assert {module for module in named if not any((folder / module).exists() for folder in (SOURCE, ROOT))} == set()


def test_recipes_name_what_is_there() -> None:
    """Each module and folder that CONTRIBUTING names exists, and each name that is said to be in a module."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    parts = set(re.findall(r"`([a-z_]+/(?:[a-z_/]+(?:\.py)?)?)`", text))
    assert len(parts) > 20
    assert {part for part in parts if not any((folder / part).exists() for folder in (SOURCE, ROOT))} == set()
    named = re.findall(r"`(\w+)` (?:in|of) `([a-z_/]+\.py)`", text)
    assert named
    for name, module in named:
        folder = ROOT if module.startswith(("tests/", "docs/")) else SOURCE
        assert re.search(rf"\b{name}\b", (folder / module).read_text(encoding="utf-8")), f"{name} in {module}"


def test_every_decision_is_listed() -> None:
    """The list of decisions has each record."""
    folder = DOCS / "decisions"
    assert {path for path, _ in links(folder / "README.md")} == {path.name for path in folder.glob("0*.md")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_resolve(page: Path) -> None:
    """Each link within the repository leads to a file, and to a heading if it names one."""
    for path, anchor in links(page):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_exist(page: Path) -> None:
    """Each target that a page tells you to make is in the Makefile."""
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(encoding="utf-8"), flags=re.MULTILINE))
    there = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert named <= there


def test_the_changelog_has_this_version() -> None:
    """The version of pyproject.toml is the changelog's newest."""
    versions = re.findall(r"^## \[(.*?)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert versions[0] == PROJECT["version"]


def test_the_license_is_what_the_package_says() -> None:
    """The LICENSE is MIT's, and so the package says."""
    assert (ROOT / "LICENSE").read_text().startswith("MIT License\n")
    assert PROJECT["license"] == "MIT"


# -- what a stranger reads first --------------------------------------------------------------------------------------


def test_the_readme_is_short() -> None:
    """A stranger reads it in three minutes."""
    assert len(README.read_bytes()) <= README_BYTES


def test_the_readme_leads_to_every_page() -> None:
    """Each page of the documentation is one link away."""
    led = {(ROOT / path).resolve() for path, _ in links(README) if path}
    assert {page for page in PAGES if page.parent in {ROOT, DOCS} and page != README} <= led


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_each_page_says_what_it_is_for(page: Path) -> None:
    """A page begins with its title, and a sentence on whom it is for."""
    title, empty, first, *_ = page.read_text(encoding="utf-8").splitlines()
    assert title.startswith("# ")
    assert not empty
    assert first.startswith("This page is for ")
    assert first.endswith(".")
