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

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Mine:
    """A campaign as its labeler's card tells of it."""

    campaign: Campaign
    said: str


@router.get("/")
def home(request: Request, ws: Workspaced) -> Response:
    """The signed-in person's campaigns; the sign-in page for others."""
    me = who(request)
    if me is None:
        return RedirectResponse("/signin", 303)
    return page(request, "home.html.j2", campaigns=[_card(ws, view, me) for view in my_campaigns(ws, me)])


def _card(ws: Workspace, view: CampaignView, me: Account) -> Mine:
    mine = own_progress(ws, view.campaign.id, me.labeler_id)
    done = f"you judged {mine.num_done} of {view.num_tasks} tasks"
    if view.state == "open":
        return Mine(view.campaign, f"{done[0].upper()}{done[1:]}.")
    return Mine(view.campaign, f"{view.state.capitalize()}; {done}.")
