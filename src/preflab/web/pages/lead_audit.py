"""The page of the audit log: who changed what, and when. Rows are only ever added."""

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
"""Id of an event, in the range of a database's integers."""
SAME = ("labeler_id",)
"""Keys of an event that are not shown, since the column `about` shows the same."""
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d")
ID = re.compile(r"[a-z]+-[0-9a-f]{16,}")


@router.get("")
def audit(request: Request, ws: Workspaced, me: Lead, before: Before = None, about: str | None = None) -> Response:
    """The events, newest first, a hundred per page."""
    page_rows = events(ws, PER_PAGE + 1, before, about)
    shown, called = page_rows[:PER_PAGE], partial(name_of, _names(ws))
    rows = [(event, change_words(event, called)) for event in shown]
    return lead_page(
        request, "audit.html.j2", events=rows, called=called, about=about,
        older=shown[-1].id if len(page_rows) > PER_PAGE else None, newer=before is not None,
    )  # fmt: skip


def change_words(event: Event, called: Callable[[str], str]) -> str:
    """The changed keys with their old and new values: `role: labeler → adjudicator`."""
    old, new = event.old or {}, event.new or {}
    keys = [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key) and key not in SAME]
    changes = [_change(key.replace("_", " "), old.get(key), new.get(key), called) for key in keys]
    return "; ".join(filter(None, changes))


def _change(key: str, before: Any, after: Any, called: Callable[[str], str]) -> str:
    """The change of one key; "" if it was empty and still is."""
    was, now = _short(before, called), _short(after, called)
    if not was:
        return f"{key}: {now}" if now else ""
    return f"{key}: {was} → {now or 'nothing'}"


def _short(value: Any, called: Callable[[str], str]) -> str:
    """A value as short text: names in place of ids, times to the minute; "" for an empty value."""
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


def name_of(names: Mapping[str, str], record_id: str) -> str:
    """The name that belongs to an id; without one, the kind of the id and its first six digits."""
    if record_id in names:
        return names[record_id]
    kind, dash, digits = record_id.partition("-")
    return f"{kind} {digits[:6]}" if dash and ID.fullmatch(record_id) else record_id


def _names(ws: Workspace) -> dict[str, str]:
    """Id → name, for accounts, labelers and campaigns."""
    people = accounts(ws)
    names = {each.id: each.name for each in people} | {each.labeler_id: each.name for each in people}
    labelers = {labeler.id: labeler.name for labeler in ws.labelers()}
    return (
        labelers | names | {view.campaign.id: view.campaign.name for view in list_campaigns(ws)} | {"": "command line"}
    )
