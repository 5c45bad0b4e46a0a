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
