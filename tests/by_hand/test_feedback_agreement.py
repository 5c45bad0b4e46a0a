"""Agreement counted on paper; the interval against a case that can only come out one way."""

from __future__ import annotations

from math import sqrt
from typing import Any

import pytest

from preflab.feedback.agreement import Share, agreement, leave_one_out, rate, share, strict_agreements
from preflab.feedback.assignment_plan import assign
from preflab.feedback.pair_votes import Vote, pair_votes
from preflab.records import Judgment, RankingAnswer


def ranking(labeler: str, ranks: tuple[int | None, ...], task: str = "t") -> Judgment:
    num = len(ranks)
    return Judgment(
        id=f"{task}/{labeler}", campaign_id="c", task_id=task, prompt_id="p", completion_ids=tuple("abcd"[:num]),
        shown_order=tuple(range(num)), question="?", polarity=1, answer=RankingAnswer(ranks), labeler_id=labeler,
        labeler_kind="person",
    )  # fmt: skip


def votes(*judgments: Judgment) -> list[Vote]:
    return [vote for judgment in judgments for vote in pair_votes(judgment)]


def test_strict_agreement_counts_couples_with_two_opinions() -> None:
    # Pairs ab, ac, bc. ann: + + +. bob: − + +. cid: 0 + +.
    # Couples with two strict votes: ab 1 (ann/bob, differ), ac 3 (agree), bc 3 (agree): 6 of 7.
    found = votes(ranking("ann", (1, 2, 3)), ranking("bob", (2, 1, 3)), ranking("cid", (1, 1, 3)))
    assert strict_agreements(found) == {"t": (6.0, 7.0)}


def test_leave_one_out_by_hand() -> None:
    found = votes(ranking("ann", (1, 2, 3)), ranking("bob", (2, 1, 3)), ranking("cid", (1, 1, 3)))
    # ann: ab + against bob's −: no; ac, bc: yes. cid has no opinion on ab.
    assert leave_one_out(found)["ann"] == {"t": (2.0, 3.0)}
    assert leave_one_out(found)["cid"] == {"t": (2.0, 2.0)}


def test_leave_one_out_skips_pairs_without_a_majority() -> None:
    found = votes(ranking("ann", (1, 2)), ranking("bob", (1, 2)), ranking("cid", (2, 1)))
    assert leave_one_out(found)["cid"] == {"t": (0.0, 1.0)}
    assert "ann" not in leave_one_out(found)


def test_tie_and_fail_counts_by_hand() -> None:
    judgments = [ranking("ann", (1, 1, 2, None)), ranking("bob", (1, 2, 3, 4), task="u")]
    found = agreement(judgments)
    assert found.ties.value == pytest.approx(1 / 9)  # ann votes on 3 pairs, bob on 6
    assert found.fails.value == pytest.approx(1 / 8)
    assert found.labelers["ann"].ties.value == pytest.approx(1 / 3)
    assert found.labelers["ann"].fails.value == pytest.approx(1 / 4)
    assert found.labelers["bob"].num_tasks == 1
    assert (found.num_judgments, found.num_tasks) == (2, 2)


def test_share_of_no_counts_is_undefined() -> None:
    found = agreement([ranking("ann", (1, 2))])
    assert found.strict == Share(None, None, None, 0, 0)
    assert found.labelers["ann"].with_others.value is None


def test_share_is_over_votes_and_its_interval_over_tasks() -> None:
    counts: Any = {"a": (1.0, 1.0), "b": (0.0, 3.0), "none": (0.0, 0.0)}
    found = share(counts)
    assert found.value == pytest.approx(1 / 4)
    assert (found.num, found.num_tasks) == (4, 2)
    # Two tasks of 1 and 3 votes are worth (1 + 3)² / (1 + 9) = 1.6 independent ones: Wilson's interval with n = 1.6.
    z, n = 1.959964, 1.6
    centre, half = 1 / 4 + z * z / (2 * n), z * sqrt(3 / 16 / n + z * z / (4 * n * n))
    ends = [(centre + side * half) / (1 + z * z / n) for side in (-1, 1)]
    assert (found.low, found.high) == pytest.approx(tuple(ends), abs=1e-6)


def test_share_of_full_agreement_has_a_width() -> None:
    # Five of five: 5 / (5 + z²).
    found = share({str(i): (1.0, 1.0) for i in range(5)})
    assert (found.value, found.low, found.high) == (1.0, pytest.approx(5 / (5 + 1.959964**2), abs=1e-6), 1.0)


def test_rate_may_exceed_one() -> None:
    """Pairs decided per label: 20 tasks with 6 or 3 pairs of 3 labels, 1.5 a label."""
    found = rate({f"{i:02d}": (6.0 if i % 2 else 3.0, 3.0) for i in range(20)})
    assert found.value == pytest.approx(1.5)
    # Standard error 0.5 √(20/19) / √20, t of 19 degrees of freedom 2.093024: no end is nearer.
    half = 2.093024 * 0.5 / sqrt(19)
    assert (found.high or 0.0) - 1.5 >= half - 1e-6
    assert (found.high or 0.0) - 1.5 < 1.2 * half
    assert rate({"a": (2.0, 1.0), "b": (1.0, 1.0)}).note == "no interval: too few (n = 2)"


def test_one_other_labeler_is_a_majority() -> None:
    assert leave_one_out(votes(ranking("ann", (1, 2)), ranking("bob", (1, 2)))) == {
        "ann": {"t": (1.0, 1.0)}, "bob": {"t": (1.0, 1.0)},
    }  # fmt: skip


def test_everybody_may_judge_everything() -> None:
    assert assign(["t", "u"], ["ann", "bob"], 2, seed=0) == [("ann", "bob"), ("ann", "bob")]


def test_assignment_is_even_and_repeatable() -> None:
    tasks, people = [f"t{i}" for i in range(40)], list("abcde")
    found = assign(tasks, people, 3, seed=1)
    assert all(len(set(who)) == 3 for who in found)
    counts = [sum(name in who for who in found) for name in people]
    assert counts == [24] * 5
    assert found == assign(tasks, people, 3, seed=1)
    assert found != assign(tasks, people, 3, seed=2)
    together = {frozenset(pair) for who in found for pair in ((who[0], who[1]), (who[0], who[2]), (who[1], who[2]))}
    assert len(together) == 10  # everybody meets everybody
