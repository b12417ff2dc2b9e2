"""Months of New York City taxi trips, from their source into a lake and a warehouse.

``read_trips`` and ``iter_trips`` read what is there; see ``frame``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nyctaxi_etl.frame import iter_trips, read_trips

__all__ = ["iter_trips", "read_trips"]


def __getattr__(name: str) -> Any:
    """Import the frame's functions when they are asked for: the package itself is there in a moment."""
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from nyctaxi_etl import frame

    return getattr(frame, name)
