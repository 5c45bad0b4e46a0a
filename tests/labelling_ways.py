"""Two answers to a task of two completions, in every way of judging."""

from __future__ import annotations

from preflab.records import Answer, LikertAnswer, RankingAnswer, SideBySideAnswer, ThumbsAnswer


def answers_of(way: str) -> tuple[Answer, Answer]:
    """One for the first completion, one for the second."""
    scores = {"warmth": (4, 2), "facts": (3, 3)}
    turned = {"warmth": (2, 4), "facts": (1, 5)}
    pairs: dict[str, tuple[Answer, Answer]] = {
        "ranking": (RankingAnswer((1, 2)), RankingAnswer((2, 1))),
        "side_by_side": (SideBySideAnswer("first"), SideBySideAnswer("second", None, (True, False))),
        "best_of": (SideBySideAnswer(None, 0), SideBySideAnswer("equal")),
        "likert": (LikertAnswer(scores), LikertAnswer(turned)),
        "thumbs": (ThumbsAnswer((True, False)), ThumbsAnswer((False, True))),
        "score_then_rank": (RankingAnswer((1, 2), {"overall": (6, 2)}), RankingAnswer((2, 1), {"overall": (2, 6)})),
    }
    return pairs[way]
