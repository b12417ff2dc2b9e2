"""Where ``.env`` is read as something else than what stands in it, and how to write it so that it is not."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_NAME = re.compile(r"\s*(?:export\s+)?'?(?P<name>\w+)'?[^\S\r\n]*=[^\S\r\n]*(?P<value>.*)", re.DOTALL)
_VARIABLE = re.compile(r"\$\{[^}]*\}")
_NEXT_SETTING = re.compile(r"[\r\n]\s*(?:export\s+)?\w+=")
_QUOTE = "put it into single quotes, with a backslash before a single quote and before a backslash in it"


class Misreading(NamedTuple):
    """What becomes of a setting in ``.env``: it ``is_lost``, or read otherwise than written. Never its value."""

    name: str
    line: int
    is_lost: bool
    what: str

    def __str__(self) -> str:
        return f"{self.name} in .env, line {self.line}: {self.what}."


def misreadings(text: str, names: Collection[str]) -> tuple[Misreading, ...]:
    """Return where the settings ``names``, in upper case, are read otherwise than they stand in ``text``."""
    return tuple(_misreadings(text, names))


def _misreadings(text: str, names: Collection[str]) -> Iterator[Misreading]:
    from dotenv.parser import parse_stream

    for binding in parse_stream(io.StringIO(text)):
        written = _NAME.match(binding.original.string)
        if not written or (name := written["name"].upper()) not in names:
            continue
        line = binding.original.line + binding.original.string[: written.start("name")].count("\n")
        what = _LOST if binding.error else _difference(written["value"].rstrip("\r\n"), binding.value or "")
        if what:
            yield Misreading(name, line, binding.error, what)


_LOST = f"it can't be read, because a quotation mark is not closed or something follows it; {_QUOTE}"


def _difference(written: str, read: str) -> str:
    """Say in which way a value is read otherwise than written; a value in single quotes was quoted on purpose."""
    if _VARIABLE.search(read):
        return (
            "${...} is replaced by a variable, also within quotes; if it belongs to the value, set this one in the "
            "environment instead"
        )
    if written.startswith("'"):
        return "its closing quotation mark is on a later line, behind other settings" if _spans(read) else ""
    if written.startswith('"'):
        if _spans(read):
            return "its closing quotation mark is on a later line, behind other settings"
        return f"the double quotes around it are left out, and backslashes in it mean something; to be exact, {_QUOTE}"
    if re.search(r"\s#", written) or (written.startswith("#") and not read):
        return f"what follows a blank and # is left out; if it belongs to the value, {_QUOTE}"
    return f"the blanks at its end are left out; if they belong to the value, {_QUOTE}" if written != read else ""


def _spans(read: str) -> bool:
    return bool(_NEXT_SETTING.search(read))
