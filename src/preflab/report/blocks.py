"""The building blocks of a page: sections with figures, tables, notes and samples. The template renders each kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True)
class Link:
    """A link to the records behind a figure, a table or a note."""

    text: str
    href: str


@dataclass(frozen=True)
class Cell:
    """One cell of a table; `role` sets its colour, `numeric` aligns it to the right."""

    text: str | Markup
    numeric: bool = False
    role: str = ""
    href: str = ""
    code: bool = False


PHONE = 358
"""Width of a table on a phone 390 pixels wide, in pixels."""
LETTER, GAP = 7.4, 14
"""In pixels: the widest letter of 13 px type, and the gap between two columns on a phone."""


@dataclass(frozen=True)
class Table:
    """Rows under a head; the caption says what was measured, and n."""

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    caption: str = ""
    sources: Sequence[Link] = ()
    kind: str = "table"

    @property
    def wide(self) -> bool:
        """Whether its longest unbroken words need more room than a phone has; each row then becomes a card there."""
        columns = list(zip(self.head, *(map(_unbroken, row) for row in self.rows), strict=False))
        longest = sum(max([len(head), *lengths]) for head, *lengths in columns)
        return LETTER * longest + GAP * len(columns) > PHONE


def _unbroken(cell: Cell) -> int:
    """Length of the longest part of a cell that is not wrapped: all of a number or of code, else the longest word."""
    text = str(cell.text)
    return len(text) if cell.numeric or cell.code else max(map(len, text.split()), default=0)


@dataclass(frozen=True)
class Figure:
    """A chart with a sentence as title, a caption, the table of its numbers and links to its records."""

    title: str
    chart: Markup
    caption: str
    table: Table | None = None
    sources: Sequence[Link] = ()
    wide: bool = False
    kind: str = "figure"


@dataclass(frozen=True)
class Grid:
    """Figures side by side if there is room."""

    figures: Sequence[Figure]
    kind: str = "grid"


@dataclass(frozen=True)
class Note:
    """One or two sentences; `role` sets the colour (alarm), `title` is the heading."""

    text: str
    role: str = ""
    title: str = ""
    sources: Sequence[Link] = ()
    kind: str = "note"


@dataclass(frozen=True)
class Answer:
    """A question of the first screen, its answer in one sentence, and details that support it."""

    question: str
    answer: str
    details: Sequence[str] = ()
    role: str = ""
    kind: str = "answer"


@dataclass(frozen=True)
class Turn:
    """One turn of a dialogue; `mine` if the model wrote it."""

    speaker: str
    text: str | Markup
    mine: bool = False
    facts: Sequence[str] = ()


@dataclass(frozen=True)
class Written:
    """One completion of a sample, with the model that wrote it and facts about it; `turns` if it is a dialogue."""

    model: str
    role: str
    text: str | Markup
    facts: Sequence[str] = ()
    record: str = ""
    turns: Sequence[Turn] = ()


@dataclass(frozen=True)
class Sample:
    """One prompt and its completions, side by side."""

    anchor: str
    prompt: str
    written: Sequence[Written]
    note: str = ""
    kind: str = "sample"


@dataclass(frozen=True)
class Fold:
    """Blocks that are hidden until the reader opens the summary line."""

    summary: str
    blocks: Sequence[Block]
    kind: str = "fold"


@dataclass(frozen=True)
class Source:
    """Preformatted text: settings, a recipe."""

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
    """Right-aligned cells with these texts."""
    return [Cell(text, numeric=True, role=role) for text in texts]
