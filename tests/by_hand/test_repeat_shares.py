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


def test_only_tokens_of_the_policy_count() -> None:
    """The policy wrote 123 and 123, an environment 999 between: of 123, 123 one of two 3-grams stood earlier.

    With all tokens there would be 123 239 399 999 991 912 123, one of seven.
    """
    row, written = [1, 2, 3, 9, 9, 9, 1, 2, 3], [True] * 3 + [False] * 3 + [True] * 3
    assert repeat_shares([row], written=[written]) == pytest.approx([0.5])
    assert repeat_shares([row, [1, 1, 1]], written=[[False] * 9, None]) == [0.0], "the first has none"
