"""Groups of completions by hand: advantages, reductions, ratios of whole completions."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from preflab.maths import reductions
from preflab.maths.advantages import group_relative, leave_one_out, without_spread
from preflab.maths.losses import PolicyLoss
from preflab.maths.sequence_ratio import (
    LogRatio,
    clipped_ratio_loss,
    sequence_mean_log_ratio,
    sequence_sum_log_ratio,
    token_log_ratio,
    weighted_sequence_kl,
)

NAN = math.nan
LN2 = math.log(2)


def rows(*lists: list[float]) -> Tensor:
    return torch.tensor(lists, dtype=torch.float64)


# --- advantages -----------------------------------------------------------------------------------------------------


def test_group_relative_without_division() -> None:
    # Mean of 1, 2, 6 is 3; of 5, 5, 5 it is 5.
    found = group_relative(rows([1, 2, 6], [5, 5, 5]), divide_by_std=False)
    assert found.tolist() == [[-2, -1, 3], [0, 0, 0]]


def test_group_relative_divides_by_the_sample_standard_deviation() -> None:
    # 0, 0, 2, 2: mean 1, squares 1 + 1 + 1 + 1 = 4 over K − 1 = 3, so ±√(3/4). 7, 3 → ±2, squares 8 over 1: ±1/√2.
    found = group_relative(rows([0, 0, 2, 2]), divide_by_std=True, std_floor=0.0)
    half = math.sqrt(3) / 2
    torch.testing.assert_close(found, rows([-half, -half, half, half]))
    found = group_relative(rows([7, 3]), divide_by_std=True, std_floor=0.0)
    torch.testing.assert_close(found, rows([1 / math.sqrt(2), -1 / math.sqrt(2)]))


def test_the_floor_is_added_to_the_deviation() -> None:
    # −1, 0, 1: squares 2 over 2, deviation 1; with a floor of 1 the advantages are half as large. By default 1e-4.
    assert group_relative(rows([-1, 0, 1]), divide_by_std=True, std_floor=1.0).tolist() == [[-0.5, 0, 0.5]]
    found = group_relative(rows([-1, 0, 1]), divide_by_std=True)
    assert found[0, 2].item() == pytest.approx(1 / 1.0001, abs=1e-12)


def test_a_group_without_spread_has_no_advantages_however_it_is_rounded() -> None:
    rewards = rows([0.1, 0.1 + 1e-9, 0.1], [1e6, 1e6 + 0.1, 1e6], [0, 1e-3, 0])
    assert without_spread(rewards).tolist() == [True, True, False]
    for divide in (True, False):
        found = group_relative(rewards, divide_by_std=divide, std_floor=0.0)
        assert found[:2].tolist() == [[0, 0, 0], [0, 0, 0]]
        assert found[2, 1] > 0


@pytest.mark.parametrize(
    ("rewards", "equal"),
    [([0, 1e-6], True), ([0, 1.01e-6], False), ([1e6, 1e6 + 1], True), ([1e6, 1e6 + 1.1], False)],
)
def test_rewards_equal_to_a_millionth_of_the_largest_or_of_one(rewards: list[float], equal: bool) -> None:
    assert without_spread(rows(rewards)).tolist() == [equal]


def test_leave_one_out() -> None:
    # 1 against (2 + 6)/2 = 4; 2 against 3.5; 6 against 1.5.
    assert leave_one_out(rows([1, 2, 6])).tolist() == [[-3, -1.5, 4.5]]
    assert leave_one_out(rows([3, 1])).tolist() == [[2, -2]]


@pytest.mark.parametrize(
    "advantages", [leave_one_out, lambda r: group_relative(r, divide_by_std=True)], ids=["rloo", "grpo"]
)
def test_one_completion_alone_is_refused(advantages: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ValueError, match="at least 2 completions"):
        advantages(rows([1], [2]))
    with pytest.raises(ValueError, match="at least 2 completions"):
        advantages(rows([1, 2])[0])


def test_advantages_carry_no_gradient() -> None:
    rewards = rows([1, 2, 6]).requires_grad_()
    assert not leave_one_out(rewards).requires_grad
    assert not group_relative(rewards, divide_by_std=True).requires_grad


# --- reductions -----------------------------------------------------------------------------------------------------

MASK = torch.tensor([[True, True, True, True], [True, True, False, False]])
COUNTS = reductions.StepCounts(num_sequences=2, num_tokens=6, max_tokens=8)
TERMS = rows([1, 2, 3, 6], [4, 6, NAN, NAN])
LOSSES: dict[reductions.Reduction, float] = {
    # ((1 + 2 + 3 + 6)/4 + (4 + 6)/2)/2 = (3 + 5)/2
    reductions.sequence_mean: 4.0,
    # (12 + 10)/6
    reductions.token_mean: 22 / 6,
    # 22/(8 · 2)
    reductions.constant_length: 22 / 16,
    # (12 + 10)/2
    reductions.sequence_sum: 11.0,
}


@pytest.mark.parametrize("reduction", LOSSES, ids=lambda reduction: reduction.__name__)
def test_reductions(reduction: reductions.Reduction) -> None:
    torch.set_default_dtype(torch.float64)
    found = reductions.weighted_sum(TERMS, MASK, reduction(MASK, COUNTS))
    assert found.item() == pytest.approx(LOSSES[reduction], abs=1e-12)


def test_completion_without_a_token_has_a_finite_weight() -> None:
    """Its length counts as 1: of two completions, 1/(2 · 2) and 1/(1 · 2)."""
    mask = torch.tensor([[True, True], [False, False]])
    assert reductions.sequence_mean(mask, COUNTS).tolist() == [[0.25, 0.25], [0.5, 0.5]]


@pytest.mark.parametrize("reduction", LOSSES, ids=lambda reduction: reduction.__name__)
def test_parts_of_a_step_add_up_to_the_step(reduction: reductions.Reduction) -> None:
    """With a wider mask for one part: padding changes no weight."""
    torch.set_default_dtype(torch.float64)
    first = reductions.weighted_sum(TERMS[:1], MASK[:1], reduction(MASK[:1], COUNTS))
    second = reductions.weighted_sum(TERMS[1:, :2], MASK[1:, :2], reduction(MASK[1:, :2], COUNTS))
    assert (first + second).item() == pytest.approx(LOSSES[reduction], abs=1e-12)


# --- ratios ---------------------------------------------------------------------------------------------------------

# Two completions of two and one tokens. Log-ratios ln 2 and ln 8: mean ln 4, sum ln 16. The other −ln 2.
OLD_LOGPS = rows([-4 * LN2, -5 * LN2], [-LN2, NAN])
LOGPS = rows([-3 * LN2, -2 * LN2], [-2 * LN2, NAN])
RATIO_MASK = torch.tensor([[True, True], [True, False]])
ONES = torch.ones(2, 2, dtype=torch.float64)


@pytest.mark.parametrize(
    ("log_ratio", "first"),
    [
        (token_log_ratio, [LN2, 3 * LN2]),
        (sequence_mean_log_ratio, [2 * LN2] * 2),
        (sequence_sum_log_ratio, [4 * LN2] * 2),
    ],
)
def test_log_ratios(log_ratio: LogRatio, first: list[float]) -> None:
    torch.testing.assert_close(log_ratio(LOGPS, OLD_LOGPS, RATIO_MASK), rows(first, [-LN2, 0]))


@pytest.mark.parametrize("log_ratio", [token_log_ratio, sequence_mean_log_ratio, sequence_sum_log_ratio])
def test_each_place_of_a_log_ratio_has_the_gradient_of_its_own_token(log_ratio: LogRatio) -> None:
    logps, old_logps = LOGPS.clone().requires_grad_(), OLD_LOGPS.clone().requires_grad_()
    (log_ratio(logps, old_logps, RATIO_MASK) * rows([1, 10], [100, 1000])).sum().backward()
    assert logps.grad is not None
    assert logps.grad.tolist() == [[1, 10], [100, 0]]
    assert old_logps.grad is None


def ratio_loss(logps: Tensor, advantages: Tensor, log_ratio: LogRatio, clip_low: float, clip_high: float) -> PolicyLoss:
    return clipped_ratio_loss(
        logps, OLD_LOGPS, advantages, RATIO_MASK, 0.5 * ONES, log_ratio=log_ratio, clip_low=clip_low,
        clip_high=clip_high, num_tokens=3.0,
    )  # fmt: skip


def test_ratio_loss_per_token() -> None:
    found = ratio_loss(LOGPS, rows([1, 1], [-1, NAN]), token_log_ratio, 0.25, 4.0)
    # Ratios 2, 8, ½; limits 0.75 and 5. A 1: −2; −5 clipped. A −1: max(½, ¾) = ¾ clipped. Half of the sum −6.25.
    assert found.loss.item() == pytest.approx(-3.125)
    assert found.clip_fraction.item() == pytest.approx(2 / 3)
    # ratio − 1 − ln ratio: 1 − ln 2, 7 − 3 ln 2, ln 2 − ½.
    assert found.approx_kl.item() == pytest.approx((7.5 - 3 * LN2) / 3)
    assert found.max_ratio_deviation.item() == pytest.approx(7)


def test_ratio_loss_per_completion() -> None:
    logps = LOGPS.clone().requires_grad_()
    found = ratio_loss(logps, rows([1, 3], [-1, NAN]), sequence_mean_log_ratio, 0.25, 4.0)
    found.loss.backward()
    # Ratios 4, 4, ½: −4 − 12 + ¾ clipped, halved. Gradient −ratio · A / 2 at each token's own logp.
    assert found.loss.item() == pytest.approx(-7.625)
    assert found.clip_fraction.item() == pytest.approx(1 / 3)
    assert found.max_ratio_deviation.item() == pytest.approx(3)
    assert logps.grad is not None
    torch.testing.assert_close(logps.grad, rows([-2, -6], [0, 0]))
    clipped = ratio_loss(LOGPS, rows([1, 3], [-1, NAN]), sequence_sum_log_ratio, 0.25, 4.0)
    # Ratio 16, clipped at 5: −5 − 15 + ¾, halved. Its distance from the old policy is that of the tokens, as before.
    assert clipped.loss.item() == pytest.approx(-9.625)
    assert clipped.approx_kl.item() == pytest.approx((7.5 - 3 * LN2) / 3)


def test_far_apart_completions_stay_finite() -> None:
    logps = rows([-1.0, -1.0], [-1.0, NAN]).requires_grad_()
    found = clipped_ratio_loss(
        logps, rows([-900, -900], [-1, NAN]), -ONES, RATIO_MASK, ONES, log_ratio=sequence_sum_log_ratio,
        clip_low=0.2, clip_high=0.2, num_tokens=3.0,
    )  # fmt: skip
    found.loss.backward()
    assert found.loss.item() == pytest.approx(2 * math.exp(20) + 1)
    assert logps.grad is not None
    assert logps.grad.tolist() == [[0, 0], [1, 0]]


def test_weighted_sequence_kl() -> None:
    logps = rows([-1, -2], [-3, NAN]).requires_grad_()
    weights = rows([0.25, 0.25], [0.5, 0.5])
    loss = weighted_sequence_kl(logps, rows([-2, -4], [-2, NAN]), RATIO_MASK, weights)
    loss.backward()
    # Log-ratios of the completions 3 and −1: ¼ · 9/2 + ½ · 1/2; gradients weight · log-ratio.
    assert loss.item() == pytest.approx(9 / 8 + 1 / 4)
    assert logps.grad is not None
    assert logps.grad.tolist() == [[0.75, 0.75], [-0.5, 0]]


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        ratio_loss(LOGPS, rows([1, 2])[0], token_log_ratio, 0.2, 0.2)
