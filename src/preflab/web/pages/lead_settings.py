"""The settings page of a campaign: its state, options, people, versions of the instructions, and order of tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.datastructures import ImmutableMultiDict

from preflab.errors import PreflabError
from preflab.labelling.campaign_rows import CampaignState
from preflab.labelling.campaigns import CampaignView, change_options, guidelines, new_guideline, set_state
from preflab.labelling.errors import Invalid
from preflab.labelling.members import let_in, people_of, take_off
from preflab.labelling.prioritise import prioritise
from preflab.store.workspace import Workspace
from preflab.web.forms import Fields
from preflab.web.identity import Lead, Workspaced
from preflab.web.pages.lead_common import campaign_page, decimal, view_of, whole
from preflab.web.pages.lead_words import CONTENTS
from preflab.web.pages.people_words import OPEN_TO, why_sentence

router = APIRouter(prefix="/lead/c/{campaign_id}/settings", include_in_schema=False)

MESSAGES = {
    "options": "The settings are saved.",
    "state": "",
    "guideline": "The new version is published. Everybody must read it before their next task.",
    "people": "Changed. It applies from the next page they open.",
    "asked": "The tasks are ordered: the ones most worth asking come first.",
}
MAX_TEXT = 40_000


@router.get("")
def settings(request: Request, ws: Workspaced, me: Lead, campaign_id: str, said: str = "") -> Response:
    """The form with the current settings."""
    view = view_of(ws, campaign_id)
    return _page(request, ws, view, message=MESSAGES.get(said, ""))


@router.post("")
def change(request: Request, ws: Workspaced, me: Lead, campaign_id: str, fields: Fields) -> Response:
    """Save the options, unless somebody else has changed them meanwhile."""
    view = view_of(ws, campaign_id)
    try:
        change_options(ws, campaign_id, whole("revision", fields.get("revision", "")), _changes(fields), me.id)
    except PreflabError as error:
        return _page(request, ws, view, problem=error, typed=fields)
    return _back(campaign_id, "options")


@router.post("/state")
def state(request: Request, ws: Workspaced, me: Lead, campaign_id: str, fields: Fields) -> Response:
    """Open, pause or close the campaign."""
    try:
        set_state(ws, campaign_id, cast(CampaignState, fields.get("state", "")), me.id)
    except PreflabError as error:
        return _page(request, ws, view_of(ws, campaign_id), problem=error)
    return _back(campaign_id, "state")


@router.post("/people")
def add_people(request: Request, ws: Workspaced, me: Lead, campaign_id: str, fields: Fields) -> Response:
    """Let the ticked people judge."""
    view = view_of(ws, campaign_id)
    try:
        chosen = fields.getlist("labeler")
        if not chosen:
            raise Invalid("nobody is ticked", "at least one person", "tick the people who shall judge")
        let_in(ws, campaign_id, chosen, me.id)
    except PreflabError as error:
        return _page(request, ws, view, problem=error)
    return _back(campaign_id, "people", "#people")


@router.post("/people/{labeler_id}")
def end_judging(
    request: Request, ws: Workspaced, me: Lead, campaign_id: str, labeler_id: str, fields: Fields
) -> Response:
    """Take a person off the campaign; tasks they have begun can still be submitted."""
    view = view_of(ws, campaign_id)
    try:
        take_off(ws, campaign_id, labeler_id, me.id, settles=fields.get("do") == "settles")
    except PreflabError as error:
        return _page(request, ws, view, problem=error)
    return _back(campaign_id, "people", "#people")


@router.post("/guideline")
def guideline(request: Request, ws: Workspaced, me: Lead, campaign_id: str, fields: Fields) -> Response:
    """Show a preview of the instructions, or publish the text as the next version."""
    view, text = view_of(ws, campaign_id), fields.get("text", "").replace("\r\n", "\n").strip()
    if fields.get("do") == "preview":
        return _page(request, ws, view, text=text, preview=True)
    try:
        if not 1 <= len(text) <= MAX_TEXT:
            raise Invalid(f"instructions of {len(text):,} characters", f"1 to {MAX_TEXT:,}")
        new_guideline(ws, campaign_id, text, me.id)
    except PreflabError as error:
        return _page(request, ws, view, problem=error, text=text)
    return _back(campaign_id, "guideline")


@router.post("/ask-first")
def ask_first(request: Request, ws: Workspaced, me: Lead, campaign_id: str) -> Response:
    """Order the tasks so that those most worth asking come first."""
    try:
        prioritise(ws, campaign_id, me.id)
    except PreflabError as error:
        return _page(request, ws, view_of(ws, campaign_id), problem=error)
    return _back(campaign_id, "asked")


def _page(
    request: Request, ws: Workspace, view: CampaignView, *, message: str = "", problem: PreflabError | None = None,
    typed: ImmutableMultiDict[str, str] | None = None, text: str | None = None, preview: bool = False,
) -> Response:  # fmt: skip
    return campaign_page(
        request, ws, view, "settings.html.j2", message=message, problem=problem, people=people_of(ws, view.campaign.id),
        open_to=OPEN_TO, why=why_sentence,
        value=_values(view, typed), text=view.guideline.text if text is None else text, preview=preview,
        versions=guidelines(ws, view.campaign.id), contents=CONTENTS,
    )  # fmt: skip


def _values(view: CampaignView, typed: ImmutableMultiDict[str, str] | None) -> Mapping[str, Any]:
    """The values of the form's fields: those typed, or else those stored."""
    stored = view.options.model_dump()
    if typed is None:
        return stored
    ticked = {name: typed.get(name) == "yes" for name in TICKS}
    return stored | {name: typed[name] for name in (*WHOLE, *NUMBERS, *TEXTS, "criterion") if name in typed} | ticked


TEXTS, WHOLE, NUMBERS, TICKS = (
    ("name", "question", "content", "currency", "order", "open_to", "consensus"),
    ("overlap",),
    ("lease_minutes", "hourly_cost", "gold_percent", "fail_percent"),
    ("ask_note", "allow_fail", "count_ai"),
)


def _changes(fields: ImmutableMultiDict[str, str]) -> dict[str, Any]:
    """The options in the form, converted to their types."""
    changes: dict[str, Any] = {name: fields[name].strip() for name in TEXTS if name in fields}
    changes |= {name: whole(name, fields[name]) for name in WHOLE if name in fields}
    changes |= {name: fields.get(name) == "yes" for name in TICKS}
    changes |= {name: decimal(name, fields[name]) for name in ("lease_minutes", "hourly_cost") if name in fields}
    if "gold_percent" in fields:
        changes["gold_share"] = decimal("gold tasks", fields["gold_percent"]) / 100
    if "fail_percent" in fields:
        changes["fail_share"] = decimal("F from", fields["fail_percent"]) / 100
    if "criterion" in fields:
        changes["criterion"] = fields["criterion"] or None
    return changes


def _back(campaign_id: str, message_key: str, at: str = "") -> Response:
    """Redirect to the settings, which show the message of this key; `at` is a fragment such as `#people`."""
    return RedirectResponse(f"/lead/c/{campaign_id}/settings?said={message_key}{at}", 303)
