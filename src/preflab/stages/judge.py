"""Stage `judge`: completions are put to labelers, one task per prompt; with people the run waits here."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from preflab.errors import PreflabError
from preflab.files import read_json, write_json
from preflab.records import Campaign, Completion, Judgment, Labeler, Task, content_id, random_id
from preflab.seeds import derive_seed
from preflab.settings.feedback import JudgeSettings, PanelSettings
from preflab.stages.base import StageContext, StageResult

if TYPE_CHECKING:
    from preflab.store.workspace import Workspace

VERSION = 1
needs_torch = False

PEOPLE = "people"
CAMPAIGN, JUDGMENTS = "campaign.json", "judgments.json"


def run(ctx: StageContext) -> StageResult:
    """Make the campaign, let the panel judge or count what people have judged, and list the judgments."""
    settings: JudgeSettings = ctx.settings
    completions = ctx.workspace.completions(read_json(ctx.inputs[settings.completions].folder / "completions.json"))
    campaign = make_campaign(ctx.name, settings, _campaign_id(ctx))
    tasks = make_tasks(campaign, completions)
    ctx.workspace.put([campaign, *tasks])
    if settings.labelers == PEOPLE:
        return _people(ctx, campaign, tasks)
    return _panel(ctx, campaign, tasks, completions)


def make_campaign(name: str, settings: JudgeSettings, campaign_id: str) -> Campaign:
    """The campaign of this stage."""
    return Campaign(campaign_id, name, settings.way, question=settings.question, overlap=settings.overlap)


def make_tasks(campaign: Campaign, completions: Iterable[Completion]) -> list[Task]:
    """One task per prompt, its completions by index; a prompt with one completion has nothing to compare.

    Raises:
        PreflabError: no prompt has two completions.
    """
    by_prompt: dict[str, list[Completion]] = defaultdict(list)
    for completion in completions:
        by_prompt[completion.prompt_id].append(completion)
    tasks = []
    for prompt_id, found in by_prompt.items():
        ids = tuple(completion.id for completion in sorted(found, key=lambda c: (c.model, c.index, c.id)))
        if len(ids) > 1:
            task_id = content_id("task", {"campaign": campaign.id, "completions": list(ids)})
            tasks.append(Task(task_id, campaign.id, prompt_id, ids))
    if not tasks:
        raise PreflabError(
            f"campaign {campaign.name}: no prompt has two completions",
            "at least two completions per prompt to compare",
            "raise `num_completions` of the stage that samples",
        )
    return tasks


def _campaign_id(ctx: StageContext) -> str:
    """People's campaigns have a random id, kept in the folder; a simulated one follows from its stage, to be repeated.

    The id of a task follows from its campaign's, so it can be guessed no better than that.
    """
    if ctx.settings.labelers != PEOPLE:
        return content_id("campaign", {"run": ctx.folder.name, "seed": ctx.seed})
    path = ctx.folder / CAMPAIGN
    if not path.exists():
        write_json(path, {"campaign_id": random_id("campaign")})
    return str(read_json(path)["campaign_id"])


def _panel(
    ctx: StageContext, campaign: Campaign, tasks: Sequence[Task], completions: Sequence[Completion]
) -> StageResult:
    """Every task to `overlap` simulated labelers of the panel."""
    from preflab.feedback.assignment import assign
    from preflab.labelers.simulated import judge, known_of, panel

    settings = ctx.recipe.labelers[ctx.settings.labelers]
    labelers = panel(settings, ctx.seed)
    known = known_of(completions, _utilities(ctx, settings, completions), settings.flattering_words)
    by_id = {labeler.id: labeler for labeler in labelers}
    seed = derive_seed(ctx.seed, "assignment")
    assigned = assign([task.id for task in tasks], list(by_id), ctx.settings.overlap, seed)
    judgments = []
    with ctx.progress(ctx.name, total=len(tasks)) as bar:
        for task, chosen in zip(tasks, assigned, strict=True):
            judgments += [judge(campaign, task, by_id[who], known, settings, ctx.seed) for who in chosen]
            bar.advance(1)
    ctx.workspace.put([*labelers, *judgments])
    summary = f"{len(judgments):,} judgments by {len(labelers)} simulated labelers{_habits(labelers)}"
    return _finish(ctx.folder, campaign, judgments, summary)


def _utilities(ctx: StageContext, settings: PanelSettings, completions: Sequence[Completion]) -> list[float | None]:
    """The panel's known utility of each completion; None for an F."""
    from preflab.rewards.functions import load_function

    prompts = {p.id: p for p in ctx.workspace.prompts(sorted({c.prompt_id for c in completions}))}
    columns = [prompts[completion.prompt_id].columns for completion in completions]
    names = {name for row in columns for name in row}
    utility = load_function(settings.utility, allow_none=True)
    return utility(
        [prompts[completion.prompt_id].shown for completion in completions],
        [completion.text for completion in completions],
        **{name: [row.get(name) for row in columns] for name in names},
    )


def _habits(labelers: Iterable[Labeler]) -> str:
    """` (1 careless, 1 reversed)`, or nothing."""
    counts = Counter(labeler.settings["habit"] for labeler in labelers)
    bad = [f"{counts[habit]} {habit}" for habit in ("careless", "reversed") if counts[habit]]
    return f" ({', '.join(bad)})" if bad else ""


def _people(ctx: StageContext, campaign: Campaign, tasks: Sequence[Task]) -> StageResult:
    """Done when every task has the wanted labels; else the line that says how many have."""
    found = judged_by_people(ctx.workspace, tasks)
    overlap = ctx.settings.overlap
    finished = sum(len(found[task.id]) >= overlap for task in tasks)
    if finished < len(tasks):
        waiting = f"{finished} of {len(tasks)} tasks have {overlap} label{'s' if overlap > 1 else ''}"
        return StageResult(waiting, {"num_tasks": len(tasks), "num_finished": finished}, waiting=waiting)
    judgments = [judgment for task in tasks for judgment in found[task.id].values()]
    num_labelers = len({judgment.labeler_id for judgment in judgments})
    return _finish(ctx.folder, campaign, judgments, f"{len(judgments):,} judgments by {num_labelers} labelers")


def judged_by_people(workspace: Workspace, tasks: Sequence[Task]) -> Mapping[str, Mapping[str, Judgment]]:
    """Task → labeler → judgment of the same completions, made here or imported; AI judges do not count."""
    by_completions = {frozenset(task.completion_ids): task.id for task in tasks}
    found: dict[str, dict[str, Judgment]] = {task.id: {} for task in tasks}
    for judgment in workspace.judgments():
        task_id = by_completions.get(frozenset(judgment.completion_ids))
        if task_id is not None and judgment.labeler_kind == "person" and not judgment.surplus:
            found[task_id][judgment.labeler_id] = judgment
    return found


def _finish(folder: Path, campaign: Campaign, judgments: Sequence[Judgment], summary: str) -> StageResult:
    ids = sorted(judgment.id for judgment in judgments)
    write_json(folder / JUDGMENTS, {"campaign_id": campaign.id, "judgment_ids": ids})
    figures = {
        "num_tasks": len({judgment.prompt_id for judgment in judgments}),
        "num_judgments": len(judgments),
        "num_labelers": len({judgment.labeler_id for judgment in judgments}),
    }
    return StageResult(summary, figures)
