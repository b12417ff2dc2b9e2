"""The parts of a Markdown page that a test can hold to their word: fenced blocks, tables, links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NOTE = re.compile(r"\s*<!-- (.*?) -->\s*")
_FENCE = re.compile(r"(\s*)```(\w*)\s*")


@dataclass(frozen=True)
class Block:
    """A fenced block, and what the HTML comment on the line above it says; ``line`` is the fence's, from 1."""

    page: Path
    line: int
    language: str
    text: str
    note: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"

    def noted(self, word: str) -> str:
        """Return what follows ``word`` in the note, or nothing."""
        return self.note.removeprefix(word).strip(": ") if self.note.startswith(word) else ""


def blocks(page: Path) -> Iterator[Block]:
    """Yield the page's fenced blocks, their common indentation taken away."""
    lines = page.read_text(encoding="utf-8").splitlines()
    inside: tuple[int, str, str] | None = None
    for number, line in enumerate(lines):
        fence = _FENCE.fullmatch(line)
        if not fence:
            continue
        if inside is None:
            inside = (number, fence[1], fence[2])
            continue
        start, indent, language = inside
        note = _NOTE.fullmatch(lines[start - 1]) if start else None
        text = "\n".join(text.removeprefix(indent) for text in lines[start + 1 : number])
        yield Block(page, start + 1, language, text, note[1] if note else "")
        inside = None


def prose(page: Path) -> str:
    """Return the page without its fenced blocks."""
    return re.sub(r"^\s*```.*?^\s*```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def links(page: Path) -> Iterator[tuple[str, str]]:
    """Yield the relative links of the page: path, maybe empty, and anchor, maybe empty."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            yield path, anchor


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the page's headings."""
    headings = re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def rows(page: Path) -> list[list[str]]:
    """Return the cells of every table row of the page, without the backticks around a cell."""
    lines = [line for line in prose(page).splitlines() if line.startswith("| ")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]
