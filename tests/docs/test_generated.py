"""What is generated is what the generator writes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from nyctaxi_etl.core.partition import Color
from nyctaxi_etl.schema.dictionary import describe
from support.pages import DOCS, ROOT, run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@pytest.mark.parametrize("color", Color)
def test_the_data_dictionary_is_up_to_date(color: Color) -> None:
    """docs/data.md has word for word what ``nyctaxi schema`` prints."""
    assert f"\n{describe(color)}\n" in (DOCS / "data.md").read_text(encoding="utf-8")


COPIED = ("docs/data.md", "docs/reference.md", "docs/report.schema.json", "docs/generate.py", ".env.example")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("docs/data.md", "| vendor_id |"),
        ("docs/reference.md", "| `NYCTAXI_JOBS` |"),
        ("docs/reference.md", "| 143 |"),
        (".env.example", "#NYCTAXI_JOBS="),
    ],
)
def test_the_generator_has_nothing_to_change(
    name: str, text: str, environment: Mapping[str, str], tmp_path: Path
) -> None:
    """``docs/generate.py --check`` agrees; on a page that is outdated it doesn't, and mends it."""
    (tmp_path / "docs").mkdir()
    for copied in COPIED:
        shutil.copy(ROOT / copied, tmp_path / copied)
    page, command = tmp_path / name, [sys.executable, str(tmp_path / "docs" / "generate.py")]
    whole = page.read_text(encoding="utf-8")
    run([*command, "--check"], environment, tmp_path)
    assert text in whole
    page.write_text(whole.replace(text, "| other |"), encoding="utf-8")
    assert subprocess.run([*command, "--check"], env={**environment}, check=False).returncode == 1
    run(command, environment, tmp_path)
    assert page.read_text(encoding="utf-8") == whole
