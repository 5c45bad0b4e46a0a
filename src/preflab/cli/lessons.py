"""`learn`: ten lessons from the first game to language models; run one, and answer its exercise."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from preflab.cli.speaking import JsonOption, Speaker, padded, speaking
from preflab.errors import PreflabError
from preflab.words import plural

if TYPE_CHECKING:
    from preflab.lessons.page import Lesson

FOLDER = Path("preflab-lessons")


def add_to(app: typer.Typer) -> None:
    """Register the commands of this file."""
    app.command("learn", help=learn.__doc__)(learn)


def learn(
    number: Annotated[
        int | None, typer.Argument(help="Which lesson; without it, the list and what is done.", metavar="N")
    ] = None,
    answer: Annotated[str | None, typer.Option("--answer", help="Your answer to the lesson's exercise.")] = None,
    predict: Annotated[
        str | None, typer.Option("--predict", help="Your prediction.", show_default="asked for on a terminal")
    ] = None,
    folder: Annotated[Path, typer.Option("--folder", help="Where the lessons work and note what is done.")] = FOLDER,
    as_json: JsonOption = False,
) -> None:
    """Take a lesson on reinforcement learning: predict, run its cells, compare, and answer an exercise.

    Each takes less than two minutes on two cores. Exit code 1 if the answer is not right yet.
    """
    from preflab.lessons.page import lesson

    right = True
    with speaking(as_json) as speaker:
        if number is None:
            if answer is not None or predict is not None:
                raise PreflabError("no number of a lesson", "preflab learn N --answer TEXT", "name the lesson")
            _list(speaker, folder)
        elif answer is not None and predict is not None:
            raise PreflabError(
                "--predict beside --answer", "a prediction before the cells run, or an answer", "leave one of them out"
            )
        elif answer is not None:
            right = _check(speaker, lesson(number), answer, folder)
        else:
            _take(speaker, lesson(number), predict, folder)
    if not right:
        raise typer.Exit(1)


def _list(speaker: Speaker, folder: Path) -> None:
    from preflab.lessons.done import Progress, read_done
    from preflab.lessons.page import lessons

    done, rows, all_lessons = read_done(folder), [], lessons()
    for each in all_lessons:
        progress = done.get(each.number, Progress())
        state = "done" if progress.is_done else "run" if progress.run else "answered" if progress.answered else "–"
        rows.append((f"{each.number:2}", each.title, state))
    for line in padded([("  ", "lesson", "state"), *rows]):
        speaker.say(line)
    finished = {each.number for each in all_lessons if each.number in done and done[each.number].is_done}
    left = [each.number for each in all_lessons if each.number not in finished]
    speaker.content["lessons"] = [
        {"number": each.number, "title": each.title, "state": row[2]}
        for each, row in zip(all_lessons, rows, strict=True)
    ]
    speaker.say(f"{len(finished)} of {len(all_lessons)} {plural(len(all_lessons), 'lesson')} done")
    if not left:
        speaker.say("\nCan you answer these? Each lesson holds the answer to its question.\n")
        for each in all_lessons:
            speaker.say(f"{each.number:2}  {_plain(' '.join(each.section('Question').split()))}")
    following = "preflab demo"
    if left:
        was_run = done.get(left[0], Progress()).run
        following = _answering(all_lessons[left[0] - 1]) if was_run else f"preflab learn {left[0]}"
    speaker.last(None, following)


def _take(speaker: Speaker, lesson: Lesson, prediction: str | None, folder: Path) -> None:
    """Show the idea, ask for a prediction, run the cells, and compare."""
    from preflab.lessons.done import note_done
    from preflab.lessons.page import differing
    from preflab.lessons.running import run_lesson

    speaker.say(f"Lesson {lesson.number} · {lesson.title}")
    _say_sections(speaker, lesson, "The idea", "Predict")
    if prediction is None:
        prediction = _ask(speaker)
    speaker.say("\nRUN")
    num, at = sum(kind == "code" for kind, _ in lesson.cells), 0

    def before(kind: str, text: str) -> None:
        nonlocal at
        if kind == "markdown":
            return speaker.say(f"\n{_plain(text)}")
        at += 1
        return speaker.say(f"\n[cell {at} of {num}]\n{_indented(text)}\n")

    numbers = run_lesson(lesson, folder, before)
    if prediction:
        speaker.say(f"\nYOU PREDICTED\n\n{prediction}")
    _say_sections(speaker, lesson, "What you should have seen")
    others = differing(numbers, lesson)
    if others:
        speaker.say(f"\nOn this machine these differ from the page's: {_compared(others, numbers, lesson)}")
    _say_sections(speaker, lesson, "Exercise")
    progress = note_done(folder, lesson.number, run=True, prediction=prediction)
    following = "preflab learn" if progress.answered else _answering(lesson)
    speaker.say()
    speaker.last(None, following, numbers=numbers, differing=others)


def _check(speaker: Speaker, lesson: Lesson, answer: str, folder: Path) -> bool:
    from preflab.lessons.checks.verdict import check_answer
    from preflab.lessons.done import Progress, note_done, read_done

    verdict = check_answer(lesson.slug, answer)
    speaker.say(f"{'right' if verdict.right else 'not yet'}: {verdict.reason}")
    if verdict.right:
        progress = note_done(folder, lesson.number, answered=True)
        following = "preflab learn" if progress.is_done else f"preflab learn {lesson.number}"
        if not progress.is_done:
            speaker.say("The lesson is done once its cells were run too.")
    else:
        was_run = read_done(folder).get(lesson.number, Progress()).run
        following = _answering(lesson) if was_run else f"preflab learn {lesson.number}"
    speaker.last(None, following, right=verdict.right, reason=verdict.reason)
    return verdict.right


def _answering(lesson: Lesson) -> str:
    """The command that answers a lesson's exercise, with the form of its answer."""
    return _plain(lesson.section("Check")).strip().splitlines()[0].strip()


def _ask(speaker: Speaker) -> str:
    """The prediction typed at a terminal; "" elsewhere."""
    if speaker.as_json or not sys.stdin.isatty():
        return ""
    speaker.say()
    typed: str = typer.prompt("your prediction (Enter: none)", default="", show_default=False)
    return typed.strip()


def _say_sections(speaker: Speaker, lesson: Lesson, *headings: str) -> None:
    for heading in headings:
        speaker.say(f"\n{heading.upper()}\n\n{_plain(lesson.section(heading))}")


def _compared(names: list[str], numbers: dict[str, Any], lesson: Lesson) -> str:
    return ", ".join(f"{name} {numbers.get(name)} (page: {lesson.numbers.get(name)})" for name in names)


def _plain(text: str) -> str:
    """Markdown as a terminal shows it: fenced lines indented, links and emphasis as their words."""
    lines, fenced = [], False
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        else:
            lines.append(f"    {line}" if fenced else _words(line))
    return "\n".join(lines)


def _words(line: str) -> str:
    return re.sub(r"(?<!\w)\*+([^*\s][^*]*)\*+(?!\w)", r"\1", re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", line))


def _indented(code: str) -> str:
    return "\n".join(f"    {line}" if line else "" for line in code.splitlines())
