"""The table of versions that don't work together: what is installed by our ranges and constraints is none of them."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from nyctaxi_etl.core.compatibility import BAD_PAIRS, BadPair

ROOT = Path(__file__).parents[1]
REQUIREMENTS = {
    canonicalize_name(requirement.name): requirement
    for requirement in map(
        Requirement, tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    )
}
each_pair = pytest.mark.parametrize("pair", BAD_PAIRS, ids=lambda pair: f"{pair.package}-{pair.beside}")


def _is_bad(pair: BadPair, first: str, second: str) -> bool:
    return SpecifierSet(pair.versions).contains(first) and SpecifierSet(pair.beside_versions).contains(second)


@each_pair
def test_our_ranges_rule_out_the_pair(pair: BadPair) -> None:
    """No version from the table's bounds on, and no far later one, may be installed beside the other package."""
    candidates = [*re.findall(r"[\d.]+", pair.versions), "9999"]
    bad = [candidate for candidate in candidates if SpecifierSet(pair.versions).contains(candidate)]
    assert bad
    allowed = REQUIREMENTS[canonicalize_name(pair.package)].specifier
    assert [candidate for candidate in bad if allowed.contains(candidate)] == []
    assert canonicalize_name(pair.beside) in REQUIREMENTS


@each_pair
def test_constraints_and_what_is_installed_are_no_bad_pair(pair: BadPair) -> None:
    """What constraints.txt pins, and what this environment has, works together."""
    lines = (line.partition("==") for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines())
    pinned = {canonicalize_name(name): number for name, mark, number in lines if mark}
    ours, theirs = canonicalize_name(pair.package), canonicalize_name(pair.beside)
    assert not _is_bad(pair, pinned[ours], pinned[theirs])
    assert not _is_bad(pair, version(pair.package), version(pair.beside))


def test_every_upper_bound_has_its_reason_in_the_table() -> None:
    """A version is ruled out for a reason that tools can tell."""
    bounded = {name for name, one in REQUIREMENTS.items() if any("<" in part.operator for part in one.specifier)}
    assert bounded == {pair.package for pair in BAD_PAIRS}
    assert all(pair.why for pair in BAD_PAIRS)
