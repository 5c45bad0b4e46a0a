"""Gold tasks: what was answered beside the answer that is known to be right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from preflab.feedback.pairs import failed, pair_votes
from preflab.records import Answer, Judgment


def gold_score(judgment: Judgment, expected: Answer, criterion: str | None = None) -> tuple[float, float]:
    """(Points, most points) of one judgment on a gold task.

    One for each pair that the expected answer decides, and one for each completion it marks F: a whole point for the
    same, half of one for a tie or no vote where a side was expected, none for the other side or a missing F.

    Args:
        judgment: on a task whose answer is known.
        expected: that answer, aligned with the judgment's completions and given to the same question.
        criterion: which Likert criterion.
    """
    right = replace(judgment, answer=expected)
    votes = {(vote.first, vote.second): vote.outcome for vote in pair_votes(judgment, criterion)}
    decided = [vote for vote in pair_votes(right, criterion) if vote.outcome]
    points = sum(0.5 + 0.5 * votes.get((vote.first, vote.second), 0) * vote.outcome for vote in decided)
    marks = [mine for mine, wanted in zip(failed(judgment), failed(right), strict=True) if wanted]
    return points + sum(marks), float(len(decided) + len(marks))


def gold_counts(
    judgments: Iterable[Judgment], gold: Mapping[str, Answer], criterion: str | None = None
) -> dict[str, tuple[float, float]]:
    """Gold task → (points, most points) of one labeler's judgments."""
    return {
        judgment.task_id: gold_score(judgment, gold[judgment.task_id], criterion)
        for judgment in judgments
        if judgment.task_id in gold
    }


def known_outcomes(
    judgments: Iterable[Judgment], gold: Mapping[str, Answer], criterion: str | None = None
) -> dict[tuple[str, int, int], int]:
    """(task, first, second) → outcome, of the pairs the gold answers decide: what `one_coin_em` need not guess."""
    asked = {judgment.task_id: judgment for judgment in judgments if judgment.task_id in gold}
    return {
        (vote.task, vote.first, vote.second): vote.outcome
        for task, judgment in asked.items()
        for vote in pair_votes(replace(judgment, answer=gold[task]), criterion)
        if vote.outcome
    }
