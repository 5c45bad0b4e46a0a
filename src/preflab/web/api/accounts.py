"""API routes for the own account, invitations and, for leads, all accounts."""

from __future__ import annotations

from fastapi import APIRouter, Response

from preflab.labelling.accounts import accounts, reinstate, revoke, set_everywhere
from preflab.labelling.errors import NotAllowed
from preflab.labelling.invites import create_invite
from preflab.web.api.shapes import AccountShape, InviteIn, InviteShape, MeShape, ReachIn
from preflab.web.identity import Lead, Me, Settled, Workspaced

router = APIRouter(tags=["accounts"])
leads = APIRouter(tags=["leads"])


@router.get("/me")
def me(me: Me) -> MeShape:
    """The account that the token or the session belongs to."""
    return MeShape.of(me)


@router.post("/invites", status_code=201)
def invite(ws: Workspaced, settings: Settled, lead: Lead, body: InviteIn) -> InviteShape:
    """Create an invitation: a link that can be used once, before it expires (leads)."""
    made, token = create_invite(ws, body.role, tuple(body.campaign_ids), body.hours, by=lead.id)
    return InviteShape(url=f"{settings.url}/invite/{token}", expires_at=str(made.expires_at))


@leads.get("/accounts")
def everybody(ws: Workspaced, lead: Lead) -> list[AccountShape]:
    """All accounts, including revoked and erased ones (leads)."""
    return [AccountShape.of(each) for each in accounts(ws)]


@leads.put("/accounts/{account_id}/reach", status_code=204)
def reach(ws: Workspaced, lead: Lead, account_id: str, body: ReachIn) -> Response:
    """Let an account into all campaigns, including later ones, or only into those it was let into by name (leads)."""
    set_everywhere(ws, account_id, body.everywhere, by=lead.id)
    return Response(status_code=204)


@leads.post("/accounts/{account_id}/revoke", status_code=204)
def end(ws: Workspaced, lead: Lead, account_id: str) -> Response:
    """Revoke an account, with immediate effect; its judgments stay (leads)."""
    if account_id == lead.id:
        raise NotAllowed(
            "you cannot revoke yourself", "another account", "ask another lead, so that one always remains"
        )
    revoke(ws, account_id, by=lead.id)
    return Response(status_code=204)


@leads.post("/accounts/{account_id}/reinstate", status_code=204)
def let_in_again(ws: Workspaced, lead: Lead, account_id: str) -> Response:
    """Make a revoked account active again; its former sessions and tokens stay ended (leads)."""
    reinstate(ws, account_id, by=lead.id)
    return Response(status_code=204)
