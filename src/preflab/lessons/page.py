"""A lesson is a page in `pages/` and the numbers in `numbers/` that fill its placeholders.

A page is Markdown with a title and the sections of SECTIONS, in this order. The Python blocks of its section "Run" are
the cells; the last one leaves a dictionary `numbers`. In the text, `{wins:.2f}` is the entry `wins` of the numbers'
file, so that a page and its file cannot disagree. `docs/lesson_numbers.py` writes the file from a run of the cells.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from preflab.errors import PreflabError
from preflab.files import read_json

FOLDER = Path(__file__).parent
SECTIONS = ("The idea", "Predict", "Run", "What you should have seen", "Exercise", "Check", "Question")
"""The sections of every page, in order."""
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)(:[^{}\n]*)?\}")
HEADING = re.compile(r"^## (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Lesson:
    """One lesson."""

    number: int
    slug: str
    """The page's name without its ending: `01-agent`."""
    raw: str
    """The page with placeholders."""
    numbers: Mapping[str, Any]
    """Name → number or text, as a run of the cells left it."""
    tolerance: float
    """Largest difference of a float from another machine's, relative to the larger of 1 and the float."""
    wider: Mapping[str, float] = field(default_factory=dict)
    """Name → tolerance of a float that depends more on the machine, such as a share of training runs."""

    @cached_property
    def page(self) -> str:
        """The page with its numbers."""
        return fill(self.raw, self.numbers, self.slug)

    @property
    def title(self) -> str:
        """The page's heading without its number."""
        return self.raw.partition("\n")[0].partition(" · ")[2]

    def section(self, heading: str) -> str:
        """The text of a section with its numbers."""
        return fill(self._raw_sections[heading], self.numbers, self.slug)

    @property
    def cells(self) -> list[tuple[str, str]]:
        """(kind, text) of each cell of the section "Run", kind being `code` or `markdown`."""
        return cells_of(self._raw_sections["Run"])

    @cached_property
    def _raw_sections(self) -> dict[str, str]:
        parts = HEADING.split(self.raw)
        sections = dict(zip(parts[1::2], (part.strip() for part in parts[2::2]), strict=True))
        if tuple(sections) != SECTIONS:
            raise PreflabError(
                f"{self.slug}.md has the sections {', '.join(sections)}", f"{', '.join(SECTIONS)}", "correct the page"
            )
        return sections


def lessons() -> list[Lesson]:
    """All lessons in order."""
    return [_read(path) for path in sorted((FOLDER / "pages").glob("*.md"))]


def lesson(number: int) -> Lesson:
    """One lesson by its number.

    Raises:
        PreflabError: there is no such lesson.
    """
    known = {each.number: each for each in lessons()}
    if number not in known:
        raise PreflabError(
            f"no lesson {number}", f"a number from {min(known)} to {max(known)}", "`preflab learn` lists the lessons"
        )
    return known[number]


def cells_of(page: str) -> list[tuple[str, str]]:
    """(kind, text) of each cell of a page, kind being `code` or `markdown`, without empty cells."""
    cells, end = [], 0
    for block in BLOCK.finditer(page):
        cells += [("markdown", page[end : block.start()]), ("code", block[1])]
        end = block.end()
    cells.append(("markdown", page[end:]))
    return [(kind, text.strip("\n")) for kind, text in cells if text.strip()]


def fill(page: str, numbers: Mapping[str, Any], name: str) -> str:
    """The page with every placeholder outside its Python blocks replaced by its number.

    Raises:
        PreflabError: a placeholder has no number.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] not in numbers:
            raise PreflabError(
                f"{name}.md: {match[0]} has no number",
                f"one of {', '.join(numbers)}",
                f"correct the name, or run `python docs/lesson_numbers.py {name[:2]}` to measure the numbers anew",
            )
        return format(numbers[match[1]], (match[2] or ":")[1:])

    parts, end = [], 0
    for block in BLOCK.finditer(page):
        parts += [PLACEHOLDER.sub(value, page[end : block.start()]), block[0]]
        end = block.end()
    return "".join([*parts, PLACEHOLDER.sub(value, page[end:])])


def differing(measured: Mapping[str, Any], lesson: Lesson) -> list[str]:
    """Names whose values differ: floats by more than their tolerance, anything else at all; missing ones too."""
    written = lesson.numbers
    names = [*written, *(name for name in measured if name not in written)]
    return [
        name
        for name in names
        if not _agree(measured.get(name), written.get(name), lesson.wider.get(name, lesson.tolerance))
    ]


def _agree(one: Any, other: Any, tolerance: float) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= tolerance * max(1.0, abs(other)) + 1e-12
    return bool(one == other) and isinstance(one, float) == isinstance(other, float)


def _read(path: Path) -> Lesson:
    numbers = FOLDER / "numbers" / f"{path.stem[:2]}.json"
    content: dict[str, Any] = read_json(numbers) if numbers.is_file() else {"tolerance": 1e-6, "numbers": {}}
    raw, wider = path.read_text(encoding="utf-8"), content.get("wider", {})
    return Lesson(int(path.stem[:2]), path.stem, raw, content["numbers"], content["tolerance"], wider)
