"""Options as Python writes them: errors speak the command line's language, a flow's caller has parameters."""

from __future__ import annotations

import re

# A shell command stays as it is: between backticks, or `nyctaxi` with its options.
_COMMAND = r"`[^`]*`|\bnyctaxi [a-z-]+(?: --[a-z-]+(?: [^\s-]\S*)?)*"
_SWITCHES = frozenset({"force", "raw"})
# A value that follows an option: the first words of a message, and what looks like an address, a name or a mode.
_OPTION = (
    r"(?P<start>^)?(?<![\w-])--(?P<name>[a-z]+(?:-[a-z]+)*)\b(?:(?P<blank> )(?P<value>(?=\S*[:/']|e[tl][tl]\b))?)?"
)
_PARTS = re.compile(f"(?P<command>{_COMMAND})|{_OPTION}")


def in_python(text: str) -> str:
    """Return a message or a hint with ``to=duckdb`` for ``--to duckdb``; commands for a shell are left as they are."""
    return _PARTS.sub(_parameter, text)


def _parameter(part: re.Match[str]) -> str:
    if part["command"]:
        return part["command"]
    name = part["name"].replace("-", "_")
    if name in _SWITCHES:
        return f"{name}=True{part['blank'] or ''}"
    has_value = part["start"] is not None or part["value"] is not None
    return f"{name}=" if has_value else f"{name}={part['blank'] or ''}"
