"""Agreement counted on paper; the interval against a case that can only come out one way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from preflab.feedback.agreement import Share, agreement, leave_one_out, share, strict_agreements
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
    counts: Any = {"a": (1.0, 1.0), "b": (0.0, 3.0)}
    found = share(counts)
    assert found.value == pytest.approx(1 / 4)
    assert (found.num, found.num_tasks) == (4, 2)
    # Resamples of two tasks: aa 1, ab and ba 1/4, bb 0. The 2.5 % ends are the two pure ones.
    assert (found.low, found.high) == (0.0, 1.0)
    same = share({str(i): (1.0, 2.0) for i in range(9)})
    assert (same.low, same.value, same.high) == (0.5, 0.5, 0.5)


def test_interval_is_of_a_thousand_resamples_of_tasks() -> None:
    """The same draw written out: 20 tasks of differing size, hits and trials added up, quantiles of 2.5 and 97.5 %."""
    counts = {f"{i:02d}": (float(i % 3), 3.0 + i) for i in range(20)}
    sums = [[0.0, 0.0] for _ in range(1000)]
    for row, tasks in enumerate(np.random.default_rng(4).integers(20, size=(1000, 20))):
        for task in tasks:
            sums[row][0] += task % 3
            sums[row][1] += 3 + task
    expected = np.quantile([hits / trials for hits, trials in sums], [0.025, 0.975])
    found = share(counts, seed=4)
    assert (found.low, found.high) == pytest.approx(tuple(expected))


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
