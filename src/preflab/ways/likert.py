"""Likert: every completion is scored separately, from 1 to 5, on each criterion of the campaign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from preflab.ways.answer_checks import check_failed
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
    add_failed,
    add_failed_words,
    check_length,
    reorder,
    reorder_scores,
    scores_from_json,
    scores_to_json,
    votes_of_levels,
)
from preflab.ways.form import Asked, Fields, Group, failed_from_form, failed_to_form
from preflab.ways.scales import check_scores, reverse_scores, score_groups, scores_from_form, scores_to_form

TOP = 5


@dataclass(frozen=True)
class LikertAnswer(Answer):
    """Scores 1 to 5 per criterion, one per completion: `LikertAnswer({"helpful": (4, 2)})`; None = not given."""

    scores: Mapping[str, tuple[int | None, ...]]
    failed: tuple[bool, ...] = ()
    """True where a completion is F; () = none."""

    @property
    def stored_as(self) -> str:
        """Always `likert`."""
        return "likert"

    def to_json(self) -> dict[str, Any]:
        """`{"scores": {"helpful": [4, 2]}}`, with the fail marks if there are any."""
        return add_failed({"scores": scores_to_json(self.scores)}, self.failed)

    @classmethod
    def from_json(cls, data: Json) -> Self:
        """The answer that was stored."""
        return cls(scores_from_json(data["scores"]), tuple(data.get("failed", ())))

    def reordered(self, places: Sequence[int]) -> Self:
        """Scores and marks in another order."""
        return replace(self, scores=reorder_scores(self.scores, places), failed=reorder(self.failed, places))

    def levels(self, num: int) -> list[float | None]:
        """The mean score of each completion over the criteria it was scored on; None without a score."""
        columns = ([s for s in column if s is not None] for column in zip(*self.scores.values(), strict=True))
        return [sum(column) / len(column) if column else None for column in columns]

    def votes(self, num: int, criterion: str | None = None) -> list[Outcome]:
        """A vote on every pair of scores on one criterion; `criterion` may be None if there is only one."""
        name = next(iter(self.scores)) if criterion is None and len(self.scores) == 1 else criterion
        if name is None or name not in self.scores:
            raise WrongAnswer(f"criterion {criterion!r}", f"one of {', '.join(self.scores) or 'none'}")
        check_length(f"scores of {name}", self.scores[name], num)
        return votes_of_levels(self.scores[name])

    def words(self, letters: Letters) -> str:
        """The scores in one line: `kind: A 4, B –; true: A 3, B 5 · F: B`."""
        sentence = "; ".join(
            f"{criterion}: "
            + ", ".join(f"{letters[i]} {'–' if value is None else value}" for i, value in enumerate(values))
            for criterion, values in self.scores.items()
        )
        return add_failed_words(sentence, self.failed, letters)

    @property
    def ratings(self) -> Scores:
        """The scores."""
        return self.scores

    @property
    def criteria(self) -> tuple[str, ...]:
        """The scored criteria; each gives its own order of the completions."""
        return tuple(self.scores)

    def with_ratings(self, scores: Mapping[str, Sequence[float | None]]) -> Self:
        """The same answer with other scores."""
        return replace(self, scores=scores)  # type: ignore[arg-type]

    def turned(self) -> Self:
        """The same answer with reversed scores: 1 becomes 5."""
        return replace(self, scores=reverse_scores(self.scores, TOP))


class Likert(Way[LikertAnswer]):
    """Score each completion on each criterion."""

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
        """Check `{"scores": {"helpful": [4, null]}, "failed": [false, true]}`."""
        failed = check_failed(rules, num, json)
        return LikertAnswer(check_scores(rules.criteria, TOP, num, json, failed), failed)

    def groups(self, asked: Asked) -> list[Group]:
        """One scale per criterion under each completion."""
        return score_groups(asked, asked.criteria, TOP)

    def from_form(self, asked: Asked, fields: Fields) -> dict[str, Any]:
        """Scores and marks in the task's order."""
        return {"scores": scores_from_form(asked, fields, asked.criteria), "failed": failed_from_form(asked, fields)}

    def to_form(self, answer: LikertAnswer, asked: Asked) -> dict[str, str]:
        """The scores and ticked boxes by place."""
        return scores_to_form(answer.scores, asked.criteria, asked) | failed_to_form(answer.failed, asked)

    def simulated(self, seen: Seen, criteria: Sequence[str]) -> LikertAnswer:
        """Scores from the same utility on every criterion, with separate noise."""
        return LikertAnswer({name: seen.scores(TOP, own_noise=True) for name in criteria}, seen.failed())


WAY = Likert()
