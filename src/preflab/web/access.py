"""Which campaigns an account may see, by the same rule for pages and API."""

from __future__ import annotations

from preflab.labelling.accounts import Account
from preflab.labelling.campaigns import CampaignView, campaign_view, list_campaigns
from preflab.labelling.errors import NotFound
from preflab.labelling.members import may_settle, place_in
from preflab.store.workspace import Workspace


def my_campaigns(ws: Workspace, me: Account) -> list[CampaignView]:
    """The campaigns this person may judge in, newest first."""
    return list_campaigns(ws, me.labeler_id)


def my_campaign(ws: Workspace, me: Account, campaign_id: str) -> CampaignView:
    """One campaign this person may judge in.

    Raises:
        NotFound: there is no such campaign, or this person may not judge in it; the message does not say which.
    """
    view = campaign_view(ws, campaign_id, me)
    if not view.is_in:
        raise NotFound(f"no campaign {campaign_id}", "the id of a campaign that was opened for labelling")
    return view


def may_adjudicate(ws: Workspace, me: Account, view: CampaignView) -> bool:
    """Whether an account may settle tasks: leads everywhere, adjudicators in campaigns they were let into."""
    if me.role == "lead":
        return True
    place = place_in(ws, view.campaign.id, me.labeler_id)
    return may_settle(view.options.open_to, everywhere=me.everywhere, place=place)
