"""Runs the cells of lessons and writes their numbers to src/preflab/lessons/numbers/, from which the pages are filled.

python docs/lesson_numbers.py 1 2         lessons 1 and 2; no number: all of them
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from unittest.mock import patch

from preflab.files import write_json
from preflab.lessons.page import FOLDER, Lesson, lessons
from preflab.lessons.running import run_lesson


def measure(lesson: Lesson) -> None:
    """Write the numbers of one lesson, computed by torch's own products; the tolerances of its file stay."""
    by_torch = [patch(f"preflab.models.{module}.is_faster", lambda: False) for module in ("onednn", "cpu_linear")]
    with tempfile.TemporaryDirectory() as folder, by_torch[0], by_torch[1]:
        numbers = run_lesson(lesson, Path(folder))
    path = FOLDER / "numbers" / f"{lesson.number:02}.json"
    path.parent.mkdir(exist_ok=True)
    wider = {"wider": lesson.wider} if lesson.wider else {}
    write_json(path, {"tolerance": lesson.tolerance, **wider, "numbers": numbers})


def main() -> int:
    """Measure the lessons named, or all."""
    wanted = {int(word) for word in sys.argv[1:]}
    for lesson in lessons():
        if not wanted or lesson.number in wanted:
            measure(lesson)
    return 0


if __name__ == "__main__":
    sys.exit(main())
