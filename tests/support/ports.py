"""Ports of this machine for what tests start, each given once."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from functools import cache
from pathlib import Path
from typing import IO

HOST = "127.0.0.1"
_GIVEN: set[int] = set()


def free_port() -> int:
    """Return a port that nobody listens on, and that no living test process of this user was given.

    The system may give a port twice until somebody listens on it: two workers then talk to one emulator.
    """
    while True:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port: int = probe.getsockname()[1]
        # A process' own lock is no obstacle to itself.
        if port not in _GIVEN and _is_locked(port):
            _GIVEN.add(port)
            return port


@cache
def _claims() -> IO[bytes]:
    """Return the file in which a process locks the byte of each of its ports; locks end with the process."""
    return Path(tempfile.gettempdir(), f"nyctaxi-test-ports-{os.geteuid()}").open("ab")


def _is_locked(port: int) -> bool:
    """Lock a port's byte, and tell whether that could be done."""
    try:
        fcntl.lockf(_claims(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True
