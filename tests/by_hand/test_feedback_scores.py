"""Scores and thumbs of one task, averaged by hand: by reliability, right way up, on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from preflab.feedback.consensus import consensus_of, task_consensus
from preflab.feedback.ratings import level_ratings
from preflab.feedback.reading import Reading
from preflab.feedback.scores import mean_scores, orient_scores, thumbs_share
from preflab.records import Answer, Judgment, LikertAnswer, RankingAnswer, ThumbsAnswer


def judged(labeler: str, answer: Answer, task: str = "t", ids: Sequence[str] = ("a", "b"), **other: Any) -> Judgment:
    fields: dict[str, Any] = {"polarity": 1} | other
    return Judgment(
        f"{task}/{labeler}", "c", task, "p", tuple(ids), tuple(range(len(ids))), "?", answer=answer,
        labeler_id=labeler, labeler_kind="person", **fields,
    )  # fmt: skip


def likert(labeler: str, *scores: int | None, **other: Any) -> Judgment:
    return judged(labeler, LikertAnswer({"kind": scores}), **other)


def test_mean_scores_are_weighted() -> None:
    # a: (1·5 + ½·2) / 1½ = 4; b: ann gave none, so bob's 3.
    found = mean_scores([likert("ann", 5, None), likert("bob", 2, 3)], {"ann": 1.0, "bob": 0.5})
    assert found["kind"] == pytest.approx((4.0, 3.0))


def test_mean_scores_without_weight_are_none() -> None:
    assert mean_scores([likert("rev", 5, 1)], {"rev": 0.0}) == {"kind": (None, None)}
    # Beside ann, rev changes nothing either: a reversed labeler counts nothing until a lead confirms it.
    assert mean_scores([likert("ann", 4, 2), likert("rev", 1, 5)], {"ann": 1.0, "rev": 0.0}) == {"kind": (4.0, 2.0)}


def test_thumbs_share_is_weighted() -> None:
    thumbs = [judged("ann", ThumbsAnswer((True, None))), judged("bob", ThumbsAnswer((False, False)))]
    assert thumbs_share(thumbs, {"ann": 1.0, "bob": 0.25}) == pytest.approx((0.8, 0.0))
    assert thumbs_share([likert("ann", 1, 2)], {"ann": 1.0}) == ()


def test_orient_scores_for_reversal_and_negative_polarity() -> None:
    # On 1 to 5 a 5 becomes a 1; on 1 to 7 a 6 becomes a 2; both at once is as it was.
    (turned,) = orient_scores([likert("rev", 5, None)], {"rev"})
    assert turned.answer == LikertAnswer({"kind": (1, None)})
    (worse,) = orient_scores([judged("ann", RankingAnswer((1, 2), scores={"overall": (6, 1)}), polarity=-1)])
    assert worse.answer == RankingAnswer((1, 2), scores={"overall": (2, 7)})
    (thumbs,) = orient_scores([judged("ann", ThumbsAnswer((True, None)), polarity=-1)])
    assert thumbs.answer == ThumbsAnswer((False, None))
    both = likert("rev", 5, 1, polarity=-1)
    assert orient_scores([both], {"rev"}) == [both]


def test_consensus_scores_are_oriented() -> None:
    harm = [likert("ann", 5, 1, polarity=-1)]  # "how harmful?": a is, b is not
    found = task_consensus(harm, {"ann": 1.0}).preference
    assert found.ranks == (2, 1)
    assert found.scores == {"kind": (1.0, 5.0)}


def campaign() -> list[Judgment]:
    """Worth 2 and 4 in turn; one labeler gives one more, one gives one less; the last task has the kind one alone."""
    tasks = []
    for n in range(60):
        low, high = (2, 4) if n % 2 else (4, 2)
        for who, add in (("strict", -1), ("plain", 0), ("generous", 1)):
            tasks.append(likert(who, low + add, high + add, task=f"t{n:02}", ids=(f"x{n}", f"y{n}")))
    return [*tasks, likert("generous", 5, 3, task="u", ids=("x", "y"))]


def test_consensus_scores_are_levelled() -> None:
    raw = consensus_of(campaign(), Reading(level_scores=False))[-1].preference
    assert raw.scores["kind"] == pytest.approx((5.0, 3.0))
    levelled = consensus_of(campaign())[-1].preference
    assert levelled.scores["kind"] == pytest.approx((4.0, 2.0), abs=0.1)


def test_level_ratings_stay_within_the_scale() -> None:
    # The careless labeler gives 1 and 5 by the parity of n // 2, which has nothing to do with the worth.
    careless = [
        likert("any", *((1, 5) if n // 2 % 2 else (5, 1)), task=f"t{n:02}", ids=(f"x{n}", f"y{n}")) for n in range(60)
    ]
    found = level_ratings([*campaign(), *careless])
    answers = [judgment.answer for judgment in found if judgment.labeler_id == "any"]
    given = [score or 0 for answer in answers if isinstance(answer, LikertAnswer) for score in answer.scores["kind"]]
    assert 1 <= min(given) < 2.5
    assert 3.5 < max(given) <= 5


def ranking(labeler: str, ranks: tuple[int, int], task: str) -> Judgment:
    return judged(labeler, RankingAnswer(ranks), task=task)


def test_weights_with_gold_separate_two_labelers() -> None:
    # On t the two are even. On four gold tasks ann named the known winner each time and rev the other one.
    gold = {f"g{n}": RankingAnswer((1, 2)) for n in range(4)}
    judgments = [ranking("ann", (1, 2), task) for task in (*gold, "t")]
    judgments += [ranking("rev", (2, 1), task) for task in (*gold, "t")]
    (found,) = consensus_of(judgments, Reading(gold=gold))
    assert (found.task_id, found.preference.ranks, found.unresolved) == ("t", (1, 2), ())
    undecided = {each.task_id: each.preference.ranks for each in consensus_of(judgments)}
    assert undecided["t"] == (1, 1)
