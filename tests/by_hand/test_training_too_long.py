"""Rows that are too long: which fit, which are left out, and what a cut leaves of a prompt."""

from __future__ import annotations

import pytest

from preflab.errors import PreflabError
from preflab.training.batches import TokenSequence
from preflab.training.too_long import LongRows

TEN = TokenSequence((1, 2, 3, 4, 5), (6, 7, 8, 9, 10))
SHORT = TokenSequence((1, 2, 3, 4, 5), (6,))


def test_rows_up_to_the_limit_are_left_as_they_are() -> None:
    rows = LongRows(10, "refuse")
    assert rows.fitted([TEN, SHORT], "line 1") == (TEN, SHORT)
    assert rows.figures == {}
    rows.check(1)


def test_a_cut_takes_the_surplus_from_behind_the_first_token() -> None:
    # 10 tokens for 8: two go, of every completion's prompt alike; with room for one more three go.
    rows = LongRows(8, "cut_prompt")
    assert rows.fitted([TEN, SHORT], "line 1") == (
        TokenSequence((1, 4, 5), TEN.completion_ids),
        TokenSequence((1, 4, 5), (6,)),
    )
    assert LongRows(8, "cut_prompt", room=1).fitted([TEN], "line 1") == (TokenSequence((1, 5), TEN.completion_ids),)
    assert LongRows(10, "cut_prompt", room=0).fitted([TEN], "line 1") == (TEN,)
    assert rows.figures == {"num_too_long": 1.0}
    rows.check(1)


def test_a_row_whose_completion_alone_is_too_long_is_refused() -> None:
    # Four of five prompt tokens can go, the first one stays.
    assert LongRows(6, "cut_prompt").fitted([TEN], "line 1") == (TokenSequence((1,), TEN.completion_ids),)
    rows = LongRows(5, "cut_prompt")
    assert rows.fitted([TEN], "line 1") is None
    with pytest.raises(PreflabError, match="line 1"):
        rows.check(3)


def test_rows_are_left_out_where_asked_for() -> None:
    rows = LongRows(9, "leave_out")
    assert rows.fitted([TEN], "line 1") is None
    rows.check(1)
    with pytest.raises(PreflabError, match="1 token too long"):
        rows.check(0)
