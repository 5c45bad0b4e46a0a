"""ROUGE by counting on paper, and against the textbook's table."""

from __future__ import annotations

import random

import pytest

from preflab.evaluation.rouge import KINDS, best_rouge, common_subsequence, rouge_words

REFERENCE = "police killed the gunman"
"""Lin's example (2004, section 3): two candidates with equal ROUGE-2 that ROUGE-L tells apart."""


def test_words_are_runs_of_letters_and_digits() -> None:
    assert rouge_words("It's 5 o'clock, snake_case!") == ["it", "s", "5", "o", "clock", "snake", "case"]
    assert rouge_words("Grüße aus Łódź") == ["grüße", "aus", "łódź"]
    assert rouge_words(" … ") == []


def test_rouge_of_lins_example() -> None:
    # "police kill the gunman": 3 of 4 words shared, of 3 pairs only "the gunman"; in order: police … the gunman.
    first = {kind: best_rouge(kind, "Police kill the gunman.", [REFERENCE]) for kind in KINDS}
    assert (first["1"].f1, first["2"].f1, first["l"].f1) == (3 / 4, pytest.approx(1 / 3), 3 / 4)
    # "the gunman kill police": the same words and pair, but in order only "the gunman".
    second = {kind: best_rouge(kind, "the gunman kill police", [REFERENCE]) for kind in KINDS}
    assert (second["1"].f1, second["2"].f1, second["l"].f1) == (3 / 4, pytest.approx(1 / 3), 2 / 4)


def test_a_repeated_word_counts_as_often_as_the_reference_has_it() -> None:
    # "the the the cat" against "the cat": overlap 2 (one "the", one "cat"); precision 2/4, recall 2/2, F1 = 2/3.
    score = best_rouge("1", "the the the cat", ["the cat"])
    assert (score.precision, score.recall, score.f1) == (0.5, 1.0, pytest.approx(2 / 3))
    # Pairs: the the ×2, the cat; the reference has "the cat" alone: precision 1/3, recall 1, F1 = 2/4.
    pairs = best_rouge("2", "the the the cat", ["the cat"])
    assert (pairs.precision, pairs.recall, pairs.f1) == (pytest.approx(1 / 3), 1.0, pytest.approx(0.5))


def test_of_several_references_the_one_with_the_highest_f1_counts() -> None:
    # Against "a b c d" F1 is 2·1·½/1.5 = 2/3; against "a b x" it is 2·1·⅔/(5/3) = 4/5.
    assert best_rouge("1", "a b", ["a b c d", "a b x"]).f1 == pytest.approx(4 / 5)
    assert best_rouge("1", "a b", ["a b x", "a b c d"]).recall == pytest.approx(2 / 3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("text", "reference"), [("", "a b"), ("a b", ""), ("?!", "?!"), ("c", "a b")])
def test_nothing_in_common_is_zero(kind: str, text: str, reference: str) -> None:
    assert best_rouge(kind, text, [reference]).f1 == 0


def test_stems_make_forms_of_a_word_equal() -> None:
    assert rouge_words("Parcels moving the cars", stems=True) == ["parcel", "move", "the", "car"]
    assert best_rouge("1", "moving parcels", ["he moves a parcel"]).f1 == 0
    # moving, parcels ↔ moves, parcel: precision 2/2, recall 2/4, F1 = 2/3. Three letters or fewer are never stemmed.
    assert best_rouge("1", "moving parcels", ["he moves a parcel"], stems=True).f1 == pytest.approx(2 / 3)
    assert best_rouge("1", "ads", ["ad"], stems=True).f1 == 0


def test_one_word_has_no_pairs() -> None:
    assert best_rouge("2", "yes", ["yes"]).f1 == 0
    assert best_rouge("1", "yes", ["yes"]).f1 == 1


def test_no_reference_is_an_error() -> None:
    with pytest.raises(ValueError):
        best_rouge("1", "yes", [])


def _textbook(first: str, second: str) -> int:
    """The recurrence L[i][j] = L[i−1][j−1] + 1 where the letters agree, else max(L[i−1][j], L[i][j−1])."""
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, a in enumerate(first, 1):
        for j, b in enumerate(second, 1):
            table[i][j] = table[i - 1][j - 1] + 1 if a == b else max(table[i - 1][j], table[i][j - 1])
    return table[-1][-1]


def test_common_subsequence_agrees_with_the_textbooks_table() -> None:
    draw = random.Random(0)
    for _ in range(300):
        first, second = ("".join(draw.choices("abc", k=draw.randrange(90))) for _ in range(2))
        assert common_subsequence(first, second) == _textbook(first, second)
    assert common_subsequence("ABCBDAB", "BDCABA") == 4  # BCBA, Cormen et al., section 15.4
