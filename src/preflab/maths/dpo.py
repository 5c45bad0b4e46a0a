"""Learning from preferences without a reward model: DPO and its relatives.

With h = log-ratio of the chosen completion − log-ratio of the rejected one, log-ratio = log π(y|x) − log π_ref(y|x):

    dpo      −log σ(β h)                                     Bradley–Terry with the implicit reward β · log-ratio
    cdpo     (1 − ε)(−log σ(β h)) + ε(−log σ(−β h))          labels smoothed because a share ε is wrong
    robust   [(1 − ε)(−log σ(β h)) − ε(−log σ(−β h))] / (1 − 2ε)   an unbiased correction for wrong labels
    ipo      (h − 1 / (2τ))²                                 a finite target for h
    hinge    max(0, 1 − β h)                                 no gradient beyond the margin
    simpo    −log σ(β (log π(chosen)/|chosen| − log π(rejected)/|rejected|) − γ)       no reference
    orpo     −log π(chosen)/|chosen| + λ(−log σ(log odds(chosen) − log odds(rejected)))   no reference
    kto      1 − σ(± β (log-ratio − z))                      single completions with thumbs, no pairs

The label q of a pair is P(chosen ≻ rejected), 1 if the winner is certain. Every loss of pairs is q · loss +
(1 − q) · loss of the reversed pair. `denominator` is the sum of the weights of the whole optimiser step; None uses the
sum of the weights given here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from preflab.maths.bradley_terry import bradley_terry_loss
from preflab.maths.masks import check_same_shape

Denominator = float | Tensor | None


class Side(NamedTuple):
    """One side of P pairs, or N completions with thumbs; all of one shape."""

    logps: Tensor
    """Σ_t log π(token) of each completion, nats."""
    ref_logps: Tensor
    """The same under the reference; no gradient."""
    lengths: Tensor
    """Tokens of each completion that count."""

    @property
    def log_ratios(self) -> Tensor:
        """log π(y|x) − log π_ref(y|x), nats."""
        return self.logps - self.ref_logps.detach()


class Pairs(NamedTuple):
    """P pairs of completions of one prompt each; all (P,)."""

    chosen: Side
    rejected: Side
    labels: Tensor
    """P(chosen ≻ rejected) to be learned, in [0, 1]."""
    weights: Tensor
    """Weight of each pair, such as its share of a ranking or the agreement of the labelers."""

    def log_ratio_differences(self, length_normalised: bool = False) -> Tensor:
        """h = log-ratio(chosen) − log-ratio(rejected), each divided by its tokens if length_normalised; (P,)."""
        measure = mean_log_ratios if length_normalised else log_ratios
        return measure(self.chosen) - measure(self.rejected)


class Verdicts(NamedTuple):
    """N single completions that were judged good or bad; all (N,)."""

    completions: Side
    up: Tensor
    """Share of thumbs up, in [0, 1]."""
    weights: Tensor


def dpo_loss(
    pairs: Pairs,
    *,
    beta: float,
    margin: float = 0.0,
    length_normalised: bool = False,
    denominator: Denominator = None,
) -> Tensor:
    """Direct preference optimisation: Σ weights · −log σ(beta · h − margin) / denominator; 0-d.

    It is `bradley_terry_loss` of the implicit rewards beta · log-ratio. With labels P(y ≻ y') = σ(u(y) − u(y')) its
    minimum is π* ∝ π_ref · exp(u / beta). `length_normalised` divides each log-ratio by its tokens, which is another
    reward and another optimum. Source: Rafailov et al. 2023 eq. 7; margin: Amini et al. 2024 (offset DPO) with a
    constant offset; length normalisation: Lambert et al. 2024 (Tülu 3).
    """
    return _bradley_terry(beta * pairs.log_ratio_differences(length_normalised), pairs, margin, denominator)


def cdpo_loss(pairs: Pairs, *, beta: float, flip_rate: float, denominator: Denominator = None) -> Tensor:
    """Conservative DPO: labels q are replaced by (1 − flip_rate) · q + flip_rate · (1 − q); 0-d.

    The loss of a single pair is smallest at beta · h = log((1 − flip_rate) / flip_rate). It does not correct the flips:
    its minimum is not π*, see `robust_loss`. Source: Mitchell 2023, "A note on DPO with noisy preferences".
    """
    labels = (1 - flip_rate) * pairs.labels + flip_rate * (1 - pairs.labels)
    return dpo_loss(pairs._replace(labels=labels), beta=beta, denominator=denominator)


def robust_loss(pairs: Pairs, *, beta: float, flip_rate: float, denominator: Denominator = None) -> Tensor:
    """Robust DPO: labels q are replaced by (q − flip_rate) / (1 − 2 · flip_rate), which may be outside [0, 1]; 0-d.

    For q = 1 that is [(1 − ε)(−log σ(d)) − ε(−log σ(−d))] / (1 − 2ε). If a share flip_rate of the labels was flipped at
    random, its expectation is DPO's loss on the true labels, so its minimum is π*. The loss of a single pair is not
    bounded from below. Source: Chowdhury et al. 2024, "Provably robust DPO".

    Raises ValueError unless flip_rate is in [0, 0.5).
    """
    if not 0 <= flip_rate < 0.5:
        raise ValueError(f"flip_rate is {flip_rate}; expected at least 0 and below 0.5: labels at 0.5 say nothing")
    labels = (pairs.labels - flip_rate) / (1 - 2 * flip_rate)
    return dpo_loss(pairs._replace(labels=labels), beta=beta, denominator=denominator)


def ipo_loss(pairs: Pairs, *, tau: float, length_normalised: bool = False, denominator: Denominator = None) -> Tensor:
    """Identity preference optimisation: Σ weights · (h − 1/(2 tau))² / denominator; 0-d, nats².

    With pairs drawn from μ its minimum is π ∝ π_ref · exp(P(y ≻ μ) / tau); certain labels pull h only up to
    1/(2 tau). `length_normalised` uses log-ratios per token, as in the authors' runs and in TRL. Source: Azar
    et al. 2023 eq. 17.
    """
    h, target = pairs.log_ratio_differences(length_normalised), 1 / (2 * tau)
    return _mean(pairs.labels * (h - target).square() + (1 - pairs.labels) * (h + target).square(), pairs, denominator)


def hinge_loss(pairs: Pairs, *, beta: float, denominator: Denominator = None) -> Tensor:
    """Σ weights · max(0, 1 − beta · h) / denominator; 0-d.

    A pair has no gradient beyond beta · h = 1. Source: Zhao et al. 2023 (SLiC-HF) on log-ratios, as in Liu et al. 2024
    (RSO).
    """
    d = beta * pairs.log_ratio_differences()
    return _mean(pairs.labels * (1 - d).relu() + (1 - pairs.labels) * (1 + d).relu(), pairs, denominator)


def simpo_loss(pairs: Pairs, *, beta: float, margin: float, denominator: Denominator = None) -> Tensor:
    """SimPO: −log σ(beta · (mean logp of chosen − mean logp of rejected) − margin), averaged by weight; 0-d.

    `margin` is the paper's γ. There is no reference, so nothing keeps the policy near its start: with margin 0 and
    labels σ(u(y) − u(y')) its minimum over completions of equal length T is π ∝ exp(T · u / beta). Source: Meng et
    al. 2024 eq. 6.
    """
    d = beta * (mean_logps(pairs.chosen) - mean_logps(pairs.rejected))
    return _bradley_terry(d, pairs, margin, denominator)


def orpo_loss(pairs: Pairs, *, odds_weight: float, denominator: Denominator = None) -> Tensor:
    """ORPO: negative mean logp of the chosen + odds_weight · −log σ(log odds(chosen) − log odds(rejected)); 0-d.

    odds = p / (1 − p) with p the geometric mean of the completion's token probabilities. `odds_weight` is the paper's
    λ. There is no reference. Source: Hong et al. 2024 eqs. 3 to 7.
    """
    d = log_odds(pairs.chosen) - log_odds(pairs.rejected)
    return chosen_nll_loss(pairs, denominator=denominator) + odds_weight * _bradley_terry(d, pairs, 0.0, denominator)


def chosen_nll_loss(pairs: Pairs, *, denominator: Denominator = None) -> Tensor:
    """Negative mean log-probability of the chosen completion's tokens, averaged by weight; 0-d, nats per token.

    Added to DPO, it keeps the chosen completions likely. Source: Pang et al. 2024 (iterative RPO) eq. 1.
    """
    chosen, rejected = mean_logps(pairs.chosen), mean_logps(pairs.rejected)
    return _mean(-(pairs.labels * chosen + (1 - pairs.labels) * rejected), pairs, denominator)


def kto_loss(
    verdicts: Verdicts,
    *,
    beta: float,
    kl: Tensor | float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
    denominator: Denominator = None,
) -> Tensor:
    """Kahneman–Tversky optimisation on single completions; 0-d.

    good: desirable_weight · (1 − σ(beta · (log-ratio − kl)))
    bad:  undesirable_weight · (1 − σ(beta · (kl − log-ratio)))

    `kl` is z₀, the zero point of gains and losses, without gradient: see `kto_kl`. A completion counts as good with
    the share `up` and as bad with the rest. Source: Ethayarajh et al. 2024, section 4.
    """
    z = kl.detach() if isinstance(kl, Tensor) else kl
    gain = beta * (verdicts.completions.log_ratios - z)
    good = desirable_weight * verdicts.up * torch.sigmoid(-gain)
    bad = undesirable_weight * (1 - verdicts.up) * torch.sigmoid(gain)
    return _mean(good + bad, verdicts, denominator)


def kto_kl(mismatched_log_ratios: Tensor) -> Tensor:
    """z₀ = max(0, mean log-ratio of completions under prompts they were not written for); 0-d, without gradient.

    (N,) → 0-d. A cheap estimate of KL(π ‖ π_ref), biased but the same for all completions of a step. Source:
    Ethayarajh et al. 2024, section 4.
    """
    return mismatched_log_ratios.detach().mean().clamp(min=0)


def log_ratios(side: Side) -> Tensor:
    """log π(y|x) − log π_ref(y|x) of each completion, nats."""
    return side.log_ratios


def mean_log_ratios(side: Side) -> Tensor:
    """Log-ratio of each completion divided by its tokens, nats per token."""
    return side.log_ratios / side.lengths


def mean_logps(side: Side) -> Tensor:
    """Mean log-probability of each completion's tokens, nats per token."""
    return side.logps / side.lengths


def log_odds(side: Side) -> Tensor:
    """log p − log(1 − p), p = exp(mean logp) < 1; accurate if p is near 0 or near 1.

    p is kept below 1 by one part in 10⁷, because the odds of a certain completion are infinite.
    """
    logp = mean_logps(side).clamp(max=-1e-7)
    return logp - torch.where(logp > -math.log(2), torch.log(-torch.expm1(logp)), torch.log1p(-torch.exp(logp)))


class Quantity(NamedTuple):
    """A number per completion that preference losses compare, such as the log-ratio."""

    value: Callable[[Side], Tensor]
    """Returns (N,) for N completions."""
    formula: str
    """With r for the log-ratio and π for the policy's probability of the whole completion."""
    reads_reference: bool


IMPLICIT: dict[str, Quantity] = {
    "log_ratio": Quantity(log_ratios, "r", reads_reference=True),
    "mean_log_ratio": Quantity(mean_log_ratios, "r / tokens", reads_reference=True),
    "mean_logp": Quantity(mean_logps, "log π / tokens", reads_reference=False),
    "log_odds": Quantity(log_odds, "log odds of the mean probability", reads_reference=False),
}
"""Name → quantity; times a scale it is the implicit reward of a policy trained with one of these losses."""


def _bradley_terry(d: Tensor, pairs: Pairs, margin: float, denominator: Denominator) -> Tensor:
    """q · BT(d − margin) + (1 − q) · BT(−d − margin): the losses of the pair and of the reversed pair by the label."""
    denominator = pairs.weights.sum() if denominator is None else denominator
    none, margins = torch.zeros_like(d), torch.full_like(d, margin)
    right, wrong = pairs.labels * pairs.weights, (1 - pairs.labels) * pairs.weights
    return bradley_terry_loss(d, none, margins=margins, weights=right, denominator=denominator) + bradley_terry_loss(
        none, d, margins=margins, weights=wrong, denominator=denominator
    )


def _mean(losses: Tensor, examples: Pairs | Verdicts, denominator: Denominator) -> Tensor:
    check_same_shape(losses=losses, weights=examples.weights)
    counted = torch.where(examples.weights != 0, losses, torch.zeros_like(losses))
    return (examples.weights * counted).sum() / (examples.weights.sum() if denominator is None else denominator)
