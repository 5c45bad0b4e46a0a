"""API: who one is, invitations."""

from __future__ import annotations

from fastapi import APIRouter

from preflab.labelling.invites import create_invite
from preflab.web.api.shapes import InviteIn, InviteShape, MeShape
from preflab.web.identity import Lead, Me, Settled, Workspaced

router = APIRouter(tags=["accounts"])


@router.get("/me")
def me(me: Me) -> MeShape:
    """Who the token or the session belongs to."""
    return MeShape.of(me)


@router.post("/invites", status_code=201)
def invite(ws: Workspaced, settings: Settled, lead: Lead, body: InviteIn) -> InviteShape:
    """A single-use, expiring link (leads)."""
    made, token = create_invite(ws, body.role, tuple(body.campaign_ids), body.hours, by=lead.id)
    return InviteShape(url=f"{settings.url}/invite/{token}", expires_at=str(made.expires_at))
