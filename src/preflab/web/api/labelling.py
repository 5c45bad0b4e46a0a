"""API routes for labelers; the script of the labelling page uses them too."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Response

from preflab.errors import PreflabError
from preflab.labelling.assignment import next_turn, read_seen_turn, reopen_turn, why_waiting
from preflab.labelling.campaigns import read_guideline, unread_guideline
from preflab.labelling.checks import checked_answer
from preflab.labelling.submissions import Submission, history, own_progress, save_draft, skip, submit
from preflab.web.access import my_campaign, my_campaigns
from preflab.web.api.shapes import (
    CampaignShape,
    DoneShape,
    DraftIn,
    GuidelineShape,
    JudgmentIn,
    NextShape,
    ProgressShape,
    ReadIn,
    ReceiptShape,
    SkipIn,
    TurnShape,
)
from preflab.web.api.shown_order import as_in_task
from preflab.web.identity import Me, Workspaced

router = APIRouter(tags=["labelling"])


@router.get("/campaigns")
def campaigns(ws: Workspaced, me: Me) -> list[CampaignShape]:
    """The campaigns in which you may judge."""
    return [CampaignShape.of(view) for view in my_campaigns(ws, me)]


@router.get("/campaigns/{campaign_id}")
def campaign(ws: Workspaced, me: Me, campaign_id: str) -> CampaignShape:
    """One campaign in which you may judge."""
    return CampaignShape.of(my_campaign(ws, me, campaign_id))


@router.get("/campaigns/{campaign_id}/instructions")
def instructions(ws: Workspaced, me: Me, campaign_id: str) -> GuidelineShape:
    """The newest instructions of a campaign."""
    guideline = my_campaign(ws, me, campaign_id).guideline
    return GuidelineShape(version=guideline.version, text=guideline.text)


@router.post("/campaigns/{campaign_id}/instructions/read", status_code=204)
def has_read(ws: Workspaced, me: Me, campaign_id: str, body: ReadIn) -> Response:
    """Record that you have read a version of the instructions."""
    my_campaign(ws, me, campaign_id)
    read_guideline(ws, campaign_id, me.labeler_id, body.version)
    return Response(status_code=204)


@router.get("/campaigns/{campaign_id}/next")
def next_task(ws: Workspaced, me: Me, campaign_id: str) -> NextShape:
    """The task you hold, or else the next one, reserved for you for a limited time."""
    my_campaign(ws, me, campaign_id)
    unread = unread_guideline(ws, campaign_id, me.labeler_id)
    turn = next_turn(ws, campaign_id, me.labeler_id)
    version = unread.version if unread else None
    if turn is None:
        why = why_waiting(ws, campaign_id, me.labeler_id)
        return NextShape(turn=None, reason=why.reason, num_left=why.num_left, must_read=version)
    return NextShape(turn=TurnShape.of(turn), must_read=version)


@router.get("/campaigns/{campaign_id}/done")
def done(ws: Workspaced, me: Me, campaign_id: str, limit: int = 50) -> list[DoneShape]:
    """Your submitted and skipped tasks, latest first."""
    my_campaign(ws, me, campaign_id)
    judged = history(ws, campaign_id, me.labeler_id, min(max(limit, 1), 1000))
    return [DoneShape(task_id=each.task_id, revision=each.revision, at=str(each.at)) for each in judged]


@router.get("/campaigns/{campaign_id}/progress")
def progress(ws: Workspaced, me: Me, campaign_id: str) -> ProgressShape:
    """Your own pace and tie rate."""
    my_campaign(ws, me, campaign_id)
    own = own_progress(ws, campaign_id, me.labeler_id)
    return ProgressShape(
        num_done=own.num_done, num_skipped=own.num_skipped, median_seconds=own.median_seconds,
        tie_rate=own.tie_rate, as_shown_rate=own.as_shown_rate,
    )  # fmt: skip


@router.get("/tasks/{task_id}")
def own_task(ws: Workspaced, me: Me, task_id: str) -> TurnShape:
    """A task that was given to you, also after you have submitted it."""
    return TurnShape.of(reopen_turn(ws, task_id, me.labeler_id))


@router.post("/tasks/{task_id}/judgments", status_code=201)
def judge(
    ws: Workspaced,
    me: Me,
    task_id: str,
    body: JudgmentIn,
    response: Response,
    idempotency_key: Annotated[str, Header(max_length=100)] = "",
) -> ReceiptShape:
    """Submit a judgment; it is stored before the response is sent. A repeated key returns the first receipt."""
    key = body.key or idempotency_key
    if not key:
        raise PreflabError("key: missing", "a key made once per submission", "send `key` or the header Idempotency-Key")
    seen = read_seen_turn(ws, task_id, me.labeler_id)
    answer = checked_answer(seen.options, len(seen.completions), body.answer)
    receipt = submit(
        ws,
        Submission(
            key=key, task_id=task_id, labeler_id=me.labeler_id, based_on=body.based_on,
            answer=as_in_task(answer, seen.shown_order),
            active_ms=body.active_ms, shown_ms=body.shown_ms, note=body.note, flagged=body.flagged,
            guideline_version=body.guideline_version or seen.guideline_version,
        ),
    )  # fmt: skip
    response.status_code = 200 if receipt.repeated else 201
    return ReceiptShape(
        judgment_id=receipt.judgment_id, revision=receipt.revision, surplus=receipt.surplus, repeated=receipt.repeated
    )


@router.put("/tasks/{task_id}/draft", status_code=204)
def keep_draft(ws: Workspaced, me: Me, task_id: str, body: DraftIn) -> Response:
    """Store a draft of your answer; it is returned with the task."""
    save_draft(ws, task_id, me.labeler_id, body.draft, body.based_on)
    return Response(status_code=204)


@router.post("/tasks/{task_id}/skip", status_code=204)
def pass_over(ws: Workspaced, me: Me, task_id: str, body: SkipIn) -> Response:
    """Skip a task, with a reason; it goes to another labeler."""
    skip(ws, task_id, me.labeler_id, body.reason)
    return Response(status_code=204)
