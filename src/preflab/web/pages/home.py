"""The first page: what waits for whoever is signed in."""

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
class Mine:
    """A campaign as its labeler's card tells of it."""

    campaign: Campaign
    said: str
    action: str
    """What the card's button says."""
    target: str
    """Where it leads."""
    waits: bool
    """There may be something to do."""
    judged: str = ""
    """Where the own answers are looked at and changed; empty without any."""


@router.get("/")
def home(request: Request, ws: Workspaced, stored: bool = False) -> Response:
    """The signed-in person's campaigns; the sign-in page for others."""
    me = who(request)
    if me is None:
        return RedirectResponse("/signin", 303)
    mine = [_card(ws, view, me) for view in my_campaigns(ws, me)]
    return page(request, "home.html.j2", campaigns=mine, stored=stored)


def _card(ws: Workspace, view: CampaignView, me: Account) -> Mine:
    num_done = own_progress(ws, view.campaign.id, me.labeler_id).num_done
    address = f"/c/{view.campaign.id}"
    sentence = f"{count(view.num_tasks, 'task')}, you judged {num_done or 'none yet'}."
    if view.state != "open":
        return Mine(
            view.campaign, f"{view.state.capitalize()}. {sentence}", "What you judged", f"{address}/done", False
        )
    if not num_done:
        return Mine(view.campaign, sentence, "Start", address, True)
    if num_done >= view.num_tasks:
        sentence = f"You have judged all of the {count(view.num_tasks, 'task')}."
        return Mine(view.campaign, sentence, "What you judged", f"{address}/done", False)
    return Mine(view.campaign, sentence, "Go on", address, True, f"{address}/done")
