"""API routes for leads: who may judge in a campaign."""

from __future__ import annotations

from fastapi import APIRouter, Response

from preflab.labelling.accounts import account
from preflab.labelling.members import let_in, people_of, take_off
from preflab.web.api.shapes import MemberShape
from preflab.web.identity import Lead, Workspaced

router = APIRouter(prefix="/campaigns/{campaign_id}/people", tags=["leads"])


@router.get("")
def people(ws: Workspaced, lead: Lead, campaign_id: str) -> list[MemberShape]:
    """All people with an account, and whether they may judge in the campaign (leads)."""
    return [MemberShape.of(each) for each in people_of(ws, campaign_id)]


@router.put("/{account_id}", status_code=204)
def add(ws: Workspaced, lead: Lead, campaign_id: str, account_id: str) -> Response:
    """Let a person judge in the campaign and its later rounds (leads)."""
    let_in(ws, campaign_id, [account(ws, account_id).labeler_id], by=lead.id)
    return Response(status_code=204)


@router.delete("/{account_id}", status_code=204)
def remove(ws: Workspaced, lead: Lead, campaign_id: str, account_id: str) -> Response:
    """Take a person off the campaign; tasks they have begun can still be submitted (leads)."""
    take_off(ws, campaign_id, account(ws, account_id).labeler_id, by=lead.id)
    return Response(status_code=204)
