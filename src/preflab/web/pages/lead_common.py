"""Shared by the leads' pages: rendering with the campaign's header, and parsing and formatting of values."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from markupsafe import Markup

from preflab.errors import PreflabError
from preflab.labelling.accounts import Account
from preflab.labelling.adjudication import queue
from preflab.labelling.campaigns import CampaignView, campaign_view
from preflab.labelling.errors import Invalid, NotFound
from preflab.store.workspace import Workspace
from preflab.web.access import may_adjudicate
from preflab.web.pages import page
from preflab.web.rendering import EMPTY, isolated, shows_nothing, visible

UNPROCESSABLE = 422


def lead_page(
    request: Request,
    template: str,
    *,
    message: str = "",
    problem: PreflabError | None = None,
    code: int = 200,
    **context: Any,
) -> HTMLResponse:
    """Render a page for leads; with a problem, its status is 422."""
    code = UNPROCESSABLE if problem is not None and code == 200 else code
    shared = {"path_is": path_is, "shortly": shortly, "moment": moment, "plain": plain, "sentence": sentence}
    return page(request, f"lead/{template}", code=code, message=message, problem=problem, **shared, **context)


def campaign_page(
    request: Request, ws: Workspace, view: CampaignView, template: str, *, message: str = "",
    problem: PreflabError | None = None, **context: Any,
) -> HTMLResponse:  # fmt: skip
    """Render a page of one campaign, with its tabs and the number of tasks that wait for an adjudicator."""
    num_open = len(queue(ws, view.campaign.id).open)
    return lead_page(request, template, message=message, problem=problem, view=view, num_open=num_open, **context)


def view_of(ws: Workspace, campaign_id: str) -> CampaignView:
    """The current state of a campaign."""
    return campaign_view(ws, campaign_id)


def to_adjudicate(ws: Workspace, me: Account, campaign_id: str) -> CampaignView:
    """A campaign in which this lead or adjudicator may settle tasks.

    Raises:
        NotFound: there is no such campaign, or this person may not settle tasks in it; the message does not say which.
    """
    view = campaign_view(ws, campaign_id)
    if not may_adjudicate(ws, me, view):
        raise NotFound(f"no campaign {campaign_id}", "the id of a campaign that was opened for labelling")
    return view


def path_is(request: Request, target: str, *, exact: bool = False) -> bool:
    """Whether a link leads to the current page or to a page above it."""
    path = request.url.path
    return path == target if exact else path == target or path.startswith(f"{target}/")


def prompts_of(ws: Workspace, ids: Sequence[str]) -> dict[str, str]:
    """Prompt id → text of the prompt, for lists of tasks."""
    return {prompt.id: prompt.shown for prompt in ws.prompts(sorted(set(ids)))}


def shortly(text: str, length: int = 110) -> Markup:
    """The beginning of a text in one line, isolated from the text around it; a note if the text is empty."""
    line = " ".join(text.split())
    if shows_nothing(visible(line[:length])):
        return EMPTY
    return isolated(line if len(line) <= length else line[: length - 1].rstrip() + "…")


def moment(stamp: str) -> str:
    """A stored time to the minute, with its zone: `2026-11-20 16:05 UTC`."""
    return f"{stamp[:16].replace('T', ' ')} UTC"


def plain(value: object) -> str:
    """A number for a form's field, without exponent and trailing zeros; a text stays as it was typed.

    Fifteen digits reproduce a typed number and hide rounding errors: 100 · 0.07 becomes 7.
    """
    return format(Decimal(f"{value:.15g}"), "f") if isinstance(value, float) else str(value)


def sentence(text: str) -> str:
    """The text of an error as a sentence; the first word is not capitalised if it names a file or a field."""
    if not text:
        return ""
    first = text.split(maxsplit=1)[0]
    text = text[0].upper() + text[1:] if first.isalpha() else text
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


def whole(name: str, value: str) -> int:
    """Parse a whole number that a person typed.

    Raises:
        Invalid: it is not a whole number, or too large for the database.
    """
    try:
        number = int(value.strip())
    except ValueError:
        raise Invalid(f"{name}: {value!r:.40}", "a whole number") from None
    if not -(2**63) <= number < 2**63:
        raise Invalid(f"{name}: {value!r:.40}", "a whole number of at most 18 digits")
    return number


def decimal(name: str, value: str) -> float:
    """Parse a number that a person typed, with a decimal point or comma.

    Raises:
        Invalid: it is not a number, or not finite.
    """
    try:
        number = float(value.strip().replace(",", "."))
    except ValueError:
        raise Invalid(f"{name}: {value!r:.40}", "a number") from None
    if number != number or number in (float("inf"), float("-inf")):
        raise Invalid(f"{name}: {value!r:.40}", "a finite number")
    return number
