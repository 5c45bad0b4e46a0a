"""Agreement of an AI labeler with people on completions that both have judged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from preflab.feedback.agreement import Share, share
from preflab.feedback.pair_votes import pair_votes
from preflab.feedback.ratings import level_ratings
from preflab.records import Judgment

Pair = tuple[str, str]
"""Two completions of one prompt, in the order of their ids."""


def agreement_with_people(ai: Sequence[Judgment], people: Sequence[Judgment]) -> tuple[int, Share]:
    """(pairs both judged, share of people's strict votes that equal the AI's strict vote; interval over prompts).

    Ties on either side are left out. Every person's vote counts by itself, so the share is comparable with the
    agreement of two people and cannot be expected to exceed it.
    """
    outcomes_of_people = _outcomes(people)
    prompt_of = {i: judgment.prompt_id for judgment in ai for i in judgment.completion_ids}
    counts: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    num_both = 0
    for pair, (ai_outcome, *_) in _outcomes(ai).items():
        num_both += pair in outcomes_of_people
        decided = [outcome for outcome in outcomes_of_people.get(pair, []) if outcome != 0]
        if ai_outcome != 0 and decided:
            right, num = counts[prompt_of[pair[0]]]
            counts[prompt_of[pair[0]]] = (right + sum(o == ai_outcome for o in decided), num + len(decided))
    return num_both, share(dict(counts))


def mean_ratings(judgments: Sequence[Judgment]) -> dict[str, dict[str, float]]:
    """Criterion → completion → mean of people's levelled scores (`level_ratings`)."""
    by_criterion: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for judgment in level_ratings(judgments):
        for name in judgment.answer.criteria:
            for completion_id, value in zip(judgment.completion_ids, judgment.answer.ratings[name], strict=True):
                if value is not None:
                    by_criterion[name][completion_id].append(float(value))
    return {name: {i: sum(v) / len(v) for i, v in by_index.items()} for name, by_index in by_criterion.items()}


def _outcomes(judgments: Sequence[Judgment]) -> Mapping[Pair, list[int]]:
    """Pair → outcomes: +1 the first is preferred, −1 the second, 0 a tie; ratings count by their first criterion."""
    outcomes: dict[Pair, list[int]] = defaultdict(list)
    for judgment in judgments:
        criterion = next(iter(judgment.answer.criteria), None)
        for vote in pair_votes(judgment, criterion):
            first, second = judgment.completion_ids[vote.first], judgment.completion_ids[vote.second]
            if first < second:
                outcomes[first, second].append(vote.outcome)
            else:
                outcomes[second, first].append(-vote.outcome)
    return outcomes
