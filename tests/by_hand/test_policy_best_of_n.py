"""Which completion best-of-n keeps, and what it is worth, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from preflab.policy.best_of_n import keep_best, worth_for_every_n


def test_the_first_of_the_best_is_kept() -> None:
    assert keep_best([1.0, 3.0, 2.0]) == 1
    assert keep_best([0.0, 5.0, 5.0, -1.0]) == 1
    assert keep_best([-2.0]) == 0


def test_worth_is_the_mean_over_prompts_with_its_error() -> None:
    found = worth_for_every_n(torch.tensor([[2.0, 4.0], [8.0, 4.0]]))
    # One: means 3 and 6 of the prompts, 4.5 together; deviation √4.5, over √2: 1.5. Two: 4 and 8, 6 together, error 2.
    assert [(one.n, one.reward, one.error) for one in found] == [
        (1, pytest.approx(4.5), pytest.approx(1.5)),
        (2, pytest.approx(6), pytest.approx(2)),
    ]
    assert found[1].kl_bound == pytest.approx(math.log(2) - 0.5)


def test_one_prompt_has_no_error() -> None:
    assert [one.error for one in worth_for_every_n(torch.tensor([[2.0, 4.0, 1.0]]))] == [None, None, None]


def test_a_judge_may_fall_where_the_reward_rises() -> None:
    rewards, judged = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 5.0, 0.0]])
    # The best of two by reward: the second of the first two, else the third: (5 + 0 + 0)/3.
    assert [one.reward for one in worth_for_every_n(rewards)] == pytest.approx([2, 8 / 3, 3])
    assert [one.reward for one in worth_for_every_n(rewards, judged)] == pytest.approx([2, 5 / 3, 0])
