"""The labelers of a campaign, and one of them beside the others. A standing is a reason to look, never a verdict."""

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
    """All labelers, the least reliable first."""
    quality = campaign_quality(ws, campaign_id)
    return campaign_page(
        request, ws, view_of(ws, campaign_id), "labelers.html.j2", labelers=quality.labelers, groups=quality.groups,
        names={each.labeler_id: each.name for each in quality.labelers}, figure=labelers_figure(quality.labelers),
        share=words.share_text, value=words.share_value, is_odd=words.is_odd, ai=ai_judges(ws, campaign_id),
    )  # fmt: skip


@router.get("/{labeler_id}")
def labeler(request: Request, ws: Workspaced, me: Lead, campaign_id: str, labeler_id: str) -> Response:
    """One labeler beside the others."""
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
    """A lead confirms that a labeler read the scale backwards, or takes that back."""
    view = view_of(ws, campaign_id)
    turned = set(view.options.confirmed_reversed) - {labeler_id}
    if fields.get("confirmed") == "yes":
        turned.add(labeler_id)
    revision = whole("revision", fields.get("revision", ""))
    change_options(ws, campaign_id, revision, {"confirmed_reversed": tuple(sorted(turned))}, me.id)
    return RedirectResponse(f"/lead/c/{campaign_id}/labelers/{labeler_id}", 303)


def _labeler(labelers: tuple[LabelerQuality, ...], labeler_id: str) -> LabelerQuality:
    for labeler in labelers:
        if labeler.labeler_id == labeler_id:
            return labeler
    raise NotFound("there is no such labeler in this campaign", "a labeler with a judgment", "go back to the labelers")


def _advice(standing: str, *, weighs: bool) -> str:
    """What to do about a standing; "" where there is nothing to do."""
    if standing not in ADVICE:
        return ""
    begin, weighed, counted, end = ADVICE[standing]
    return f"{begin} {weighed if weighs else counted} {end}"


ADVICE = {
    REVERSED: (
        "The answers point the other way more often than not. Most often the question was misread: ask before anything "
        "else.",
        "The votes weigh nothing until you confirm here that the scale was read backwards; then they count turned "
        "round.",
        "The votes count like everybody’s until you confirm here that the scale was read backwards; then they count "
        "turned round.",
        "Nothing is turned round silently.",
    ),
    CARELESS: (
        "The answers hang together with nobody else’s. Look at the time per task and at a few answers, and talk.",
        "The votes weigh next to nothing in the consensus already;",
        "The votes count like everybody’s;",
        "nobody is blocked.",
    ),
}
"""Standing → what it means; what the votes count where labelers are weighed, and by one vote each; the rest."""
