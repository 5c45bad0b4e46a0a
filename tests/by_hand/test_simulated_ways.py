"""Simulated labelers by every way of judging, without noise: what they answer follows from the utilities by hand.

Utilities 1, 2, 3, 6 have mean 3 and standard deviation √((4 + 1 + 0 + 9)/4) = √3.5 ≈ 1.871, so
z = −1.069, −0.535, 0, 1.604. Likert: 3 + z rounded, 1.93 → 2, 2.47 → 2, 3, 4.6 → 5. Of 7: 4 + 1.5 z, 2.4, 3.2, 4, 6.4.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from preflab.labelers.simulated import Known, known_of, panel
from preflab.labelers.simulated_ways import judge, simulate_answer
from preflab.records import (
    Answer,
    Campaign,
    Completion,
    Labeler,
    LikertAnswer,
    Prompt,
    RankingAnswer,
    SideBySideAnswer,
    Task,
    ThumbsAnswer,
)
from preflab.settings.feedback import PanelSettings

PROMPT = Prompt.make(text="p")
COMPLETIONS = [Completion.make(PROMPT.id, f"text {n}", "m", index=n) for n in range(5)]
UTILITIES = [1.0, 2.0, 3.0, 6.0, None]
KNOWN = known_of(COMPLETIONS, UTILITIES, ())
IDS = tuple(completion.id for completion in COMPLETIONS)


def settings(**values: Any) -> PanelSettings:
    return PanelSettings(utility="a:b", **{"num": 1, "noise": 0.0, "tie_width": 0.1, **values})


def said(way: Any, indices: tuple[int, ...], polarity: int = 1, **values: Any) -> Answer:
    """What the panel's only labeler says about these completions."""
    chosen = settings(**values)
    (labeler,) = panel(chosen, 0)
    criteria = ("kind",) if way == "likert" else ()
    campaign = Campaign("c", "c", way, polarity=polarity, criteria=criteria)
    seen = [KNOWN[IDS[i]] for i in indices]
    return simulate_answer(campaign, labeler, seen, KNOWN, chosen, np.random.default_rng(0))


def test_rankings_and_choices() -> None:
    assert said("ranking", (0, 1, 2, 3, 4)) == RankingAnswer((4, 3, 2, 1, None))
    assert said("ranking", (0, 1, 2, 3, 4), -1) == RankingAnswer((1, 2, 3, 4, None))
    assert said("side_by_side", (0, 3)) == SideBySideAnswer("second")
    assert said("side_by_side", (0, 3), -1) == SideBySideAnswer("first")
    assert said("side_by_side", (0, 0)) == SideBySideAnswer("equal")
    assert said("side_by_side", (0, 4)) == SideBySideAnswer("equal", failed=(False, True))
    assert said("best_of", (1, 3, 0)) == SideBySideAnswer(None, 1)
    assert said("best_of", (1, 3, 0), -1) == SideBySideAnswer(None, 2)
    assert said("best_of", (3, 3)) == SideBySideAnswer("equal")


def test_thumbs_and_scores() -> None:
    failed = (False, False, False, False, True)
    assert said("thumbs", (0, 1, 2, 3, 4)) == ThumbsAnswer((False, False, False, True, None), failed)
    assert said("thumbs", (0, 3), -1) == ThumbsAnswer((True, False))
    scored = said("score_then_rank", (0, 1, 2, 3, 4))
    assert scored == RankingAnswer((4, 3, 2, 1, None), {"overall": (2, 3, 4, 6, None)})
    assert said("score_then_rank", (0, 3), -1) == RankingAnswer((1, 2), {"overall": (6, 2)})


def test_a_tie_is_as_wide_in_a_ranking_after_scores_as_in_a_ranking() -> None:
    # Utilities 1 and 2 lie 1 apart, their z 1/1.871 = 0.53.
    for tie_width, ranks in ((0.8, (2, 1)), (1.2, (1, 1))):
        assert said("ranking", (0, 1), tie_width=tie_width) == RankingAnswer(ranks)
        scored = said("score_then_rank", (0, 1), tie_width=tie_width)
        assert isinstance(scored, RankingAnswer)
        assert scored.ranks == ranks


def test_likert_scores_follow_the_utility_but_for_a_quarter_point() -> None:
    answers = [said("likert", (0, 1, 2, 3, 4)) for _ in range(3)]
    assert all(answer == answers[0] for answer in answers)
    assert isinstance(answers[0], LikertAnswer)
    scores = answers[0].scores["kind"]
    for score, middle in zip(scores[:4], (1.93, 2.47, 3.0, 4.6), strict=True):
        assert score is not None
        assert abs(score - middle) <= 0.5 + 4 * 0.25
    assert scores[4] is None


def test_bad_labelers_and_own_scales() -> None:
    reversed_ = said("thumbs", (0, 3), careless=0, reversed=1)
    assert reversed_ == ThumbsAnswer((True, False))
    assert said("score_then_rank", (2,)) == RankingAnswer((1,), {"overall": (4,)})
    chosen = settings(num=40, scale_offset=1.0)
    campaign = Campaign("c", "c", "score_then_rank")
    given = [
        simulate_answer(campaign, who, [KNOWN[IDS[2]]], KNOWN, chosen, np.random.default_rng(0))
        for who in panel(chosen, 0)
    ]
    scores = [answer.scores["overall"][0] for answer in given if isinstance(answer, RankingAnswer)]
    assert len(set(scores)) > 2  # the average completion is a 4 to one and a 3 or 5 to others
    assert abs(float(np.mean([s for s in scores if s is not None])) - 4) < 0.5


@pytest.mark.parametrize("way", ["ranking", "thumbs", "likert"])
def test_judgments_repeat_and_name_their_parents(way: Any) -> None:
    chosen = settings(noise=1.0)
    labeler: Labeler = panel(chosen, 0)[0]
    campaign = Campaign("c", "c", way, criteria=("kind",), question="Which?", polarity=-1)
    task = Task("t", "c", PROMPT.id, IDS)
    known: dict[str, Known] = dict(KNOWN)
    one, other = (judge(campaign, task, labeler, known, chosen, 7) for _ in range(2))
    assert one == other
    assert (one.question, one.polarity, one.labeler_kind) == ("Which?", -1, "simulated")
    assert sorted(one.shown_order) == [0, 1, 2, 3, 4]
