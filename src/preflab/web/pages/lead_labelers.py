"""Pages about labelers: all labelers of a campaign, and one labeler compared with the others."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from preflab.feedback.standing import CARELESS, REVERSED
from preflab.labelling.campaigns import change_options
from preflab.labelling.errors import NotFound
from preflab.labelling.quality import LabelerQuality, ai_judges, campaign_quality, labeler_notes, labeler_turns
from preflab.web.forms import Fields
from preflab.web.identity import Lead, Workspaced
from preflab.web.pages import lead_words as words
from preflab.web.pages.lead_common import campaign_page, view_of, whole
from preflab.web.pages.lead_figures import labelers_figure

router = APIRouter(prefix="/lead/c/{campaign_id}/labelers", include_in_schema=False)


@router.get("")
def labelers(request: Request, ws: Workspaced, me: Lead, campaign_id: str) -> Response:
    """All labelers, least reliable first."""
    quality = campaign_quality(ws, campaign_id)
    return campaign_page(
        request, ws, view_of(ws, campaign_id), "labelers.html.j2", labelers=quality.labelers, groups=quality.groups,
        names={each.labeler_id: each.name for each in quality.labelers}, figure=labelers_figure(quality.labelers),
        share=words.share_text, value=words.share_value, is_odd=words.is_odd, ai=ai_judges(ws, campaign_id),
    )  # fmt: skip


@router.get("/{labeler_id}")
def labeler(request: Request, ws: Workspaced, me: Lead, campaign_id: str, labeler_id: str) -> Response:
    """One labeler compared with the others."""
    quality = campaign_quality(ws, campaign_id)
    quality_row, view = _labeler(quality.labelers, labeler_id), view_of(ws, campaign_id)
    return campaign_page(
        request, ws, view, "labeler.html.j2", labeler=quality_row, others=quality,
        turns=labeler_turns(ws, campaign_id, labeler_id), notes=labeler_notes(ws, campaign_id, labeler_id),
        share=words.share_text, value=words.share_value,
        advice=_advice(quality_row.standing, weighs=view.options.consensus != "majority"),
        standing=words.STANDINGS[quality_row.standing], is_odd=words.is_odd,
    )  # fmt: skip


@router.post("/{labeler_id}/reversed")
def confirm_reversed(ws: Workspaced, me: Lead, campaign_id: str, labeler_id: str, fields: Fields) -> Response:
    """Store a lead's confirmation that a labeler read the scale backwards, or withdraw it."""
    view = view_of(ws, campaign_id)
    confirmed = set(view.options.confirmed_reversed) - {labeler_id}
    if fields.get("confirmed") == "yes":
        confirmed.add(labeler_id)
    revision = whole("revision", fields.get("revision", ""))
    change_options(ws, campaign_id, revision, {"confirmed_reversed": tuple(sorted(confirmed))}, me.id)
    return RedirectResponse(f"/lead/c/{campaign_id}/labelers/{labeler_id}", 303)


def _labeler(labelers: tuple[LabelerQuality, ...], labeler_id: str) -> LabelerQuality:
    for labeler in labelers:
        if labeler.labeler_id == labeler_id:
            return labeler
    raise NotFound("there is no such labeler in this campaign", "a labeler with a judgment", "go back to the labelers")


def _advice(standing: str, *, weighs: bool) -> str:
    """Advice for the lead about a standing; "" if there is nothing to do."""
    if standing not in ADVICE:
        return ""
    begin, if_weighted, if_counted, end = ADVICE[standing]
    return f"{begin} {if_weighted if weighs else if_counted} {end}"


ADVICE = {
    REVERSED: (
        "The answers contradict the others more often than not. The usual reason is a misread question, so ask the "
        "labeler first.",
        "The votes have no weight until you confirm here that the scale was read backwards; then they count reversed.",
        "The votes count like everybody’s until you confirm here that the scale was read backwards; then they count "
        "reversed.",
        "No vote is reversed without your confirmation.",
    ),
    CARELESS: (
        "The answers agree with the others’ hardly more than chance. Check the time per task and a few answers, and "
        "talk to the labeler.",
        "The votes already have almost no weight in the consensus;",
        "The votes count like everybody’s;",
        "nobody is blocked.",
    ),
}
"""Standing → four parts of the advice: what it means; how the votes count if weighted by reliability; how they count
with one vote each; the end."""
