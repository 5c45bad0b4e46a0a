"""Likert: every completion is scored by itself, from 1 to 5, on each criterion of the campaign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from preflab.ways.base import (
    Answer,
    Json,
    Letters,
    Outcome,
    Rules,
    Scores,
    Seen,
    Way,
    WrongAnswer,
    check_length,
    failed_words,
    listed_scores,
    moved,
    moved_scores,
    tupled_scores,
    votes_of_levels,
    with_failed,
)
from preflab.ways.checking import checked_failed
from preflab.ways.form import Asked, Fields, Group, failed_fields, failed_json
from preflab.ways.scales import checked_scores, score_fields, score_groups, scores_json, turned_scores

TOP = 5


@dataclass(frozen=True)
class LikertAnswer(Answer):
    """Scores 1 to 5 per criterion, one per completion: `LikertAnswer({"helpful": (4, 2)})`; None = not given."""

    scores: Mapping[str, tuple[int | None, ...]]
    failed: tuple[bool, ...] = ()
    """True where a completion is F; () = none."""

    @property
    def stored_as(self) -> str:
        """Always under its own name."""
        return "likert"

    def to_json(self) -> dict[str, Any]:
        """`{"scores": {"helpful": [4, 2]}}`, and the fail marks where there are some."""
        return with_failed({"scores": listed_scores(self.scores)}, self.failed)

    @classmethod
    def from_json(cls, data: Json) -> Self:
        """The answer that was stored."""
        return cls(tupled_scores(data["scores"]), tuple(data.get("failed", ())))

    def reordered(self, places: Sequence[int]) -> Self:
        """Scores and marks in another order."""
        return replace(self, scores=moved_scores(self.scores, places), failed=moved(self.failed, places))

    def levels(self, num: int) -> list[float | None]:
        """The mean over the criteria that were given."""
        columns = ([s for s in column if s is not None] for column in zip(*self.scores.values(), strict=True))
        return [sum(column) / len(column) if column else None for column in columns]

    def votes(self, num: int, criterion: str | None = None) -> list[Outcome]:
        """Every pair of scores on one criterion."""
        name = next(iter(self.scores)) if criterion is None and len(self.scores) == 1 else criterion
        if name is None or name not in self.scores:
            raise WrongAnswer(f"criterion {criterion!r}", f"one of {', '.join(self.scores) or 'none'}")
        check_length(f"scores of {name}", self.scores[name], num)
        return votes_of_levels(self.scores[name])

    def words(self, letters: Letters) -> str:
        """`kind: A 4, B –; true: A 3, B 5 · F: B`."""
        sentence = "; ".join(
            f"{criterion}: "
            + ", ".join(f"{letters[i]} {'–' if value is None else value}" for i, value in enumerate(values))
            for criterion, values in self.scores.items()
        )
        return failed_words(sentence, self.failed, letters)

    @property
    def ratings(self) -> Scores:
        """The scores."""
        return self.scores

    @property
    def criteria(self) -> tuple[str, ...]:
        """Each criterion orders the completions by itself."""
        return tuple(self.scores)

    def with_ratings(self, scores: Mapping[str, Sequence[float | None]]) -> Self:
        """The same marks with other scores."""
        return replace(self, scores=scores)  # type: ignore[arg-type]

    def turned(self) -> Self:
        """Scores from the other end of their scale."""
        return replace(self, scores=turned_scores(self.scores, TOP))


class Likert(Way[LikertAnswer]):
    """By criteria, each on a scale of its own."""

    name = "likert"
    place = 40
    answer = LikertAnswer
    about = "score each criterion from 1 to 5"
    questions = ("How good is each completion?", "How bad is each completion?")
    task = "You see a prompt and completions. Score each completion from **1** to **5** on each criterion. "
    ties = "Two completions may have the same score. Use the whole scale."
    fields = frozenset({"scores", "failed"})
    example = '{"scores": {"helpful": [4, 2]}}'
    shape = '{"scores": {"helpful": [4, 2]}}'
    least = 1
    by_criteria = True
    asked_of_ai = "points"
    hint = "Score each one on its own, from 1 to 5."
    keys = (("1 … 5", "its score"),)

    def check(self, rules: Rules, num: int, json: Json) -> LikertAnswer:
        """`{"scores": {"helpful": [4, null]}, "failed": [false, true]}`."""
        failed = checked_failed(rules, num, json)
        return LikertAnswer(checked_scores(rules.criteria, TOP, num, json, failed), failed)

    def groups(self, asked: Asked) -> list[Group]:
        """A scale for each criterion under each completion."""
        return score_groups(asked, asked.criteria, TOP)

    def from_form(self, asked: Asked, fields: Fields) -> dict[str, Any]:
        """Scores and marks in the task's order."""
        return {"scores": scores_json(asked, fields, asked.criteria), "failed": failed_json(asked, fields)}

    def to_form(self, answer: LikertAnswer, asked: Asked) -> dict[str, str]:
        """Scores and boxes for each place."""
        return score_fields(answer.scores, asked.criteria, asked) | failed_fields(answer.failed, asked)

    def simulated(self, seen: Seen, criteria: Sequence[str]) -> LikertAnswer:
        """One utility on every criterion, but for a little noise."""
        return LikertAnswer({name: seen.scores(TOP, own_noise=True) for name in criteria}, seen.failed())


WAY = Likert()
