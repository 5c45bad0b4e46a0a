"""Write Markdown in which text from runs, files and people is escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence


def plain(text: str) -> str:
    """The text as one line, with the characters of tags, links and table cells escaped."""
    line = " ".join(text.split())
    return re.sub(r"([\\<>|\[\]])", r"\\\1", line)


def cells(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; in cells bars and `<` are escaped and line ends become spaces."""
    lines = [list(head), ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def fenced(text: str, language: str = "") -> str:
    """A code block with a fence longer than any run of backquotes in the text."""
    longest = max((len(ticks) for ticks in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
