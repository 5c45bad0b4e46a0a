"""Objectives of a reward model: the negative log-likelihood of rankings under a model of preferences.

| name | learns from | assumption |
| --- | --- | --- |
| `bradley_terry` | pairs that have a winner | each pair is an independent choice (R8) |
| `davidson` | pairs, ties as a third outcome | the closer two scores are, the likelier is a tie |
| `plackett_luce` | whole orders | the best is chosen from all, the next from the remaining ones |

Each is a weighted sum over rankings; `rewards.train` divides it by the weights of the whole step.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Seq

import torch
from torch import Tensor, nn

from preflab.maths.bradley_terry import A_WINS, B_WINS, TIE, bradley_terry_loss, davidson_loss
from preflab.maths.plackett_luce import plackett_luce_log_likelihood
from preflab.rewards.rankings import Ranking
from preflab.training.transfers import to_device


class Nuisance(nn.Module):
    """Parameters that explain judgments besides quality; they are trained with the scores and dropped afterwards.

    explained = score + length_slope · length / length_scale

    With `length_control` the slope should absorb the effect of length, so that the score need not. The two
    are separated only as far as the slope learns faster than the network, so check accuracy by length afterwards.
    Source: after the length term of Dubois et al. 2024 (arXiv 2404.04475), there through a tanh, here linear and in the
    reward model's own likelihood.
    """

    length_scale: Tensor

    def __init__(self, *, learns_ties: bool, length_scale: float | None) -> None:
        """
        Args:
            learns_ties: whether Davidson's log ν is learned; it starts at 0, where equal scores tie with probability ⅓.
            length_scale: unit of length in characters, the spread of lengths in the data; None: no length term.
        """
        super().__init__()
        self.log_nu = nn.Parameter(torch.zeros(())) if learns_ties else None
        self.length_slope = nn.Parameter(torch.zeros(())) if length_scale is not None else None
        self.register_buffer("length_scale", torch.tensor(length_scale or 1.0))

    def explained(self, scores: Tensor, rankings: Seq[Ranking]) -> Tensor:
        """(N,) scores, plus the length term if there is one."""
        if self.length_slope is None:
            return scores
        lengths = [float(length) for ranking in rankings for length in ranking.lengths]
        return scores + self.length_slope * (to_device(torch.tensor(lengths), scores.device) / self.length_scale)

    def figures(self) -> dict[str, float]:
        """The learned parameters by name."""
        named = {"log_nu": self.log_nu, "length_slope": self.length_slope}
        return {name: float(value.detach()) for name, value in named.items() if value is not None}


Objective = Callable[[Tensor, Seq[Ranking], Nuisance | None], Tensor]
"""(N,) scores of all completions of the rankings, one after the other → 0-d sum."""


def bradley_terry_nll(scores: Tensor, rankings: Seq[Ranking], nuisance: Nuisance | None = None) -> Tensor:
    """− Σ weight · [label · log σ(d) + (1 − label) · log σ(−d)], d = score_first − score_second."""
    first, second, labels, weights = pair_columns(rankings, scores.device)
    return bradley_terry_loss(scores[first], scores[second], labels=labels, weights=weights, denominator=1.0)


def davidson_nll(scores: Tensor, rankings: Seq[Ranking], nuisance: Nuisance | None = None) -> Tensor:
    """− Σ weight · [(1 − tie) · (label · log P_a + (1 − label) · log P_b) + tie · log P_tie], P by Davidson 1970."""
    first, second, labels, weights = pair_columns(rankings, scores.device)
    ties = to_device(torch.tensor([pair.tie for ranking in rankings for pair in ranking.pairs]), scores.device)
    log_nu = nuisance.log_nu if nuisance is not None and nuisance.log_nu is not None else 0.0
    shares = torch.stack([(1 - ties) * labels, ties, (1 - ties) * (1 - labels)])
    outcomes = to_device(torch.tensor([A_WINS, TIE, B_WINS]), scores.device)[:, None].expand_as(shares)
    return davidson_loss(
        scores[first].repeat(3),
        scores[second].repeat(3),
        outcomes.reshape(-1),
        log_nu,
        weights=(shares * weights).reshape(-1),
        denominator=1.0,
    )


def plackett_luce_nll(scores: Tensor, rankings: Seq[Ranking], nuisance: Nuisance | None = None) -> Tensor:
    """− Σ weight · log P(order); see `maths.plackett_luce`."""
    parts = scores.split([len(ranking.sequences) for ranking in rankings])
    terms = [
        ranking.weight * plackett_luce_log_likelihood(part, ranking.ranks)
        for part, ranking in zip(parts, rankings, strict=True)
    ]
    return -torch.stack(terms).sum()


OBJECTIVES: dict[str, Objective] = {
    "bradley_terry": bradley_terry_nll,
    "davidson": davidson_nll,
    "plackett_luce": plackett_luce_nll,
}


def pair_columns(rankings: Seq[Ranking], device: torch.device | str = "cpu") -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(P,) indices of first and second among all completions of the rankings, labels, weights."""
    starts = [0]
    for ranking in rankings:
        starts.append(starts[-1] + len(ranking.sequences))
    pairs = [(start, pair) for start, ranking in zip(starts, rankings, strict=False) for pair in ranking.pairs]
    first = torch.tensor([start + pair.first for start, pair in pairs], dtype=torch.long)
    second = torch.tensor([start + pair.second for start, pair in pairs], dtype=torch.long)
    labels = torch.tensor([pair.label for _, pair in pairs], dtype=torch.float32)
    weights = torch.tensor([pair.weight for _, pair in pairs], dtype=torch.float32)
    return tuple(to_device(column, device) for column in (first, second, labels, weights))  # type: ignore[return-value]
