"""Stage `judge`: simulated labelers or people judge completions; with people the run waits for their judgments.

Files in the run folder:

judgments.json  {"campaign_id", "judgment_ids"}: the judgments that count. With people also "tasks": judgment id → task,
                for judgments of the same completions made in other campaigns, and "gold": {"judgment_ids", "answers"},
                the judgments of gold tasks and their known answers
open.json       with people only: [{"task_id", "pairs": [[completion id, completion id], …]}, …], the pairs that
                await adjudication
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from preflab.errors import PreflabError
from preflab.files import write_json
from preflab.progress import progress
from preflab.recipe import Recipe
from preflab.records import Campaign, Completion, Judgment, Labeler, Prompt, Task, Way, content_id
from preflab.seeds import derive_seed
from preflab.settings.feedback import JudgeSettings, PanelSettings
from preflab.stages.base import StageContext, StageResult
from preflab.stages.common.listed_judgments import JUDGMENTS
from preflab.ways.registry import way_named
from preflab.words import count, plural

if TYPE_CHECKING:
    from preflab.rewards.functions import RewardFunction
    from preflab.stages.common.people import GoldLabels, People
    from preflab.stages.common.people_inputs import Asked
    from preflab.store.workspace import Workspace

VERSION = 1
needs_torch = False

PEOPLE = "people"
OPEN = "open.json"


def check(recipe: Recipe, settings: JudgeSettings) -> None:
    """Checks that `content` suits completions written by a stage, which are texts, and that playouts name their game.

    Raises:
        PreflabError: `content` is `image`, or `playout` without a game, or there is a game for another content.
    """
    if settings.content == "image":
        raise PreflabError(
            f"content: image, but stage {settings.completions} writes texts",
            "plain, markdown, code or chat",
            "judge images in a separate campaign: `preflab campaign create FILE --option content=image`",
        )
    if (settings.content == "playout") != (settings.game is not None):
        raise PreflabError(
            f"content: {settings.content} {'with' if settings.game else 'without'} a game",
            "content: playout and the game whose clips are shown",
            "write for example `content: playout` and `game: cliff`",
        )


def run(ctx: StageContext) -> StageResult:
    """Make the campaign, let the panel judge (or collect people's judgments so far), and list the judgments."""
    settings: JudgeSettings = ctx.settings
    completions = ctx.completions(settings.completions)
    groups = groups_of(ctx.name, settings.way, completions)
    if settings.labelers == PEOPLE:
        from preflab.stages.common.people_inputs import ask

        if settings.game is not None:
            from preflab.stages.common.playout_clips import add_clips

            add_clips(ctx, settings.game, completions)
        return _people(ask(ctx, groups), ctx.workspace)
    return _panel(_PanelAsked.of(ctx, groups, completions), ctx.workspace)


def groups_of(name: str, way: Way, completions: Iterable[Completion]) -> list[tuple[str, ...]]:
    """Groups of completion ids that are judged together, one task each.

    A prompt's completions are sorted by model and index, then grouped by the way of judging: side by side makes a
    group of every two, other ways one group of all.

    Raises:
        PreflabError: no prompt has enough completions for the way of judging.
    """
    by_prompt: dict[str, list[Completion]] = defaultdict(list)
    for completion in completions:
        by_prompt[completion.prompt_id].append(completion)
    asked = way_named(way)
    groups: list[tuple[str, ...]] = []
    for of_prompt in by_prompt.values():
        ids = tuple(completion.id for completion in sorted(of_prompt, key=lambda c: (c.model, c.index, c.id)))
        if len(ids) >= asked.least:
            groups += asked.groups_of(ids)
    if not groups:
        raise PreflabError(
            f"campaign {name}: no prompt has two completions",
            "at least two completions per prompt to compare",
            "raise `num_completions` of the stage that samples",
        )
    return groups


@dataclass(frozen=True)
class _PanelAsked:
    """The inputs of a panel of simulated labelers."""

    settings: JudgeSettings
    panel: PanelSettings
    name: str
    seed: int
    folder: Path
    groups: Sequence[tuple[str, ...]]
    """The completion ids of each task."""
    completions: Sequence[Completion]
    prompts: Mapping[str, Prompt]
    """Prompt id → prompt."""
    utility: RewardFunction

    @classmethod
    def of(cls, ctx: StageContext, groups: Sequence[tuple[str, ...]], completions: Sequence[Completion]) -> _PanelAsked:
        """Reads the prompts and loads the panel's utility function."""
        from preflab.rewards.functions import load_function

        panel = ctx.recipe.labelers[ctx.settings.labelers]
        return cls(
            settings=ctx.settings,
            panel=panel,
            name=ctx.name,
            seed=ctx.seed,
            folder=ctx.folder,
            groups=groups,
            completions=completions,
            prompts={p.id: p for p in ctx.workspace.prompts(sorted({c.prompt_id for c in completions}))},
            utility=load_function(panel.utility, allow_none=True),
        )


def _panel(asked: _PanelAsked, workspace: Workspace) -> StageResult:
    """Assigns every task to `overlap` simulated labelers of the panel and stores their judgments."""
    from preflab.feedback.assignment_plan import assign
    from preflab.labelers.simulated import make_panel, measure_completions
    from preflab.labelers.simulated_ways import judge

    panel, seed = asked.panel, asked.seed
    campaign, tasks = _simulated_campaign(asked)
    workspace.put([campaign, *tasks])
    labelers = make_panel(panel, seed)
    known = measure_completions(asked.completions, _utilities(asked), panel.flattering_words)
    by_id = {labeler.id: labeler for labeler in labelers}
    overlap = asked.settings.overlap
    assigned = assign([task.id for task in tasks], list(by_id), overlap, derive_seed(seed, "assignment"))
    judgments = []
    with progress(asked.name, total=len(tasks)) as bar:
        for task, chosen in zip(tasks, assigned, strict=True):
            judgments += [judge(campaign, task, by_id[who], known, panel, seed) for who in chosen]
            bar.advance(1)
    workspace.put([*labelers, *judgments])
    summary = f"{count(len(judgments), 'judgment')} by {count(len(labelers), 'simulated labeler')}{_habits(labelers)}"
    return _finish(asked.folder, campaign.id, judgments, summary)


def _simulated_campaign(asked: _PanelAsked) -> tuple[Campaign, list[Task]]:
    """The campaign of a panel and its tasks; their ids are derived from the stage, so that a repeat gives the same."""
    settings = asked.settings
    campaign = Campaign(
        content_id("campaign", {"run": asked.folder.name, "seed": asked.seed}),
        asked.name,
        settings.way,
        question=settings.question,
        polarity=settings.polarity,
        overlap=settings.overlap,
        criteria=settings.criteria,
    )
    prompts = {completion.id: completion.prompt_id for completion in asked.completions}
    return campaign, [
        Task(content_id("task", {"campaign": campaign.id, "completions": list(ids)}), campaign.id, prompts[ids[0]], ids)
        for ids in asked.groups
    ]


def _utilities(asked: _PanelAsked) -> list[float | None]:
    """The utility of each completion by the panel's utility function; None for an F."""
    prompts, completions = asked.prompts, asked.completions
    columns = [prompts[completion.prompt_id].columns for completion in completions]
    names = {name for row in columns for name in row}
    return asked.utility(
        [prompts[completion.prompt_id].shown for completion in completions],
        [completion.text for completion in completions],
        **{name: [row.get(name) for row in columns] for name in names},
    )


def _habits(labelers: Iterable[Labeler]) -> str:
    """` (1 careless, 1 reversed)`, or "" if no labeler has these habits."""
    counts = Counter(labeler.settings["habit"] for labeler in labelers)
    bad = [f"{counts[habit]} {habit}" for habit in ("careless", "reversed") if counts[habit]]
    return f" ({', '.join(bad)})" if bad else ""


def _people(asked: Asked, workspace: Workspace) -> StageResult:
    """The finished result once every task has `overlap` labels; before that a waiting line and the campaign's link."""
    from preflab.labelling.address import stored_address
    from preflab.stages.common.people import open_campaign

    people, overlap = open_campaign(asked, workspace), asked.settings.overlap
    write_json(asked.folder / OPEN, [{"task_id": task, "pairs": pairs} for task, pairs in people.open_pairs.items()])
    link = f"{stored_address(workspace.path)}/c/{people.campaign.id}"
    finished, num = people.finished(overlap), len(people.tasks)
    if finished < num:
        labels = f"{count(overlap, 'label')}{_open_said(people)}{asked.reading_words}"
        waiting = f"{finished:,} of {count(num, 'task has', 'tasks have')} {labels}"
        figures = {"num_tasks": num, "num_finished": finished, **_whom_to_ask(workspace, people.campaign.id)}
        return StageResult(waiting, figures, waiting=waiting, link=link)
    return _people_done(asked.folder, workspace, people)


def _whom_to_ask(workspace: Workspace, campaign_id: str) -> dict[str, float | str]:
    """The name by which commands refer to the campaign, and how many people can already label or adjudicate in it."""
    from preflab.labelling.campaign_names import handle_of
    from preflab.labelling.members import people_of

    people = people_of(workspace, campaign_id)
    num = sum(each.can_come and each.role in ("labeler", "adjudicator") for each in people)
    return {"campaign": handle_of(workspace, campaign_id), "num_people": num}


def _people_done(folder: Path, workspace: Workspace, people: People) -> StageResult:
    from preflab.stages.common.people import decisions_of

    task_of = {judgment.id: task for task, labels in people.found.items() for judgment in labels.values()}
    judgments = [judgment for labels in people.found.values() for judgment in labels.values()]
    elsewhere = {j.id: task_of[j.id] for j in judgments if j.task_id != task_of[j.id]}
    decided = [each for each in decisions_of(workspace, people.campaign.id) if each.task_id in people.found]
    num_labelers = len({judgment.labeler_id for judgment in judgments})
    summary = f"{count(len(judgments), 'judgment')} by {count(num_labelers, 'labeler')}{_open_said(people)}"
    gold = _gold_listed(people.gold)
    result = _finish(folder, people.campaign.id, judgments, summary, [*decided], tasks=elsewhere, gold=gold)
    return StageResult(summary, {**result.figures, "num_open_pairs": people.num_open, "num_decisions": len(decided)})


def _gold_listed(gold: GoldLabels) -> dict[str, object]:
    from preflab.store.answers import answer_to_json

    return {
        "judgment_ids": sorted(judgment.id for judgment in gold.judgments),
        "answers": {task_id: answer_to_json(answer) for task_id, answer in sorted(gold.answers.items())},
    }


def _open_said(people: People) -> str:
    """`; 3 pairs of 2 tasks await adjudication`, or "" if none do."""
    if not people.num_open:
        return ""
    pairs = f"{count(people.num_open, 'pair')} of {count(len(people.open_pairs), 'task')}"
    return f"; {pairs} {plural(people.num_open, 'awaits', 'await')} adjudication"


def _finish(
    folder: Path,
    campaign_id: str,
    judgments: Sequence[Judgment],
    summary: str,
    decisions: Sequence[Judgment] = (),
    **more: object,
) -> StageResult:
    ids = sorted(judgment.id for judgment in (*judgments, *decisions))
    write_json(folder / JUDGMENTS, {"campaign_id": campaign_id, "judgment_ids": ids, **more})
    figures = {
        "num_tasks": len({judgment.task_id for judgment in judgments}),
        "num_judgments": len(judgments),
        "num_labelers": len({judgment.labeler_id for judgment in judgments}),
    }
    return StageResult(summary, figures)
