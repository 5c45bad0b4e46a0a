"""The pages of the lessons in docs/learn: the pages of the package with their numbers, as Markdown and as notebooks."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from preflab.lessons.page import Lesson, lessons


@pytest.mark.parametrize("each", lessons(), ids=lambda each: each.slug)
def test_page_and_notebook_have_the_cells_of_the_lesson(each: Lesson, repository: Path) -> None:
    page = (repository / "docs" / "learn" / f"{each.slug}.md").read_text(encoding="utf-8")
    content = json.loads((repository / "docs" / "learn" / f"{each.slug}.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == "code"]
    assert cells == [text.strip("\n") for kind, text in each.cells if kind == "code"]
    for code in cells:
        assert f"```python\n{code}\n```" in page
        ast.parse(code)


def test_list_of_lessons_names_them_and_their_questions(repository: Path) -> None:
    page = (repository / "docs" / "learn" / "lessons.md").read_text(encoding="utf-8")
    for each in lessons():
        assert f"| {each.number} | [{each.title}]({each.slug}.md) |" in page
        assert f"\n{each.number}. " in page.partition("## Ten questions")[2]
