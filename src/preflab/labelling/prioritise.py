"""Tasks in the order of what is most worth asking: close pairs, pairs nobody has judged, disagreeing reward models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import log2

from preflab.feedback.consensus import Consensus
from preflab.labelling.adjudication import campaign_consensus
from preflab.labelling.campaigns import campaign_view, change_options
from preflab.labelling.tables import TASK_STATES
from preflab.labelling.tasks import set_worth
from preflab.records import Task
from preflab.store.workspace import Workspace

Scores = Mapping[str, Sequence[float]]
"""Completion id → its score by each reward model."""


def prioritise(ws: Workspace, campaign_id: str, by: str, scores: Scores | None = None) -> int:
    """Write what each task is worth and ask the worthiest first; returns how many tasks were put in order."""
    consensus, found = campaign_consensus(ws, campaign_id), {}
    for task in ws.tasks(campaign_id=campaign_id):
        found[task.id] = worth(task, consensus.get(task.id), scores or {})
    set_worth(ws, campaign_id, found, by)
    view = campaign_view(ws, campaign_id)
    if view.options.order != "worth_asking":
        change_options(ws, campaign_id, view.revision, {"order": "worth_asking"}, by)
    return len(found)


def worth(task: Task, consensus: Consensus | None, scores: Scores) -> float:
    """How unsure the outcome of a pair is, on average over the task's pairs, in bits: 1 = a coin, 0 = settled.

    mean over pairs of H(p), with p the share of weight for the first of the two, a virtual vote on each side (Laplace).
    Nobody's pair has p = ½. Where several reward models score the completions, their votes are counted in, one each.
    """
    known = {(pair.outcome.first, pair.outcome.second): pair.outcome for pair in consensus.pairs} if consensus else {}
    pairs = list(combinations(range(len(task.completion_ids)), 2))
    total = 0.0
    for first, second in pairs:
        outcome = known.get((first, second))
        num_for, num_against = (outcome.num_for, outcome.num_against) if outcome else (0.0, 0.0)
        ones = scores.get(task.completion_ids[first], ())
        others = scores.get(task.completion_ids[second], ())
        num_for += sum(one > other for one, other in zip(ones, others, strict=True))
        num_against += sum(one < other for one, other in zip(ones, others, strict=True))
        total += entropy((num_for + 1) / (num_for + num_against + 2))
    return total / len(pairs) if pairs else 0.0


def entropy(share: float) -> float:
    """H(p) = −p log₂ p − (1 − p) log₂(1 − p), bits.

    Example:
        >>> entropy(0.5)
        1.0
    """
    return -sum(part * log2(part) for part in (share, 1 - share) if part > 0)
