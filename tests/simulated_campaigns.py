"""Campaigns with known qualities and known labelers, to see what consensus and read-outs make of them.

Each completion has a quality N(0, 1); a labeler sees it with noise of their own, N(0, s) with s uniform in 0.6 to 1.3,
and calls two a tie when they look nearer than 0.35. A `random` labeler does not look, a `reversed` one turns the scale
round, one of another `taste` looks at another quality, independent of the first. The generator is the tests' own, not
that of `preflab.labelers.simulated`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from preflab.feedback.assignment_plan import assign
from preflab.records import Answer, Judgment, RankingAnswer

TIE_WIDTH = 0.35
MANNERS = {"attentive": (1.0, 0.0), "random": (0.0, 0.0), "reversed": (-1.0, 0.0), "taste": (0.0, 1.0)}
"""Manner → how much of the quality, and of the other quality, a labeler sees."""
BAD = (("l00", "random"), ("l01", "random"), ("l02", "reversed"))


@dataclass(frozen=True)
class SimulatedCampaign:
    """A campaign and what is true of it."""

    quality: np.ndarray
    """(tasks, completions)"""
    judgments: tuple[Judgment, ...]
    gold: Mapping[str, Answer]
    """Task → the right answer, for the gold tasks."""
    manners: Mapping[str, str]


def ranks_of(perceived: Sequence[float]) -> tuple[int, ...]:
    """Dense ranks; what lies less than the tie width below the best of a tie joins it."""
    ranks, current, best = [0] * len(perceived), 0, np.inf
    for i in np.argsort(-np.asarray(perceived)):
        if best - perceived[i] >= TIE_WIDTH:
            best, current = perceived[i], current + 1
        ranks[i] = current
    return tuple(ranks)


def ranking(task: str, labeler: str, ranks: tuple[int | None, ...]) -> Judgment:
    """A judgment with nothing in it but the ranking."""
    num = len(ranks)
    return Judgment(
        id=f"{task}/{labeler}", campaign_id="c", task_id=task, prompt_id=task, completion_ids=tuple("abcdefghi"[:num]),
        shown_order=tuple(range(num)), question="?", polarity=1, answer=RankingAnswer(ranks), labeler_id=labeler,
        labeler_kind="simulated",
    )  # fmt: skip


@cache
def campaign(
    seed: int,
    *,
    num_tasks: int = 200,
    num_completions: int = 4,
    overlap: int = 3,
    num_labelers: int = 12,
    manners: tuple[tuple[str, str], ...] = BAD,
    gold_share: float = 0.0,
) -> SimulatedCampaign:
    """One campaign; the first tasks are the gold ones, of clear quality and known answer, given to all alike."""
    rng = np.random.default_rng(seed)
    labelers = [f"l{i:02d}" for i in range(num_labelers)]
    by_name = dict.fromkeys(labelers, "attentive") | dict(manners)
    quality = rng.normal(size=(num_tasks, num_completions))
    other = rng.normal(size=quality.shape)
    noise = dict(zip(labelers, rng.uniform(0.6, 1.3, num_labelers), strict=True))
    tasks = [f"{i:04d}" for i in range(num_tasks)]
    num_gold = round(gold_share * num_tasks)
    judgments = []
    for row, (task, chosen) in enumerate(zip(tasks, assign(tasks, labelers, overlap, seed), strict=True)):
        for name in chosen:
            first, second = MANNERS[by_name[name]]
            seen = first * quality[row] + second * other[row] + noise[name] * rng.normal(size=num_completions)
            judgments.append(ranking(task, name, ranks_of(seen)))
    gold: dict[str, Answer] = {tasks[row]: RankingAnswer(ranks_of(quality[row])) for row in range(num_gold)}
    return SimulatedCampaign(quality, tuple(judgments), gold, by_name)
