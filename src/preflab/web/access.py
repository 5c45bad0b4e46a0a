"""Which campaigns are whose: one rule for pages and API."""

from __future__ import annotations

from preflab.labelling.accounts import Account
from preflab.labelling.campaigns import CampaignView, campaign_view, list_campaigns
from preflab.labelling.errors import NotFound
from preflab.store.workspace import Workspace


def may_judge(view: CampaignView, me: Account) -> bool:
    """Whether a campaign is open to this person: it names nobody or names them, and their invitation opened it."""
    named, opened = view.options.labelers, me.campaign_ids
    return (not named or me.labeler_id in named) and (not opened or view.campaign.id in opened)


def my_campaigns(ws: Workspace, me: Account) -> list[CampaignView]:
    """The campaigns this person may judge in, newest first."""
    return list_campaigns(ws, me.labeler_id)


def my_campaign(ws: Workspace, me: Account, campaign_id: str) -> CampaignView:
    """One campaign this person may judge in.

    Raises:
        NotFound: there is none of this id, or it is not theirs; which of the two is not said.
    """
    view = campaign_view(ws, campaign_id)
    if not may_judge(view, me):
        raise NotFound(f"no campaign {campaign_id}", "the id of a campaign that was opened for labelling")
    return view
