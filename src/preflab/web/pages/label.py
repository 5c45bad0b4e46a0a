"""The labelling pages: the task, its instructions, the list of own answers. They work without scripts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from preflab.errors import PreflabError
from preflab.labelling.assignment import next_turn, read_seen_turn, reopen_turn, why_waiting
from preflab.labelling.campaigns import CampaignView, campaign_view, read_guideline, unread_guideline
from preflab.labelling.checks import checked_answer
from preflab.labelling.errors import NotYours, Stale
from preflab.labelling.shown_tasks import Turn
from preflab.labelling.submissions import Submission, history, own_progress, skip, submit, suspicious
from preflab.records import Answer
from preflab.store.workspace import Workspace
from preflab.ways.form import missing_groups, missing_sentence
from preflab.ways.registry import way_named
from preflab.web.access import my_campaign
from preflab.web.errors import sentence, status_of, wants_json
from preflab.web.forms import Fields
from preflab.web.identity import Me, Workspaced
from preflab.web.pages import page
from preflab.web.pages.label_view import form_of, task_view
from preflab.web.pages.label_words import done_rows, no_task, progress_words

router = APIRouter(include_in_schema=False)

LONGEST_MS = 24 * 3600 * 1000
SHOWN_DONE = 200
"""Largest number of rows in the list of own answers."""


@router.get("/c/{campaign_id}")
def task(request: Request, ws: Workspaced, me: Me, campaign_id: str) -> Response:
    """The next task, or the reason why there is none; redirects to the instructions if they must be read first."""
    seen = my_campaign(ws, me, campaign_id)
    if unread_guideline(ws, campaign_id, me.labeler_id) is not None:
        return RedirectResponse(f"/c/{campaign_id}/instructions", 303)
    turn = next_turn(ws, campaign_id, me.labeler_id)
    if turn is not None:
        return show_turn(request, ws, turn, seen)
    own = own_progress(ws, campaign_id, me.labeler_id)
    reason = no_task(why_waiting(ws, campaign_id, me.labeler_id), seen.options.lease_minutes)
    return page(
        request, "label/waiting.html.j2", campaign=seen.campaign, options=seen.options, reason=reason,
        progress=progress_words(own, seen.num_tasks), num_done=own.num_done,
    )  # fmt: skip


@router.get("/c/{campaign_id}/t/{task_id}")
def open_task(request: Request, ws: Workspaced, me: Me, campaign_id: str, task_id: str, back: str = "") -> Response:
    """A task that was shown to this person before, to continue it or to change the answer."""
    seen = my_campaign(ws, me, campaign_id)
    own_turn = check_campaign(campaign_id, reopen_turn(ws, task_id, me.labeler_id))
    return show_turn(request, ws, own_turn, seen, back=back)


@router.post("/c/{campaign_id}/t/{task_id}")
def submit_task(request: Request, ws: Workspaced, me: Me, campaign_id: str, task_id: str, fields: Fields) -> Response:
    """Store an answer. A script gets JSON, a plain form the next page; if it is refused, the entries stay on the page.

    A person who was taken off the campaign meanwhile may still submit a task that was shown to them.
    """
    turn = check_campaign(campaign_id, read_seen_turn(ws, task_id, me.labeler_id))
    seen = campaign_view(ws, campaign_id, me)
    sent = dict(fields)
    try:
        answer = read_answer(turn, sent)
        doubt = suspicious(turn, answer, read_number(sent, "active_ms")) if "confirmed" not in sent else None
        if doubt:
            return ask_to_confirm(request, ws, turn, seen, sent, doubt)
        submit(ws, make_submission(turn, answer, sent))
    except PreflabError as error:
        if wants_json(request):
            raise
        return show_problem(request, ws, turn, seen, sent, error)
    return go_to(request, next_address(seen, sent))


@router.post("/c/{campaign_id}/t/{task_id}/skip")
def skip_task(request: Request, ws: Workspaced, me: Me, campaign_id: str, task_id: str, fields: Fields) -> Response:
    """Leave a task to others, with a reason."""
    turn = check_campaign(campaign_id, read_seen_turn(ws, task_id, me.labeler_id))
    reason = ": ".join(part for part in (fields.get("reason", ""), fields.get("more", "").strip()) if part)
    skip(ws, turn.task.id, me.labeler_id, reason[:1000])
    return go_to(request, f"/c/{campaign_id}" if campaign_view(ws, campaign_id, me).is_in else "/")


@router.get("/c/{campaign_id}/instructions")
def instructions(request: Request, ws: Workspaced, me: Me, campaign_id: str) -> Response:
    """The instructions, with a button to confirm that they were read if that is required."""
    seen = my_campaign(ws, me, campaign_id)
    due = unread_guideline(ws, campaign_id, me.labeler_id)
    again = due is not None and due.version > 1 and own_progress(ws, campaign_id, me.labeler_id).num_done > 0
    return page(
        request, "label/instructions.html.j2", campaign=seen.campaign, options=seen.options, guideline=seen.guideline,
        must_read=due is not None, again=again,
    )  # fmt: skip


@router.post("/c/{campaign_id}/instructions")
def have_read(ws: Workspaced, me: Me, campaign_id: str, fields: Fields) -> Response:
    """Record that a version of the instructions was read, and go to the tasks."""
    my_campaign(ws, me, campaign_id)
    read_guideline(ws, campaign_id, me.labeler_id, read_number(fields, "version"))
    return RedirectResponse(f"/c/{campaign_id}", 303)


@router.get("/c/{campaign_id}/done")
def done(request: Request, ws: Workspaced, me: Me, campaign_id: str, stored: bool = False) -> Response:
    """The list of own answers and skipped tasks, latest first, with links to open them again."""
    seen = my_campaign(ws, me, campaign_id)
    rows = history(ws, campaign_id, me.labeler_id, SHOWN_DONE)
    tasks = ws.tasks([row.task_id for row in rows])
    prompts = ws.prompts([task.prompt_id for task in tasks])
    own = own_progress(ws, campaign_id, me.labeler_id)
    return page(
        request, "label/done.html.j2", campaign=seen.campaign, options=seen.options,
        rows=done_rows(rows, tasks, prompts), progress=progress_words(own, seen.num_tasks),
        more=len(rows) == SHOWN_DONE, stored=stored, rest=own.num_done < seen.num_tasks and seen.state == "open",
    )  # fmt: skip


def check_campaign(campaign_id: str, turn: Turn) -> Turn:
    """The same turn, if its task belongs to this campaign.

    Raises:
        NotYours: the task belongs to another campaign.
    """
    if turn.campaign.id != campaign_id:
        raise NotYours(turn.task.id)
    return turn


def next_address(seen: CampaignView, sent: Mapping[str, str]) -> str:
    """The address after a submission: the next task, the list of own answers, or the first page if it was the last."""
    if not seen.is_in:
        return "/?stored=1"
    address = f"/c/{seen.campaign.id}"
    return f"{address}/done?stored=1" if sent.get("back") == "done" else address


def show_turn(
    request: Request, ws: Workspace, turn: Turn, seen: CampaignView, *, code: int = 200, **notes: Any
) -> Response:
    """The labelling page of a turn; `notes` are texts for `task_view`."""
    own = own_progress(ws, turn.campaign.id, turn.labeler_id)
    last = history(ws, turn.campaign.id, turn.labeler_id, 1)
    if turn.draft_unreadable:
        notes.setdefault("status", "A draft of yours could not be read and is left out.")
    view = task_view(turn, seen, own, last_done=last[0].task_id if last else "", **notes)
    return page(request, "label/task.html.j2", code=code, view=view)


def read_answer(turn: Turn, sent: Mapping[str, str]) -> Answer:
    """The answer in a form.

    Raises:
        PreflabError: an answer is missing, or does not fit the way of judging.
    """
    asked = form_of(turn)
    way = way_named(asked.way)
    open_groups = missing_groups(asked, way.groups(asked), sent)
    if open_groups:
        raise PreflabError(missing_sentence(asked, open_groups))
    return checked_answer(turn.options, asked.num, way.from_form(asked, sent))


def make_submission(turn: Turn, answer: Answer, sent: Mapping[str, str]) -> Submission:
    """The submission that the fields of the form describe."""
    return Submission(
        key=sent.get("key", "")[:100], task_id=turn.task.id, labeler_id=turn.labeler_id,
        based_on=read_number(sent, "based_on"), answer=answer, active_ms=read_number(sent, "active_ms"),
        shown_ms=read_number(sent, "shown_ms"), note=sent.get("note", "").strip(), flagged="flagged" in sent,
        guideline_version=read_number(sent, "guideline_version"),
    )  # fmt: skip


def read_number(fields: Mapping[str, str], name: str) -> int:
    """The whole number in a hidden field, at most a day in milliseconds; 0 for any other value."""
    value = fields.get(name, "")
    return min(int(value), LONGEST_MS) if value.isascii() and value.isdigit() and len(value) < 12 else 0


def go_to(request: Request, target: str) -> Response:
    """Send the browser to another page: as JSON for a script, as a redirect for a plain form."""
    if wants_json(request):
        return JSONResponse({"next": target})
    return RedirectResponse(target, 303)


def ask_to_confirm(
    request: Request, ws: Workspace, turn: Turn, seen: CampaignView, sent: Mapping[str, str], doubt: str
) -> Response:
    """Ask for confirmation before an answer that looks hasty is stored."""
    if wants_json(request):
        return JSONResponse({"confirm": doubt})
    return show_turn(request, ws, turn, seen, sent=sent, notice=doubt, ask_confirm=True)


def show_problem(
    request: Request, ws: Workspace, turn: Turn, seen: CampaignView, sent: Mapping[str, str], error: PreflabError
) -> Response:
    """The same page with the entries of the person and a notice about the error."""
    code = status_of(error)
    if isinstance(error, Stale):
        notice = (
            "You have already submitted this task elsewhere. What you entered here is still on this page; "
            "submit it again to replace the other answer."
        )
        newer = {**sent, "based_on": str(error.current_revision)}
        other = f"/c/{turn.campaign.id}/t/{turn.task.id}"
        return show_turn(request, ws, turn, seen, code=code, sent=newer, notice=notice, other_url=other)
    return show_turn(request, ws, turn, seen, code=code, sent=sent, notice=sentence(error))
