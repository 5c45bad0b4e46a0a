"""The dial on matrices that are worked out by hand: scaling, averaging products, exact ends."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from preflab.errors import PreflabError
from preflab.explain.dial import average, check_setting, weights_at

WEIGHT = torch.tensor([[1.0, 2.0], [3.0, 4.0]])


def adapted(b: list[list[float]], a: list[list[float]], scale: float = 1.0, weight: Tensor = WEIGHT) -> Tensor:
    """W + s · B A."""
    return weight + scale * torch.tensor(b) @ torch.tensor(a)


def test_scaling_by_hand() -> None:
    """B A = [[1], [2]] [[1, −1]] = [[1, −1], [2, −2]], times s = 2; then times the setting, added to W."""
    run = adapted([[1.0], [2.0]], [[1.0, -1.0]], 2.0)
    assert torch.equal(run, torch.tensor([[3.0, 0.0], [7.0, 0.0]]))
    assert torch.equal(weights_at(WEIGHT, run, 0.5), torch.tensor([[2.0, 1.0], [5.0, 2.0]]))
    assert torch.equal(weights_at(WEIGHT, run, 1.5), torch.tensor([[4.0, -1.0], [9.0, -2.0]]))


def test_products_are_averaged_and_not_factors() -> None:
    """Run 1 learned B A = diag(1, 0), run 2 diag(0, 1). The mean of the products is I / 2.

    The means of the factors are B = [[1/2], [1/2]] and A = [[1/2, 1/2]]: every entry of their product is 1/4.
    """
    nothing = torch.zeros(2, 2)
    first = adapted([[1.0], [0.0]], [[1.0, 0.0]], weight=nothing)
    second = adapted([[0.0], [1.0]], [[0.0, 1.0]], weight=nothing)
    of_factors = adapted([[0.5], [0.5]], [[0.5, 0.5]], weight=nothing)
    assert torch.equal(of_factors, torch.full((2, 2), 0.25))
    assert torch.equal(average([first, second]), torch.tensor([[0.5, 0.0], [0.0, 0.5]]))
    assert torch.equal(average([WEIGHT + first, WEIGHT + second]), WEIGHT + torch.tensor([[0.5, 0.0], [0.0, 0.5]]))


def test_runs_of_different_rank_are_averaged() -> None:
    """Rank 1 gives [[1, −1], [2, −2]], rank 2 (B = I) gives A = [[3, 1], [0, 2]]: the mean is [[2, 0], [1, 0]]."""
    first = adapted([[1.0], [2.0]], [[1.0, -1.0]])
    second = adapted([[1.0, 0.0], [0.0, 1.0]], [[3.0, 1.0], [0.0, 2.0]])
    assert torch.equal(average([first, second]) - WEIGHT, torch.tensor([[2.0, 0.0], [1.0, 0.0]]))


def test_ends_are_exact_where_a_sum_would_round() -> None:
    """1e20 + (1e-20 − 1e20) is 0 in float64, not 1e-20."""
    start, end = torch.tensor([1e20, 0.1, -0.0]), torch.tensor([1e-20, 0.3, 0.0])
    assert (start[0].double() + (end[0].double() - start[0].double())).item() == 0.0
    assert weights_at(start, end, 1.0) is end
    assert weights_at(start, end, 0.0) is start
    assert average([end]) is end


def test_the_type_of_the_run_is_kept() -> None:
    half = weights_at(torch.tensor([1.0], dtype=torch.bfloat16), torch.tensor([2.0], dtype=torch.bfloat16), 0.5)
    assert half.dtype == torch.bfloat16
    assert half.item() == 1.5


@pytest.mark.parametrize("setting", [-0.1, 1.51, math.nan, math.inf])
def test_settings_outside_are_refused(setting: float) -> None:
    with pytest.raises(PreflabError) as caught:
        check_setting(setting)
    assert "from 0 (the reference) over 1 (the run) to 1.5" in caught.value.expected
