"""preflab's own archive: judgments, preferences or completions, one per line, readable without the workspace.

Each line contains the records that it refers to; in strict mode it contains only their ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from preflab.records import Completion, Judgment, Preference
from preflab.store.answers import failed_of
from preflab.store.exports.base import Export, Material, Row
from preflab.store.exports.left_out import EVERYTHING
from preflab.store.objects import to_object


def _completion(completion: Completion, material: Material) -> Iterator[Row]:
    row = to_object(completion)
    if not material.settings.strict:
        row["prompt"] = to_object(material.prompts[completion.prompt_id])
    yield row


def _preference(preference: Preference, material: Material) -> Iterator[Row]:
    """A preference with its prompt, its completions and the judgments that it was derived from."""
    row = to_object(preference) | _embed_records(preference, material)
    if not material.settings.strict and preference.judgment_ids:
        judgments = [material.judgments[each] for each in preference.judgment_ids]
        named = dict.fromkeys([*preference.completion_ids, *(i for each in judgments for i in each.completion_ids)])
        row["completions"] = [to_object(material.completions[each]) for each in named]
        row["judgments"] = [_submission(each, material) for each in judgments]
    yield row


def _judgment(judgment: Judgment, material: Material) -> Iterator[Row]:
    yield _submission(judgment, material) | _embed_records(judgment, material)


def _submission(judgment: Judgment, material: Material) -> Row:
    """A judgment's fields with the names of its campaign and labeler; unless strict, with these two records."""
    campaign, labeler = material.campaigns[judgment.campaign_id], material.labelers[judgment.labeler_id]
    row = to_object(judgment)
    row |= {"project": campaign.name, "labeler": labeler.name, "failed": failed_of(judgment.answer)}
    if not material.settings.strict:
        row |= {"labeler_settings": dict(labeler.settings), "campaign": to_object(campaign)}
    return row


def _embed_records(group: Preference | Judgment, material: Material) -> dict[str, Any]:
    """The prompt and the completions of a group as objects; {} in strict mode."""
    if material.settings.strict:
        return {}
    completions = [to_object(material.completions[each]) for each in group.completion_ids]
    return {"prompt": to_object(material.prompts[group.prompt_id]), "completions": completions}


EXPORTS = (
    Export(
        "judgments",
        "archive: every revision of every judgment",
        "judgment",
        _judgment,
        parquet=False,
        csv=False,
        keeps=EVERYTHING,
    ),
    Export(
        "preferences",
        "archive: whole groups, ranks, pairs, scores, thumbs",
        "preference",
        _preference,
        parquet=False,
        csv=False,
        keeps=EVERYTHING,
        judgments=True,
    ),
    Export(
        "completions",
        "archive: spans, tokens, log-probabilities",
        "completion",
        _completion,
        parquet=False,
        csv=False,
        keeps=EVERYTHING,
    ),
)
