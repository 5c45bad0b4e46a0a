"""Turns a judgment of any way of judging into votes on pairs of completions.

People, AI judges and simulated labelers are compared and weighted in this form. A completion marked F or left
unanswered gives no vote; a tie is a vote of 0, which is counted but decides nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from preflab.errors import PreflabError
from preflab.records import Judgment
from preflab.ways.base import Outcome, WrongAnswer


class Vote(NamedTuple):
    """One labeler's vote on one pair: `outcome` is +1 if `first` is better, −1 if `second` is, 0 for a tie."""

    labeler: str
    task: str
    first: int
    """Index into the task's completions, smaller than `second`."""
    second: int
    outcome: int


def pair_votes(judgment: Judgment, criterion: str | None = None) -> list[Vote]:
    """The judgment's votes on pairs with first < second, in order; polarity −1 inverts the outcomes.

    The way of judging (`ways`) decides which pairs get a vote: a ranking votes on every pair, the best of several on
    K − 1 pairs, scores on every pair by one criterion.

    Args:
        judgment: of any way of judging.
        criterion: the Likert criterion to use; None where there is only one.

    Raises:
        PreflabError: an answer that does not fit its completions.
    """
    marks = failed(judgment)
    return [
        Vote(judgment.labeler_id, judgment.task_id, first, second, outcome * judgment.polarity)
        for first, second, outcome in _outcomes(judgment, criterion)
        if not (marks[first] or marks[second])
    ]


def all_votes(
    judgments: Iterable[Judgment], confirmed_reversed: Collection[str] = (), criterion: str | None = None
) -> list[Vote]:
    """The votes of many judgments; outcomes are inverted for labelers whose reversal a lead has confirmed."""
    return [
        vote._replace(outcome=-vote.outcome) if vote.labeler in confirmed_reversed else vote
        for judgment in judgments
        for vote in pair_votes(judgment, criterion)
    ]


def failed(judgment: Judgment) -> tuple[bool, ...]:
    """Which completions of the judgment were marked F.

    Raises:
        PreflabError: not one mark for each completion.
    """
    try:
        return judgment.answer.marks(len(judgment.completion_ids))
    except WrongAnswer as wrong:
        raise _misfit_error(judgment, wrong) from None


def _outcomes(judgment: Judgment, criterion: str | None) -> list[Outcome]:
    try:
        return judgment.answer.votes(len(judgment.completion_ids), criterion)
    except WrongAnswer as wrong:
        raise _misfit_error(judgment, wrong) from None


def _misfit_error(judgment: Judgment, wrong: WrongAnswer) -> PreflabError:
    return PreflabError(f"judgment {judgment.id}: {wrong.found}", wrong.expected, "correct or remove this judgment")
