"""All agreement coefficients that apply to a campaign's way of judging, computed from its judgments."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from preflab.feedback.alpha import Level, krippendorff_alpha
from preflab.feedback.estimates import Estimate
from preflab.feedback.kappa import fleiss_kappa
from preflab.feedback.kendall import mean_tau_b, mean_w
from preflab.feedback.pair_votes import all_votes, failed
from preflab.records import Answer, Judgment

Ratings = dict[tuple[str, int], dict[str, float]]
"""(task, place) → labeler → value."""


def coefficients(judgments: Sequence[Judgment]) -> dict[str, Estimate]:
    """Name → coefficient, for judgments that count (one per labeler and task) and share one way of judging.

    | answers contain | names |
    | --- | --- |
    | rankings | `tau_b`, `w`, and the two of pairs |
    | scores by criteria | `alpha_ordinal:NAME` and `alpha_interval:NAME` of each criterion |
    | verdicts | `alpha` (nominal, good or bad), and the two of pairs |
    | anything but scores | the two of pairs: `pair_alpha` (ordinal over worse, tie, better) and `pair_fleiss` |
    | anything | `fail_alpha` (nominal, F marks) |
    """
    estimates = {"fail_alpha": _alpha(_fail_ratings(judgments), "nominal")}
    for holds, measure in BY_CONTENT:
        holding = [judgment for judgment in judgments if holds(judgment.answer)]
        if holding:
            estimates |= measure(holding)
    if not any(judgment.answer.criteria for judgment in judgments):
        estimates |= _pairs(judgments)
    return estimates


def _ranking(judgments: Sequence[Judgment]) -> dict[str, Estimate]:
    tasks: dict[str, list[tuple[int | None, ...]]] = defaultdict(list)
    for judgment in judgments:
        if judgment.answer.ranks_given is not None:
            tasks[judgment.task_id].append(judgment.answer.ranks_given)
    return {"tau_b": mean_tau_b(tasks.values()), "w": mean_w(tasks.values())}


def _by_criteria(judgments: Sequence[Judgment]) -> dict[str, Estimate]:
    estimates: dict[str, Estimate] = {}
    for name in sorted({name for judgment in judgments for name in judgment.answer.criteria}):
        ratings = _ratings((judgment, judgment.answer.ratings.get(name, ())) for judgment in judgments)
        estimates[f"alpha_ordinal:{name}"] = _alpha(ratings, "ordinal")
        estimates[f"alpha_interval:{name}"] = _alpha(ratings, "interval")
    return estimates


def _verdicts(judgments: Sequence[Judgment]) -> dict[str, Estimate]:
    ratings = _ratings((judgment, judgment.answer.verdicts) for judgment in judgments)
    return {"alpha": _alpha(ratings, "nominal")}


def _pairs(judgments: Sequence[Judgment]) -> dict[str, Estimate]:
    cast: dict[tuple[str, int, int], dict[str, float]] = defaultdict(dict)
    for vote in all_votes(judgments):
        cast[vote.task, vote.first, vote.second][vote.labeler] = vote.outcome
    tasks = [task for task, _, _ in cast]
    counts = [[list(row.values()).count(outcome) for outcome in (-1, 0, 1)] for row in cast.values()]
    return {
        "pair_alpha": krippendorff_alpha(_table(cast.values()), "ordinal", tasks),
        "pair_fleiss": fleiss_kappa(counts, tasks),
    }


Measure = Callable[[Sequence[Judgment]], dict[str, Estimate]]
BY_CONTENT: Sequence[tuple[Callable[[Answer], bool], Measure]] = (
    (lambda answer: answer.ranks_given is not None, _ranking),
    (lambda answer: bool(answer.criteria), _by_criteria),
    (lambda answer: bool(answer.verdicts), _verdicts),
)
"""(test whether an answer has a kind of content, function that measures agreement on that content)."""


def _fail_ratings(judgments: Sequence[Judgment]) -> Ratings:
    return _ratings((judgment, failed(judgment)) for judgment in judgments)


def _ratings(judged_values: Iterable[tuple[Judgment, Sequence[float | None]]]) -> Ratings:
    """One row per completion of a task, with one value for each labeler who gave one."""
    ratings: Ratings = defaultdict(dict)
    for judgment, values in judged_values:
        for place, value in enumerate(values):
            if value is not None:
                ratings[judgment.task_id, place][judgment.labeler_id] = float(value)
    return ratings


def _alpha(ratings: Ratings, level: Level) -> Estimate:
    return krippendorff_alpha(_table(ratings.values()), level, [task for task, _ in ratings])


def _table(rows: Iterable[Mapping[str, float]]) -> list[list[float | None]]:
    """The values of each row, padded with None to equal length; alpha ignores which labeler gave a value."""
    values_by_row = [list(row.values()) for row in rows]
    width = max((len(values) for values in values_by_row), default=0)
    return [[*values, *[None] * (width - len(values))] for values in values_by_row]
