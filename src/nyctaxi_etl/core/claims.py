"""Files and folders that a living process works on, told from those that a dead one has left.

Beside each is a lock (``core.locks``). The name says where the holder runs: a folder may be shared by machines that
don't see each other's locks.
"""

from __future__ import annotations

import glob
import secrets
import shutil
import socket
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from nyctaxi_etl.core.locks import LOCK, Attempt, lock_path, try_lock

if TYPE_CHECKING:
    from collections.abc import Iterator

# What another machine has left, or has no lock, is removed when it is so old.
_STALE_SECONDS = 24 * 3600
# The same for all containers on a machine, whatever their host's name is; locks reach as far.
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@contextmanager
def claimed(parent: Path, prefix: str = "", suffix: str = "") -> Iterator[Path]:
    """Give a path in ``parent`` that is this process' own, ``prefix`` and ``suffix`` around its name.

    What is there in the end is removed.
    """
    host, boot = _machine_names()
    while True:
        path = parent / f"{prefix}{host}~{boot}~{secrets.token_hex(6)}{suffix}"
        lock = lock_path(path)
        with try_lock(lock) as attempt:
            if attempt is Attempt.BUSY or (attempt is Attempt.LOCKED and not lock.exists()):
                continue  # a sweep was quicker
            try:
                yield path
            finally:
                _remove(path)
                lock.unlink(missing_ok=True)
            return


def sweep(parent: Path, prefix: str = "", suffix: str = "") -> None:
    """Remove what processes that are no longer alive have left in ``parent`` under this prefix and suffix."""
    for path in abandoned(parent, prefix, suffix):
        _remove(path)
    for name in _names(parent, prefix, suffix):
        path = parent / name
        if not _is_ours(path, prefix, suffix) and (_is_stale(path) or _is_stale(lock_path(path))):
            _remove(path)
            lock_path(path).unlink(missing_ok=True)


def abandoned(parent: Path, prefix: str = "", suffix: str = "") -> Iterator[Path]:
    """Yield what dead processes of this machine have left, locked meanwhile; what is removed then loses its lock."""
    for name in _names(parent, prefix, suffix):
        path = parent / name
        if _is_ours(path, prefix, suffix):
            with try_lock(lock_path(path)) as attempt:
                if attempt is Attempt.LOCKED:
                    yield path
                    if not path.exists():
                        lock_path(path).unlink(missing_ok=True)


def _names(parent: Path, prefix: str, suffix: str) -> set[str]:
    pattern = f"{glob.escape(prefix)}*{glob.escape(suffix)}"
    locked = {lock.name[1 : -len(LOCK)] for lock in parent.glob(f".{pattern}{LOCK}")}
    return locked | {path.name for path in parent.glob(pattern) if not path.name.startswith(".")}


def _is_ours(path: Path, prefix: str, suffix: str) -> bool:
    """Tell whether this machine made it, and its lock tells the rest."""
    names = path.name.removeprefix(prefix).removesuffix(suffix).rpartition(".")[2].split("~")
    return bool(set(names) & set(_machine_names())) and lock_path(path).exists()


def _machine_names() -> tuple[str, str]:
    """Return two names of this machine, each of which may be another's as well."""
    boot = ""
    with suppress(OSError):
        boot = _BOOT.read_text(encoding="ascii")[:8]
    return "".join(letter for letter in socket.gethostname() if letter.isalnum()) or "host", boot or "boot"


def _is_stale(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > _STALE_SECONDS
    except FileNotFoundError:  # another process has just removed it
        return False


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
