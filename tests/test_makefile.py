"""What ``make`` says by itself."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("arguments", [(), ("help",)])
def test_help_is_a_line_a_target(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """Every target has one line, its words as they are written; nothing but make, a shell and awk is needed."""
    for program in ("make", "sh", "awk"):
        found = shutil.which(program)
        if not found:
            pytest.skip(f"no {program} on this machine")
        (tmp_path / program).symlink_to(found)
    done = subprocess.run(
        ["make", "--no-print-directory", "-C", str(ROOT), *arguments],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert "demo        Load three generated months into embedded DuckDB through Prefect, and query them" in lines
    assert [line.split()[0] for line in lines] == [
        *("help", "demo", "test", "test-quick", "lint", "check", "docs", "bench", "clean"),
    ]
    assert done.stderr == ""
