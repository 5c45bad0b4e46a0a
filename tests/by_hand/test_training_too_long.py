"""Rows that are too long: which fit, which are left out, and what a cut leaves of a prompt."""

from __future__ import annotations

import pytest

from preflab.errors import PreflabError
from preflab.training.batches import TokenSequence
from preflab.training.token_limits import TokenLimits
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
    with pytest.raises(PreflabError, match="line 1 has 10 tokens, at most 9 tokens fit"):
        rows.check(0)


def test_message_names_the_first_row_and_counts_the_others() -> None:
    rows = LongRows(9, "refuse")
    for place in ("file, line 1", "file, line 4", "file, line 6"):
        assert rows.fitted([TEN], place) is None
    with pytest.raises(PreflabError) as refused:
        rows.check(5)
    message = "file, line 1: prompt and completion are 10 tokens (and 2 more rows: file, line 4, 6)"
    assert (refused.value.found, refused.value.expected) == (message, "at most 9 tokens")
    assert "too_long: leave_out or cut_prompt; raise max_tokens" in refused.value.do


def test_message_says_what_a_cut_could_not_mend_and_what_a_completion_needs() -> None:
    cut = LongRows(5, "cut_prompt")
    assert cut.fitted([TEN], "line 1") is None
    with pytest.raises(PreflabError) as refused:
        cut.check(0)
    assert refused.value.found == "line 1: prompt and completion are 10 tokens, and the completion alone is too long"
    assert "too_long: leave_out; raise" in refused.value.do
    roomy = LongRows(9, "refuse", room=6)
    assert roomy.fitted([TokenSequence((1, 2, 3, 4), ())], "line 2") is None
    with pytest.raises(PreflabError) as refused:
        roomy.check(1)
    assert refused.value.found == "line 2: a prompt of 4 tokens and max_new_tokens 6"
    assert refused.value.do.endswith("or set too_long: leave_out or cut_prompt")


def test_summary_says_what_was_done_to_how_many_rows() -> None:
    assert LongRows(9, "leave_out").said == ""
    left = LongRows(9, "leave_out")
    for line in range(1, 10):
        left.fitted([TEN], f"file, line {line}")
    assert left.said == "; 9 rows longer than 9 tokens left out: file, line 1, 2, 3, 4, 5, 6, 7, 8, …"
    cut = LongRows(9, "cut_prompt", room=1)
    assert cut.fitted([TEN], "line 3") == (TokenSequence((1, 4, 5), TEN.completion_ids),)
    assert cut.said == "; 1 prompt without room for 1 token cut at the beginning: line 3"
    two = LongRows(9, "leave_out")
    for place in ("a, line 1", "b, line 1"):
        two.fitted([TEN], place)
    assert two.said.endswith("left out: a, line 1, b, line 1")


def test_rows_are_cut_by_the_function_that_is_handed_in_only_where_they_are_cut() -> None:
    def halved(sequence: TokenSequence) -> TokenSequence:
        return TokenSequence(sequence.prompt_ids[:1], sequence.completion_ids[:1])

    assert LongRows(9, "cut_prompt", cut=halved).fitted([TEN, SHORT], "line 1") == (TokenSequence((1,), (6,)),) * 2
    assert LongRows(9, "refuse", cut=halved).fitted([TEN], "line 1") is None
    assert LongRows(9, "leave_out", cut=halved).fitted([TEN], "line 1") is None


def test_message_gives_both_lengths_where_each_has_a_limit() -> None:
    rows = LongRows(TokenLimits(prompt=3, completion=8), "refuse")
    completions = [(5,), (5, 6), ()]
    assert rows.fitted([TokenSequence((1, 2, 3, 4), each) for each in completions], "line 1") is None
    with pytest.raises(PreflabError) as refused:
        rows.check(1)
    assert refused.value.found == "line 1: prompt and completion are 6 tokens (4 + 2)", "of the longest"
    assert refused.value.expected == "at most 3 tokens in the prompt and 8 tokens in the completion"
