"""Runs the cells of a lesson, one after the other, in a work folder."""

from __future__ import annotations

import contextlib
import json
import linecache
from collections.abc import Callable
from pathlib import Path
from typing import Any

from preflab.lessons.page import Lesson


def run_lesson(
    lesson: Lesson, folder: Path, before: Callable[[str, str], None] = lambda kind, text: None
) -> dict[str, Any]:
    """Run the cells of a lesson; they print, and their last one leaves `numbers`, which are returned.

    Args:
        lesson: the lesson.
        folder: the current folder of the cells; made if it is missing.
        before: called with kind and text of each cell before it runs.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(folder):
        for number, (kind, text) in enumerate(lesson.cells, 1):
            before(kind, text)
            if kind == "code":
                place = f"<{lesson.slug}, cell {number}>"
                linecache.cache[place] = (len(text), None, text.splitlines(keepends=True), place)  # for tracebacks
                exec(compile(text, place, "exec"), names)
    numbers: dict[str, Any] = json.loads(json.dumps(names["numbers"]))  # tuples become lists, as in the file
    return numbers
