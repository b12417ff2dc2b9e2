"""A text that is shown nowhere by accident."""

from __future__ import annotations


class Secret:
    """A secret text: printing or dumping it does not show it. A plain class, since a dataclass is dumped whole."""

    __slots__ = ("_value",)

    def __init__(self, value: str = "") -> None:
        self._value = value

    def __repr__(self) -> str:
        return "Secret('**********')" if self._value else "Secret('')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def get_secret_value(self) -> str:
        """Return the text itself, for whoever needs it in clear."""
        return self._value
