"""Best-of-n: its KL from the sampled model, and its expected score for every n from one set of samples.

Best-of-n samples n completions and keeps the one with the highest score. It needs no training and is the baseline for
every claim about reinforcement learning. N completions of a prompt have scores of shape (..., N).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from preflab.maths.masks import check_same_shape


def best_of_n_kl_bound(n: int) -> float:
    """log n − (n − 1)/n: an upper bound on KL(best-of-n ‖ model), in nats, reached if all scores differ.

    It is exact for a continuous score; the KL is smaller if completions repeat or scores tie. Source: Stiennon et al.
    2020, appendix G.3; proof that it is a bound: Beirami et al. 2024.
    """
    if n < 1:
        raise ValueError(f"n is {n}; expected at least 1")
    return math.log(n) - (n - 1) / n


def order_statistic_weights(num: int) -> Tensor:
    """weights[n − 1, i] = C(i, n − 1) / C(num, n): the chance that the i-th smallest of `num` is the best of n of them.

    i counts from 0. (num, num) float64; every row sums to 1. Computed with logarithms, so a large `num` stays finite.
    """
    counts = torch.arange(num, dtype=torch.float64)
    n = counts.unsqueeze(-1) + 1
    log_weights = _log_choose(counts, n - 1) - _log_choose(torch.full_like(n, num), n)
    return torch.where(counts >= n - 1, log_weights.exp(), 0.0)


def expected_best_of(scores: Tensor, values: Tensor | None = None) -> Tensor:
    """Unbiased estimates of the expected value of the best of n completions, for every n from 1 to N.

    estimates[n − 1] = Σ_i values_(i) · C(i, n − 1) / C(N, n), i the rank of the score from 0. That is the mean over
    all subsets of size n of the value of the completion with the highest score.

    scores, values (..., N) → (..., N) float64. `values` defaults to the scores; give other values, such as those of a
    held-out judge, to evaluate the choice by them. Tied scores share the mean of their values, as if the tie were
    broken at random. Source: Nakano et al. 2021 (WebGPT), appendix on rejection sampling; for values 0 and 1 it is
    pass@k of Chen et al. 2021.

    Raises ValueError if a score or value is not finite.
    """
    values = scores if values is None else values
    check_same_shape(scores=scores, values=values)
    if not (torch.isfinite(scores).all() and torch.isfinite(values).all()):
        raise ValueError("scores or values are not finite")
    ordered, order = scores.double().sort(-1)
    values = _shared_by_ties(values.double().gather(-1, order), ordered)
    return values @ order_statistic_weights(scores.shape[-1]).T


def _log_choose(n: Tensor, k: Tensor) -> Tensor:
    """log C(n, k); an arbitrary number if k > n."""
    return torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma((n - k).clamp(min=0) + 1)


def _shared_by_ties(values: Tensor, ordered: Tensor) -> Tensor:
    """Each value replaced by the mean over the positions with the same score; both (..., N), scores ascending."""
    tied = (ordered.unsqueeze(-1) == ordered.unsqueeze(-2)).to(values.dtype)
    return (tied @ values.unsqueeze(-1)).squeeze(-1) / tied.sum(-1)
