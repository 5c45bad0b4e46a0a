"""Exports the labels of a campaign: one ZIP archive with the file and its manifest, reproducible byte for byte.

Preferences are computed from the current labels and are not stored; a pipeline stage that learns from preferences
stores its own.
"""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Any

from preflab.errors import PreflabError
from preflab.feedback.reading import USUAL, Reading
from preflab.labelling.adjudication import campaign_consensus
from preflab.labelling.campaigns import campaign_view
from preflab.labelling.errors import Invalid
from preflab.labelling.reading import campaign_reading
from preflab.records import Preference
from preflab.store.exports import EXPORTS, export_named
from preflab.store.exports.base import SUFFIXES, Export, Material, Settings, manifest_of, write_rows
from preflab.store.exports.images import without_images
from preflab.store.exports.left_out import count_left_out
from preflab.store.transfer import Selection, export_from, judgments_behind
from preflab.store.workspace import Workspace

OF = ("preference", "judgment")
"""Kinds of records that a campaign can be exported as."""
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time written into archives, so that equal content gives equal bytes."""


def campaign_exports() -> list[Export]:
    """The formats in which a campaign can be exported."""
    return [export for export in EXPORTS.values() if export.of in OF]


def export_campaign(
    ws: Workspace, campaign_id: str, format: str, suffix: str = ".jsonl", settings: Settings | None = None
) -> tuple[bytes, dict[str, Any]]:
    """Export the labels of a campaign; returns the ZIP archive with file and manifest, and the manifest.

    Raises:
        Invalid: the format is not for campaigns, the file ending is unknown, or there is nothing to write.
    """
    export = export_named(format)
    if export.of not in OF or suffix not in SUFFIXES:
        raise Invalid(f"{format} as {suffix}", f"{', '.join(each.name for each in campaign_exports())}")
    view, settings = campaign_view(ws, campaign_id), settings or Settings()
    name = f"{plain_name(view.campaign.name)}.{format}{suffix}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        try:
            manifest = write_labels(ws, campaign_id, export, path, settings)
        except PreflabError as error:
            problem = error.found.replace(f"{path}: ", "").replace(str(path), name)
            raise Invalid(problem, error.expected, error.do) from error
        return _archive([path, manifest_of(path)]), manifest


def plain_name(name: str) -> str:
    """The name of a campaign in the form used in file names: ASCII letters, digits and single hyphens."""
    hyphenated = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name.lower())
    return "-".join(part for part in hyphenated.split("-") if part)[:60] or "campaign"


def write_labels(ws: Workspace, campaign_id: str, export: Export, path: Path, settings: Settings) -> dict[str, Any]:
    """Write the current labels of a campaign to a file and its manifest beside it; returns the manifest.

    Raises:
        PreflabError: there is nothing to write.
    """
    if not ws.judgments(campaign_id=campaign_id):
        raise Invalid("0 labels so far", "a campaign with labels", "let people label: `preflab label`")
    if export.of == "judgment":
        chosen = Selection(campaign=campaign_id)
        return dict(export_from(ws, path, export.name, selection=chosen, settings=settings).manifest)
    preferences = [consensus.preference for consensus in campaign_consensus(ws, campaign_id, exact=True).values()]
    material = _material(ws, export, preferences, settings)
    preferences = without_images(ws, export, preferences, material)
    export.check(material.prompts.values())
    rows = [row for preference in preferences for row in export.rows(preference, material)]
    if not rows:
        why = "; ".join(f"{reason}: {num}" for reason, num in sorted(material.dropped.items()))
        raise Invalid(
            f"nothing to write as {export.name}" + f" ({why})" * bool(why), "labels that decide something",
            "wait for more labels, or choose another format",
        )  # fmt: skip
    count_left_out(export, preferences, material)
    selection = {"campaign": campaign_id} | _unusual(campaign_reading(ws, campaign_id))
    return write_rows(path, rows, export=export, material=material, chosen=selection)


def _unusual(read: Reading) -> dict[str, Any]:
    """The settings of the reading that differ from the default; gold tasks, which are never exported, are left out."""
    names = [each.name for each in fields(Reading) if each.name != "gold"]
    unusual = {name: getattr(read, name) for name in names if getattr(read, name) != getattr(USUAL, name)}
    return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in unusual.items()}


def _material(ws: Workspace, export: Export, preferences: list[Preference], settings: Settings) -> Material:
    judgments = judgments_behind(ws, export, preferences)
    completion_ids = sorted(
        {i for ids in [*(p.completion_ids for p in preferences), *(j.completion_ids for j in judgments)] for i in ids}
    )
    return Material(
        prompts={prompt.id: prompt for prompt in ws.prompts(sorted({p.prompt_id for p in preferences}))},
        completions={completion.id: completion for completion in ws.completions(completion_ids)},
        labelers={labeler.id: labeler for labeler in ws.labelers()} if judgments else {},
        campaigns={campaign.id: campaign for campaign in ws.campaigns()} if judgments else {},
        judgments={judgment.id: judgment for judgment in judgments},
        settings=settings,
        made_of=Counter({"preferences": len(preferences)}),
    )


def _archive(files: list[Path]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.writestr(zipfile.ZipInfo(file.name, EPOCH), file.read_bytes(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
