"""Quality of a rating model: error per criterion compared with "always the mean", and order within a prompt."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import kendalltau

from preflab.rewards.ratings import Rated, Scale
from preflab.rewards.report import ScoredGroup
from preflab.statistics.means import mean_interval


def rating_quality(
    rows: Sequence[Rated],
    scores: Sequence[Sequence[float]],
    criteria: Sequence[str],
    scales: Sequence[Scale],
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Figures per criterion, in the ratings' own units.

    Args:
        rows: completions with ratings.
        scores: (N, C) of the criteria's heads.
        criteria: their names.
        scales: target = (rating − mean) / std, from training.
        seed: of the resamples of prompts.

    Returns:
        num: completions rated; squared_error: mean with interval; rmse: its root; rmse_of_mean: the RMSE of always
        predicting the training mean; explained: 1 − squared error / squared error of the training mean, 0 or less if
        the model is no better than the mean; explained_interval: the same with its interval, the error of the training
        mean held fixed, null if that error is 0; tau: mean Kendall tau-b within prompts with interval, null if no
        prompt has two different ratings.
    """

    def interval(values: ArrayLike, prompts: Sequence[str]) -> dict[str, Any]:
        return mean_interval(values, prompts, seed=seed).to_json()

    quality = {}
    for c, (name, scale) in enumerate(zip(criteria, scales, strict=True)):
        rated = [
            (row, scale.mean + scale.std * scores[i][c]) for i, row in enumerate(rows) if row.ratings[c] is not None
        ]
        prompts = [row.prompt_id for row, _ in rated]
        truth = np.array([row.ratings[c] for row, _ in rated], dtype=np.float64)
        errors = (np.array([predicted for _, predicted in rated]) - truth) ** 2
        errors_of_mean = (truth - scale.mean) ** 2
        of_mean = float(errors_of_mean.mean()) if len(truth) else float("nan")
        taus = _taus(prompts, truth, [predicted for _, predicted in rated])
        quality[name] = {
            "num": len(rated),
            "squared_error": interval(errors, prompts) if rated else None,
            "rmse": float(errors.mean() ** 0.5) if rated else float("nan"),
            "rmse_of_mean": of_mean**0.5,
            "explained": 1 - float(errors.mean()) / of_mean if of_mean > 0 else 0.0,
            "explained_interval": interval((errors_of_mean - errors) / of_mean, prompts) if of_mean > 0 else None,
            "tau": interval(list(taus.values()), list(taus)) if taus else None,
        }
    return quality


def overall_groups(
    rows: Sequence[Rated], scales: Sequence[Scale], criteria: Mapping[str, float], scores: Sequence[float]
) -> list[ScoredGroup]:
    """One group per prompt: the completions with all ratings, their combined scores, and pairs by the combined rating.

    The combined rating is Σ weight · (rating − mean) / std, up to a constant factor the target of the combined head.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        if all(rating is not None for rating in row.ratings):
            places[row.prompt_id].append(i)
    return [_group(prompt, rows, rated, scales, criteria, scores) for prompt, rated in places.items()]


def _group(
    prompt: str,
    rows: Sequence[Rated],
    places: Sequence[int],
    scales: Sequence[Scale],
    criteria: Mapping[str, float],
    scores: Sequence[float],
) -> ScoredGroup:
    overall = [
        round(
            sum(
                weight * ((rating or 0.0) - scale.mean) / scale.std
                for weight, rating, scale in zip(criteria.values(), rows[i].ratings, scales, strict=True)
            ),
            9,
        )
        for i in places
    ]
    pairs = tuple((a, b) for a in range(len(places)) for b in range(len(places)) if overall[a] > overall[b])
    return ScoredGroup(
        prompt_id=prompt,
        scores=tuple(scores[i] for i in places),
        lengths=tuple(rows[i].length for i in places),
        ranks=tuple(1 + sum(other > rating for other in overall) for rating in overall),
        pairs=pairs,
    )


def _taus(
    prompts: Sequence[str], truth: Sequence[float] | NDArray[np.float64], predicted: Sequence[float]
) -> dict[str, float]:
    """Prompt → Kendall's tau-b of its completions; prompts whose ratings do not differ are left out."""
    places: dict[str, list[int]] = defaultdict(list)
    for i, prompt in enumerate(prompts):
        places[prompt].append(i)
    taus = {}
    for prompt, rated in places.items():
        if len({float(truth[i]) for i in rated}) > 1:
            tau = float(kendalltau([truth[i] for i in rated], [predicted[i] for i in rated]).statistic)
            taus[prompt] = 0.0 if np.isnan(tau) else tau  # NaN: all scores are equal
    return taus
