"""The first page: the campaigns in which the signed-in person may judge."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from preflab.labelling.accounts import Account
from preflab.labelling.campaigns import CampaignView
from preflab.labelling.submissions import own_progress
from preflab.records import Campaign
from preflab.store.workspace import Workspace
from preflab.web.access import my_campaigns
from preflab.web.identity import Workspaced, who
from preflab.web.pages import page
from preflab.words import count

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Card:
    """A campaign on its labeler's first page."""

    campaign: Campaign
    text: str
    action: str
    """The text of the button."""
    target: str
    """The address that the button leads to."""
    waits: bool
    """Whether there may be tasks to do."""
    judged: str = ""
    """The address of the list of own answers; empty without answers."""


@router.get("/")
def home(request: Request, ws: Workspaced, stored: bool = False) -> Response:
    """The campaigns of the signed-in person; redirects to the sign-in page if nobody is signed in."""
    me = who(request)
    if me is None:
        return RedirectResponse("/signin", 303)
    cards = [_card(ws, view, me) for view in my_campaigns(ws, me)]
    return page(request, "home.html.j2", campaigns=cards, stored=stored)


def _card(ws: Workspace, view: CampaignView, me: Account) -> Card:
    num_done = own_progress(ws, view.campaign.id, me.labeler_id).num_done
    address = f"/c/{view.campaign.id}"
    sentence = f"{count(view.num_tasks, 'task')}, you judged {num_done or 'none yet'}."
    if view.state != "open":
        return Card(
            view.campaign, f"{view.state.capitalize()}. {sentence}", "What you judged", f"{address}/done", False
        )
    if not num_done:
        return Card(view.campaign, sentence, "Start", address, True)
    if num_done >= view.num_tasks:
        sentence = f"You have judged all of the {count(view.num_tasks, 'task')}."
        return Card(view.campaign, sentence, "What you judged", f"{address}/done", False)
    return Card(view.campaign, sentence, "Continue", address, True, f"{address}/done")
