"""Adjudication: pairs that the labels leave undecided, an adjudicator's decisions on them, and disagreements.

An adjudicator's decision is a judgment with `decides=True`. It settles the open pairs of its task and does not count
towards the quota, the agreement or anybody's reliability.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import func, select

from preflab.feedback.consensus import Consensus, consensus_of, decisions
from preflab.feedback.reading import Reading
from preflab.labelling.accounts import Account
from preflab.labelling.audit import note_event
from preflab.labelling.campaigns import CampaignView, campaign_view
from preflab.labelling.clock import stamp, utc_now
from preflab.labelling.counting import cached, labels_of
from preflab.labelling.errors import NotAllowed
from preflab.labelling.reading import campaign_reading
from preflab.labelling.tables import JUDGMENTS, TASK_STATES
from preflab.records import (
    Answer,
    Completion,
    Judgment,
    PairOutcome,
    Preference,
    Prompt,
    Task,
    random_id,
)
from preflab.seeds import derive_seed
from preflab.store.answers import answer_to_json
from preflab.store.database import reading, writing
from preflab.store.workspace import Workspace
from preflab.store.writing import put_records


@dataclass(frozen=True)
class OpenTask:
    """A task that has all its labels and still has undecided pairs."""

    task_id: str
    prompt_id: str
    num_labels: int
    pairs: tuple[PairOutcome, ...]
    """The undecided pairs, with votes weighted as the campaign's reading says."""


@dataclass(frozen=True)
class Decision:
    """An adjudicator's decision on one task."""

    judgment_id: str
    task_id: str
    prompt_id: str
    by: str
    """The adjudicator's labeler id."""
    at: str
    note: str


@dataclass(frozen=True)
class Queue:
    """The tasks that wait for an adjudicator, and those already decided."""

    open: tuple[OpenTask, ...]
    """Most open pairs first."""
    decided: tuple[Decision, ...]
    """Latest first."""


@dataclass(frozen=True)
class Disagreement:
    """How divided the labelers are on one task."""

    task_id: str
    prompt_id: str
    num_labels: int
    weight_against: float
    """Mean over its pairs of the lighter side's weight; 0 if no labeler with weight disagrees."""
    num_split: int
    """Pairs with votes on both sides."""
    num_pairs: int
    notes: tuple[str, ...]
    num_flagged: int


@dataclass(frozen=True)
class Opinion:
    """The answer of one labeler, anonymous."""

    number: int
    """From 1, in an order that does not reveal the labeler."""
    answer: Answer
    note: str
    flagged: bool


@dataclass(frozen=True)
class Case:
    """One task as an adjudicator sees it: content, anonymous answers, open pairs; no names of models or people."""

    task: Task
    prompt: Prompt
    completions: tuple[Completion, ...]
    """In the task's order."""
    shown_order: tuple[int, ...]
    """Position on the page → index into `completions`; drawn from the task's id, so the same for everyone."""
    opinions: tuple[Opinion, ...]
    consensus: Consensus | None
    """None before the first label that counts."""
    complete: bool
    """The task has all the wanted labels."""
    decision: Judgment | None
    """The latest decision."""

    @property
    def open(self) -> tuple[PairOutcome, ...]:
        """The pairs that are still undecided."""
        return open_pairs(self.consensus) if self.consensus else ()


def read_queue(ws: Workspace, campaign_id: str) -> Queue:
    """The tasks with all their labels and an open pair, and the decisions made so far.

    Decisions are read from the database each time, so a task leaves the queue as soon as it is decided, even if the
    cached consensus is older.
    """
    complete, made = _complete_tasks(ws, campaign_id), _decisions(ws, campaign_id)
    waiting = [
        OpenTask(task, consensus.preference.prompt_id, len(consensus.preference.judgment_ids), open_pairs(consensus))
        for task, consensus in campaign_consensus(ws, campaign_id).items()
        if consensus.unresolved and task in complete and task not in made
    ]
    decided = [Decision(j.id, j.task_id, j.prompt_id, j.labeler_id, j.created_at, j.note) for j in made.values()]
    return Queue(
        tuple(sorted(waiting, key=lambda task: (-len(task.pairs), task.task_id))),
        tuple(sorted(decided, key=lambda decision: decision.at, reverse=True)),
    )


def open_pairs(consensus: Consensus) -> tuple[PairOutcome, ...]:
    """The pairs that still need an adjudicator, with the weighted votes on them."""
    return tuple(pair.outcome for pair in consensus.pairs if pair.state == "open")


def list_disagreements(ws: Workspace, campaign_id: str, limit: int = 50) -> list[Disagreement]:
    """Tasks on which reliable labelers disagree, the most divided first; flagged tasks come before all others."""
    notes: dict[str, list[Judgment]] = defaultdict(list)
    for judgment in labels_of(ws, campaign_id).counted:
        notes[judgment.task_id].append(judgment)
    split = [
        measure_disagreement(task, consensus.preference, notes[task])
        for task, consensus in campaign_consensus(ws, campaign_id).items()
    ]
    shown = [task for task in split if task.weight_against > 0 or task.num_flagged]
    return sorted(shown, key=lambda task: (-task.num_flagged, -task.weight_against, task.task_id))[:limit]


def measure_disagreement(task_id: str, preference: Preference, judgments: Sequence[Judgment]) -> Disagreement:
    """Measure how divided one task is: Σ_pairs min(weight for, weight against) / number of pairs."""
    lighter = [min(pair.num_for, pair.num_against) for pair in preference.pairs]
    return Disagreement(
        task_id=task_id,
        prompt_id=preference.prompt_id,
        num_labels=len(judgments),
        weight_against=sum(lighter) / len(lighter) if lighter else 0.0,
        num_split=sum(weight > 0 for weight in lighter),
        num_pairs=len(lighter),
        notes=tuple(judgment.note for judgment in judgments if judgment.note),
        num_flagged=sum(judgment.flagged for judgment in judgments),
    )


def read_case(ws: Workspace, task_id: str) -> Case:
    """Read one task with all that an adjudicator needs to decide it.

    Raises:
        PreflabError: there is no such task.
    """
    task = ws.tasks([task_id])[0]
    labels = labels_of(ws, task.campaign_id)
    judgments = sorted((each for each in labels.counted if each.task_id == task_id), key=lambda each: each.id)
    return Case(
        task=task,
        prompt=ws.prompts([task.prompt_id])[0],
        completions=tuple(ws.completions(task.completion_ids)),
        shown_order=drawn_order(task),
        opinions=tuple(Opinion(n, each.answer, each.note, each.flagged) for n, each in enumerate(judgments, start=1)),
        consensus=campaign_consensus(ws, task.campaign_id).get(task_id),
        complete=task_id in _complete_tasks(ws, task.campaign_id),
        decision=_decisions(ws, task.campaign_id).get(task_id),
    )


def drawn_order(task: Task) -> tuple[int, ...]:
    """The order in which completions are shown: position → index, drawn from the task's id alone."""
    num = len(task.completion_ids)
    return tuple(int(i) for i in np.random.default_rng(derive_seed(0, "adjudication", task.id)).permutation(num))


def decide(ws: Workspace, task_id: str, account: Account, answer: Answer, note: str = "") -> Judgment:
    """Store an adjudicator's decision on a task and note it in the audit log, in one transaction.

    Raises:
        NotAllowed: the account is neither an adjudicator nor a lead.
        PreflabError: there is no such task.
    """
    if account.role not in ("lead", "adjudicator"):
        raise NotAllowed("a decision by a labeler", "an adjudicator or a lead", "ask your lead for the role")
    task = ws.tasks([task_id])[0]
    view = campaign_view(ws, task.campaign_id)
    with writing(ws.engine) as connection:
        query = select(func.coalesce(func.max(JUDGMENTS.c.revision), 0)).where(
            JUDGMENTS.c.task_id == task_id, JUDGMENTS.c.labeler_id == account.labeler_id
        )
        judgment = _decision(view, task, account, answer, note, int(connection.execute(query).scalar_one()) + 1)
        put_records(connection, [judgment])
        note_event(connection, account.id, "decided", task_id, None, answer_to_json(answer))
    return judgment


def _decision(view: CampaignView, task: Task, account: Account, answer: Answer, note: str, revision: int) -> Judgment:
    return Judgment(
        id=random_id("judgment"),
        campaign_id=task.campaign_id,
        task_id=task.id,
        prompt_id=task.prompt_id,
        completion_ids=task.completion_ids,
        shown_order=drawn_order(task),
        question=view.options.question,
        polarity=view.options.polarity,
        answer=answer,
        labeler_id=account.labeler_id,
        labeler_kind="person",
        revision=revision,
        guideline_version=view.guideline.version,
        created_at=stamp(utc_now()),
        note=note,
        decides=True,
    )


def campaign_consensus(ws: Workspace, campaign_id: str, *, exact: bool = False) -> Mapping[str, Consensus]:
    """Task id → consensus of its labels and decisions by the campaign's `Reading`; without gold tasks; `cached`."""
    read, count_ai = campaign_reading(ws, campaign_id), campaign_view(ws, campaign_id).options.count_ai

    def compute() -> dict[str, Consensus]:
        return _compute_consensus(ws, campaign_id, read)

    return cached(ws, campaign_id, "consensus", compute, read, count_ai, exact=exact)


def _compute_consensus(ws: Workspace, campaign_id: str, read: Reading) -> dict[str, Consensus]:
    labels = labels_of(ws, campaign_id, exact=True)
    ids = sorted({completion for judgment in read.asked(labels.counted) for completion in judgment.completion_ids})
    texts = {each.id: each.text for each in ws.completions(ids)}
    by_task = consensus_of([*labels.counted, *labels.decisions], read, texts=texts)
    return {consensus.task_id: consensus for consensus in by_task}


def _decisions(ws: Workspace, campaign_id: str) -> dict[str, Judgment]:
    """Task id → the latest decision stored for it."""
    query = select(JUDGMENTS.c.id).where(JUDGMENTS.c.campaign_id == campaign_id, JUDGMENTS.c.decides.is_(True))
    with reading(ws.engine) as connection:
        ids = list(connection.execute(query).scalars())
    return decisions(ws.judgments(ids))


def _complete_tasks(ws: Workspace, campaign_id: str) -> set[str]:
    query = select(TASK_STATES.c.task_id).where(TASK_STATES.c.campaign_id == campaign_id, TASK_STATES.c.state == "done")
    with reading(ws.engine) as connection:
        return set(connection.execute(query).scalars())
