"""The page of an invitation: make an account with it, or join with an existing account."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from preflab.errors import PreflabError
from preflab.labelling.accounts import PASSWORD_LENGTH, Account
from preflab.labelling.campaign_names import campaign_names
from preflab.labelling.invites import Invite, join_invite, open_invite, opens_new, refuse_other_kind, use_invite
from preflab.store.workspace import Workspace
from preflab.web.access import my_campaigns
from preflab.web.errors import sentence, status_of, with_wait
from preflab.web.identity import Me, Settled, Workspaced, who
from preflab.web.pages import page
from preflab.web.pages.account import RULE, Text, address, enter

router = APIRouter(prefix="/invite/{token}", include_in_schema=False)


@router.get("")
def invitation(request: Request, ws: Workspaced, token: str) -> Response:
    """The form; opening the page does not use the invitation, since chat programs open links to preview them."""
    return _page(request, ws, token)


@router.post("")
def accept(request: Request, ws: Workspaced, settings: Settled, token: str, name: Text, password: Text) -> Response:
    """Make the account and sign in with it."""
    try:
        account = use_invite(ws, token, name, password, address(request))
    except PreflabError as error:
        return with_wait(_page(request, ws, token, status_of(error), name=name, problem=sentence(error)), error)
    return enter(request, ws, settings, account, _first_page(ws, account))


@router.post("/join")
def join(request: Request, ws: Workspaced, me: Me, token: str) -> Response:
    """Join with the signed-in account; joining again changes nothing."""
    try:
        campaign_ids = join_invite(ws, token, me)
    except PreflabError as error:
        return _page(request, ws, token, status_of(error), problem=sentence(error))
    return RedirectResponse(f"/c/{campaign_ids[0]}" if len(campaign_ids) == 1 else "/", 303)


def _first_page(ws: Workspace, account: Account) -> str:
    """The first page of a new account: all campaigns for a lead; for others, their campaign if there is only one."""
    if account.role == "lead":
        return "/lead"
    campaigns = my_campaigns(ws, account)
    return f"/c/{campaigns[0].campaign.id}" if len(campaigns) == 1 else "/"


def _page(
    request: Request, ws: Workspace, token: str, code: int = 200, *, name: str = "", problem: str = ""
) -> Response:
    """The form of an open invitation; for another one, the reason why it is closed and what to do instead."""
    me = who(request)
    try:
        invite = open_invite(ws, token)
    except PreflabError as closed:
        return page(request, "closed.html.j2", code=code if code != 200 else status_of(closed), closed=closed)
    names = campaign_names(ws)
    return page(
        request, "invite.html.j2", code=code, token=token, name=name, problem=problem, rule=RULE,
        least=PASSWORD_LENGTH, role=invite.role, asked=[names[each] for each in invite.campaign_ids if each in names],
        can_join=invite.role in ("labeler", "adjudicator"), why_not=_why_not(invite, me),
        new=me is not None and opens_new(ws, invite, me),
    )  # fmt: skip


def _why_not(invite: Invite, me: Account | None) -> str:
    """The reason why the signed-in account cannot join; "" if it can, or if nobody is signed in."""
    if me is None:
        return ""
    try:
        refuse_other_kind(invite.role, me)
    except PreflabError as error:
        return sentence(error)
    return ""
