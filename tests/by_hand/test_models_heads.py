"""What heads start from: zeros, a normal draw of a known size, or a seed."""

from __future__ import annotations

import pytest
import torch

from preflab.models.heads import CriteriaHead, ScalarHead
from preflab.training.joined_rows import join_rows
from tiny_worlds import all_sequences, tiny_trunk

HIDDEN = torch.tensor([[1.0, -2.0, 3.0], [0.5, 0.0, -4.0]])


def test_zero_head_predicts_zero() -> None:
    head = ScalarHead(3, zero=True)
    assert head(HIDDEN).tolist() == [0, 0]
    assert head.linear.weight.count_nonzero() == 0


def test_value_role_starts_at_zero_and_other_heads_do_not() -> None:
    outputs = tiny_trunk(("policy", "value", "reward"))(join_rows(all_sequences(), 0), ("value", "reward"))
    assert outputs["value"].values.count_nonzero() == 0
    assert outputs["value"].last_values.count_nonzero() == 0
    assert outputs["reward"].rewards.count_nonzero() == 16


def test_weights_start_with_a_variance_of_one_over_width_plus_one() -> None:
    """Width 15: variance 1/16. Of 200 heads with 3,000 weights it is within a tenth of that; biases are 0."""
    torch.manual_seed(0)
    for linears in (
        [ScalarHead(15).linear for _ in range(200)],
        [CriteriaHead(15, 1, seed=seed).linear for seed in range(200)],
    ):
        weights = torch.cat([linear.weight.flatten() for linear in linears])
        assert weights.square().mean().item() == pytest.approx(1 / 16, rel=0.1)
        assert all(linear.bias.count_nonzero() == 0 for linear in linears)


def test_criteria_heads_start_from_their_seed_alone() -> None:
    torch.manual_seed(1)
    first = CriteriaHead(4, 3, seed=5).linear.weight
    torch.manual_seed(2)
    again, other = CriteriaHead(4, 3, seed=5).linear.weight, CriteriaHead(4, 3, seed=6).linear.weight
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    beside = CriteriaHead.beside(ScalarHead(4), 3, seed=5).linear.weight
    assert torch.equal(first, beside)


def test_criteria_combine_by_weights_over_their_sum() -> None:
    """Weights 3 and −1: shares 0.75 and −0.25 of scores 1·h₀ + 0.5 and 2·h₁ − 1."""
    head = CriteriaHead(2, 2)
    with torch.no_grad():
        head.linear.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
        head.linear.bias.copy_(torch.tensor([0.5, -1.0]))
    # h = (4, 3): scores 4.5 and 5; 0.75 · 4.5 − 0.25 · 5 = 2.125.
    assert head.combined([3.0, -1.0])(torch.tensor([4.0, 3.0])).item() == pytest.approx(2.125)


def test_a_head_that_takes_over_another_says_what_it_says_with_gain_and_offset() -> None:
    source, target = ScalarHead(2), ScalarHead(2, zero=True)
    with torch.no_grad():
        source.linear.weight.copy_(torch.tensor([[1.0, -1.0]]))
        source.linear.bias.fill_(0.5)
        source.gain.fill_(2.0)
        source.offset.fill_(3.0)
    target.fold_in(source)
    # h = (4, 1): raw 3.5, normalised 2 · 3.5 + 3 = 10.
    assert target.raw(torch.tensor([4.0, 1.0])).item() == pytest.approx(10)
