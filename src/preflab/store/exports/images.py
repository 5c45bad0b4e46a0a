"""Leaves records about images out of exports for text models, counts them, and refuses if nothing else is left."""

from __future__ import annotations

from typing import Any

from preflab.errors import PreflabError
from preflab.records import Completion, Judgment, Preference
from preflab.store.exports.base import Export, Material
from preflab.store.image_texts import DO, EXPECTED, images_among
from preflab.store.workspace import Workspace

KEEP_IMAGES = ("judgments", "preferences", "completions", "rankings")
"""Formats that may contain images, as file names: the archive, and rankings for people."""
ABOUT_IMAGES = "{} about images"


def without_images(workspace: Workspace, export: Export, records: list[Any], material: Material) -> list[Any]:
    """The records that are not about images, unless the format may contain images; the others are counted as dropped.

    Raises:
        PreflabError: all records are about images.
    """
    if export.name in KEEP_IMAGES or export.of == "prompt" or not records:
        return records
    image_ids = about_images(workspace, records, material)
    if len(image_ids) == len(records):
        raise PreflabError(f"all {len(records):,} {export.of}s for {export.name} are about images", EXPECTED, DO)
    material.drop(ABOUT_IMAGES.format(f"{export.of}s"), len(image_ids))
    return [record for record in records if record.id not in image_ids]


def about_images(
    workspace: Workspace, records: list[Preference] | list[Judgment] | list[Completion], material: Material
) -> set[str]:
    """Ids of the records about images: of a campaign about images, or with a completion that is an image."""
    campaigns = sorted(campaign.id for campaign in workspace.campaigns() if campaign.content == "image")
    judged = {j.id for each in campaigns for j in workspace.judgments(campaign_id=each, all_revisions=True)}
    texts = {each.id: each.text for record in records for each in _completions(record, material)}
    names = list(texts)
    images = {names[index] for index in images_among(list(texts.values()))}
    return {
        record.id
        for record in records
        if not judged.isdisjoint(_judgment_ids(record))
        or not images.isdisjoint(each.id for each in _completions(record, material))
    }


def _completions(record: Preference | Judgment | Completion, material: Material) -> list[Completion]:
    if isinstance(record, Completion):
        return [record]
    return [material.completions[each] for each in record.completion_ids]


def _judgment_ids(record: Preference | Judgment | Completion) -> tuple[str, ...]:
    if isinstance(record, Preference):
        return record.judgment_ids
    return (record.id,) if isinstance(record, Judgment) else ()
