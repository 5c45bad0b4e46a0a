"""Labelling: the task, its instructions, what one has done. Works as plain forms; the page's script adds the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from preflab.errors import PreflabError
from preflab.labelling.assignment import next_turn, seen_turn, turn, why_waiting
from preflab.labelling.campaigns import CampaignView, campaign_view, must_read, read_guideline
from preflab.labelling.checks import checked_answer
from preflab.labelling.errors import NotYours, Stale
from preflab.labelling.submissions import Submission, history, own_progress, skip, submit, suspicious
from preflab.labelling.turns import Turn
from preflab.records import Answer
from preflab.store.workspace import Workspace
from preflab.ways.form import missing_groups, missing_sentence
from preflab.ways.registry import way_named
from preflab.web.access import my_campaign
from preflab.web.errors import sentence, status_of, wants_json
from preflab.web.forms import Fields
from preflab.web.identity import Me, Workspaced
from preflab.web.pages import page
from preflab.web.pages.label_view import asked_of, task_view
from preflab.web.pages.label_words import done_rows, in_words, no_task

router = APIRouter(include_in_schema=False)

LONGEST_MS = 24 * 3600 * 1000
SHOWN_DONE = 200
"""Rows on the page of what one has done."""


@router.get("/c/{campaign_id}")
def task(request: Request, ws: Workspaced, me: Me, campaign_id: str) -> Response:
    """The next task; the instructions first where they are new; else why there is none."""
    seen = my_campaign(ws, me, campaign_id)
    if must_read(ws, campaign_id, me.labeler_id) is not None:
        return RedirectResponse(f"/c/{campaign_id}/instructions", 303)
    turn = next_turn(ws, campaign_id, me.labeler_id)
    if turn is not None:
        return shown(request, ws, turn, seen)
    mine = own_progress(ws, campaign_id, me.labeler_id)
    reason = no_task(why_waiting(ws, campaign_id, me.labeler_id), seen.options.lease_minutes)
    return page(
        request, "label/waiting.html.j2", campaign=seen.campaign, options=seen.options, said=reason,
        progress=in_words(mine, seen.num_tasks), num_done=mine.num_done,
    )  # fmt: skip


@router.get("/c/{campaign_id}/t/{task_id}")
def open_task(request: Request, ws: Workspaced, me: Me, campaign_id: str, task_id: str, back: str = "") -> Response:
    """One's own task again: to go on with it, or to change what was answered."""
    seen = my_campaign(ws, me, campaign_id)
    return shown(request, ws, of_campaign(campaign_id, turn(ws, task_id, me.labeler_id)), seen, back=back)


@router.post("/c/{campaign_id}/t/{task_id}")
def submit_task(request: Request, ws: Workspaced, me: Me, campaign_id: str, task_id: str, fields: Fields) -> Response:
    """Store an answer. A script gets JSON, a plain form the next page; what was entered always stays on the page.

    The task was shown to this person: it is taken even if the campaign is for others by now.
    """
    turn = of_campaign(campaign_id, seen_turn(ws, task_id, me.labeler_id))
    seen = campaign_view(ws, campaign_id, me)
    sent = dict(fields)
    try:
        answer = answered(turn, sent)
        doubt = suspicious(turn, answer, number(sent, "active_ms")) if "confirmed" not in sent else None
        if doubt:
            return to_confirm(request, ws, turn, seen, sent, doubt)
        submit(ws, submission(turn, answer, sent))
    except PreflabError as error:
        if wants_json(request):
            raise
        return not_stored(request, ws, turn, seen, sent, error)
    return onwards(request, after_submitting(seen, sent))


@router.post("/c/{campaign_id}/t/{task_id}/skip")
def skip_task(request: Request, ws: Workspaced, me: Me, campaign_id: str, task_id: str, fields: Fields) -> Response:
    """Leave a task to others, with a reason."""
    turn = of_campaign(campaign_id, seen_turn(ws, task_id, me.labeler_id))
    reason = ": ".join(part for part in (fields.get("reason", ""), fields.get("more", "").strip()) if part)
    skip(ws, turn.task.id, me.labeler_id, reason[:1000])
    return onwards(request, f"/c/{campaign_id}" if campaign_view(ws, campaign_id, me).is_in else "/")


@router.get("/c/{campaign_id}/instructions")
def instructions(request: Request, ws: Workspaced, me: Me, campaign_id: str) -> Response:
    """The instructions, with a button to say that they were read where that is due."""
    seen = my_campaign(ws, me, campaign_id)
    due = must_read(ws, campaign_id, me.labeler_id)
    again = due is not None and due.version > 1 and own_progress(ws, campaign_id, me.labeler_id).num_done > 0
    return page(
        request, "label/instructions.html.j2", campaign=seen.campaign, options=seen.options, guideline=seen.guideline,
        must_read=due is not None, again=again,
    )  # fmt: skip


@router.post("/c/{campaign_id}/instructions")
def have_read(ws: Workspaced, me: Me, campaign_id: str, fields: Fields) -> Response:
    """Note that a version was read, and go to the tasks."""
    my_campaign(ws, me, campaign_id)
    read_guideline(ws, campaign_id, me.labeler_id, number(fields, "version"))
    return RedirectResponse(f"/c/{campaign_id}", 303)


@router.get("/c/{campaign_id}/done")
def done(request: Request, ws: Workspaced, me: Me, campaign_id: str, stored: bool = False) -> Response:
    """What one has done, the latest first, each to be opened again."""
    seen = my_campaign(ws, me, campaign_id)
    rows = history(ws, campaign_id, me.labeler_id, SHOWN_DONE)
    tasks = ws.tasks([row.task_id for row in rows])
    prompts = ws.prompts([task.prompt_id for task in tasks])
    mine = own_progress(ws, campaign_id, me.labeler_id)
    return page(
        request, "label/done.html.j2", campaign=seen.campaign, options=seen.options,
        rows=done_rows(rows, tasks, prompts), progress=in_words(mine, seen.num_tasks),
        more=len(rows) == SHOWN_DONE, stored=stored, rest=mine.num_done < seen.num_tasks and seen.state == "open",
    )  # fmt: skip


def of_campaign(campaign_id: str, found: Turn) -> Turn:
    """The turn, which is one of this campaign.

    Raises:
        NotYours: it lies in another campaign.
    """
    if found.campaign.id != campaign_id:
        raise NotYours(found.task.id)
    return found


def after_submitting(seen: CampaignView, sent: Mapping[str, str]) -> str:
    """Where one goes from an answer: to the next task, or back to where one came from."""
    if not seen.is_in:
        return "/?stored=1"
    address = f"/c/{seen.campaign.id}"
    return f"{address}/done?stored=1" if sent.get("back") == "done" else address


def shown(
    request: Request, ws: Workspace, found: Turn, seen: CampaignView, *, code: int = 200, **said: Any
) -> Response:
    """The labelling page of a turn."""
    mine = own_progress(ws, found.campaign.id, found.labeler_id)
    last = history(ws, found.campaign.id, found.labeler_id, 1)
    if found.draft_unreadable:
        said.setdefault("status", "A draft of yours could not be read and is left out.")
    view = task_view(found, seen, mine, last_done=last[0].task_id if last else "", **said)
    return page(request, "label/task.html.j2", code=code, view=view)


def answered(found: Turn, sent: Mapping[str, str]) -> Answer:
    """The answer a form holds.

    Raises:
        PreflabError: an answer is missing, or is no answer of this way of judging.
    """
    asked = asked_of(found)
    way = way_named(asked.way)
    open_groups = missing_groups(asked, way.groups(asked), sent)
    if open_groups:
        raise PreflabError(missing_sentence(asked, open_groups))
    return checked_answer(found.options, asked.num, way.from_form(asked, sent))


def submission(found: Turn, answer: Answer, sent: Mapping[str, str]) -> Submission:
    """What `submit` takes, from the form's fields."""
    return Submission(
        key=sent.get("key", "")[:100], task_id=found.task.id, labeler_id=found.labeler_id,
        based_on=number(sent, "based_on"), answer=answer, active_ms=number(sent, "active_ms"),
        shown_ms=number(sent, "shown_ms"), note=sent.get("note", "").strip(), flagged="flagged" in sent,
        guideline_version=number(sent, "guideline_version"),
    )  # fmt: skip


def number(fields: Mapping[str, str], name: str) -> int:
    """A whole number from 0 to a day in milliseconds out of a hidden field; 0 for anything else."""
    value = fields.get(name, "")
    return min(int(value), LONGEST_MS) if value.isascii() and value.isdigit() and len(value) < 12 else 0


def onwards(request: Request, target: str) -> Response:
    """Where the page goes next: said to a script, done for a plain form."""
    if wants_json(request):
        return JSONResponse({"next": target})
    return RedirectResponse(target, 303)


def to_confirm(
    request: Request, ws: Workspace, found: Turn, seen: CampaignView, sent: Mapping[str, str], doubt: str
) -> Response:
    """One question before an answer that looks like haste is stored."""
    if wants_json(request):
        return JSONResponse({"confirm": doubt})
    return shown(request, ws, found, seen, sent=sent, notice=doubt, ask_confirm=True)


def not_stored(
    request: Request, ws: Workspace, found: Turn, seen: CampaignView, sent: Mapping[str, str], error: PreflabError
) -> Response:
    """The same page with what was entered and what was wrong with it."""
    code = status_of(error)
    if isinstance(error, Stale):
        notice = (
            "You have already submitted this task elsewhere. What you entered here is still on this page; "
            "submit it again to replace the other one."
        )
        newer = {**sent, "based_on": str(error.current_revision)}
        other = f"/c/{found.campaign.id}/t/{found.task.id}"
        return shown(request, ws, found, seen, code=code, sent=newer, notice=notice, other_url=other)
    return shown(request, ws, found, seen, code=code, sent=sent, notice=sentence(error))
