"""`campaign prioritise`: order a campaign's tasks by a file of priorities or by how informative a label would be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from preflab.cli.labelling import workspace_folder_of
from preflab.cli.speaking import (
    BY,
    DEFAULT_RECIPE,
    JsonOption,
    RecipeOption,
    SetOption,
    WorkspaceOption,
    command,
    speaking,
)
from preflab.errors import PreflabError
from preflab.words import count

if TYPE_CHECKING:
    from preflab.store.workspace import Workspace

SCORED_TOGETHER = 512
"""Completions scored between two updates of the progress bar; has no effect on the scores."""


def prioritise(
    campaign: Annotated[str, typer.Argument(help="The campaign's name or id.")],
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by", help="A reward stage or a reward model's folder; give two or more to use their disagreement."
        ),
    ] = None,
    priorities: Annotated[
        Path | None,
        typer.Option(help="JSONL or CSV with `prompt` and `priority`: higher first, before any other rule."),
    ] = None,
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the most informative tasks first: those with close pairs, and those where reward models disagree.

    With --priorities the file gives the order instead; tasks of equal priority keep their present order.
    """
    from preflab.cli.campaign_inputs import campaign_named
    from preflab.cli.models import model_place
    from preflab.labelling.prioritise import prioritise as put_in_order
    from preflab.store.opening import opened

    with speaking(as_json) as speaker:
        if by is not None and priorities is not None:
            raise PreflabError(
                "--by together with --priorities",
                "one of them",
                "run the command once with each: priorities count before reward models",
            )
        if by is not None and len(by) < 2:
            raise PreflabError(
                "--by with one reward model", "two or more, whose disagreement counts", "train one with another seed"
            )
        with opened(workspace_folder_of(recipe, set_ or [], workspace)) as store:
            view = campaign_named(store, campaign)
            if priorities is not None:
                num = _set_priorities(store, view.campaign.id, priorities)
                speaker.say(f"priorities of {priorities} given to tasks of {view.campaign.name}: {num}")
                speaker.last(None, command("campaign", "show", campaign), num_tasks=num)
                return
            scores = None
            if by:
                scores = _score_completions(
                    store, view.campaign.id, by, lambda ref: model_place(ref, recipe, set_ or [], workspace)
                )
            num = put_in_order(store, view.campaign.id, BY, scores)
        models = f", and by where {len(by)} reward models disagree" if by else ""
        speaker.say(f"{count(num, 'task')} of {view.campaign.name} in order, by how close their pairs are{models}")
        speaker.last(None, command("campaign", "show", campaign), num_tasks=num)


def _set_priorities(store: Workspace, campaign_id: str, file: Path) -> int:
    """Give tasks the priorities of a file; returns the number of tasks."""
    from preflab.labelling.priority_file import read_priorities
    from preflab.labelling.tasks import set_priority

    priorities = read_priorities(store, campaign_id, file)
    set_priority(store, campaign_id, priorities, BY)
    return len(priorities)


def _score_completions(
    store: Workspace, campaign_id: str, models: Sequence[str], place: Callable[[str], Path | str]
) -> dict[str, list[float]]:
    """Completion id → its score by each reward model, in the order of `models`."""
    from preflab.progress import progress
    from preflab.rewards.sources import make_scorer
    from preflab.settings.rewards import RewardSource
    from preflab.store.image_texts import refuse_images
    from preflab.training.protocols import ScoringItem

    ids = sorted({i for task in store.tasks(campaign_id=campaign_id) for i in task.completion_ids})
    completions = store.completions(ids)
    refuse_images([completion.text for completion in completions], "the campaign")
    prompts = {prompt.id: prompt for prompt in store.prompts(sorted({c.prompt_id for c in completions}))}
    items = [ScoringItem.of(prompts[c.prompt_id], c) for c in completions]
    columns: list[list[Any]] = []
    with progress("score", len(items) * len(models)) as bar:
        for model in models:
            scorer, column = make_scorer([RewardSource(model=model)], place), []
            for start in range(0, len(items), SCORED_TOGETHER):
                part = items[start : start + SCORED_TOGETHER]
                column += scorer.score(part).total.tolist()
                bar.advance(len(part))
            columns.append(column)
    return {completion: list(scores) for completion, *scores in zip(ids, *columns, strict=True)}
