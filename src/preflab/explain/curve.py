"""The curve of optima: what the simulator shows from much KL penalty to hardly any."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from preflab.explain.pool import Pool
from preflab.explain.weights import Point, measure, optimum, spread_within
from preflab.words import three_digits

Array = NDArray[np.float64]
MOST, LEAST = 3.0, 0.02
"""The curve goes from 3 standard deviations of the reward per nat to 0.02."""
NUM_POINTS = 30
LEAST_SHARE = 0.5
"""β below this share of the smallest coefficient that a pooled policy was trained with is unsure."""


def betas(spread: float, coefficients: Iterable[float | None] = (), num: int = NUM_POINTS) -> list[float]:
    """β in descending order: ∞, 30 values from 3 to 0.02 times `spread`, and the coefficients of runs.

    Args:
        spread: the reward's standard deviation within prompts; 0 leaves ∞ and the coefficients.
        coefficients: of pooled runs; None and 0 are left out.
        num: how many values.
    """
    own = {float(value) for value in coefficients if value}
    grid = np.geomspace(MOST * spread, LEAST * spread, num).tolist() if spread > 0 else []
    return sorted({math.inf, *own, *grid}, reverse=True)


def beyond_training(beta: float, coefficients: Sequence[float | None]) -> tuple[str, ...]:
    """A doubt where β is far below what any pooled policy was trained with.

    Where the reward has a highest value, all samples that have it weigh equally: effective numbers are large, k is
    small, and the KL stays near. None of the other rules sees that a smaller penalty would bring texts that no pooled
    policy writes.

    Args:
        beta: of the point.
        coefficients: of the pooled policies without the reference. With a coefficient of 0, or one that is unknown,
            there is no doubt.
    """
    known = [value for value in coefficients if value]
    if not known or len(known) < len(coefficients) or beta >= LEAST_SHARE * min(known):
        return ()
    return (f"the smallest penalty that a pooled policy was trained with is {three_digits(min(known))}",)


def curve(pool: Pool, values: Sequence[float] | None = None) -> dict[float, Point]:
    """β → what the optimum of the pool's own reward writes there: `reward`, each criterion, and the KL."""
    draws, reward, own = pool.draws, pool.reward, [policy.kl_coef for policy in pool.facts.policies]
    quantities = {"reward": reward}
    quantities |= {one.name: pool.criterion(c) for c, one in enumerate(pool.facts.criteria)}
    if values is None:
        values = betas(spread_within(draws, reward), own)
    points = {beta: measure(draws, optimum(reward, beta), quantities) for beta in values}
    return {beta: replace(one, doubts=one.doubts + beyond_training(beta, own[1:])) for beta, one in points.items()}


def smallest_trusted(pool: Pool) -> float | None:
    """The smallest β of the curve above which every point is trusted, ∞ among them; None if the reference is not."""
    trusted = None
    for beta, point in curve(pool).items():
        if point.unsure:
            break
        trusted = beta
    return trusted
