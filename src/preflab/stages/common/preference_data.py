"""Reads preferences for training: from a `preferences` stage's snapshot, or a file of pairs, rankings or judgments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from preflab.errors import PreflabError
from preflab.stages.base import StageContext
from preflab.stages.common.data import in_part, read_records
from preflab.stages.common.plain_texts import say_plain_texts

if TYPE_CHECKING:
    from preflab.records import Completion, Judgment, Preference, Prompt

SNAPSHOT = "snapshot"
"""Folder of the snapshot inside the run folder of a `preferences` stage."""


@dataclass(frozen=True)
class PreferenceData:
    """Preferences with the prompts and completions they refer to."""

    name: str
    preferences: tuple[Preference, ...]
    prompts: Mapping[str, Prompt]
    completions: Mapping[str, Completion]
    origin: Mapping[str, Any]
    """Content hash and counts of the snapshot; or the file, its number of rows and the lines left out."""

    @property
    def asked(self) -> list[Prompt]:
        """The prompt of each preference."""
        return [self.prompts[preference.prompt_id] for preference in self.preferences]

    @property
    def judged(self) -> list[Completion]:
        """The completions that the preferences compare, each once."""
        ids = {completion_id: None for preference in self.preferences for completion_id in preference.completion_ids}
        return [self.completions[completion_id] for completion_id in ids]

    def where(self, prompt_id: str) -> str:
        """The file and line of a prompt for error messages; its id if they are unknown."""
        return self.prompts[prompt_id].source or f"prompt {prompt_id}"


def read_preferences(ctx: StageContext, name: str) -> PreferenceData:
    """The preferences that a setting names: a stage, or `data`, `data.train`, `data.held_out` of the recipe.

    Raises:
        PreflabError: the snapshot was changed, rows of the file cannot be used, the judgments are about images, or
            there are no preferences.
    """
    from preflab.store.image_texts import refuse_images

    data = _from_stage(ctx, name) if name in ctx.inputs else _from_file(ctx, name)
    refuse_images([completion.text for completion in data.judged], name)
    if not data.preferences:
        raise PreflabError(
            f"{name}: no preferences", "at least one ranking or pair", "check the file or the stage they come from"
        )
    return data


def _from_stage(ctx: StageContext, name: str) -> PreferenceData:
    from preflab.store.snapshots import read_snapshot

    try:
        snapshot = read_snapshot(ctx.inputs[name].folder / SNAPSHOT)
    except PreflabError as error:
        do = f"restore the file, or write the snapshot again with `preflab run --fresh {name}`"
        raise PreflabError(error.found, error.expected, do) from error
    origin = {"snapshot": snapshot.manifest["content_hash"], "counts": snapshot.manifest["counts"]}
    return PreferenceData(name, snapshot.preferences, snapshot.prompts, snapshot.completions, origin)


def _from_file(ctx: StageContext, name: str) -> PreferenceData:
    from preflab.store.image_texts import refuse_image_campaign

    read = read_records(ctx.recipe, name.partition(".")[0])
    for campaign in read.campaigns:
        refuse_image_campaign(campaign)
    prompts = {prompt.id: prompt for prompt in read.prompts}
    completions = {completion.id: completion for completion in read.completions}
    kept = [
        preference
        for preference in read.preferences or agreed_preferences(read.judgments, completions)
        if in_part(ctx.recipe, name, prompts[preference.prompt_id])
    ]
    origin = {
        "file": read.path.name,
        "num_rows": read.num_rows,
        "left_out": [{read.unit: problem.line, "found": problem.found} for problem in read.problems],
    }
    data = PreferenceData(name, ctx.counted(name, tuple(kept)), prompts, completions, origin)
    say_plain_texts(ctx, name, list({prompt.id: prompt for prompt in data.asked}.values()), completed=True)
    return data


def agreed_preferences(judgments: Sequence[Judgment], completions: Mapping[str, Completion]) -> list[Preference]:
    """The consensus preferences of judgments read from a file, as the stage `preferences` computes them by default."""
    from preflab.feedback.consensus import preferences_of
    from preflab.stages.common.readings import archive_reading

    texts = {completion.id: completion.text for completion in completions.values()}
    return preferences_of(judgments, archive_reading(judgments), texts=texts) if judgments else []
