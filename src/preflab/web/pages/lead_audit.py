"""The audit log: who did what to what, and when. Rows are only ever added."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response

from preflab.labelling.accounts import accounts
from preflab.labelling.audit import Event, events
from preflab.labelling.campaigns import list_campaigns
from preflab.store.workspace import Workspace
from preflab.web.identity import Lead, Workspaced
from preflab.web.pages.lead_common import lead_page

router = APIRouter(prefix="/lead/audit", include_in_schema=False)
PER_PAGE = 100


@router.get("")
def audit(request: Request, ws: Workspaced, me: Lead, before: int | None = None, about: str | None = None) -> Response:
    """The newest events first, a hundred at a time."""
    found = events(ws, PER_PAGE + 1, before, about)
    shown, names = found[:PER_PAGE], _names(ws)
    return lead_page(
        request, "audit.html.j2", events=[(event, change_words(event)) for event in shown], names=names, about=about,
        older=shown[-1].id if len(found) > PER_PAGE else None, newer=before is not None,
    )  # fmt: skip


def change_words(event: Event) -> str:
    """What changed, the changed keys alone: `role: labeler → adjudicator`."""
    old, new = event.old or {}, event.new or {}
    keys = [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]
    return "; ".join(_one(key, old, new) for key in keys)


def _one(key: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    before, after = (_short(side[key]) if key in side else "" for side in (old, new))
    return f"{key}: {before} → {after}" if before else f"{key}: {after}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else text[:119].rstrip() + "…"


def _names(ws: Workspace) -> dict[str, str]:
    """Ids → what a lead knows them by."""
    people = accounts(ws)
    names = {each.id: each.name for each in people} | {each.labeler_id: each.name for each in people}
    return names | {view.campaign.id: view.campaign.name for view in list_campaigns(ws)} | {"": "command line"}
