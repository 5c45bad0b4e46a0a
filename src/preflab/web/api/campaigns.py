"""API routes for leads: create, change and export campaigns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from preflab.labelling.adjudication import campaign_consensus
from preflab.labelling.campaign_names import check_name
from preflab.labelling.campaign_rows import checked_options
from preflab.labelling.campaigns import (
    campaign_view,
    change_options,
    create_campaign,
    new_guideline,
    set_state,
)
from preflab.labelling.checks import checked_answer
from preflab.labelling.errors import Invalid
from preflab.labelling.exporting import export_campaign, plain_name
from preflab.labelling.options import CampaignOptions
from preflab.labelling.quality import campaign_quality
from preflab.labelling.reading import overlap_warning
from preflab.labelling.upload import groups_of_rows
from preflab.store.formats.json_rows import Numbered
from preflab.store.objects import to_object
from preflab.store.workspace import Workspace
from preflab.ways.registry import WAYS
from preflab.web.api.shapes import (
    CampaignIn,
    CampaignMadeShape,
    CampaignShape,
    ChangeIn,
    InstructionsIn,
    StateIn,
    SummaryShape,
)
from preflab.web.identity import Lead, Workspaced

router = APIRouter(tags=["leads"])
LINES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/x-ndjson": {}}, "description": "One JSON object per line."}
}
ARCHIVE: dict[int | str, dict[str, Any]] = {200: {"content": {"application/zip": {}}, "description": "An archive."}}


@router.post("/campaigns", status_code=201)
def create(ws: Workspaced, lead: Lead, body: CampaignIn) -> CampaignMadeShape:
    """Create a campaign (leads)."""
    options = checked_options(body.options)
    check_name(ws, options.name)
    groups = _groups(ws, body, options)
    if unknown := [place for place in body.gold if not 0 <= place < len(groups)]:
        raise Invalid(f"gold: {unknown[0]}", f"a place from 0 to {len(groups) - 1}")
    gold = {place: checked_answer(options, len(groups[place]), answer) for place, answer in body.gold.items()}
    made = create_campaign(ws, options, groups, body.instructions, by=lead.id, gold=gold)
    shape = CampaignShape.of(campaign_view(ws, made.id))
    return CampaignMadeShape(**shape.model_dump(), warning=overlap_warning(options.overlap))


@router.get("/campaigns/{campaign_id}/summary")
def summary(ws: Workspaced, lead: Lead, campaign_id: str) -> SummaryShape:
    """The progress of a campaign and the quality of its labels (leads)."""
    view, quality = campaign_view(ws, campaign_id), campaign_quality(ws, campaign_id)
    return SummaryShape(
        campaign=CampaignShape.of(view), options=view.options.model_dump(mode="json"), revision=view.revision,
        num_done=view.num_done, num_labels=view.num_labels, warning=overlap_warning(view.options.overlap),
        agreement=asdict(quality.agreement),
        labelers=[asdict(labeler) for labeler in quality.labelers],
    )  # fmt: skip


@router.get("/campaigns/{campaign_id}/export", responses=ARCHIVE, response_class=Response)
def export(
    ws: Workspaced, lead: Lead, campaign_id: str, format: str = "trl-explicit", suffix: str = ".jsonl"
) -> Response:
    """The labels in a format of `preflab export`: the file and its manifest in one ZIP archive (leads)."""
    data, _ = export_campaign(ws, campaign_id, format, suffix)
    name = plain_name(campaign_view(ws, campaign_id).campaign.name)
    disposition = f'attachment; filename="{name}.{format}.zip"'
    return Response(data, media_type="application/zip", headers={"Content-Disposition": disposition})


@router.patch("/campaigns/{campaign_id}", status_code=204)
def change(ws: Workspaced, lead: Lead, campaign_id: str, body: ChangeIn) -> Response:
    """Change a campaign's options (leads)."""
    change_options(ws, campaign_id, body.revision, body.changes, by=lead.id)
    return Response(status_code=204)


@router.put("/campaigns/{campaign_id}/state", status_code=204)
def state(ws: Workspaced, lead: Lead, campaign_id: str, body: StateIn) -> Response:
    """Open, pause or close a campaign (leads)."""
    set_state(ws, campaign_id, body.state, by=lead.id)
    return Response(status_code=204)


@router.post("/campaigns/{campaign_id}/instructions", status_code=204)
def instruct(ws: Workspaced, lead: Lead, campaign_id: str, body: InstructionsIn) -> Response:
    """Add a new version of the instructions; every labeler must read it before the next task (leads)."""
    new_guideline(ws, campaign_id, body.text, by=lead.id)
    return Response(status_code=204)


@router.get("/campaigns/{campaign_id}/judgments", responses=LINES, response_class=StreamingResponse)
def judgments(ws: Workspaced, lead: Lead, campaign_id: str, all_revisions: bool = False) -> StreamingResponse:
    """The judgments of a campaign: the latest revision of each, or all revisions (leads)."""
    campaign_view(ws, campaign_id)
    return _lines(to_object(each) for each in ws.judgments(campaign_id=campaign_id, all_revisions=all_revisions))


@router.get("/campaigns/{campaign_id}/preferences", responses=LINES, response_class=StreamingResponse)
def preferences(ws: Workspaced, lead: Lead, campaign_id: str) -> StreamingResponse:
    """The consensus of every task: ranks and the table of pairs (leads)."""
    campaign_view(ws, campaign_id)
    found = campaign_consensus(ws, campaign_id, exact=True)
    return _lines(to_object(each.preference) for each in found.values())


def _groups(ws: Workspace, body: CampaignIn, options: CampaignOptions) -> list[list[str]]:
    """The completion ids of each task; new texts are stored first."""
    if bool(body.groups) == bool(body.rows):
        raise Invalid("groups and rows: both or none", "one of them", "see /api/docs")
    if body.groups:
        return body.groups
    numbered = (Numbered(number, row) for number, row in enumerate(body.rows))
    groups = groups_of_rows(numbered, "rows", "row", least=WAYS[options.way].least, content=options.content)
    ws.put([*groups.prompts, *groups.completions])
    return [list(group) for group in groups.groups]


def _lines(objects: Iterable[dict[str, Any]]) -> StreamingResponse:
    def write_lines() -> Iterator[str]:
        for each in objects:
            yield json.dumps(each, ensure_ascii=False, default=list) + "\n"

    return StreamingResponse(write_lines(), media_type="application/x-ndjson")
