"""Ports for servers of tests: no two processes that live at once are given the same."""

from __future__ import annotations

from support.command import python
from support.ports import free_port

# What the system offers; numbers that are no ports are offered to nobody else.
OFFERED = """
import os
from support import ports
own = 100_000 + 2 * os.getpid()
class Probe:
    offers = [{port}, own, own, own + 1]
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def bind(self, address): pass
    def getsockname(self): return "", self.offers.pop(0)
ports.socket.socket = Probe
print(ports.free_port() - own, ports.free_port() - own)
"""


def test_a_port_is_given_once() -> None:
    """A port that this process was given, or the asking one itself, is not given though the system offers it again."""
    assert python(OFFERED.format(port=free_port())) == "0 1"
