"""Agreement of an AI with people, counted by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from preflab.feedback.with_people import agreement_with_people, mean_ratings
from preflab.records import Answer, Judgment, LabelerKind, LikertAnswer, RankingAnswer


def judgment(
    labeler: str, kind: LabelerKind, completions: tuple[str, ...], answer: Answer, prompt: str = "p"
) -> Judgment:
    name = f"{labeler}-{'-'.join(completions)}"
    return Judgment(
        name, "c", f"t-{prompt}", prompt, completions, (0, 1, 2)[: len(completions)], "?", 1, answer, labeler, kind
    )


def test_agreement_with_people_counts_every_strict_vote() -> None:
    ai = [
        judgment("ai", "ai", ("a", "b", "c"), RankingAnswer((1, 2, 2))),  # a > b, a > c, b = c
        judgment("ai", "ai", ("d", "e"), RankingAnswer((1, 2)), "q"),
    ]
    people = [
        judgment("one", "person", ("c", "b", "a"), RankingAnswer((1, 2, 3))),  # c > b, c > a, b > a
        judgment("two", "person", ("a", "b"), RankingAnswer((1, 2))),  # a > b
        judgment("two", "person", ("d", "e"), RankingAnswer((1, 1)), "q"),  # a tie says nothing
    ]
    num_both, share = agreement_with_people(ai, people)
    # a b: one against, two with the AI; a c: one against; b c: the AI's tie says nothing. 1 of 3.
    assert num_both == 4
    assert (share.value, share.num) == (pytest.approx(1 / 3), 3)


def test_agreement_with_people_without_common_pairs_is_undefined() -> None:
    ai = [judgment("ai", "ai", ("a", "b"), RankingAnswer((1, 2)))]
    people = [judgment("one", "person", ("x", "y"), RankingAnswer((1, 2)))]
    num_both, share = agreement_with_people(ai, people)
    assert (num_both, share.value) == (0, None)


def test_mean_ratings_of_people_by_completion() -> None:
    people = [
        judgment("one", "person", ("a", "b"), LikertAnswer({"help": (4, 2)})),
        judgment("two", "person", ("a", "b"), LikertAnswer({"help": (4, None)})),
    ]
    found = mean_ratings(people)["help"]
    assert found["a"] == pytest.approx(4.0, abs=0.3)
    assert found["b"] == pytest.approx(2.0, abs=0.5)


def test_the_interval_is_over_prompts() -> None:
    """Twenty prompts with one pair each; the AI agrees on every third."""
    ai = [judgment("ai", "ai", ("a", "b"), RankingAnswer((1, 2)), f"{i}") for i in range(20)]
    people = [
        judgment("one", "person", ("a", "b"), RankingAnswer((1, 2) if i % 3 == 0 else (2, 1)), f"{i}")
        for i in range(20)
    ]
    ai = [replace(one, completion_ids=(f"a{i}", f"b{i}")) for i, one in enumerate(ai)]
    people = [replace(one, completion_ids=(f"a{i}", f"b{i}")) for i, one in enumerate(people)]
    num_both, found = agreement_with_people(ai, people)
    assert (num_both, found.value, found.num, found.num_tasks) == (20, 7 / 20, 20, 20)
    # Wilson's interval of 7 in 20.
    z = 1.959964
    centre, half = 7 / 20 + z * z / 40, z * (7 / 20 * 13 / 20 / 20 + z * z / 1600) ** 0.5
    ends = [(centre + side * half) / (1 + z * z / 20) for side in (-1, 1)]
    assert (found.low, found.high) == pytest.approx(tuple(ends), abs=1e-6)
