"""Judgments made elsewhere find their place in a workspace: labelers get pseudonyms, known tasks are recognised.

A labeler's name never reaches the database. Its pseudonym is a keyed hash: the same person is the same labeler in the
next file, and without the workspace's own key nobody can tell who that is. A task whose prompt and completions this
workspace has (by their texts) is that task, so rankings made in a spreadsheet count as answers to the campaign they
were made for.
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
"""The workspace's key for pseudonyms; whoever deletes it cuts the tie between names in files and labelers for good."""
FROM_FILES = ("argilla", "label-studio", "rankings")
"""Formats whose labelers still have the names of the file."""


def placed(workspace: Workspace, found: Imported) -> list[Record]:
    """The records to store for a file: those of other formats as they are."""
    if found.format not in FROM_FILES:
        return found.records()
    labelers = _pseudonyms(workspace.path, found.labelers)
    homes = _homes(workspace, found)
    judgments = {judgment.id: _moved(judgment, labelers, homes) for judgment in found.judgments}
    kept = {task.id for task in found.tasks if task.id not in homes}
    numbered = _after_those_known(workspace, list(judgments.values()))
    ids = {old: new.id for old, new in zip(judgments, numbered, strict=True)}
    task_of = {judgment.id: judgment.task_id for judgment in found.judgments}
    preferences = [
        _learned(preference, ids)  # of a task that the workspace has, its own stage weighs the judgments
        for preference in found.preferences
        if any(task_of[i] in kept for i in preference.judgment_ids)
    ]
    tasks = [task for task in found.tasks if task.id in kept]
    campaign_ids = {task.campaign_id for task in tasks}
    campaigns = [campaign for campaign in found.campaigns if campaign.id in campaign_ids]
    used = {i for task in tasks for i in task.completion_ids}
    completions = [completion for completion in found.completions if completion.id in used]
    asked = {completion.prompt_id for completion in completions}
    prompts = [prompt for prompt in found.prompts if prompt.id in asked]
    unique = {judgment.id: judgment for judgment in numbered}
    return [*prompts, *completions, *labelers.values(), *campaigns, *tasks, *unique.values(), *preferences]


def _pseudonyms(folder: Path, labelers: Sequence[Labeler]) -> dict[str, Labeler]:
    """Provisional id → the labeler as it is stored."""
    key = _key(folder)
    pseudonyms = {}
    for labeler in labelers:
        code = hmac.new(key, labeler.id.encode(), hashlib.sha256).hexdigest()
        pseudonyms[labeler.id] = Labeler(f"labeler-{code[:24]}", f"labeler {code[:4]}", labeler.kind)
    return pseudonyms


def _key(folder: Path) -> bytes:
    path = folder / KEY
    if not path.exists():
        write_text(path, secrets.token_hex(32) + "\n")
        os.chmod(path, 0o600)
    return path.read_text(encoding="ascii").strip().encode()


Key = tuple[str, str]
"""Task and labeler."""
Home = tuple[Task, Campaign, tuple[int, ...]]
"""A task of the workspace, its campaign, and for each of its places the index in the file's task."""


def _homes(workspace: Workspace, found: Imported) -> dict[str, Home]:
    """Task of the file → the one task of people in this workspace with the same prompt, completions and way."""
    campaigns = {campaign.id: campaign for campaign in workspace.campaigns()}
    campaign_ids = {campaign.id for campaign in found.campaigns}
    tasks = [task for task in workspace.tasks() if task.campaign_id not in campaign_ids]
    if not tasks:
        return {}
    known = {c.id: c for c in workspace.completions(sorted({i for task in tasks for i in task.completion_ids}))}
    prompts = {p.id: p for p in workspace.prompts(sorted({task.prompt_id for task in tasks}))}
    by_texts: dict[object, list[Task]] = defaultdict(list)
    for task in tasks:
        by_texts[_look(prompts[task.prompt_id], task, known, campaigns[task.campaign_id])].append(task)
    theirs, asked = {c.id: c for c in found.completions}, {p.id: p for p in found.prompts}
    of_file = {campaign.id: campaign for campaign in found.campaigns}
    homes = {}
    for task in found.tasks:
        same = by_texts.get(_look(asked[task.prompt_id], task, theirs, of_file[task.campaign_id]), [])
        if len(same) == 1:
            homes[task.id] = (same[0], campaigns[same[0].campaign_id], _places(same[0], known, task, theirs))
    return homes


def _look(prompt: Prompt, task: Task, completions: Mapping[str, Completion], campaign: Campaign) -> object:
    texts = sorted(_words(completions[i].text) for i in task.completion_ids)
    return _words(prompt.shown), tuple(texts), campaign.way


def _words(text: str) -> str:
    """A text without what a spreadsheet adds or loses: spaces around it, and the apostrophe before a formula."""
    return text.strip().removeprefix("'")


def _places(
    home: Task, known: Mapping[str, Completion], task: Task, theirs: Mapping[str, Completion]
) -> tuple[int, ...]:
    """For each completion of the home its index in the file's task; equal texts are dealt out in order."""
    waiting: dict[str, list[int]] = defaultdict(list)
    for index, completion_id in enumerate(task.completion_ids):
        waiting[_words(theirs[completion_id].text)].append(index)
    return tuple(waiting[_words(known[i].text)].pop(0) for i in home.completion_ids)


def _moved(judgment: Judgment, labelers: Mapping[str, Labeler], homes: Mapping[str, Home]) -> Judgment:
    labeler_id = labelers[judgment.labeler_id].id
    if judgment.task_id not in homes:
        return replace(judgment, labeler_id=labeler_id)
    task, campaign, places = homes[judgment.task_id]
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


def _after_those_known(workspace: Workspace, judgments: Sequence[Judgment]) -> list[Judgment]:
    """With ids and revisions of their own: answers imported before keep theirs, other answers are the next edits."""
    by_key: dict[Key, list[Judgment]] = defaultdict(list)
    for judgment in judgments:
        by_key[judgment.task_id, judgment.labeler_id].append(judgment)
    stored: dict[Key, list[Judgment]] = defaultdict(list)
    for campaign_id in sorted({judgment.campaign_id for judgment in judgments}):
        for judgment in workspace.judgments(campaign_id=campaign_id, all_revisions=True):
            stored[judgment.task_id, judgment.labeler_id].append(judgment)
    numbered = {key: _numbered(new, sorted(stored[key], key=lambda j: j.revision)) for key, new in by_key.items()}
    return [numbered[judgment.task_id, judgment.labeler_id].pop(0) for judgment in judgments]


def _numbered(new: Sequence[Judgment], stored: Sequence[Judgment]) -> list[Judgment]:
    """One labeler's answers to one task, after those that are there."""
    if [judgment.answer for judgment in stored[-len(new) :]] == [judgment.answer for judgment in new]:
        return list(stored[-len(new) :])
    first = 1 + max((judgment.revision for judgment in stored), default=0)
    return [
        replace(j, id=content_id("judgment", [j.task_id, j.labeler_id, revision]), revision=revision)
        for revision, j in enumerate(new, first)
    ]


def _learned(preference: Preference, ids: Mapping[str, str]) -> Preference:
    fields = {name: getattr(preference, name) for name in preference.__dataclass_fields__ if name != "id"}
    return Preference.make(**fields | {"judgment_ids": tuple(sorted(ids[i] for i in preference.judgment_ids))})
