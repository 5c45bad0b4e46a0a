"""One judgment, whatever the way of judging, as outcomes of pairs of completions.

This is the form in which people, AI judges and simulated labelers are compared and weighed. An F, or an answer not
given, makes no pair; a tie makes a vote of 0, which is counted but decides nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import combinations
from typing import NamedTuple

from preflab.errors import PreflabError
from preflab.records import Judgment, LikertAnswer, RankingAnswer, SideBySideAnswer, ThumbsAnswer


class Vote(NamedTuple):
    """One labeler on one pair of a task: `outcome` is +1 if `first` is better, −1 if `second` is, 0 for a tie."""

    labeler: str
    task: str
    first: int
    """Index into the task's completions, smaller than `second`."""
    second: int
    outcome: int


def ranking_pairs(ranks: Sequence[int | None]) -> list[tuple[int, int]]:
    """All (winner, loser) pairs of one ranking, the best winner first; ties and F (None) give none.

    K ranked completions without ties give K(K−1)/2 pairs (Ouyang et al. 2022, section 3.5).

    Example:
        >>> ranking_pairs((2, 1, 3))  # a, b, c: b is best
        [(1, 0), (1, 2), (0, 2)]
    """
    order = sorted((rank, i) for i, rank in enumerate(ranks) if rank is not None)
    return [(i, j) for (rank, i), (other, j) in combinations(order, 2) if rank < other]


def pair_votes(judgment: Judgment, criterion: str | None = None) -> list[Vote]:
    """The judgment's votes on pairs, first < second, in order; its polarity decides which end is the better one.

    | way | votes |
    | --- | --- |
    | ranking, score_then_rank | every pair of ranked completions; equal ranks are a tie |
    | side_by_side | one; "equal" is a tie |
    | best_of | the best against each other one: K − 1; "equal" (none is better) ties them all |
    | likert | every pair of scores on one criterion |
    | thumbs | up against down; two of the same are a tie |

    Args:
        judgment: any way of judging.
        criterion: which Likert criterion; None where there is only one.

    Raises:
        PreflabError: an answer that does not fit its completions.
    """
    marks = failed(judgment)
    return [vote for vote in _votes(judgment, criterion) if not (marks[vote.first] or marks[vote.second])]


def all_votes(
    judgments: Iterable[Judgment], confirmed_reversed: Collection[str] = (), criterion: str | None = None
) -> list[Vote]:
    """The votes of many judgments; those of labelers whose reversal a lead has confirmed are turned round."""
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
    if isinstance(judgment.answer, RankingAnswer):
        _check_length(judgment, "ranks", len(judgment.answer.ranks))
        return tuple(rank is None for rank in judgment.answer.ranks)
    marks = judgment.answer.failed or (False,) * len(judgment.completion_ids)
    _check_length(judgment, "fail marks", len(marks))
    return marks


def _votes(judgment: Judgment, criterion: str | None) -> list[Vote]:
    answer = judgment.answer
    if isinstance(answer, RankingAnswer):
        return _from_levels(judgment, [None if rank is None else -rank for rank in _checked_ranks(judgment, answer)])
    if isinstance(answer, SideBySideAnswer):
        return _from_choice(judgment, answer, len(judgment.completion_ids))
    if isinstance(answer, LikertAnswer):
        return _from_levels(judgment, _checked_scores(judgment, answer, criterion))
    return _from_levels(judgment, _checked_thumbs(judgment, answer))


def _from_levels(judgment: Judgment, levels: Sequence[int | None]) -> list[Vote]:
    """Votes from a level per completion, higher = preferred; None takes no part."""
    given = [(i, level) for i, level in enumerate(levels) if level is not None]
    return [_vote(judgment, i, j, (a > b) - (a < b)) for (i, a), (j, b) in combinations(given, 2)]


def _from_choice(judgment: Judgment, answer: SideBySideAnswer, num: int) -> list[Vote]:
    """Votes of A / B / equal between two, or of the best among several: K − 1 pairs."""
    if answer.best is not None:
        if not 0 <= answer.best < num:
            raise _misfit(judgment, f"best is {answer.best}", f"an index below {num}")
        if failed(judgment)[answer.best]:
            raise _misfit(judgment, "the best one is marked F", "a best one that did not fail")
        others = [i for i in range(num) if i != answer.best]
        return [_vote(judgment, min(answer.best, i), max(answer.best, i), 1 if answer.best < i else -1) for i in others]
    if answer.choice is None:
        return []
    if answer.choice == "equal":
        return _from_levels(judgment, [0] * num)
    if num != 2:
        raise _misfit(judgment, f"{answer.choice!r} between {num} completions", "two completions")
    return [_vote(judgment, 0, 1, {"first": 1, "second": -1}[answer.choice])]


def _vote(judgment: Judgment, first: int, second: int, outcome: int) -> Vote:
    return Vote(judgment.labeler_id, judgment.task_id, first, second, outcome * judgment.polarity)


def _checked_ranks(judgment: Judgment, answer: RankingAnswer) -> Sequence[int | None]:
    _check_length(judgment, "ranks", len(answer.ranks))
    for rank in answer.ranks:
        if rank is not None and rank < 1:
            raise _misfit(judgment, f"rank {rank}", "ranks from 1 (best), or null for F")
    return answer.ranks


def _checked_scores(judgment: Judgment, answer: LikertAnswer, criterion: str | None) -> Sequence[int | None]:
    name = next(iter(answer.scores)) if criterion is None and len(answer.scores) == 1 else criterion
    if name is None or name not in answer.scores:
        raise _misfit(judgment, f"criterion {criterion!r}", f"one of {', '.join(answer.scores) or 'none'}")
    _check_length(judgment, f"scores of {name}", len(answer.scores[name]))
    return answer.scores[name]


def _checked_thumbs(judgment: Judgment, answer: ThumbsAnswer) -> Sequence[int | None]:
    _check_length(judgment, "thumbs", len(answer.up))
    return [None if up is None else int(up) for up in answer.up]


def _check_length(judgment: Judgment, what: str, num: int) -> None:
    if num != len(judgment.completion_ids):
        raise _misfit(judgment, f"{num} {what}", f"one for each of its {len(judgment.completion_ids)} completions")


def _misfit(judgment: Judgment, found: str, expected: str) -> PreflabError:
    return PreflabError(f"judgment {judgment.id}: {found}", expected, "mend or leave out this judgment")
