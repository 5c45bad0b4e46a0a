"""Shares of repeated n-grams, counted by hand."""

from __future__ import annotations

import pytest

from preflab.training.rollouts import repeat_shares


def test_share_of_repeated_trigrams() -> None:
    """121212 has the 3-grams 121, 212, 121, 212: two of four stood earlier. 1111 has two, both 111. 123 has one."""
    assert repeat_shares([[1, 2, 1, 2, 1, 2], [1, 1, 1, 1], [1, 2, 3]]) == pytest.approx([0.5, 0.5, 0.0])


def test_completions_shorter_than_n_have_no_share() -> None:
    assert repeat_shares([[1, 2], [], [1, 1, 1]]) == [0.0]
    assert repeat_shares([[1, 1], [2]], n=1) == pytest.approx([0.5, 0.0])


def test_only_n_grams_of_one_turn_of_the_policy_count() -> None:
    """1 2 3 | 9 9 9 | 1 2 3 4: of the policy 123, 123, 234, one of three repeated. What the environment says does not
    count, nor an n-gram across turns; a completion without three tokens in a turn has no share."""
    own = [True] * 3 + [False] * 3 + [True] * 4
    short = [True, True, False, True, True]
    shares = repeat_shares([[1, 2, 3, 9, 9, 9, 1, 2, 3, 4], [1, 1, 1, 1, 1], [5, 5, 5, 5]], [own, short, None])
    assert shares == pytest.approx([1 / 3, 0.5])
