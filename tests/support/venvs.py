"""Environments of their own for the emulators, which pin other versions than the project: made once, in ``.venvs``.

``python tests/support/venvs.py [NAME ...]`` makes them beforehand; a test that needs one makes it otherwise.
"""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "tests" / "emulators"
FOLDER = ROOT / ".venvs"


def environment(name: str, requirements_folder: Path = REQUIREMENTS) -> Path:
    """Return the Python of the environment with what ``{requirements_folder}/{name}.txt`` asks for, made if need be."""
    folder, requirements = FOLDER / name, requirements_folder / f"{name}.txt"
    python, stamp = folder / "bin" / "python", folder / "made-for"
    wanted = hashlib.sha256(sys.version.encode() + requirements.read_bytes()).hexdigest()
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
            subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
            quietly = ["install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([python, "-m", "pip", *quietly, "--requirement", requirements], check=True)
            stamp.write_text(wanted, encoding="utf-8")
    return python


def main(names: list[str]) -> None:
    """Make the environments named, or all."""
    for name in names or sorted(path.stem for path in REQUIREMENTS.glob("*.txt")):
        sys.stdout.write(f"{name}: {environment(name)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
