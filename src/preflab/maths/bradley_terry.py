"""Probabilities and losses of preferences: Bradley–Terry and Davidson's extension to ties.

Scores are log-strengths (natural logarithm), defined up to one constant per prompt: only differences count. The reward
model learns with `bradley_terry_loss` by default; Davidson's model is for data whose ties should be learned from.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from preflab.maths.masks import check_same_shape

A_WINS, TIE, B_WINS = 0, 1, 2
"""Outcomes, and the indices of their probabilities in the last dimension."""


def preference_probability(score_a: Tensor, score_b: Tensor) -> Tensor:
    """P(a ≻ b) = σ(score_a − score_b).

    Shapes broadcast. Source: Bradley & Terry 1952, with score = log of the strength.
    """
    return torch.sigmoid(score_a - score_b)


def bradley_terry_loss(
    chosen_scores: Tensor,
    rejected_scores: Tensor,
    *,
    labels: Tensor | None = None,
    margins: Tensor | None = None,
    weights: Tensor | None = None,
    denominator: float | Tensor | None = None,
) -> Tensor:
    """Negative log-likelihood of preferences between pairs, averaged by weight.

    d = chosen_scores − rejected_scores − margins
    loss = −Σ weights · [labels · log σ(d) + (1 − labels) · log σ(−d)] / denominator

    All tensors (P,), one entry per pair; the loss is 0-d. `labels` is the soft P(chosen ≻ rejected), by default 1;
    `margins` is subtracted from the difference, by default 0; `weights` defaults to 1. `denominator` defaults to
    the sum of the weights. A pair of weight 0 is left out, even if its scores are NaN.

    Equal scores cost ln 2. Ties have no label here: leave them out, or pass them to `davidson_loss`.
    Source: Bradley & Terry 1952; Ouyang et al. 2022 eq. 1; margins: Touvron et al. 2023 eq. 2.
    """
    check_same_shape(chosen_scores=chosen_scores, rejected_scores=rejected_scores)
    differences = chosen_scores - rejected_scores
    if margins is not None:
        differences = differences - margins
    differences = _leave_out_unweighted(differences, weights)
    if labels is None:
        losses = -logsigmoid(differences)
    else:
        losses = -(labels * logsigmoid(differences) + (1 - labels) * logsigmoid(-differences))
    return _weighted_mean(losses, weights, denominator)


def davidson_loss(
    score_a: Tensor,
    score_b: Tensor,
    outcomes: Tensor,
    log_nu: float | Tensor,
    *,
    weights: Tensor | None = None,
    denominator: float | Tensor | None = None,
) -> Tensor:
    """−Σ weights · log P(outcome) / denominator, if a tie is a third choice of strength ν · √(strength_a · strength_b).

    (P_a, P_tie, P_b) = softmax(d/2, log_nu, −d/2) with d = score_a − score_b

    log_nu → −∞ is Bradley–Terry. Given that there is no tie, P_a / P_b = exp(d) exactly, so dropping tied pairs and
    fitting Bradley–Terry is unbiased under this model.

    score_a, score_b, weights (P,); outcomes (P,) integers A_WINS, TIE or B_WINS; 0-d. `denominator` defaults to the
    sum of the weights; a pair of weight 0 is left out. `log_nu` may be a parameter that is learned. Source: Davidson
    1970.
    """
    check_same_shape(score_a=score_a, score_b=score_b, outcomes=outcomes)
    differences = _leave_out_unweighted(score_a - score_b, weights)
    log_probabilities = _davidson_log_probabilities(differences, torch.zeros_like(differences), log_nu)
    return _weighted_mean(-_pick(log_probabilities, outcomes), weights, denominator)


def _davidson_log_probabilities(score_a: Tensor, score_b: Tensor, log_nu: float | Tensor) -> Tensor:
    half = (score_a - score_b) / 2
    tie = torch.as_tensor(log_nu, dtype=half.dtype, device=half.device).expand_as(half)
    return torch.stack([half, tie, -half], dim=-1).log_softmax(-1)


def _pick(log_probabilities: Tensor, outcomes: Tensor) -> Tensor:
    return log_probabilities.gather(-1, outcomes.unsqueeze(-1)).squeeze(-1)


def _leave_out_unweighted(differences: Tensor, weights: Tensor | None) -> Tensor:
    if weights is None:
        return differences
    check_same_shape(differences=differences, weights=weights)
    return torch.where(weights != 0, differences, torch.zeros_like(differences))


def _weighted_mean(losses: Tensor, weights: Tensor | None, denominator: float | Tensor | None) -> Tensor:
    if weights is None:
        weights = torch.ones_like(losses)
    if denominator is None:
        denominator = weights.sum()
    return (weights * losses).sum() / denominator
