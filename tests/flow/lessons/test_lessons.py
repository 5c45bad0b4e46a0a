"""Every lesson's cells run in an empty folder, and leave and print the numbers of its page."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from preflab.errors import PreflabError
from preflab.lessons.page import Lesson, differing, fill, lesson, lessons
from preflab.lessons.running import run_lesson

QUICK = {1}
"""Lessons that take a second or two; the others are slow."""
ALL = [
    pytest.param(each.number, marks=() if each.number in QUICK else pytest.mark.slow, id=each.slug)
    for each in lessons()
]
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def shown_lines(each: Lesson) -> list[str]:
    """The fenced lines of "What you should have seen"."""
    return [
        line for block in each.section("What you should have seen").split("```")[1::2] for line in block.split("\n")
    ]


def is_printed(line: str, printed: list[str], tolerance: float) -> bool:
    """True if a printed line has the same words, and numbers that round to those of the page within the tolerance."""
    wanted, words = NUMBER.findall(line), NUMBER.sub("#", line).split()
    for other in printed:
        values = NUMBER.findall(other)
        if NUMBER.sub("#", other).split() == words and len(values) == len(wanted):
            pairs = zip(values, wanted, strict=True)
            if all(abs(float(a) - float(b)) <= _digit(b) + tolerance * max(1, abs(float(b))) for a, b in pairs):
                return True
    return False


def _digit(number: str) -> float:
    """The last digit of a number with a point, which may round differently; 0 for an integer, which may not."""
    return 1.01 * 10.0 ** -len(number.partition(".")[2]) if "." in number else 0.0


@pytest.mark.parametrize("number", ALL)
def test_cells_leave_and_print_the_numbers_of_the_page(
    number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("onednn", "cpu_linear"):  # the pages have the numbers of torch's own products
        monkeypatch.setattr(f"preflab.models.{module}.is_faster", lambda: False)
    each = lesson(number)
    numbers = run_lesson(each, tmp_path / "work")
    differ = {name: (numbers.get(name), each.numbers.get(name)) for name in differing(numbers, each)}
    assert not differ, f"measured and on the page; `python docs/lesson_numbers.py {number}` writes them anew"
    printed, wanted = capsys.readouterr().out.split("\n"), [line for line in shown_lines(each) if line.strip()]
    assert wanted, "show in a fenced block what the cells print"
    tolerance = max(each.tolerance, *each.wider.values()) if each.wider else each.tolerance
    missing = [line for line in wanted if not is_printed(line, printed, tolerance)]
    assert not missing, "the page shows lines that the cells do not print"


def test_lessons_are_numbered_from_1() -> None:
    assert [each.number for each in lessons()] == list(range(1, len(lessons()) + 1))


@pytest.mark.parametrize("each", lessons(), ids=lambda each: each.slug)
def test_page_is_short_and_its_cells_are_few_lines(each: Lesson) -> None:
    assert len(each.page.splitlines()) <= 120
    code = [text for kind, text in each.cells if kind == "code"]
    assert all(len(text.splitlines()) <= 15 for text in code)
    assert all(len(line) <= 120 for line in each.raw.splitlines())
    assert "numbers" in code[-1]
    assert each.section("Question").endswith("?")
    assert f"preflab learn {each.number} --answer" in each.section("Check")


def test_measured_numbers_are_compared_by_kind() -> None:
    """Integers and texts exactly; 0.50 and 0.52 within 0.03, not within 0.01; 10.0 and 10.2 within 0.03 · 10."""
    written: dict[str, Any] = {"wins": 5, "share": 0.5, "word": "dog", "large": 10.0}
    near, far = Lesson(1, "01-a", "", written, 0.03), Lesson(1, "01-a", "", written, 0.01)
    assert differing({"wins": 5, "share": 0.52, "word": "dog", "large": 10.2}, near) == []
    wrong = {"wins": 6, "share": 0.52, "word": "cat", "large": 10.2}
    assert differing(wrong, far) == ["wins", "share", "word", "large"]
    assert differing(wrong, replace(far, wider={"share": 0.02})) == ["wins", "word", "large"]
    assert differing({"wins": 5, "share": 0.5, "more": 1, "large": 10.0}, near) == ["word", "more"]
    assert differing({"wins": 5.0}, Lesson(1, "01-a", "", {"wins": 5}, 0.1)) == ["wins"]


def test_placeholders_are_filled_outside_of_cells() -> None:
    page = 'It is {x:.1f} of {n:,}.\n\n```python\nprint(f"{x}")\n```\n\n```\n{x}\n```\n{"a": 1}'
    assert fill(page, {"x": 0.25, "n": 1200}, "01-a") == (
        'It is 0.2 of 1,200.\n\n```python\nprint(f"{x}")\n```\n\n```\n0.25\n```\n{"a": 1}'
    )


def test_placeholder_without_a_number_is_an_error() -> None:
    with pytest.raises(PreflabError, match=r"01-a.md: \{y\} has no number"):
        fill("{y}", {"x": 1}, "01-a")


def test_sections_in_another_order_are_an_error() -> None:
    with pytest.raises(PreflabError, match="01-a.md has the sections Run, Predict"):
        Lesson(1, "01-a", "# 1 · A\n\n## Run\n\n## Predict\n", {}, 0.0).section("Run")
