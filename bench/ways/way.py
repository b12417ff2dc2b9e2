"""One way of doing what nyctaxi does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from bench.destinations import Destination
    from bench.recipes import Command, Rows
    from bench.workbench import Workbench

    Opener = Callable[[Workbench], AbstractContextManager[Destination]]


@dataclass(frozen=True)
class Way:
    """One row of the bench: what it is, where it loads to, how it is run, how many rows it has to bring.

    ``rows`` is what has to be in ``into`` afterwards. Ways of one ``group`` take turns, so that a disturbance hits them
    alike; ``once`` is for the slow ones. ``beside`` names the way that it is compared with, each by what it takes for
    one of its ``months``; ``needs`` names the environment that it runs in: where that can't be made, or a peer fails,
    it is skipped.
    """

    name: str
    what: str
    into: Opener
    command: Command
    rows: Rows
    beside: str = ""
    needs: str = ""
    group: str = "month"
    once: bool = False
    months: int = 1

    @property
    def ours(self) -> bool:
        """Tell whether it is nyctaxi that runs: what fails then ends the bench."""
        return self.what.startswith("nyctaxi")
