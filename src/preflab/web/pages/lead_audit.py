"""The audit log: who did what to what, and when. Rows are only ever added."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from preflab.labelling.accounts import accounts
from preflab.labelling.audit import Event, events
from preflab.labelling.campaigns import list_campaigns
from preflab.store.workspace import Workspace
from preflab.web.identity import Lead, Workspaced
from preflab.web.pages.lead_common import lead_page, moment, plain

router = APIRouter(prefix="/lead/audit", include_in_schema=False)
PER_PAGE = 100
Before = Annotated[int | None, Query(ge=0, lt=2**63)]
"""Number of an event, as a database counts them."""
SAME = ("labeler_id",)
"""What says nothing beside the column `about`."""
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d")
ID = re.compile(r"[a-z]+-[0-9a-f]{16,}")


@router.get("")
def audit(request: Request, ws: Workspaced, me: Lead, before: Before = None, about: str | None = None) -> Response:
    """The newest events first, a hundred at a time."""
    page_rows = events(ws, PER_PAGE + 1, before, about)
    shown, called = page_rows[:PER_PAGE], partial(name_of, _names(ws))
    rows = [(event, change_words(event, called)) for event in shown]
    return lead_page(
        request, "audit.html.j2", events=rows, called=called, about=about,
        older=shown[-1].id if len(page_rows) > PER_PAGE else None, newer=before is not None,
    )  # fmt: skip


def change_words(event: Event, called: Callable[[str], str]) -> str:
    """What changed, the changed keys alone: `role: labeler → adjudicator`."""
    old, new = event.old or {}, event.new or {}
    keys = [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key) and key not in SAME]
    changes = [_change(key.replace("_", " "), old.get(key), new.get(key), called) for key in keys]
    return "; ".join(filter(None, changes))


def _change(key: str, before: Any, after: Any, called: Callable[[str], str]) -> str:
    """One key; nothing where there was nothing and is nothing."""
    was, now = _short(before, called), _short(after, called)
    if not was:
        return f"{key}: {now}" if now else ""
    return f"{key}: {was} → {now or 'nothing'}"


def _short(value: Any, called: Callable[[str], str]) -> str:
    """A value in a few words: ids by what they are known as, moments to the minute; "" for nothing."""
    if value in (None, "", [], {}):
        return ""
    if isinstance(value, list):
        return ", ".join(_short(each, called) for each in value)
    if isinstance(value, float):
        return plain(value)
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)[:160]
    if MOMENT.match(value):
        return moment(value)
    text = called(value)
    return text if len(text) <= 160 else text[:159].rstrip() + "…"


def name_of(names: Mapping[str, str], known: str) -> str:
    """What an id is known as; a long one is cut to where it can still be told from others."""
    if known in names:
        return names[known]
    kind, dash, rest = known.partition("-")
    return f"{kind} {rest[:6]}" if dash and ID.fullmatch(known) else known


def _names(ws: Workspace) -> dict[str, str]:
    """Ids → what a lead knows them by."""
    people = accounts(ws)
    names = {each.id: each.name for each in people} | {each.labeler_id: each.name for each in people}
    labelers = {labeler.id: labeler.name for labeler in ws.labelers()}
    return (
        labelers | names | {view.campaign.id: view.campaign.name for view in list_campaigns(ws)} | {"": "command line"}
    )
