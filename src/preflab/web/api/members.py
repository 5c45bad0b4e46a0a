"""API: who judges in a campaign."""

from __future__ import annotations

from fastapi import APIRouter, Response

from preflab.labelling.accounts import account
from preflab.labelling.members import let_in, people_of, take_off
from preflab.web.api.shapes import MemberShape
from preflab.web.identity import Lead, Workspaced

router = APIRouter(prefix="/campaigns/{campaign_id}/people", tags=["leads"])


@router.get("")
def people(ws: Workspaced, lead: Lead, campaign_id: str) -> list[MemberShape]:
    """Everybody with an account, and whether they may judge in the campaign (leads)."""
    return [MemberShape.of(each) for each in people_of(ws, campaign_id)]


@router.put("/{account_id}", status_code=204)
def add(ws: Workspaced, lead: Lead, campaign_id: str, account_id: str) -> Response:
    """Let somebody judge in the campaign and its later rounds (leads)."""
    let_in(ws, campaign_id, [account(ws, account_id).labeler_id], by=lead.id)
    return Response(status_code=204)


@router.delete("/{account_id}", status_code=204)
def remove(ws: Workspaced, lead: Lead, campaign_id: str, account_id: str) -> Response:
    """Take somebody off; what they began can still be sent in (leads)."""
    take_off(ws, campaign_id, account(ws, account_id).labeler_id, by=lead.id)
    return Response(status_code=204)
