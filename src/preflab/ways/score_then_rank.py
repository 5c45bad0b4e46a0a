"""Score then rank: every completion is scored separately from 1 to 7, and then all are ranked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from preflab.ways.answer_checks import FAIL, check_ranks
from preflab.ways.base import Json, Rules, Seen, Way
from preflab.ways.form import Asked, Fields, Group
from preflab.ways.ranking import SCORE_TOP, RankingAnswer, rank_groups, ranks_from_form
from preflab.ways.scales import OVERALL, check_scores, score_groups, scores_from_form, scores_to_form


class ScoreThenRank(Way[RankingAnswer]):
    """Score, then rank, in two steps, so that scores are not given by comparison."""

    name = "score_then_rank"
    place = 60
    answer = RankingAnswer
    about = "score from 1 to 7, then rank"
    questions = (
        "How good is each completion, and which is better?",
        "How bad is each completion, and which is worse?",
    )
    task = "You see a prompt and several completions. First score each one alone from **1** to **7**, then rank them. "
    ties = "Ties are allowed: give the same rank. Keep them for completions you really cannot tell apart."
    fields = frozenset({"ranks", "scores"})
    example = '{"ranks": [2, 1], "scores": {"overall": [4, 6]}}'
    shape = '{"ranks": […], "scores": {"overall": [6, 2]}}'
    hint = "First score each one on its own. Then rank them: {first} Equal numbers are a tie."
    keys = (("1 … 7", "its score"), ("1 … {num}", "then its rank"))
    num_steps = 2
    next_words = "Next: rank them"

    def scales(self, criteria: Sequence[str]) -> tuple[str, ...]:
        """Always the one scale `overall`."""
        return (OVERALL,)

    def check(self, rules: Rules, num: int, json: Json) -> RankingAnswer:
        """Check `{"ranks": [2, 1, "F"], "scores": {"overall": [4, 6, null]}}`."""
        ranks = check_ranks(rules, num, json)
        failed = tuple(rank is None for rank in ranks)
        return RankingAnswer(ranks, check_scores((OVERALL,), SCORE_TOP, num, json, failed))

    def to_json(self, answer: RankingAnswer) -> dict[str, Any]:
        """The answer's JSON for a form, with "F" in place of null."""
        return answer.to_json() | {"ranks": [FAIL if rank is None else rank for rank in answer.ranks]}

    def groups(self, asked: Asked) -> list[Group]:
        """The scores in the first step, the ranks in the second; a box marks F."""
        return [*score_groups(asked, (OVERALL,), SCORE_TOP, step=0), *rank_groups(asked, fail=False, step=1)]

    def from_form(self, asked: Asked, fields: Fields) -> dict[str, Any]:
        """Ranks and scores in the task's order."""
        return ranks_from_form(asked, fields) | {"scores": scores_from_form(asked, fields, (OVERALL,))}

    def to_form(self, answer: RankingAnswer, asked: Asked) -> dict[str, str]:
        """The ranks, ticked boxes and scores by place."""
        ranks = asked.by_place(answer.ranks)
        return {
            **{f"rank_{place}": str(rank) for place, rank in enumerate(ranks) if rank is not None},
            **{f"failed_{place}": "1" for place, rank in enumerate(ranks) if rank is None},
            **scores_to_form(answer.scores, (OVERALL,), asked),
        }

    def simulated(self, seen: Seen, criteria: Sequence[str]) -> RankingAnswer:
        """Scores, and a ranking consistent with them."""
        return RankingAnswer(seen.ranks_by_scores(), {OVERALL: seen.scores(SCORE_TOP)})


WAY = ScoreThenRank()
