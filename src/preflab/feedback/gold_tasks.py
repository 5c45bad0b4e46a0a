"""Gold tasks: compares labelers' answers with the answers known to be right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from preflab.feedback.pair_votes import failed, pair_votes
from preflab.records import Answer, Judgment


def gold_score(judgment: Judgment, expected: Answer, criterion: str | None = None) -> tuple[float, float]:
    """(points earned, points possible) of one judgment on a gold task.

    One point is possible for each pair that the expected answer decides and for each completion that it marks F. A
    pair earns 1 for the same side, ½ for a tie or no vote, 0 for the other side; an F earns 1 if it is marked, else 0.

    Args:
        judgment: on a task whose answer is known.
        expected: the known answer, aligned with the judgment's completions and given to the same question.
        criterion: which Likert criterion.
    """
    right = replace(judgment, answer=expected)
    votes = {(vote.first, vote.second): vote.outcome for vote in pair_votes(judgment, criterion)}
    decided = [vote for vote in pair_votes(right, criterion) if vote.outcome]
    points = sum(0.5 + 0.5 * votes.get((vote.first, vote.second), 0) * vote.outcome for vote in decided)
    marks = [marked for marked, expected_mark in zip(failed(judgment), failed(right), strict=True) if expected_mark]
    return points + sum(marks), float(len(decided) + len(marks))


def gold_counts(
    judgments: Iterable[Judgment], gold: Mapping[str, Answer], criterion: str | None = None
) -> dict[str, tuple[float, float]]:
    """Gold task → (points earned, points possible) of one labeler's judgments."""
    return {
        judgment.task_id: gold_score(judgment, gold[judgment.task_id], criterion)
        for judgment in judgments
        if judgment.task_id in gold
    }


def known_outcomes(
    judgments: Iterable[Judgment], gold: Mapping[str, Answer], criterion: str | None = None
) -> dict[tuple[str, int, int], int]:
    """(task, first, second) → outcome, for the pairs that gold answers decide; `one_coin_em` takes these as given."""
    asked = {judgment.task_id: judgment for judgment in judgments if judgment.task_id in gold}
    return {
        (vote.task, vote.first, vote.second): vote.outcome
        for task, judgment in asked.items()
        for vote in pair_votes(replace(judgment, answer=gold[task]), criterion)
        if vote.outcome
    }
