"""The learning rate by step, and clipping, against numbers worked out here."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from preflab.errors import PreflabError
from preflab.settings.learning import OptimiserSettings
from preflab.training.optimiser import clip_gradients, learning_rate_factor, make_optimiser, set_learning_rate
from preflab.training.row_order import row_at, rows_of_step, split, steps_per_epoch


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        # 10 steps, the first 2 a warm-up: a third and two thirds of the peak, then 8 steps from the peak downwards.
        ("linear", [1 / 3, 2 / 3, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]),
        ("constant", [1 / 3, 2 / 3, *[1] * 8]),
        # Half-way through the decay cos(pi / 2) = 0; a quarter of the way cos(pi / 4) = 1 / sqrt(2).
        ("cosine", [1 / 3, 2 / 3, 1, None, 0.5 + 0.5 / math.sqrt(2), None, 0.5, None, 0.5 - 0.5 / math.sqrt(2), None]),
    ],
)
def test_schedules(schedule: str, factors: list[float | None]) -> None:
    settings = OptimiserSettings(schedule=schedule, warmup_share=0.2)
    for step, expected in enumerate(factors):
        if expected is not None:
            assert learning_rate_factor(step, 10, settings) == pytest.approx(expected), step


@pytest.mark.parametrize(
    ("share", "num_steps", "num_warmup"),
    [
        (0.29, 100, 29),  # 28.999999999999996 in floating point
        (0.57, 100, 57),  # 56.99999999999999
        (0.07, 100, 7),  # 7.000000000000001
        (0.1, 30, 3),
        (1 / 3, 3, 1),
        (0.1, 29, 2),  # 2.9: down
        (0.02, 149, 2),  # 2.98
        (0.333333, 3, 0),  # 0.999999
        (0.0, 10, 0),
    ],
)
def test_warm_up_takes_its_share_of_the_steps(share: float, num_steps: int, num_warmup: int) -> None:
    settings = OptimiserSettings(schedule="constant", warmup_share=share)
    below_peak = [learning_rate_factor(step, num_steps, settings) for step in range(num_warmup)]
    assert below_peak == pytest.approx([(step + 1) / (num_warmup + 1) for step in range(num_warmup)])
    assert learning_rate_factor(num_warmup, num_steps, settings) == 1.0


def test_every_group_follows_its_own_peak() -> None:
    one, other = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    settings = OptimiserSettings(adam_eps=1e-3, adam_beta1=0.5, adam_beta2=0.75, weight_decay=0.25)
    optimiser = make_optimiser([([one], 0.5), ([], 9.0), ([other], 2.0)], settings, nn.Module())
    assert set_learning_rate(optimiser, 0.25) == 0.125
    assert [group["lr"] for group in optimiser.param_groups] == [0.125, 0.5]
    for group in optimiser.param_groups:
        assert (group["eps"], group["betas"], group["weight_decay"]) == (1e-3, (0.5, 0.75), 0.25)


def test_clipping_scales_all_gradients_by_their_joint_norm() -> None:
    one, other = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    one.grad, other.grad = torch.tensor([3.0]), torch.tensor([4.0])
    assert clip_gradients([one, other], 1.0) == pytest.approx(5)
    assert [one.grad.item(), other.grad.item()] == pytest.approx([0.6, 0.8], abs=1e-5)
    assert clip_gradients([one, other], 10.0) == pytest.approx(1, abs=1e-5)
    assert [one.grad.item(), other.grad.item()] == pytest.approx([0.6, 0.8], abs=1e-5)


def test_a_gradient_that_is_no_number_is_refused() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    parameter.grad = torch.tensor([math.inf])
    with pytest.raises(PreflabError, match="norm is (inf|nan)"):
        clip_gradients([parameter], 1.0)


def test_every_epoch_takes_every_row_once_in_an_order_of_its_own() -> None:
    assert steps_per_epoch(7, 3) == 3
    epochs = [[rows_of_step(epoch * 3 + place, 7, 3, seed=0) for place in range(3)] for epoch in range(2)]
    assert [len(rows) for rows in epochs[0]] == [3, 3, 1]
    orders = [[row for rows in epoch for row in rows] for epoch in epochs]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(7))
    assert orders[0] != orders[1]
    assert [row for rows in (rows_of_step(place, 7, 3, seed=1) for place in range(3)) for row in rows] != orders[0]


def test_a_stream_without_end_takes_every_row_once_in_each_pass() -> None:
    passes = [[row_at(number * 7 + place, 7, seed=0) for place in range(7)] for number in range(2)]
    assert sorted(passes[0]) == sorted(passes[1]) == list(range(7))
    assert passes[0] != passes[1]
    assert [row_at(place, 7, seed=1) for place in range(7)] != passes[0]
    assert [row_at(place, 7, seed=0) for place in reversed(range(14))] == [*passes[1][::-1], *passes[0][::-1]]


def test_parts_differ_in_size_by_at_most_one() -> None:
    assert split([5, 6, 7, 8, 9], 2) == [[5, 6], [7, 8, 9]]
    assert split([1, 2, 3], 3) == [[1], [2], [3]]
