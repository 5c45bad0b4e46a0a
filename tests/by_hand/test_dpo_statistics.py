"""What a DPO step says about itself, counted by hand: pairs, turned pairs, even ones, and verdicts."""

from __future__ import annotations

import pytest
import torch

from preflab.maths.dpo import Pairs, Side, Verdicts
from preflab.policy.dpo_groups import Weights
from preflab.policy.dpo_losses import ImplicitReward, Learned
from preflab.policy.dpo_statistics import added, figures, statistics

HALF = ImplicitReward("log_ratio", 0.5)


def side(*log_ratios: float) -> Side:
    """Completions of these log-ratios, over a reference that gives each −1 nat, with two tokens each."""
    ratios = torch.tensor(log_ratios)
    return Side(ratios - 1, -torch.ones_like(ratios), torch.full_like(ratios, 2.0))


def learned(labels: list[float], first: Side, second: Side, up: list[float], alone: Side, kl: float = 0.0) -> Learned:
    pairs = Pairs(first, second, torch.tensor(labels), torch.ones(len(labels)))
    verdicts = Verdicts(alone, torch.tensor(up), torch.ones(len(up)))
    return Learned(pairs, verdicts, Weights(1.0, 1.0), kl)


def test_pairs_count_in_the_order_of_their_labels() -> None:
    # In order with margin (3 − 1)/2; turned round with (2 − 6)/2, so right with 2; wrong: (0 − 1)/2; even: left out.
    step = learned([1.0, 0.2, 0.9, 0.5], side(3, 2, 0, 7), side(1, 6, 1, 9), [], side())
    sums = statistics(step, HALF)
    assert sums == pytest.approx({
        "right": 2, "num": 3, "margin": 1 + 2 - 0.5, "num_pairs": 3, "chosen": 3 + 6 + 0, "num_chosen": 3,
        "rejected": 1 + 2 + 1, "num_rejected": 3,
    })  # fmt: skip
    assert figures(sums) == pytest.approx({
        "accuracy/implicit": 2 / 3, "implicit/margin": 2.5 / 3, "logratio/chosen": 3, "logratio/rejected": 4 / 3,
    })  # fmt: skip


def test_verdicts_count_on_their_side_of_the_kl() -> None:
    # z0 = 1. Good 3: right; good 0: wrong; bad −2: right; bad 1: neither, half right; one that leans nowhere.
    step = learned([], side(), side(), [1.0, 0.9, 0.0, 0.1, 0.5], side(3, 0, -2, 1, 8), kl=1.0)
    sums = statistics(step, HALF)
    assert sums == pytest.approx({
        "right": 2.5, "num": 4, "margin": 0, "num_pairs": 0, "chosen": 3, "num_chosen": 2, "rejected": -1,
        "num_rejected": 2,
    })  # fmt: skip
    assert figures(sums) == pytest.approx({
        "accuracy/implicit": 2.5 / 4, "logratio/chosen": 1.5, "logratio/rejected": -0.5,
    })  # fmt: skip


def test_pairs_and_verdicts_of_one_step_add_up() -> None:
    # A pair of 3 over 1 and a tie of rewards (half right); one good verdict at 2, two bad ones at −1 and −3.
    step = learned([1.0, 1.0], side(3, 2), side(1, 2), [1.0, 0.0, 0.0], side(2, -1, -3))
    sums = statistics(step, HALF)
    assert sums == pytest.approx({
        "right": 1.5 + 3, "num": 5, "margin": 1, "num_pairs": 2, "chosen": 5 + 2, "num_chosen": 3,
        "rejected": 3 - 4, "num_rejected": 4,
    })  # fmt: skip
    assert added(added({}, sums), sums) == pytest.approx({name: 2 * value for name, value in sums.items()})
