"""Creates and updates the campaign of a `judge` stage with people, and collects its labels.

A campaign is identified by what is judged and asked: completions, way, question, polarity and criteria. All other
settings (instructions, overlap, notes, costs) may change in the recipe while people label; the campaign keeps its
labels. A change that a lead makes in the app stays until the recipe changes that setting.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preflab.files import canonical_hash, read_json, write_json
from preflab.records import Answer, Campaign, Judgment, Task, random_id
from preflab.stages.common.listed_judgments import at_home
from preflab.stages.common.people_inputs import OF_THE_RECIPE, Asked
from preflab.stages.common.readings import CAMPAIGNS, NAMES, is_news, ledger_name
from preflab.ways.registry import way_named

if TYPE_CHECKING:
    from preflab.labelling.options import CampaignOptions
    from preflab.settings.feedback import JudgeSettings
    from preflab.store.workspace import Workspace

logger = logging.getLogger(__name__)

Found = Mapping[str, Mapping[str, Judgment]]
"""Task id → labeler id → the judgment that counts."""


@dataclass(frozen=True)
class GoldLabels:
    """Judgments of tasks with a known answer; they only measure how reliable the labelers are."""

    judgments: tuple[Judgment, ...]
    answers: Mapping[str, Answer]
    """Gold task → its known answer."""


@dataclass(frozen=True)
class People:
    """A campaign with the judgments it has so far."""

    campaign: Campaign
    tasks: tuple[Task, ...]
    """The tasks made from the recipe's completions, without gold tasks."""
    found: Found
    open_pairs: Mapping[str, tuple[tuple[str, str], ...]]
    """Fully labelled task → the pairs of completion ids that its labelers leave open, for an adjudicator."""
    gold: GoldLabels
    """The labelers' judgments of the campaign's gold tasks."""

    @property
    def num_open(self) -> int:
        """Number of pairs that await adjudication."""
        return sum(map(len, self.open_pairs.values()))

    def finished(self, overlap: int) -> int:
        """Number of tasks with at least `overlap` labels."""
        return sum(len(labels) >= overlap for labels in self.found.values())


def open_campaign(asked: Asked, workspace: Workspace) -> People:
    """Creates the stage's campaign or updates it from the recipe, and returns it with its labels."""
    from preflab.labelling.campaigns import create_campaign

    gold = asked.gold
    ledger, entry = _read_ledger(asked, workspace.runs / CAMPAIGNS)
    follows = _find_earlier(asked, workspace, ledger, entry)
    workspace.put([*gold.prompts, *gold.completions])
    campaign = create_campaign(
        workspace,
        _with_free_name(workspace, asked.options, entry),
        [*asked.groups, *gold.groups],
        asked.instructions or _first_instructions(asked.options),
        by="recipe",
        campaign_id=entry["campaign_id"],
        gold=gold.numbered_from(len(asked.groups)),
        follows=follows,
    )
    _tell_news(asked, workspace, entry)
    _put_in_order(workspace, entry)
    write_json(workspace.runs / CAMPAIGNS, ledger)
    return _count_labels(asked, workspace, campaign)


def _first_instructions(options: CampaignOptions) -> str:
    from preflab.labelling.instructions import default_instructions

    return default_instructions(options)


def _read_ledger(asked: Asked, path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The content of `runs/campaigns.json`, and this campaign's entry in it, created if missing."""
    ledger: dict[str, Any] = read_json(path) if path.exists() else {}
    name = ledger_name(asked.name, asked.settings, asked.completions_key)
    if name not in ledger:
        campaign_id = _former_id(asked.folder) or random_id("campaign")
        ledger[name] = {"campaign_id": campaign_id, "said": {}, "instructions": ""}
    ledger[name].setdefault("recipe", asked.recipe_file)
    return ledger, ledger[name]


def _former_id(folder: Path) -> str | None:
    """The campaign id that an earlier version of preflab stored in the run folder; None if there is none."""
    path = folder / "campaign.json"
    return str(read_json(path)["campaign_id"]) if path.exists() else None


def _find_earlier(
    asked: Asked, workspace: Workspace, ledger: Mapping[str, Any], entry: Mapping[str, Any]
) -> str | None:
    """The id of the stage's previous campaign (another round, or other completions); its people may judge here too.

    Campaigns belong to the same stage if the recipe's file name, the stage's name without the round, the way, the
    question and the polarity are equal.
    """
    from preflab.labelling.campaign_names import campaign_names

    known, this_stage = campaign_names(workspace), _same_stage(asked.options.model_dump(mode="json"))
    earlier = None
    for each in takewhile(lambda other: other is not entry, ledger.values()):
        of_recipe = each.get("recipe", asked.recipe_file) == asked.recipe_file
        if of_recipe and each["campaign_id"] in known and _same_stage(each["said"]) == this_stage:
            earlier = str(each["campaign_id"])
    return earlier


def _same_stage(settings: Mapping[str, Any]) -> tuple[Any, ...]:
    """A key that is equal for all rounds of a stage: its name without the round, way, question and polarity."""
    return (
        str(settings.get("name", "")).partition("@")[0],
        *(settings.get(name) for name in ("way", "question", "polarity")),
    )


def _with_free_name(workspace: Workspace, options: CampaignOptions, entry: Mapping[str, Any]) -> CampaignOptions:
    """The options with an unused name: the stage may have an older campaign of its name for other completions."""
    from preflab.labelling.campaign_names import campaign_names, free_name

    if entry["campaign_id"] in campaign_names(workspace):
        return options
    return options.model_copy(update={"name": free_name(workspace, options.name)})


def _tell_news(asked: Asked, workspace: Workspace, entry: dict[str, Any]) -> None:
    """Apply the recipe's settings that changed since its last run to the campaign; the leads' other changes stay."""
    from preflab.labelling.campaigns import campaign_view, change_options, new_guideline

    options = asked.options.model_dump(mode="json")
    names = ("name", "gold_share", *OF_THE_RECIPE, *(NAMES if asked.sets_reading else ()))
    now = {name: options[name] for name in names}
    told = now if entry["said"] else {name: now[name] for name in names if name in NAMES}
    changed = {name: value for name, value in told.items() if is_news(name, value, entry["said"])}
    if changed:
        view = campaign_view(workspace, entry["campaign_id"])
        change_options(workspace, entry["campaign_id"], view.revision, changed, by="recipe")
    if not entry["said"] or "overlap" in changed:
        _warn_of_overlap(asked.options)
    text = asked.instructions
    read = canonical_hash(text) if text is not None else ""
    if entry["said"] and text is not None and read != entry["instructions"]:
        new_guideline(workspace, entry["campaign_id"], text, by="recipe")
    entry |= {"said": entry["said"] | now, "instructions": read}


def _warn_of_overlap(options: CampaignOptions) -> None:
    from preflab.labelling.reading import overlap_warning

    if warning := overlap_warning(options.overlap):
        logger.warning("campaign %s: %s", options.name, warning)


def _put_in_order(workspace: Workspace, entry: dict[str, Any]) -> None:
    """For the order `worth_asking`: recompute the priority of each task if there are new labels."""
    from preflab.labelling.campaigns import campaign_view
    from preflab.labelling.counting import num_judgments
    from preflab.labelling.prioritise import prioritise

    campaign_id: str = entry["campaign_id"]
    if campaign_view(workspace, campaign_id).options.order != "worth_asking":
        return
    num = num_judgments(workspace, campaign_id)
    if entry.get("ordered_at") != num:
        prioritise(workspace, campaign_id, by="recipe")
        entry["ordered_at"] = num


def _count_labels(asked: Asked, workspace: Workspace, campaign: Campaign) -> People:
    """The campaign with its labels, including people's judgments of the same completions from other campaigns."""
    wanted = {frozenset(group) for group in asked.groups}
    tasks = tuple(t for t in workspace.tasks(campaign_id=campaign.id) if frozenset(t.completion_ids) in wanted)
    judged = _judged_by_people(asked.settings, workspace, campaign.id, tasks)
    gold = _gold_labels(workspace, campaign.id)
    unresolved = _unresolved(asked.settings.overlap, workspace, campaign.id, tasks, judged, gold)
    return People(campaign, tasks, judged, unresolved, gold)


def _gold_labels(workspace: Workspace, campaign_id: str) -> GoldLabels:
    """People's judgments of the campaign's gold tasks, with the known answers."""
    from preflab.feedback.consensus import counted as latest
    from preflab.labelling.reading import gold_answers

    answers = gold_answers(workspace, campaign_id)
    judgments = workspace.judgments(campaign_id=campaign_id, all_revisions=True) if answers else []
    return GoldLabels(
        tuple(j for j in latest(judgments) if j.task_id in answers and j.labeler_kind == "person"), answers
    )


def _judged_by_people(
    settings: JudgeSettings, workspace: Workspace, campaign_id: str, tasks: Sequence[Task]
) -> dict[str, dict[str, Judgment]]:
    """Task id → labeler id → judgment, without adjudicators' decisions.

    A labeler's judgment in this campaign takes precedence over one of the same completions from another campaign.
    Judgments by AI count only if the campaign's option `count_ai` is set.
    """
    from preflab.feedback.consensus import counted as latest
    from preflab.labelling.campaigns import campaign_view, list_campaigns

    by_completions = {frozenset(task.completion_ids): task for task in tasks}
    by_task: dict[str, dict[str, Judgment]] = {task.id: {} for task in tasks}
    asked_here = {view.campaign.id for view in list_campaigns(workspace)}
    kinds = {"person", "ai"} if campaign_view(workspace, campaign_id).options.count_ai else {"person"}
    judgments = [j for j in workspace.judgments(all_revisions=True) if j.labeler_kind in kinds]
    for judgment in sorted(latest(judgments), key=lambda j: j.campaign_id == campaign_id):
        task = by_completions.get(frozenset(judgment.completion_ids))
        if task is not None and _fits(judgment, settings, imported=judgment.campaign_id not in asked_here):
            by_task[task.id][judgment.labeler_id] = judgment
    return by_task


def _fits(judgment: Judgment, settings: JudgeSettings, *, imported: bool) -> bool:
    """Whether a judgment answers what the stage asks: the same way, polarity, criteria and question.

    The question of an imported judgment is not compared, since files rarely contain it.
    """
    way = way_named(settings.way)
    if judgment.answer.stored_as != way.stored_as:
        return False
    if way.by_criteria and not set(settings.criteria) <= set(judgment.answer.criteria):
        return False
    return judgment.polarity == settings.polarity and (imported or judgment.question == settings.question)


def _unresolved(
    overlap: int, workspace: Workspace, campaign_id: str, tasks: Sequence[Task], by_task: Found, gold: GoldLabels
) -> dict[str, tuple[tuple[str, str], ...]]:
    """Fully labelled task → pairs on which the labelers are divided and no adjudicator has decided.

    Computed from the stored labels, since the app's own list may be some seconds old.
    """
    from preflab.feedback.consensus import consensus_of
    from preflab.labelling.reading import campaign_reading

    full = [task for task in tasks if len(by_task[task.id]) >= overlap]
    if not full:
        return {}
    judgments = [at_home(judgment, task) for task in tasks for judgment in by_task[task.id].values()]
    completions = workspace.completions(sorted({i for task in tasks for i in task.completion_ids}))
    agreed = consensus_of(
        [*judgments, *gold.judgments, *decisions_of(workspace, campaign_id)],
        campaign_reading(workspace, campaign_id),
        texts={completion.id: completion.text for completion in completions},
    )
    ids = {task.id for task in full}
    return {
        each.task_id: tuple(
            (each.preference.completion_ids[first], each.preference.completion_ids[second])
            for first, second in each.unresolved
        )
        for each in agreed
        if each.task_id in ids and each.unresolved
    }


def decisions_of(workspace: Workspace, campaign_id: str) -> list[Judgment]:
    """The latest decision of each adjudicator on each task of this campaign."""
    judgments = defaultdict(list)
    for judgment in workspace.judgments(campaign_id=campaign_id, all_revisions=True):
        if judgment.decides:
            judgments[judgment.task_id, judgment.labeler_id].append(judgment)
    return [max(made, key=lambda judgment: judgment.revision) for made in judgments.values()]
