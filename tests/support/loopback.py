"""What tests of servers on the loopback do without: pauses, and a proxy of the machine's."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import stamina

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest


@contextmanager
def alone_with_the_loopback(monkeypatch: pytest.MonkeyPatch, attempts: int) -> Iterator[None]:
    """No pause between attempts, of which there are as many as ever, and no proxy in between."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    stamina.set_testing(True, attempts=attempts)
    yield
    stamina.set_testing(False)
