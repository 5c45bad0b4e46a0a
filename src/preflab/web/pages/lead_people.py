"""The page about people: invitations, roles, access to campaigns, and revoking, reinstating and erasing accounts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.datastructures import ImmutableMultiDict

from preflab.errors import PreflabError
from preflab.labelling.accounts import (
    Account,
    AccountRole,
    accounts,
    erase,
    reinstate,
    revoke,
    set_everywhere,
    set_role,
)
from preflab.labelling.campaign_names import campaign_names
from preflab.labelling.campaigns import list_campaigns
from preflab.labelling.errors import Invalid, NotAllowed
from preflab.labelling.invites import create_invite, invites, withdraw
from preflab.labelling.members import Reach, reaches
from preflab.store.workspace import Workspace
from preflab.web.forms import Fields
from preflab.web.identity import Lead, Settled, Workspaced
from preflab.web.pages.lead_common import lead_page

router = APIRouter(prefix="/lead/people", include_in_schema=False)

ROLES = {
    "labeler": "judges; sees nobody else’s answers",
    "adjudicator": "judges, and settles pairs that labelers leave open",
    "lead": "may do everything, including people and settings",
}
LASTING = {24: "one day", 72: "three days", 168: "a week", 720: "30 days"}
"""Hours for which an invitation is valid → text."""
WHERES = {"all": "all campaigns, including later ones", "some": "only these"}
REACHES = {"all": "all, including later ones", "some": "only where let in by name"}
SHOWN = 3
"""Largest number of campaigns named in a person's row."""


@router.get("")
def people(request: Request, ws: Workspaced, me: Lead, said: str = "") -> Response:
    """All accounts, and the open invitations."""
    return _page(request, ws, message=MESSAGES.get(said, ""))


@router.post("/invite")
def invite(request: Request, ws: Workspaced, settings: Settled, me: Lead, fields: Fields) -> Response:
    """Create an invitation and show its link, which cannot be shown again later."""
    try:
        role, hours = _one_of(fields.get("role", ""), ROLES, "role"), _one_of(fields.get("hours", ""), LASTING, "time")
        _, token = create_invite(ws, cast(AccountRole, role), _opened(fields), int(hours), me.id)
    except PreflabError as error:
        return _page(request, ws, problem=error, typed=dict(fields), chosen=fields.getlist("campaign"))
    return _page(request, ws, link=f"{settings.url}/invite/{token}", typed={"role": role})


@router.post("/invite/{invite_id}/withdraw")
def take_back(ws: Workspaced, me: Lead, invite_id: str) -> Response:
    """Withdraw an invitation; its link stops working."""
    withdraw(ws, invite_id, me.id)
    return _back("withdrawn")


@router.post("/{account_id}/role")
def role(request: Request, ws: Workspaced, me: Lead, account_id: str, fields: Fields) -> Response:
    """Change the role of an account."""
    try:
        _not_oneself(me.id, account_id, "change your own role")
        set_role(ws, account_id, cast(AccountRole, _one_of(fields.get("role", ""), ROLES, "role")), me.id)
    except PreflabError as error:
        return _page(request, ws, problem=error)
    return _back("role")


@router.post("/{account_id}/revoke")
def end(request: Request, ws: Workspaced, me: Lead, account_id: str) -> Response:
    """Revoke an account: its sessions, tokens and leases end at once; its judgments stay."""
    try:
        _not_oneself(me.id, account_id, "revoke yourself")
        revoke(ws, account_id, me.id)
    except PreflabError as error:
        return _page(request, ws, problem=error)
    return _back("revoked")


@router.post("/{account_id}/reinstate")
def let_in_again(request: Request, ws: Workspaced, me: Lead, account_id: str) -> Response:
    """Make a revoked account active again; its former sessions and tokens stay ended."""
    try:
        reinstate(ws, account_id, me.id)
    except PreflabError as error:
        return _page(request, ws, problem=error)
    return _back("reinstated")


@router.post("/{account_id}/reach")
def reach(request: Request, ws: Workspaced, me: Lead, account_id: str, fields: Fields) -> Response:
    """Let an account into all campaigns, including later ones, or only into those it was let into by name."""
    try:
        set_everywhere(ws, account_id, _one_of(fields.get("reach", ""), REACHES, "campaigns") == "all", me.id)
    except PreflabError as error:
        return _page(request, ws, problem=error)
    return _back("reach")


@router.get("/{account_id}/erase")
def ask_erase(request: Request, ws: Workspaced, me: Lead, account_id: str) -> Response:
    """Ask for confirmation before an account is erased for good."""
    return _erase_page(request, ws, account_id, None)


@router.post("/{account_id}/erase")
def erase_person(request: Request, ws: Workspaced, me: Lead, account_id: str, fields: Fields) -> Response:
    """Erase an account: name, address and password are deleted; the judgments stay under the pseudonym."""
    try:
        _not_oneself(me.id, account_id, "erase yourself")
        if fields.get("sure") != "yes":
            raise Invalid("the box is not ticked", "a tick, because this cannot be undone", "tick it and try again")
        erase(ws, account_id, me.id)
    except PreflabError as error:
        return _erase_page(request, ws, account_id, error)
    return _back("erased")


MESSAGES = {
    "withdrawn": "The invitation is withdrawn; its link no longer works.",
    "role": "The role is changed. It applies from the next page they open.",
    "reinstated": "Let in again: name, password, campaigns and judgments are as they were.",
    "reach": "Changed. It applies from the next page they open.",
    "revoked": "Signed out everywhere and locked out; the judgments stay.",
    "erased": "Name, address and password are deleted. The judgments stay under the pseudonym.",
}


def _page(
    request: Request, ws: Workspace, *, message: str = "", problem: PreflabError | None = None, link: str = "",
    typed: dict[str, str] | None = None, chosen: Sequence[str] = (),
) -> Response:  # fmt: skip
    people = sorted(accounts(ws), key=lambda each: (STATES.index(each.state), each.name.lower()))
    return lead_page(
        request, "people.html.j2", message=message, problem=problem, people=people, link=link, roles=ROLES,
        lasting=LASTING,
        invites=[each for each in invites(ws) if each.state == "open"], campaigns=list_campaigns(ws),
        typed={"role": "labeler", "hours": "168", "where": "all"} | (typed or {}), pseudonyms=_pseudonyms(ws),
        chosen=chosen, wheres=WHERES, reaches=REACHES, finds=_finds(ws, people), names=campaign_names(ws),
    )  # fmt: skip


STATES = ("active", "revoked", "erased")


def _erase_page(request: Request, ws: Workspace, account_id: str, problem: PreflabError | None) -> Response:
    account = next((each for each in accounts(ws) if each.id == account_id), None)
    if account is None or account.state == "erased":
        raise Invalid("there is no such person", "a person who is not erased", "go back to the people")
    return lead_page(
        request, "erase.html.j2", problem=problem, person=account, pseudonym=_pseudonyms(ws)[account.labeler_id]
    )


def _opened(fields: ImmutableMultiDict[str, str]) -> tuple[str, ...]:
    """The campaigns that an invitation is for; () for all of them.

    Raises:
        Invalid: the choice of all or some does not match the ticked campaigns.
    """
    ticked = tuple(fields.getlist("campaign"))
    where = _one_of(fields.get("where", "some" if ticked else "all"), WHERES, "campaigns")
    if where == "some" and not ticked:
        raise Invalid("no campaign is ticked", "at least one, or all of them", "tick the campaigns it is for")
    if where == "all" and ticked:
        raise Invalid("all campaigns are chosen, and some are ticked", "one of the two", "choose again what it is for")
    return ticked if where == "some" else ()


def _finds(ws: Workspace, people: Sequence[Account]) -> dict[str, str]:
    """Labeler id → the names of the campaigns that this person was let into by name, as a short text."""
    names = campaign_names(ws)
    reach_of = reaches(ws, [each.labeler_id for each in people if each.state != "erased"])
    return {labeler_id: _list_campaigns(reach, names) for labeler_id, reach in reach_of.items()}


def _list_campaigns(reach: Reach, names: Mapping[str, str]) -> str:
    joined = sorted(names[each] for each, place in reach.places.items() if place == "in" and each in names)
    more = f" and {len(joined) - SHOWN} more" if len(joined) > SHOWN else ""
    return ", ".join(joined[:SHOWN]) + more


def _pseudonyms(ws: Workspace) -> dict[str, str]:
    return {labeler.id: labeler.name for labeler in ws.labelers(sorted({each.labeler_id for each in accounts(ws)}))}


def _one_of(value: str, known: Iterable[object], what: str) -> str:
    if value not in {str(each) for each in known}:
        raise Invalid(f"{what}: {value!r:.80}", "one of the choices in the form", "choose one")
    return value


def _not_oneself(own_id: str, account_id: str, what: str) -> None:
    if own_id == account_id:
        raise NotAllowed(f"you cannot {what}", "another person", "ask another lead, so that one always remains")


def _back(message_key: str) -> Response:
    """Redirect to the page about people, which shows the message of this key."""
    return RedirectResponse(f"/lead/people?said={message_key}", 303)
