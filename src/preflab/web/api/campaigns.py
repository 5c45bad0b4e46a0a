"""API: what leads do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from preflab.labelling.adjudication import campaign_consensus
from preflab.labelling.campaign_rows import checked_options
from preflab.labelling.campaigns import (
    campaign_view,
    change_options,
    create_campaign,
    new_guideline,
    set_state,
)
from preflab.labelling.checks import checked_answer
from preflab.store.objects import to_object
from preflab.web.api.shapes import CampaignIn, CampaignShape, ChangeIn, InstructionsIn, StateIn
from preflab.web.identity import Lead, Workspaced

router = APIRouter(tags=["leads"])
LINES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/x-ndjson": {}}, "description": "One JSON object per line."}
}


@router.post("/campaigns", status_code=201)
def create(ws: Workspaced, lead: Lead, body: CampaignIn) -> CampaignShape:
    """Make a campaign (leads)."""
    options = checked_options(body.options)
    sizes = [len(group) for group in body.groups]
    gold = {place: checked_answer(options, sizes[place], answer) for place, answer in body.gold.items()}
    made = create_campaign(ws, options, body.groups, body.instructions, by=lead.id, gold=gold)
    return CampaignShape.of(campaign_view(ws, made.id))


@router.patch("/campaigns/{campaign_id}", status_code=204)
def change(ws: Workspaced, lead: Lead, campaign_id: str, body: ChangeIn) -> Response:
    """Change a campaign's options (leads)."""
    change_options(ws, campaign_id, body.revision, body.changes, by=lead.id)
    return Response(status_code=204)


@router.put("/campaigns/{campaign_id}/state", status_code=204)
def state(ws: Workspaced, lead: Lead, campaign_id: str, body: StateIn) -> Response:
    """Open, pause or close (leads)."""
    set_state(ws, campaign_id, body.state, by=lead.id)
    return Response(status_code=204)


@router.post("/campaigns/{campaign_id}/instructions", status_code=204)
def instruct(ws: Workspaced, lead: Lead, campaign_id: str, body: InstructionsIn) -> Response:
    """A new version of the instructions; every labeler reads it before the next task (leads)."""
    new_guideline(ws, campaign_id, body.text, by=lead.id)
    return Response(status_code=204)


@router.get("/campaigns/{campaign_id}/judgments", responses=LINES, response_class=StreamingResponse)
def judgments(ws: Workspaced, lead: Lead, campaign_id: str, all_revisions: bool = False) -> StreamingResponse:
    """The judgments of a campaign, the latest revision of each unless all are wanted (leads)."""
    campaign_view(ws, campaign_id)
    return _lines(to_object(each) for each in ws.judgments(campaign_id=campaign_id, all_revisions=all_revisions))


@router.get("/campaigns/{campaign_id}/preferences", responses=LINES, response_class=StreamingResponse)
def preferences(ws: Workspaced, lead: Lead, campaign_id: str) -> StreamingResponse:
    """What the judgments come to: consensus ranks and the table of pairs of every task (leads)."""
    campaign_view(ws, campaign_id)
    return _lines(to_object(each.preference) for each in campaign_consensus(ws, campaign_id).values())


def _lines(objects: Iterable[dict[str, Any]]) -> StreamingResponse:
    def written() -> Iterator[str]:
        for each in objects:
            yield json.dumps(each, ensure_ascii=False, default=list) + "\n"

    return StreamingResponse(written(), media_type="application/x-ndjson")
