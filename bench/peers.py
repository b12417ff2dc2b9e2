"""The environments that ways need: made once in ``.venvs``, from the package index that pip is set up with."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from bench.commands import say
from bench.workbench import BENCH, ROOT

from support.venvs import environment

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# Those of the peers, and those of the servers that stand in for Google's.
REQUIREMENTS = (BENCH / "requirements", ROOT / "tests" / "emulators")


def environments(names: Iterable[str]) -> tuple[dict[str, Path], dict[str, str]]:
    """Return the Python of each environment, and why the others could not be made."""
    pythons, missing = {}, {}
    for name in names:
        folder = next(folder for folder in REQUIREMENTS if (folder / f"{name}.txt").exists())
        say(f"Making sure of the environment {name} ...")
        try:
            pythons[name] = environment(name, folder)
        except subprocess.CalledProcessError:
            missing[name] = f"{(folder / f'{name}.txt').relative_to(ROOT)} can't be installed here"
    return pythons, missing
