"""Ranking: every completion gets a rank from 1; equal ranks are a tie; F excludes a completion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from preflab.ways.answer_checks import FAIL, check_ranks
from preflab.ways.base import (
    Answer,
    Json,
    Letters,
    Outcome,
    Ranks,
    Rules,
    Scores,
    Seen,
    Way,
    WrongAnswer,
    check_length,
    reorder,
    reorder_scores,
    scores_from_json,
    scores_to_json,
    votes_of_levels,
)
from preflab.ways.form import Asked, Fields, Group, Option, read_number
from preflab.ways.scales import reverse_scores

SCORE_TOP = 7
"""The highest score in score-then-rank."""


@dataclass(frozen=True)
class RankingAnswer(Answer):
    """Ranks from 1 (best), equal numbers = tie, None = F (fail: nonsense, irrelevant, unreadable).

    Aligned with the judgment's `completion_ids`: `RankingAnswer((2, 1, 3))` says the second is best.
    """

    ranks: tuple[int | None, ...]
    scores: Mapping[str, tuple[int | None, ...]] = field(default_factory=dict)
    """Score then rank: scores from 1 to 7, given before the ranking: `{"overall": (3, 6, 1)}`; None where F."""

    @property
    def stored_as(self) -> str:
        """`score_then_rank` if there are scores, else `ranking`."""
        return "score_then_rank" if self.scores else "ranking"

    def to_json(self) -> dict[str, Any]:
        """`{"ranks": [2, 1, null]}`, with the scores if there are any."""
        return {"ranks": list(self.ranks)} | ({"scores": scores_to_json(self.scores)} if self.scores else {})

    @classmethod
    def from_json(cls, data: Json) -> Self:
        """The answer that was stored."""
        return cls(tuple(data["ranks"]), scores_from_json(data.get("scores", {})))

    def reordered(self, places: Sequence[int]) -> Self:
        """Ranks and scores in another order."""
        return replace(self, ranks=reorder(self.ranks, places), scores=reorder_scores(self.scores, places))

    def levels(self, num: int) -> list[float | None]:
        """Negative ranks, so that a smaller rank is a higher level; None where F."""
        return [None if rank is None else -float(rank) for rank in self.ranks]

    def votes(self, num: int, criterion: str | None = None) -> list[Outcome]:
        """A vote on every pair of ranked completions; equal ranks are a tie."""
        check_length("ranks", self.ranks, num)
        for rank in self.ranks:
            if rank is not None and rank < 1:
                raise WrongAnswer(f"rank {rank}", "ranks from 1 (best), or null for F")
        return votes_of_levels(self.levels(num))

    def words(self, letters: Letters) -> str:
        """The ranking in one line: `B › A = C · F: D`."""
        return ranks_words(self.ranks, letters)

    @property
    def failures(self) -> tuple[bool, ...]:
        """True where a completion has no rank."""
        return tuple(rank is None for rank in self.ranks)

    @property
    def ranks_given(self) -> Ranks:
        """The ranking."""
        return self.ranks

    @property
    def ratings(self) -> Scores:
        """The scores given before the ranking."""
        return self.scores

    def with_ratings(self, scores: Mapping[str, Sequence[float | None]]) -> Self:
        """The same ranking with other scores before it."""
        return replace(self, scores=scores)  # type: ignore[arg-type]

    def turned(self) -> Self:
        """The same answer with reversed scores: 1 becomes 7."""
        return replace(self, scores=reverse_scores(self.scores, SCORE_TOP))

    def marks(self, num: int) -> tuple[bool, ...]:
        """Whether each completion is marked F, that is, has no rank."""
        check_length("ranks", self.ranks, num)
        return self.failures


class Ranking(Way[RankingAnswer]):
    """Rank all completions; ties and F are allowed."""

    name = "ranking"
    place = 10
    answer = RankingAnswer
    about = "rank all completions, ties and F allowed"
    questions = ("Which completion is better?", "Which completion is worse?")
    task = "You see a prompt and several completions. Give each completion a rank: **1** is the best. "
    ties = "Ties are allowed: give the same rank. Keep them for completions you really cannot tell apart."
    fields = frozenset({"ranks"})
    example = '{"ranks": [2, 1, "F"]}'
    shape = '{"ranks": [2, 1, "F"]}'
    hint = "{first} Equal numbers are a tie."
    keys = (("1 … {num}", "its rank"),)
    asked_of_ai = "pairs"
    fail_box = False
    """F is one of the ranks."""

    def check(self, rules: Rules, num: int, json: Json) -> RankingAnswer:
        """Check `{"ranks": [2, 1, "F"]}`."""
        return RankingAnswer(check_ranks(rules, num, json))

    def to_json(self, answer: RankingAnswer) -> dict[str, Any]:
        """The answer's JSON for a form, with "F" in place of null."""
        return answer.to_json() | {"ranks": [FAIL if rank is None else rank for rank in answer.ranks]}

    def groups(self, asked: Asked) -> list[Group]:
        """A row of ranks under each completion, with F if the campaign allows it."""
        return rank_groups(asked, fail=asked.allow_fail)

    def from_form(self, asked: Asked, fields: Fields) -> dict[str, Any]:
        """The ranks in the task's order."""
        return ranks_from_form(asked, fields)

    def to_form(self, answer: RankingAnswer, asked: Asked) -> dict[str, str]:
        """The rank or F of each place."""
        return {f"rank_{place}": str(rank or FAIL) for place, rank in enumerate(asked.by_place(answer.ranks))}

    def simulated(self, seen: Seen, criteria: Sequence[str]) -> RankingAnswer:
        """The ranks that the labeler perceives."""
        return RankingAnswer(seen.ranks())


def ranks_words(ranks: Sequence[int | None], letters: Letters) -> str:
    """Ranks in one line: `B › A = C · F: D`."""
    levels = sorted({rank for rank in ranks if rank is not None})
    groups = [" = ".join(sorted(letters[i] for i, rank in enumerate(ranks) if rank == level)) for level in levels]
    failed = sorted(letters[i] for i, rank in enumerate(ranks) if rank is None)
    return " · ".join(part for part in (" › ".join(groups), f"F: {', '.join(failed)}" if failed else "") if part)


def rank_groups(asked: Asked, *, fail: bool, step: int | None = None) -> list[Group]:
    """One group per completion: a row of ranks, with F if `fail`."""
    last = str(asked.num)
    ends = {"1": "1, best", last: f"{last}, worst"} if asked.for_better else {"1": "1, most", last: f"{last}, least"}
    options = [Option(rank, rank, ends.get(rank, rank), rank) for rank in map(str, range(1, asked.num + 1))]
    if fail:
        options.append(Option(FAIL, FAIL, "F, failed: nonsense, irrelevant or unreadable", "f"))
    return [
        Group(f"rank_{place}", "Rank", "a rank", tuple(options), place, step=step, ranks=True)
        for place in range(asked.num)
    ]


def ranks_from_form(asked: Asked, fields: Fields) -> dict[str, Any]:
    """The ranks in the form's fields, in the task's order."""
    return {"ranks": asked.by_task([_rank(fields, place) for place in range(asked.num)])}


def _rank(fields: Fields, place: int) -> int | str | None:
    if f"failed_{place}" in fields or fields.get(f"rank_{place}") == FAIL:
        return FAIL
    return read_number(fields, f"rank_{place}")


WAY = Ranking()
