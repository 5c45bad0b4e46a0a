"""The rows of the GRPO family: the KL loss of each treatment by hand, and the published choices."""

from __future__ import annotations

import math

import pytest
import torch

from preflab.models.role_output import RoleOutput
from preflab.policy.variants import KL_LOSSES, VARIANTS

LN2 = math.log(2)
# Two completions, of two tokens and of one; weights of their own for every token.
POLICY = torch.tensor([[-LN2, -LN2], [-2 * LN2, math.nan]])
REFERENCE = torch.tensor([[-2 * LN2, -LN2], [-LN2, math.nan]])
MASK = torch.tensor([[True, True], [True, False]])
WEIGHTS = torch.tensor([[0.25, 0.25], [0.5, 0.5]])


def kl_loss(name: str, output: RoleOutput) -> float:
    return KL_LOSSES[name](output, REFERENCE, MASK, WEIGHTS).item()


def test_token_k3_is_that_of_reference_over_policy() -> None:
    # exp(r) − 1 − r with r = ref − policy: r = −ln 2, 0 and ln 2 give ln 2 − 1/2, 0 and 1 − ln 2.
    expected = 0.25 * (LN2 - 0.5) + 0.5 * (1 - LN2)
    assert kl_loss("token_k3", RoleOutput(logps=POLICY)) == pytest.approx(expected)


def test_exact_kl_is_weighted_per_token() -> None:
    exact = torch.tensor([[1.0, 2.0], [4.0, math.nan]])
    assert kl_loss("exact", RoleOutput(kl=exact)) == pytest.approx(0.25 + 0.5 + 2)


@pytest.mark.parametrize(
    ("name", "clip_low", "clip_high"),
    [("grpo", 0.2, 0.2), ("dr_grpo", 0.2, 0.2), ("dapo", 0.2, 0.28), ("rloo", 0.2, 0.2), ("gspo", 3e-4, 4e-4)],
)
def test_clip_ranges_are_the_published_ones(name: str, clip_low: float, clip_high: float) -> None:
    assert (VARIANTS[name].clip_low, VARIANTS[name].clip_high) == (clip_low, clip_high)


@pytest.mark.parametrize(("name", "divided"), [("grpo", True), ("dr_grpo", False), ("dapo", True), ("gspo", True)])
def test_advantages_are_divided_by_the_deviation_where_published(name: str, divided: bool) -> None:
    # Rewards 0, 2, 4: minus their mean −2, 0, 2, whose deviation by n − 1 is 2.
    advantages = VARIANTS[name].advantages(torch.tensor([[0.0, 2.0, 4.0]]))
    expected = [-1.0, 0.0, 1.0] if divided else [-2.0, 0.0, 2.0]
    assert advantages.tolist()[0] == pytest.approx(expected, abs=1e-3)
