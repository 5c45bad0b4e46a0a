"""The overview pages for leads: the list of campaigns, and one campaign's quality, progress, cost and agreement."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response

from preflab.feedback.asking import consensus_accuracy
from preflab.labelling.adjudication import disagreements, queue
from preflab.labelling.campaigns import CampaignView, list_campaigns, unreadable_campaigns
from preflab.labelling.members import people_of
from preflab.labelling.needs import (
    Progress,
    campaign_pace,
    cost,
    enough_at,
    labels_missing,
    labels_needed,
    progress,
)
from preflab.labelling.quality import CampaignQuality, campaign_coefficients, campaign_quality
from preflab.labelling.reading import overlap_warning, reading_words
from preflab.report.blocks import Answer, Figure
from preflab.store.workspace import Workspace
from preflab.web.identity import Lead, Workspaced
from preflab.web.pages import lead_words as words
from preflab.web.pages.lead_common import campaign_page, lead_page, prompts_of, view_of, whole
from preflab.web.pages.lead_figures import accuracy_figure, agreement_figure, coefficients_table, published_table
from preflab.web.pages.people_words import finders_sentence

router = APIRouter(prefix="/lead", include_in_schema=False)
PER_TASK = (1, 3, 5, 7)
"""Labels per task for which the estimated accuracy is shown."""
SHOWN = 5
"""Number of disagreements on the overview of a campaign."""


@dataclass(frozen=True)
class Card:
    """A campaign in the list of campaigns."""

    view: CampaignView
    progress: Progress
    trust: str
    """Whether its labels can be trusted, in a sentence."""
    num_open: int


@router.get("")
def campaigns(request: Request, ws: Workspaced, me: Lead) -> Response:
    """All campaigns, open ones first."""
    order = {"open": 0, "paused": 1, "closed": 2}
    views = sorted(list_campaigns(ws), key=lambda view: (order[view.state], view.campaign.name.lower()))
    cards = [_card(ws, view) for view in views]
    return lead_page(request, "campaigns.html.j2", cards=cards, unreadable=unreadable_campaigns(ws))


@router.get("/c/{campaign_id}")
def dashboard(request: Request, ws: Workspaced, me: Lead, campaign_id: str, pairs: str = "") -> Response:
    """The overview of a campaign; with `pairs`, also an estimate of what this number of preferences needs."""
    wanted = max(0, whole("preferences", pairs)) if pairs.strip() else None
    view, quality = view_of(ws, campaign_id), campaign_quality(ws, campaign_id)
    divided = disagreements(ws, campaign_id, SHOWN)
    return campaign_page(
        request, ws, view, "dashboard.html.j2",
        answers=_answers(ws, view, quality),
        warning=overlap_warning(view.options.overlap),
        progress=progress(ws, campaign_id),
        figures=[figure for figure in _figures(ws, view, quality) if figure is not None],
        quality=quality,
        labelers_title=words.standing_words(quality.labelers),
        share=words.share_text,
        is_odd=words.is_odd,
        disagreements=divided,
        prompts=prompts_of(ws, [each.prompt_id for each in divided]),
        finders="" if quality.labelers else finders_sentence(people_of(ws, campaign_id), view.options.open_to),
        wanted=wanted,
        need=words.need_sentence(wanted, labels_needed(ws, campaign_id, num_pairs=wanted)) if wanted else "",
    )  # fmt: skip


@router.get("/c/{campaign_id}/agreement")
def agreement(request: Request, ws: Workspaced, me: Lead, campaign_id: str) -> Response:
    """All measures of agreement that fit the way of judging, compared with published human agreement."""
    quality, coefficients = campaign_quality(ws, campaign_id), campaign_coefficients(ws, campaign_id)
    return campaign_page(
        request, ws, view_of(ws, campaign_id), "agreement.html.j2", quality=quality, share=words.share_text,
        coefficients=coefficients_table(coefficients), published=published_table(quality.agreement.strict),
    )  # fmt: skip


def _card(ws: Workspace, view: CampaignView) -> Card:
    state = progress(ws, view.campaign.id)
    trust = words.trust_sentence(campaign_quality(ws, view.campaign.id))
    return Card(view, state, trust, len(queue(ws, view.campaign.id).open))


def _answers(ws: Workspace, view: CampaignView, quality: CampaignQuality) -> list[Answer]:
    """The three questions of the overview with their answers: trust, progress and cost."""
    campaign_id, now = view.campaign.id, datetime.now(UTC)
    state, pace, waiting = progress(ws, campaign_id), campaign_pace(ws, campaign_id, now), queue(ws, campaign_id)
    when, spent = enough_at(state.num_left, pace, now), cost(ws, campaign_id)
    enough = words.enough_sentence(state, pace, when, now, view.state)
    return [
        Answer(
            "Can I trust what is coming in?",
            words.trust_sentence(quality),
            [*words.trust_details(quality), f"Answers are read by: {reading_words(view.options)}."],
            words.trust_role(quality),
        ),
        Answer("When will it be enough?", enough, words.enough_details(state, waiting, pace)),
        Answer("What has it cost so far?", words.cost_sentence(spent), words.cost_details(spent)),
    ]


def _figures(ws: Workspace, view: CampaignView, quality: CampaignQuality) -> list[Figure | None]:
    return [agreement_figure(quality.over_time), _worth(ws, view, quality)]


def _worth(ws: Workspace, view: CampaignView, quality: CampaignQuality) -> Figure | None:
    """The chart of the accuracy that more labels per task would give; None while agreement is not known well enough."""
    share = quality.agreement.strict
    if share.value is None or share.num_tasks < 10 or share.value <= 0.5:
        return None
    overlap = view.options.overlap
    per_task = sorted({*PER_TASK, overlap})
    rows = [(num, consensus_accuracy(share.value, num), labels_missing(ws, view.campaign.id, num)) for num in per_task]
    return accuracy_figure(rows, overlap, share)
