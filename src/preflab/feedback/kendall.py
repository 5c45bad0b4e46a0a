"""Kendall's tau-b between two rankings and W among several, both corrected for ties.

tau-b is 0 by chance. W of m random rankings is about 1/m, so 0.33 for three labelers is no agreement at all.
Kendall 1945 (ties in tau); Kendall and Babington Smith 1939 (W).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
from scipy.stats import rankdata

from preflab.feedback.estimates import NO_VARIATION, NOTHING, Estimate, estimate_mean

Ranks = Sequence[int | None]
"""One labeler's ranks of a task's completions from 1; None for an F."""


def tau_b(first: Ranks, second: Ranks) -> float | None:
    """tau_b = (concordant − discordant) / √((pairs − ties in first) · (pairs − ties in second)).

    Completions that either labeler marked F are left out; None where one of the rankings ties everything.
    """
    both = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    signs = [((a > c) - (a < c), (b > d) - (b < d)) for (a, b), (c, d) in combinations(both, 2)]
    scale = sum(a != 0 for a, _ in signs) * sum(b != 0 for _, b in signs)
    return sum(a * b for a, b in signs) / scale**0.5 if scale else None


def kendall_w(rankings: Sequence[Ranks]) -> float | None:
    """W = (12 Σ_i R_i² − 3 m² n (n + 1)²) / (m² n (n² − 1) − m Σ_j T_j),  T_j = Σ over ties of ranking j of t³ − t.

    R_i is the sum of the m labelers' ranks of completion i (tied completions take their mean rank); i runs over the n
    completions that nobody marked F. None with fewer than two rankings or completions, or if all rankings tie
    everything.
    """
    table = np.array([[np.nan if rank is None else rank for rank in ranks] for ranks in rankings], dtype=float)
    if len(rankings) < 2:
        return None
    table = table[:, ~np.isnan(table).any(axis=0)]
    m, n = table.shape
    ranks = np.apply_along_axis(rankdata, 1, table) if n else table
    ties = sum(float((sizes**3 - sizes).sum()) for sizes in (np.unique(row, return_counts=True)[1] for row in ranks))
    below = m**2 * n * (n**2 - 1) - m * ties
    above = 12 * float((ranks.sum(axis=0) ** 2).sum()) - 3 * m**2 * n * (n + 1) ** 2
    return above / below if below > 0 else None


def mean_tau_b(tasks: Iterable[Sequence[Ranks]]) -> Estimate:
    """The mean tau-b over all couples of labelers in all tasks, each of which has its rankings."""
    taus = [[tau_b(a, b) for a, b in combinations(rankings, 2)] for rankings in tasks]
    return _mean(taus)


def mean_w(tasks: Iterable[Sequence[Ranks]]) -> Estimate:
    """The mean W over tasks with at least two rankings."""
    return _mean([[kendall_w(rankings)] for rankings in tasks if len(rankings) > 1])


def _mean(values_by_task: Sequence[Sequence[float | None]]) -> Estimate:
    """The mean of the values that are not None; without any, the note says whether data or variation is missing."""
    defined = [[value for value in values if value is not None] for values in values_by_task]
    counts = np.array([[sum(values), len(values)] for values in defined if values], dtype=float).reshape(-1, 2)
    if not len(counts):
        num = sum(bool(values) for values in values_by_task)
        return Estimate(None, None, None, num, NO_VARIATION if num else NOTHING)
    return estimate_mean(counts)
