"""The best of n completions: how far it is from the model that wrote them, and what it is worth, for every n at once.

Best-of-n samples n completions and keeps the one with the highest score. It needs no training, and is what every
claim about reinforcement learning is compared with. N completions of a prompt, scores (..., N).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from preflab.maths.masks import check_same_shape


def best_of_n_kl_bound(n: int) -> float:
    """log n − (n − 1)/n: an upper bound on KL(best-of-n ‖ model), in nats, reached where all scores differ.

    Exact for a continuous score; smaller where completions repeat or scores tie. Source: Stiennon et al. 2020,
    appendix G.3; that it is a bound: Beirami et al. 2024.
    """
    if n < 1:
        raise ValueError(f"n is {n}; expected at least 1")
    return math.log(n) - (n - 1) / n


def order_statistic_weights(num: int) -> Tensor:
    """weights[n − 1, i] = C(i, n − 1) / C(num, n): the chance that the i-th smallest of `num` is the best of n of them.

    i counts from 0. (num, num) float64, every row adds up to 1. In logarithms, so that large `num` stay finite.
    """
    counts = torch.arange(num, dtype=torch.float64)
    n = counts.unsqueeze(-1) + 1
    log_weights = _log_choose(counts, n - 1) - _log_choose(torch.full_like(n, num), n)
    return torch.where(counts >= n - 1, log_weights.exp(), 0.0)


def expected_best_of(scores: Tensor, values: Tensor | None = None) -> Tensor:
    """Unbiased estimates, for every n from 1 to N, of what the best of n completions is worth.

    estimates[n − 1] = Σ_i values_(i) · C(i, n − 1) / C(N, n), i the rank of its score from 0: the mean over all
    subsets of n of the N completions, of the value of the one with the highest score.

    scores, values (..., N) → (..., N) float64. `values` are what is looked at where that is not the score itself, such
    as a held-out judge's; tied scores share their values, as if the tie were broken at random. Source: Nakano et
    al. 2021 (WebGPT), appendix on rejection sampling; for values 0 and 1 it is pass@k of Chen et al. 2021.

    Raises ValueError where a score or value is not finite.
    """
    values = scores if values is None else values
    check_same_shape(scores=scores, values=values)
    if not (torch.isfinite(scores).all() and torch.isfinite(values).all()):
        raise ValueError("scores or values are not finite")
    ordered, order = scores.double().sort(-1)
    values = _shared_by_ties(values.double().gather(-1, order), ordered)
    return values @ order_statistic_weights(scores.shape[-1]).T


def best_of_n_probabilities(probabilities: Tensor, scores: Tensor, n: int) -> Tensor:
    """The exact distribution of best-of-n where every completion can be listed.

    P(y) = probabilities_y / mass_y · ((below_y + mass_y)^n − below_y^n), mass_y that of all completions that score as
    much as y, below_y that of all that score less: ties are broken by the first one drawn.

    probabilities, scores (N,) → (N,).
    """
    check_same_shape(probabilities=probabilities, scores=scores)
    tied = scores.unsqueeze(0) == scores.unsqueeze(1)
    less = scores.unsqueeze(0) < scores.unsqueeze(1)
    mass = (tied * probabilities).sum(-1)
    below = (less * probabilities).sum(-1)
    return probabilities / mass * ((below + mass) ** n - below**n)


def _log_choose(n: Tensor, k: Tensor) -> Tensor:
    """log C(n, k); any number where k > n."""
    return torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma((n - k).clamp(min=0) + 1)


def _shared_by_ties(values: Tensor, ordered: Tensor) -> Tensor:
    """Each value replaced by the mean over the places with the same score; both (..., N), scores ascending."""
    tied = (ordered.unsqueeze(-1) == ordered.unsqueeze(-2)).to(values.dtype)
    return (tied @ values.unsqueeze(-1)).squeeze(-1) / tied.sum(-1)
