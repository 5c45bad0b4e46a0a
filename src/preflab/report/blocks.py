"""What a page is made of: sections holding figures, tables, notes and samples. The template knows how each looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True)
class Link:
    """Where the records behind something lie."""

    text: str
    href: str


@dataclass(frozen=True)
class Cell:
    """One cell of a table; `role` colours it, `numeric` sets it to the right."""

    text: str | Markup
    numeric: bool = False
    role: str = ""
    href: str = ""
    code: bool = False


PHONE = 358
"""Pixels that a phone of 390 leaves to a table."""
LETTER, GAP = 7.4, 14
"""Pixels of a letter of 13 px type at most, and between two columns on a phone."""


@dataclass(frozen=True)
class Table:
    """Rows under a head; the caption says what was measured and n."""

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    caption: str = ""
    sources: Sequence[Link] = ()
    kind: str = "table"

    @property
    def wide(self) -> bool:
        """Whether a phone has no room for it, so that a row becomes a card there: by its longest unbroken words."""
        columns = list(zip(self.head, *(map(_unbroken, row) for row in self.rows), strict=False))
        longest = sum(max([len(head), *lengths]) for head, *lengths in columns)
        return LETTER * longest + GAP * len(columns) > PHONE


def _unbroken(cell: Cell) -> int:
    """Letters of a cell that stay in one line: all of a number or of code, else the longest word."""
    text = str(cell.text)
    return len(text) if cell.numeric or cell.code else max(map(len, text.split()), default=0)


@dataclass(frozen=True)
class Figure:
    """A chart under a title that is a sentence, with its caption, the table behind it and where its records lie."""

    title: str
    chart: Markup
    caption: str
    table: Table | None = None
    sources: Sequence[Link] = ()
    wide: bool = False
    kind: str = "figure"


@dataclass(frozen=True)
class Grid:
    """Figures side by side where there is room."""

    figures: Sequence[Figure]
    kind: str = "grid"


@dataclass(frozen=True)
class Note:
    """A sentence or two; `role` gives it a colour (alarm), `title` a heading."""

    text: str
    role: str = ""
    title: str = ""
    sources: Sequence[Link] = ()
    kind: str = "note"


@dataclass(frozen=True)
class Answer:
    """One of the questions of the first screen, with its answer in one sentence and what supports it."""

    question: str
    answer: str
    details: Sequence[str] = ()
    role: str = ""
    kind: str = "answer"


@dataclass(frozen=True)
class Written:
    """One completion on show."""

    model: str
    role: str
    text: str | Markup
    facts: Sequence[str] = ()
    record: str = ""


@dataclass(frozen=True)
class Sample:
    """One prompt and what was written for it, side by side."""

    anchor: str
    prompt: str
    written: Sequence[Written]
    note: str = ""
    kind: str = "sample"


@dataclass(frozen=True)
class Fold:
    """Blocks behind a line that opens."""

    summary: str
    blocks: Sequence[Block]
    kind: str = "fold"


@dataclass(frozen=True)
class Source:
    """Text shown as it is: settings, a recipe."""

    title: str
    text: str
    kind: str = "source"


Block = Table | Figure | Grid | Note | Answer | Sample | Fold | Source


@dataclass(frozen=True)
class Section:
    """A part of the page with an anchor."""

    anchor: str
    title: str
    blocks: Sequence[Block]
    lead: str = ""


def numbers(*texts: str, role: str = "") -> list[Cell]:
    """Cells set to the right."""
    return [Cell(text, numeric=True, role=role) for text in texts]
