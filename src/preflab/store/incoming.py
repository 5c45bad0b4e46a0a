"""Prepares judgments made elsewhere for a workspace: labelers get pseudonyms, tasks are matched with stored ones.

A labeler's name is never stored. The pseudonym is a keyed hash of it, so the same person is the same labeler in the
next file, and nobody can find the name without the workspace's key. A task whose prompt and completions have the same
texts as a stored task is taken for that task, so rankings made in a spreadsheet count for the campaign they were made
for.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from preflab.files import write_text
from preflab.records import Campaign, Completion, Judgment, Labeler, Preference, Prompt, Task, content_id
from preflab.store.formats.imported import Imported
from preflab.store.rows import Record

if TYPE_CHECKING:
    from preflab.store.workspace import Workspace

KEY = ".labelers.key"
"""File with the workspace's key for pseudonyms. Deleting it cuts the link between names and labelers for good."""
FROM_FILES = ("argilla", "label-studio", "rankings")
"""Formats whose labelers have real names in the file."""


def place_records(workspace: Workspace, imported: Imported) -> list[Record]:
    """The records to store for an imported file; unchanged unless its format is one of `FROM_FILES`."""
    if imported.format not in FROM_FILES:
        return imported.records()
    labelers = _make_pseudonyms(workspace.path, imported.labelers)
    matches = _match_tasks(workspace, imported)
    judgments = {judgment.id: _move_judgment(judgment, labelers, matches) for judgment in imported.judgments}
    new_tasks = {task.id for task in imported.tasks if task.id not in matches}
    numbered = _number_after_stored(workspace, list(judgments.values()))
    ids = {old: new.id for old, new in zip(judgments, numbered, strict=True)}
    task_of = {judgment.id: judgment.task_id for judgment in imported.judgments}
    preferences = [
        _rename_judgments(preference, ids)  # for a stored task, the campaign's own stage makes the preference
        for preference in imported.preferences
        if any(task_of[i] in new_tasks for i in preference.judgment_ids)
    ]
    tasks = [task for task in imported.tasks if task.id in new_tasks]
    campaign_ids = {task.campaign_id for task in tasks}
    campaigns = [campaign for campaign in imported.campaigns if campaign.id in campaign_ids]
    completion_ids = {i for task in tasks for i in task.completion_ids}
    completions = [completion for completion in imported.completions if completion.id in completion_ids]
    prompt_ids = {completion.prompt_id for completion in completions}
    prompts = [prompt for prompt in imported.prompts if prompt.id in prompt_ids]
    unique = {judgment.id: judgment for judgment in numbered}
    return [*prompts, *completions, *labelers.values(), *campaigns, *tasks, *unique.values(), *preferences]


def _make_pseudonyms(folder: Path, labelers: Sequence[Labeler]) -> dict[str, Labeler]:
    """Id in the file → the labeler as stored."""
    key = _read_key(folder)
    pseudonyms = {}
    for labeler in labelers:
        code = hmac.new(key, labeler.id.encode(), hashlib.sha256).hexdigest()
        pseudonyms[labeler.id] = Labeler(f"labeler-{code[:24]}", f"labeler {code[:4]}", labeler.kind)
    return pseudonyms


def _read_key(folder: Path) -> bytes:
    """The workspace's key, made if it is missing."""
    path = folder / KEY
    if not path.exists():
        write_text(path, secrets.token_hex(32) + "\n")
        os.chmod(path, 0o600)
    return path.read_text(encoding="ascii").strip().encode()


Key = tuple[str, str]
"""(task, labeler)."""
Match = tuple[Task, Campaign, tuple[int, ...]]
"""A stored task, its campaign, and for each of its completions the index in the file's task."""


def _match_tasks(workspace: Workspace, imported: Imported) -> dict[str, Match]:
    """Task of the file → the stored task with the same prompt, completions and way, if there is exactly one."""
    campaigns = {campaign.id: campaign for campaign in workspace.campaigns()}
    campaign_ids = {campaign.id for campaign in imported.campaigns}
    tasks = [task for task in workspace.tasks() if task.campaign_id not in campaign_ids]
    if not tasks:
        return {}
    known = {c.id: c for c in workspace.completions(sorted({i for task in tasks for i in task.completion_ids}))}
    prompts = {p.id: p for p in workspace.prompts(sorted({task.prompt_id for task in tasks}))}
    by_texts: dict[object, list[Task]] = defaultdict(list)
    for task in tasks:
        by_texts[_texts_of_task(prompts[task.prompt_id], task, known, campaigns[task.campaign_id])].append(task)
    completions, file_prompts = {c.id: c for c in imported.completions}, {p.id: p for p in imported.prompts}
    file_campaigns = {campaign.id: campaign for campaign in imported.campaigns}
    matches = {}
    for task in imported.tasks:
        texts = _texts_of_task(file_prompts[task.prompt_id], task, completions, file_campaigns[task.campaign_id])
        same = by_texts.get(texts, [])
        if len(same) == 1:
            places = _match_completions(same[0], known, task, completions)
            matches[task.id] = (same[0], campaigns[same[0].campaign_id], places)
    return matches


def _texts_of_task(prompt: Prompt, task: Task, completions: Mapping[str, Completion], campaign: Campaign) -> object:
    """The key by which tasks are compared: texts of prompt and completions, and the way of judging."""
    texts = sorted(_normalise(completions[i].text) for i in task.completion_ids)
    return _normalise(prompt.shown), tuple(texts), campaign.way


def _normalise(text: str) -> str:
    """The text without surrounding spaces and the apostrophe before a formula, which spreadsheets add or remove."""
    return text.strip().removeprefix("'")


def _match_completions(
    stored: Task, known: Mapping[str, Completion], task: Task, completions: Mapping[str, Completion]
) -> tuple[int, ...]:
    """For each completion of the stored task its index in the file's task; equal texts are matched in order."""
    waiting: dict[str, list[int]] = defaultdict(list)
    for index, completion_id in enumerate(task.completion_ids):
        waiting[_normalise(completions[completion_id].text)].append(index)
    return tuple(waiting[_normalise(known[i].text)].pop(0) for i in stored.completion_ids)


def _move_judgment(judgment: Judgment, labelers: Mapping[str, Labeler], matches: Mapping[str, Match]) -> Judgment:
    """The judgment with its labeler's pseudonym, and on the stored task if its task matches one."""
    labeler_id = labelers[judgment.labeler_id].id
    if judgment.task_id not in matches:
        return replace(judgment, labeler_id=labeler_id)
    task, campaign, places = matches[judgment.task_id]
    return replace(
        judgment,
        labeler_id=labeler_id,
        task_id=task.id,
        campaign_id=campaign.id,
        prompt_id=task.prompt_id,
        completion_ids=task.completion_ids,
        shown_order=tuple(range(len(task.completion_ids))),
        answer=judgment.answer.reordered(places),
        question=campaign.question,
        polarity=campaign.polarity,
        guideline_version=campaign.guideline_version,
    )


def _number_after_stored(workspace: Workspace, judgments: Sequence[Judgment]) -> list[Judgment]:
    """The judgments with final ids and revisions: answers imported before keep theirs, others are further revisions."""
    by_key: dict[Key, list[Judgment]] = defaultdict(list)
    for judgment in judgments:
        by_key[judgment.task_id, judgment.labeler_id].append(judgment)
    stored: dict[Key, list[Judgment]] = defaultdict(list)
    for campaign_id in sorted({judgment.campaign_id for judgment in judgments}):
        for judgment in workspace.judgments(campaign_id=campaign_id, all_revisions=True):
            stored[judgment.task_id, judgment.labeler_id].append(judgment)
    numbered = {key: _number_edits(new, sorted(stored[key], key=lambda j: j.revision)) for key, new in by_key.items()}
    return [numbered[judgment.task_id, judgment.labeler_id].pop(0) for judgment in judgments]


def _number_edits(new: Sequence[Judgment], stored: Sequence[Judgment]) -> list[Judgment]:
    """One labeler's new judgments of one task as further revisions; the stored ones if the answers are the same."""
    if [judgment.answer for judgment in stored[-len(new) :]] == [judgment.answer for judgment in new]:
        return list(stored[-len(new) :])
    first = 1 + max((judgment.revision for judgment in stored), default=0)
    return [
        replace(j, id=content_id("judgment", [j.task_id, j.labeler_id, revision]), revision=revision)
        for revision, j in enumerate(new, first)
    ]


def _rename_judgments(preference: Preference, ids: Mapping[str, str]) -> Preference:
    """The preference with the final ids of its judgments (old id → new id)."""
    fields = {name: getattr(preference, name) for name in preference.__dataclass_fields__ if name != "id"}
    return Preference.make(**fields | {"judgment_ids": tuple(sorted(ids[i] for i in preference.judgment_ids))})
