"""`score`: the rewards of completions in a file, by a reward model, a classifier, a policy or a function."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from preflab.cli import models
from preflab.cli.speaking import (
    DEFAULT_RECIPE,
    JsonOption,
    RecipeOption,
    SetOption,
    SplitOption,
    WorkspaceOption,
    shown_path,
    speaking,
)
from preflab.errors import PreflabError
from preflab.words import count, number

if TYPE_CHECKING:
    from preflab.records import Completion, Prompt

REWARD = "reward"
"""The column that is added."""
SCORED_TOGETHER = 512
"""Rows between two updates of the progress bar; never changes a score."""


def add_to(app: typer.Typer) -> None:
    """Adds the command of this file."""
    app.command("score", help=score.__doc__, short_help="Score completions with a reward model or a function.")(score)


@dataclass(frozen=True)
class ToScore:
    """One row of the file, as it stands there and as records."""

    row: dict[str, Any]
    prompt: Prompt
    completion: Completion


def score(
    file: Annotated[
        Path,
        typer.Argument(
            help="Rows of prompt and completion, as texts or as turns, or of messages; any file import reads."
        ),
    ],
    by: Annotated[
        str,
        typer.Option(
            "--by",
            help="A reward stage, a dpo stage, the folder of a reward model or classifier, or module:function.",
        ),
    ],
    class_label: Annotated[str | None, typer.Option("--class", help="Of a classifier: the class that counts.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="Where the scored rows go.", show_default="FILE.scored.jsonl")
    ] = None,
    split: SplitOption = None,
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score every row's completion with a reward model, a classifier or a function; a column `reward` is added.

    One that is there is kept as `reward_before`. Of a stage `dpo` it is the policy's implicit reward.
    """
    from preflab.files import write_text

    with speaking(as_json) as speaker:
        rows = rows_to_score(file, split)
        values = _scores(rows, by, class_label, lambda ref: models.model_place(ref, recipe, set_ or [], workspace))
        target = output or file.with_suffix(".scored.jsonl")
        kept = _name_of_the_old([each.row for each in rows])
        lines = (_json_line(_scored(each.row, value, kept)) for each, value in zip(rows, values, strict=True))
        write_text(target, "".join(lines))
        if kept:
            speaker.say(f"the column `{REWARD}` that was there is called `{kept}` now")
        mean = sum(values) / len(values)
        spread = (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5
        summary = f"mean reward {number(mean, 4)}, standard deviation {number(spread, 4)}"
        speaker.say(f"{count(len(values), 'completion')}: {summary}")
        best = f"look at {shown_path(target)}"
        speaker.last(target, best, num=len(values), mean=mean, standard_deviation=spread, kept_as=kept)


def rows_to_score(file: Path, split: str | None = None) -> list[ToScore]:
    """The rows of a file as prompts and completions; the prompt holds every other column.

    Raises:
        PreflabError: no row, or one without prompt or completion, by its line.
    """
    from preflab.store.formats.answered import answered
    from preflab.store.formats.columns import Seen, has, unread
    from preflab.store.formats.fields import imported
    from preflab.store.formats.json_rows import BadRow
    from preflab.store.formats.pairs import SIDES
    from preflab.store.formats.reading import numbered_rows, unit_of
    from preflab.store.image_texts import refuse_images

    rows = []
    unit = unit_of(file)
    for line, row in numbered_rows(file, split):
        where = f"{file}, {unit} {line}"
        try:
            if isinstance(row, BadRow):
                raise row
            if all(has(row, side) for side in SIDES):
                raise BadRow("chosen and rejected: two completions", "one completion per row, as `completion`")
            answer = answered(Seen(row), where, unread)
        except BadRow as bad:
            raise PreflabError(f"{where}: {bad.found}", bad.expected, "mend or delete the row") from bad
        completion = imported(answer.prompt, answer.spans, "scored", finish_reason=answer.finish_reason)
        rows.append(ToScore(row, answer.prompt, completion))
    refuse_images([each.completion.text for each in rows], shown_path(file))
    if not rows:
        raise PreflabError(f"{file}: no rows", "at least one row", "fill the file")
    return rows


def _scores(
    rows: Sequence[ToScore], by: str, class_label: str | None, place: Callable[[str], Path | str]
) -> list[float]:
    from preflab.progress import progress
    from preflab.rewards.sources import make_scorer
    from preflab.settings.rewards import RewardSource
    from preflab.training.protocols import ScoringItem

    if ":" in by and not by.startswith("package:"):
        source = RewardSource(function=by)
    elif (Path(place(by)) / "implicit_reward.json").is_file():
        source = RewardSource(implicit=by)
    else:
        source = RewardSource(model=by, class_label=class_label)
        if class_label is None and not (Path(place(by)) / "reward_model.json").is_file():
            raise PreflabError(
                f"--by {by}: no reward model there, and no --class, which a classifier needs",
                "a stage that trains a reward model, its folder, or a classifier with --class",
                "add --class, or name another model",
            )
    scorer = make_scorer([source], place)
    items = [ScoringItem.of(each.prompt, each.completion) for each in rows]
    values: list[float] = []
    with progress("score", len(items)) as bar:
        for start in range(0, len(items), SCORED_TOGETHER):
            part = items[start : start + SCORED_TOGETHER]
            values += scorer.score(part).total.tolist()
            bar.advance(len(part))
    return values


def _name_of_the_old(rows: Sequence[dict[str, Any]]) -> str:
    """The name under which a column `reward` of the rows is kept; "" where they have none."""
    taken = {name for row in rows for name in row}
    if REWARD not in taken:
        return ""
    return next(name for name in (f"{REWARD}_before{n}" for n in ("", *range(2, len(taken) + 3))) if name not in taken)


def _scored(row: dict[str, Any], value: float, old: str) -> dict[str, Any]:
    before = {old: row[REWARD]} if REWARD in row else {}
    return {**{name: each for name, each in row.items() if name != REWARD}, **before, REWARD: value}


def _json_line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
