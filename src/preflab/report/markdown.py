"""Markdown in which text from runs, files and people can break nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence


def plain(text: str) -> str:
    """One line of text whose signs mean themselves: no tags, no links, no table cells."""
    line = " ".join(text.split())
    return re.sub(r"([\\<>|\[\]])", r"\\\1", line)


def cells(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table. Bars and line ends within cells are escaped."""
    lines = [list(head), ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def fenced(text: str, language: str = "") -> str:
    """A block of code, between fences that are longer than any within."""
    longest = max((len(ticks) for ticks in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
