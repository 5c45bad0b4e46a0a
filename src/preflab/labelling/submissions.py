"""Submits, drafts and skips tasks; reads a labeler's own history and progress.

A late submission is never rejected. If the quota is met, the campaign is closed, or the labeler was taken off it, the
judgment is stored as surplus. An expired lease alone does not make it surplus.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, func, insert, select, update

from preflab.feedback.pair_votes import pair_votes
from preflab.labelling.audit import note_event
from preflab.labelling.campaign_rows import Running, Standing, add_to_counters, does_count, read_running, read_standing
from preflab.labelling.checks import answer_json, checked_answer
from preflab.labelling.clock import stamp, utc_now
from preflab.labelling.errors import Invalid, NotAllowed, Stale
from preflab.labelling.leases import release, release_values, renew
from preflab.labelling.shown_tasks import Turn, read_row, read_task
from preflab.labelling.tables import JUDGMENTS, SUBMISSIONS, TASK_STATES, TURNS
from preflab.records import Answer, Judgment, random_id
from preflab.storable import unstorable
from preflab.store.database import reading, to_json, writing
from preflab.store.rows import BY_NAME
from preflab.store.schema import JUDGMENT_COMPLETIONS
from preflab.store.workspace import Workspace

S, T = TASK_STATES.c, TURNS.c
MAX_KEY, MAX_NOTE, MAX_REASON, MAX_DRAFT = 200, 20_000, 1000, 200_000
"""Largest numbers of characters of a key, a note, a reason and a draft."""
MAX_MS = 7 * 24 * 3600 * 1000
HASTE_SHARE, HASTE_MS_EACH = 0.25, 3000
"""A submission is suspiciously fast below this share of the labeler's median, or this many ms per completion."""

# These statements are built once, since every request needs them.
EARLIER = select(SUBMISSIONS).where(SUBMISSIONS.c.key == bindparam("of_key"))
PLACES = select(S.num_done, S.wanted, S.is_gold).where(S.task_id == bindparam("of_task"))
LAST_REVISION = select(func.coalesce(func.max(JUDGMENTS.c.revision), 0)).where(
    JUDGMENTS.c.task_id == bindparam("of_task"), JUDGMENTS.c.labeler_id == bindparam("of_labeler")
)


@dataclass(frozen=True)
class Submission:
    """A judgment as a labeler sends it."""

    key: str
    """Made by the client once per submission; a repeated key gets the first reply and stores nothing."""
    task_id: str
    labeler_id: str
    based_on: int
    """The revision that was shown; 0 before the first judgment."""
    answer: Answer
    active_ms: int = 0
    shown_ms: int = 0
    note: str = ""
    flagged: bool = False
    guideline_version: int = 0
    """The version of the instructions that was read; 0: the newest."""


@dataclass(frozen=True)
class Receipt:
    """The reply to a submission."""

    judgment_id: str
    revision: int
    surplus: bool
    """Stored but not counted: the task had its labels, the campaign was closed, or the labeler was taken off it."""
    repeated: bool = field(default=False, compare=False)
    """The key was known, so nothing was stored again."""


@dataclass(frozen=True)
class Done:
    """One entry of a labeler's history."""

    task_id: str
    state: str
    """`submitted` or `skipped`."""
    at: str
    revision: int
    surplus: bool
    skip_reason: str
    active_ms: int


@dataclass(frozen=True)
class OwnProgress:
    """A labeler's own progress in a campaign."""

    num_done: int
    num_skipped: int
    median_seconds: float | None
    tie_rate: float | None
    """Share of ties among the pairs judged; None before the first pair."""
    as_shown_rate: float | None
    """Share of submissions that rank exactly in the order shown; None before the first."""


def submit(ws: Workspace, submission: Submission) -> Receipt:
    """Store a judgment; it is committed when this returns.

    Raises:
        Stale: this labeler submitted a newer revision, for example in another tab.
        NotYours: the task was never shown to this labeler.
        NotAllowed: the account has ended, or the key belongs to another submission.
        Invalid: the answer does not fit, or a text is too long.
    """
    _check_texts(submission)
    now = stamp(utc_now())
    with writing(ws.engine) as connection:
        earlier = _earlier_reply(connection, submission)
        if earlier is not None:
            return earlier
        turn = read_row(connection, submission.task_id, submission.labeler_id)
        campaign = read_running(connection, turn["campaign_id"])
        who = read_standing(connection, campaign, submission.labeler_id)
        if submission.based_on != turn["revision"]:
            raise Stale(turn["revision"])
        judgment = _judgment(connection, campaign, turn, submission, who, now)
        _store(connection, judgment)
        _count(connection, campaign, turn, judgment)
        _close_turn(connection, turn, judgment)
        receipt = Receipt(judgment.id, judgment.revision, judgment.surplus)
        reply = {"judgment_id": receipt.judgment_id, "revision": receipt.revision, "surplus": receipt.surplus}
        row = {"labeler_id": judgment.labeler_id, "task_id": judgment.task_id, "judgment_id": judgment.id}
        connection.execute(insert(SUBMISSIONS), row | {"key": submission.key, "reply": reply, "at": now})
        if turn["revision"] > 0:
            old, new = {"judgment_id": turn["judgment_id"]}, {"judgment_id": judgment.id}
            note_event(connection, judgment.labeler_id, "judgment edited", judgment.task_id, old, new)
        return receipt


def save_draft(
    ws: Workspace, task_id: str, labeler_id: str, draft: dict[str, Any], based_on: int, now: datetime | None = None
) -> str:
    """Store a draft, even if the lease has expired, and renew the lease; returns the time of saving.

    Raises:
        Stale: the task was submitted meanwhile.
        NotYours: the task was never shown to this labeler.
        Invalid: the draft is too large or not an object.
    """
    if wrong := unstorable(draft, "draft"):
        raise Invalid(f"{wrong.where}: {wrong.found}", wrong.expected)
    if not isinstance(draft, dict) or len(to_json(draft)) > MAX_DRAFT:
        raise Invalid("draft: too large or not an object", f"an object of at most {MAX_DRAFT:,} characters")
    now = now or utc_now()
    with writing(ws.engine) as connection:
        turn = read_row(connection, task_id, labeler_id)
        campaign = read_running(connection, turn["campaign_id"])
        who = read_standing(connection, campaign, labeler_id)
        if based_on != turn["revision"]:
            raise Stale(turn["revision"])
        values = {"draft": draft, "draft_saved_at": stamp(now)}
        connection.execute(update(TURNS).where(*_own(turn)).values(**values))
        if campaign.state == "open" and who.is_in:
            renew(connection, turn, now, campaign.options.lease_minutes)
        return stamp(now)


def skip(ws: Workspace, task_id: str, labeler_id: str, reason: str) -> None:
    """Leave a task to other labelers; this labeler does not get it again, but can open it from the history.

    Raises:
        NotYours: the task was never shown to this labeler.
        Invalid: the task is submitted already, or the reason is empty or too long.
    """
    if not reason.strip() or len(reason) > MAX_REASON:
        raise Invalid(f"reason: {reason!r:.80}", f"1 to {MAX_REASON} characters")
    _refuse_unstorable(reason=reason)
    with writing(ws.engine) as connection:
        turn = read_row(connection, task_id, labeler_id)
        read_standing(connection, read_running(connection, turn["campaign_id"]), labeler_id)
        if turn["state"] == "submitted":
            raise Invalid(
                "this task is submitted already", "a task without your judgment", "change the judgment instead"
            )
        release(connection, turn)
        values = {"state": "skipped", "skip_reason": reason.strip(), "expires_at": None, "closed_at": stamp(utc_now())}
        connection.execute(update(TURNS).where(*_own(turn)).values(**values))
        note_event(connection, labeler_id, "task skipped", task_id, None, {"reason": reason.strip()})


def history(ws: Workspace, campaign_id: str, labeler_id: str, limit: int = 100, offset: int = 0) -> list[Done]:
    """The tasks that a labeler submitted or skipped, newest first."""
    columns = (T.task_id, T.state, T.closed_at.label("at"), T.revision, T.surplus, T.skip_reason, T.active_ms)
    conditions = (T.labeler_id == labeler_id, T.campaign_id == campaign_id, T.state.in_(("submitted", "skipped")))
    query = select(*columns).where(*conditions).order_by(T.closed_at.desc(), T.task_id).limit(limit).offset(offset)
    with reading(ws.engine) as connection:
        return [Done(**row) for row in connection.execute(query).mappings()]


def own_progress(ws: Workspace, campaign_id: str, labeler_id: str) -> OwnProgress:
    """A labeler's progress in a campaign, from the labeler's own submissions alone."""
    columns = (T.state, T.active_ms, T.num_pairs, T.num_ties, T.as_shown)
    conditions = (T.labeler_id == labeler_id, T.campaign_id == campaign_id, T.state.in_(("submitted", "skipped")))
    with reading(ws.engine) as connection:
        rows = connection.execute(select(*columns).where(*conditions)).all()
    done = [row for row in rows if row.state == "submitted"]
    times = [row.active_ms for row in done if row.active_ms > 0]
    num_pairs = sum(row.num_pairs for row in done)
    return OwnProgress(
        num_done=len(done),
        num_skipped=len(rows) - len(done),
        median_seconds=median(times) / 1000 if times else None,
        tie_rate=sum(row.num_ties for row in done) / num_pairs if num_pairs else None,
        as_shown_rate=sum(row.as_shown for row in done) / len(done) if done else None,
    )


def suspicious(turn: Turn, answer: Answer, active_ms: int) -> str | None:
    """A question to confirm an answer that ranks exactly in the order shown, faster than anybody reads; else None."""
    hasty = active_ms < HASTE_MS_EACH * len(turn.completions)
    hasty = hasty or (turn.median_ms is not None and active_ms < HASTE_SHARE * turn.median_ms)
    if hasty and as_shown(answer, turn.shown_order):
        return "This ranks the completions exactly in the order shown, and quickly. Is it what you mean?"
    return None


def as_shown(answer: Answer, shown_order: tuple[int, ...]) -> bool:
    """Whether a ranking of three or more completions follows exactly the order shown."""
    ranks_given = answer.ranks_given
    if ranks_given is None or len(shown_order) < 3:
        return False
    ranks = [ranks_given[i] for i in shown_order]
    return all(a is not None and b is not None and a < b for a, b in pairwise(ranks))


def _check_texts(submission: Submission) -> None:
    if not 0 < len(submission.key) <= MAX_KEY:
        raise Invalid(f"key: {len(submission.key)} characters", f"1 to {MAX_KEY}")
    if len(submission.note) > MAX_NOTE:
        raise Invalid(f"note: {len(submission.note):,} characters", f"at most {MAX_NOTE:,}")
    _refuse_unstorable(key=submission.key, note=submission.note)
    for name in ("active_ms", "shown_ms"):
        if not 0 <= getattr(submission, name) <= MAX_MS:
            raise Invalid(f"{name}: {getattr(submission, name)}", f"milliseconds from 0 to {MAX_MS:,}")


def _refuse_unstorable(**texts: str) -> None:
    """Refuse texts that a database cannot store."""
    if wrong := unstorable(texts):
        raise Invalid(f"{wrong.where}: {wrong.found}", wrong.expected)


def _earlier_reply(connection: Connection, submission: Submission) -> Receipt | None:
    row = connection.execute(EARLIER, {"of_key": submission.key}).mappings().first()
    if row is None:
        return None
    if (row["labeler_id"], row["task_id"]) != (submission.labeler_id, submission.task_id):
        raise NotAllowed("this key belongs to another submission", "a new key for every submission")
    return Receipt(**row["reply"], repeated=True)


def _judgment(
    connection: Connection, campaign: Running, turn: RowMapping, sent: Submission, who: Standing, now: str
) -> Judgment:
    task = read_task(connection, turn)
    options = campaign.options
    version = sent.guideline_version or campaign.guideline_version
    if not 0 < version <= campaign.guideline_version:
        raise Invalid(f"guideline_version: {version}", f"1 to {campaign.guideline_version}")
    return Judgment(
        id=random_id("judgment"),
        campaign_id=task.campaign_id,
        task_id=task.id,
        prompt_id=task.prompt_id,
        completion_ids=task.completion_ids,
        shown_order=tuple(turn["shown_order"]),
        question=options.question,
        polarity=options.polarity,
        answer=checked_answer(options, len(task.completion_ids), answer_json(sent.answer, options.way)),
        labeler_id=sent.labeler_id,
        labeler_kind=who.kind,
        revision=_next_revision(connection, turn),
        guideline_version=version,
        active_ms=sent.active_ms,
        shown_ms=sent.shown_ms,
        created_at=now,
        note=sent.note,
        flagged=sent.flagged,
        surplus=_is_surplus(connection, campaign, turn, who),
    )


def _next_revision(connection: Connection, turn: RowMapping) -> int:
    """The number after the last revision by this person, including decisions."""
    values = {"of_task": turn["task_id"], "of_labeler": turn["labeler_id"]}
    return int(connection.execute(LAST_REVISION, values).scalar_one()) + 1


def _is_surplus(connection: Connection, campaign: Running, turn: RowMapping, who: Standing) -> bool:
    """Whether a judgment is surplus: as its first revision was, or because no more labels were wanted."""
    if turn["revision"] > 0:
        return bool(turn["surplus"])
    if campaign.state == "closed" or not who.is_in:
        return True
    state = connection.execute(PLACES, {"of_task": turn["task_id"]}).one()
    return does_count(campaign.options, who.kind) and not state.is_gold and state.num_done >= state.wanted


def _store(connection: Connection, judgment: Judgment) -> None:
    connection.execute(insert(JUDGMENTS), BY_NAME["judgment"].to_row(judgment))
    links = [
        {"parent_id": judgment.id, "position": position, "child_id": completion_id}
        for position, completion_id in enumerate(judgment.completion_ids)
    ]
    connection.execute(insert(JUDGMENT_COMPLETIONS), links)


def _count(connection: Connection, campaign: Running, turn: RowMapping, judgment: Judgment) -> None:
    """Count the judgment: the held place becomes a label; the task is done once it has all the wanted labels."""
    if turn["revision"] > 0 or judgment.surplus or not does_count(campaign.options, judgment.labeler_kind):
        release(connection, turn)
        return
    state = connection.execute(PLACES, {"of_task": judgment.task_id}).one()
    finished = not state.is_gold and state.num_done + 1 >= state.wanted
    values = release_values(turn) | {"num_done": S.num_done + 1, "missing": S.missing - 1}
    if finished:
        values["state"] = "done"
    connection.execute(update(TASK_STATES).where(S.task_id == judgment.task_id).values(**values))
    add_to_counters(connection, judgment.campaign_id, done=int(finished), labels=1)


def _close_turn(connection: Connection, turn: RowMapping, judgment: Judgment) -> None:
    outcomes = [vote.outcome for vote in _votes(judgment)]
    values = {
        "state": "submitted",
        "expires_at": None,
        "draft": None,
        "draft_saved_at": None,
        "skip_reason": "",
        "revision": judgment.revision,
        "judgment_id": judgment.id,
        "surplus": judgment.surplus,
        "closed_at": judgment.created_at,
        "active_ms": turn["active_ms"] + judgment.active_ms,
        "num_pairs": len(outcomes),
        "num_ties": sum(outcome == 0 for outcome in outcomes),
        "as_shown": as_shown(judgment.answer, judgment.shown_order),
    }
    connection.execute(update(TURNS).where(*_own(turn)).values(**values))


def _votes(judgment: Judgment) -> list[Any]:
    """The votes of a judgment on pairs, over all criteria."""
    return [vote for name in judgment.answer.criteria or (None,) for vote in pair_votes(judgment, name)]


def _own(turn: RowMapping) -> tuple[Any, Any]:
    return T.labeler_id == turn["labeler_id"], T.task_id == turn["task_id"]
