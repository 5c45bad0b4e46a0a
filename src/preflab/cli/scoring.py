"""`score`: add rewards to the completions of a file, by a reward model, a classifier, a policy or a function."""

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
"""Name of the added column."""
SCORED_TOGETHER = 512
"""Rows scored between two updates of the progress bar; has no effect on the scores."""


def add_to(app: typer.Typer) -> None:
    """Register the command of this file."""
    app.command("score", help=score.__doc__, short_help="Score completions with a reward model or a function.")(score)


@dataclass(frozen=True)
class ToScore:
    """One row of the file, as read and as records."""

    row: dict[str, Any]
    prompt: Prompt
    completion: Completion


def score(
    file: Annotated[
        Path,
        typer.Argument(
            help="Rows with prompt and completion (texts or turns) or with messages, in any file that import reads."
        ),
    ],
    by: Annotated[
        str,
        typer.Option(
            "--by",
            help="A reward stage, a dpo stage, the folder of a reward model or classifier, or module:function.",
        ),
    ],
    class_label: Annotated[
        str | None, typer.Option("--class", help="For a classifier: the class whose score is the reward.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="File for the scored rows.", show_default="FILE.scored.jsonl")
    ] = None,
    split: SplitOption = None,
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score every row's completion with a reward model, a classifier or a function and add the column `reward`.

    An existing column of that name is kept as `reward_before`. With a dpo stage it is the policy's implicit reward.
    """
    from preflab.files import write_text

    with speaking(as_json) as speaker:
        rows = rows_to_score(file, split)
        values = _scores(rows, by, class_label, lambda ref: models.model_place(ref, recipe, set_ or [], workspace))
        target = output or file.with_suffix(".scored.jsonl")
        kept = _name_for_former([each.row for each in rows])
        lines = (_json_line(_add_reward(each.row, value, kept)) for each, value in zip(rows, values, strict=True))
        write_text(target, "".join(lines))
        if kept:
            speaker.say(f"the former column `{REWARD}` is now called `{kept}`")
        mean = sum(values) / len(values)
        spread = (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5
        summary = f"mean reward {number(mean, 4)}, standard deviation {number(spread, 4)}"
        speaker.say(f"{count(len(values), 'completion')}: {summary}")
        following = f"look at {shown_path(target)}"
        speaker.last(target, following, num=len(values), mean=mean, standard_deviation=spread, kept_as=kept)


def rows_to_score(file: Path, split: str | None = None) -> list[ToScore]:
    """The rows of a file as prompts and completions; the prompt keeps every other column.

    Raises:
        PreflabError: the file has no rows, or a row lacks prompt or completion; the error names the line.
    """
    from preflab.store.formats.answered import answered
    from preflab.store.formats.columns import Seen, has, unread
    from preflab.store.formats.fields import imported
    from preflab.store.formats.json_rows import BadRow
    from preflab.store.formats.pairs import SIDES
    from preflab.store.formats.row_reading import numbered_rows, unit_of
    from preflab.store.image_texts import refuse_images

    rows = []
    unit = unit_of(file)
    for line, row in numbered_rows(file, split):
        where = f"{file}, {unit} {line}"
        try:
            if isinstance(row, BadRow):
                raise row
            if all(has(row, side) for side in SIDES):
                raise BadRow(
                    "two completions, chosen and rejected", "one completion per row, in the column `completion`"
                )
            answer = answered(Seen(row), where, unread)
        except BadRow as bad:
            raise PreflabError(f"{where}: {bad.found}", bad.expected, "correct or delete the row") from bad
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
                f"--by {by}: not a reward model; a classifier needs --class",
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


def _name_for_former(rows: Sequence[dict[str, Any]]) -> str:
    """A free name for the rows' present column `reward`; "" if they have none."""
    taken = {name for row in rows for name in row}
    if REWARD not in taken:
        return ""
    return next(name for name in (f"{REWARD}_before{n}" for n in ("", *range(2, len(taken) + 3))) if name not in taken)


def _add_reward(row: dict[str, Any], value: float, old: str) -> dict[str, Any]:
    before = {old: row[REWARD]} if REWARD in row else {}
    return {**{name: each for name, each in row.items() if name != REWARD}, **before, REWARD: value}


def _json_line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
