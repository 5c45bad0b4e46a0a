"""The likelihoods of a reward model by hand, at strengths 1, 2 and 4."""

from __future__ import annotations

from math import exp, log
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from preflab.records import PairOutcome, Preference
from preflab.rewards.objectives import Nuisance, bradley_terry_nll, davidson_nll, plackett_luce_nll
from preflab.rewards.rankings import LabelledPair, Ranking, hard_pairs_and_ties, soft_pairs_and_ties
from preflab.rewards.train import Denominators, add_nuisance, ranking_loss, spread_within
from preflab.settings.learning import RewardSettings
from preflab.training.batches import TokenSequence


def ranking(pairs: tuple[LabelledPair, ...], ranks: tuple[int | None, ...], lengths: tuple[int, ...]) -> Ranking:
    return Ranking("p", (TokenSequence((1,), (2,)),) * len(ranks), pairs, ranks, lengths)


def logs(*strengths: float) -> Tensor:
    return torch.tensor([log(s) for s in strengths], dtype=torch.float64)


def test_two_pairs_of_bradley_terry() -> None:
    # 4 beats 1: 4/5; 2 beats 4: 2/6. Weights ½ each.
    made = ranking((LabelledPair(2, 0, 1.0, 0.5), LabelledPair(1, 2, 1.0, 0.5)), (3, 1, 2), (1, 1, 1))
    expected = -0.5 * (log(4 / 5) + log(1 / 3))
    assert bradley_terry_nll(logs(1, 2, 4), [made]).item() == pytest.approx(expected, abs=1e-7)


def test_davidson_with_a_tie_a_win_and_a_share() -> None:
    # ν = 1. Strengths 1 and 4: weights √(1/4)=½, 1, 2 of P_a, P_tie, P_b: tie 1/3.5. Equal strengths: a third each.
    tied = ranking((LabelledPair(0, 2, 0.5, 1.0, tie=1.0),), (1, None, 1), (1, 1, 1))
    assert davidson_nll(logs(1, 2, 4), [tied]).item() == pytest.approx(log(3.5), abs=1e-7)
    won = ranking((LabelledPair(2, 0, 1.0, 1.0),), (2, None, 1), (1, 1, 1))
    assert davidson_nll(logs(1, 2, 4), [won]).item() == pytest.approx(-log(2 / 3.5), abs=1e-7)
    # Half of the votes a tie, of the others three quarters for the stronger: ½ ln 3.5 + ⅜ (−ln 2/3.5) + ⅛ (−ln ½/3.5)
    mixed = ranking((LabelledPair(2, 0, 0.75, 1.0, tie=0.5),), (2, None, 1), (1, 1, 1))
    expected = -(0.5 * log(1 / 3.5) + 0.375 * log(2 / 3.5) + 0.125 * log(0.5 / 3.5))
    assert davidson_nll(logs(1, 2, 4), [mixed]).item() == pytest.approx(expected, abs=1e-7)


def test_davidson_weighs_its_pairs_and_divides_by_nothing() -> None:
    """Half the weight for a tie of 1 and 4, a quarter for the 4: ½ ln 3.5 − ¼ ln(2/3.5), weights that sum to ¾."""
    pairs = (LabelledPair(0, 2, 0.5, 0.5, tie=1.0), LabelledPair(2, 0, 1.0, 0.25))
    made = ranking(pairs, (1, None, 1), (1, 1, 1))
    expected = 0.5 * log(3.5) - 0.25 * log(2 / 3.5)
    assert davidson_nll(logs(1, 2, 4), [made]).item() == pytest.approx(expected, abs=1e-7)


def test_davidson_learns_how_often_equals_tie() -> None:
    # Equal scores, a tie in half of the votes: at the optimum ν / (2 + ν) = ½, so log ν = ln 2.
    nuisance = Nuisance(learns_ties=True, length_scale=None)
    made = ranking((LabelledPair(0, 1, 0.5, 1.0, tie=0.5),), (1, 1), (1, 1))
    optimiser = torch.optim.SGD(nuisance.parameters(), lr=2.0)
    for _ in range(200):
        optimiser.zero_grad()
        davidson_nll(torch.zeros(2), [made], nuisance).backward()
        optimiser.step()
    assert nuisance.figures()["log_nu"] == pytest.approx(log(2), abs=1e-4)


def test_plackett_luce_takes_the_whole_order_and_its_weight() -> None:
    # 4 from all (4/7), then 1 from what is left (1/3).
    made = ranking((LabelledPair(2, 0, 1.0, 0.5),), (2, 3, 1), (1, 1, 1))
    assert plackett_luce_nll(logs(1, 2, 4), [made]).item() == pytest.approx(-0.5 * log(4 / 7 / 3), abs=1e-7)
    two = plackett_luce_nll(torch.cat([logs(1, 2, 4), logs(4, 1)]), [made, ranking(made.pairs[:1], (1, 2), (1, 1))])
    assert two.item() == pytest.approx(-0.5 * (log(4 / 7 / 3) + log(4 / 5)), abs=1e-7)


def test_the_length_term_explains_and_the_score_is_left_with_the_rest() -> None:
    # Lengths 10 and 30 with a scale of 10 and a slope of ½: 1.5 − 0.5 = 1 more for the longer one.
    nuisance = Nuisance(learns_ties=False, length_scale=10.0)
    assert nuisance.length_slope is not None
    torch.nn.init.constant_(nuisance.length_slope, 0.5)
    made = ranking((LabelledPair(0, 1, 1.0, 1.0),), (1, 2), (10, 30))
    loss = ranking_loss(torch.zeros(2), [made], Denominators(1.0, 2), nuisance=nuisance)
    assert loss.item() == pytest.approx(log(1 + exp(1.0)), abs=1e-6)
    loss.backward()
    # ∂/∂slope of −log σ(−2 slope) at ½: 2 σ(1)
    assert nuisance.length_slope.grad is not None
    assert nuisance.length_slope.grad.item() == pytest.approx(2 / (1 + exp(-1.0)), abs=1e-6)


def test_spread_is_about_the_mean_of_each_group() -> None:
    # (0, 2) and (10, 14): squares 1, 1, 4, 4.
    assert spread_within([(0, 2), (10, 14)]) == pytest.approx(2.5**0.5)
    assert spread_within([(3, 3)]) == 1.0


def test_ties_are_what_somebody_called_one() -> None:
    # a beats b, a ties c by 3 of 5, nobody agrees on b and c
    pairs = (PairOutcome(0, 1, 3, 0, 0), PairOutcome(0, 2, 1, 1, 3), PairOutcome(1, 2, 1, 1, 0))
    preference = Preference.make("p", ("a", "b", "c"), (1, 2, 1), pairs=pairs)
    assert hard_pairs_and_ties(preference) == (LabelledPair(0, 1, 1.0, 0.5), LabelledPair(0, 2, 0.5, 0.5, tie=1.0))
    third = 1 / 3
    assert soft_pairs_and_ties(preference) == (
        LabelledPair(0, 1, 1.0, third, tie=0.0),
        LabelledPair(0, 2, 0.5, third, tie=0.6),
        LabelledPair(1, 2, 0.5, third, tie=0.0),
    )
    # Half of the weight is not more than half: the consensus leaves (0, 2) open, and so it is no tie.
    half = Preference.make("p", ("a", "b", "c"), (1, 2, 1), pairs=(pairs[0], PairOutcome(0, 2, 1, 1, 2)))
    assert hard_pairs_and_ties(half) == (LabelledPair(0, 1, 1.0, 1.0),)


def test_a_named_fail_takes_the_last_rank() -> None:
    made = ranking((LabelledPair(0, 2, 1.0, 1.0),), (1, 2, None), (5, 6, 7)).drop_unpaired()
    assert (made.ranks, made.lengths) == ((1, 3), (5, 7))


@pytest.mark.parametrize(
    ("likelihood", "length_control", "learned"),
    [
        ("davidson", False, {"log_nu": 0.0}),
        ("davidson", True, {"log_nu": 0.0, "length_slope": 0.0}),
        ("bradley_terry", True, {"length_slope": 0.0}),
        ("plackett_luce", True, {"length_slope": 0.0}),
    ],
)
def test_only_davidsons_likelihood_learns_how_often_ties_come(
    likelihood: Any, length_control: bool, learned: dict[str, float]
) -> None:
    head: Any = SimpleNamespace(nuisance=None)
    trunk: Any = SimpleNamespace(head=lambda role: head)
    settings = RewardSettings(model="m", preferences="p", likelihood=likelihood, length_control=length_control)
    rankings: Any = [SimpleNamespace(lengths=[1.0, 3.0])]
    nuisance = add_nuisance(trunk, rankings, settings)
    assert nuisance is not None
    assert nuisance is head.nuisance
    assert nuisance.figures() == learned
    assert float(nuisance.length_scale) == 1.0  # √((1 + 1)/2) about the mean 2


def test_bradley_terry_without_length_control_learns_scores_alone() -> None:
    head: Any = SimpleNamespace(nuisance=None)
    trunk: Any = SimpleNamespace(head=lambda role: head)
    assert add_nuisance(trunk, [], RewardSettings(model="m", preferences="p")) is None
    assert head.nuisance is None
