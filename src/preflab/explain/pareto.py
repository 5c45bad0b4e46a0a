"""The heaviness of the tail of importance weights: the shape k of a generalised Pareto distribution.

Above 0.7 an average over the weights is unreliable at any practical number of samples, and its stated error too small.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
LIMIT = 0.7
"""Largest k of weights that are trusted. Source: Vehtari et al. 2024, section 3.2.4."""
FEWEST = 5
"""Fewest exceedances that a shape is fitted to. Source: Vehtari et al. 2024, appendix H."""
PRIOR_NUM, PRIOR_SHAPE = 10, 0.5
"""The prior of k counts as much as 10 exceedances of shape 0.5. Source: Vehtari et al. 2024, appendix G."""

NEARLY_ZERO = 1e-9
"""Smallest |θ|, in units of 1 over an exceedance."""


def tail_shape(weights: ArrayLike) -> float:
    """k of the largest weights: `pareto_shape` of what they exceed the largest other weight by.

    The tail holds the M = ⌈min(S/5, 3·√S)⌉ largest of S weights. Weights whose largest are all equal have no tail, so k
    is −inf; with fewer than 5 exceedances k is inf, since nothing is known. Source: Vehtari et al. 2024 (JMLR 25,
    "Pareto smoothed importance sampling"), section 2.

    Args:
        weights: (S,) at least 0, in any unit.
    """
    ordered = np.sort(np.asarray(weights, dtype=np.float64))
    num = len(ordered)
    size = math.ceil(min(num / 5, 3 * math.sqrt(num)))
    if num <= FEWEST or size < FEWEST:
        return math.inf
    threshold, largest = ordered[num - size - 1], ordered[-1]
    if largest <= threshold * (1 + 1e-12):
        return -math.inf
    exceedances = ordered[ordered > threshold] - threshold
    return pareto_shape(exceedances / largest) if len(exceedances) >= FEWEST else math.inf


def pareto_shape(exceedances: ArrayLike, *, prior: bool = True) -> float:
    """The shape k of a generalised Pareto distribution, P(X > x) = (1 + k·x/σ)^(−1/k), fitted to exceedances.

    With θ = −k/σ the profile log-likelihood of M exceedances x is

        k(θ) = mean log(1 − θ·x),   ℓ(θ) = M · (log(−θ/k(θ)) − k(θ) − 1)

    and θ̂ is the average of m = 30 + ⌊√M⌋ values

        θ_j = 1/x_max + (1 − √(m/(j − ½))) / (3·x_quartile),   weighted by exp ℓ(θ_j);   k̂ = k(θ̂).

    Then k = (M·k̂ + 10·½) / (M + 10) if `prior`. Source: Zhang & Stephens 2009 (Technometrics 51), whose k has the other
    sign; the prior: Vehtari et al. 2024, appendix G.

    Args:
        exceedances: (M,) above 0.
        prior: draw k towards ½, which steadies it where M is small.
    """
    ordered = np.sort(np.asarray(exceedances, dtype=np.float64))
    num = len(ordered)
    grid = 30 + math.isqrt(num)
    quartile = ordered[max(0, math.floor(num / 4 + 0.5) - 1)]
    places = np.arange(1, grid + 1) - 0.5
    thetas = 1 / ordered[-1] + (1 - np.sqrt(grid / places)) / (3 * quartile)
    thetas = np.where(np.abs(thetas) < NEARLY_ZERO, NEARLY_ZERO, thetas)  # ℓ has a limit at 0, and 0/0 has none
    shapes = np.log1p(-thetas[:, None] * ordered).mean(axis=1)
    likelihoods = num * (np.log(-thetas / shapes) - shapes - 1)
    weights = np.exp(likelihoods - likelihoods.max())
    theta = float(weights @ thetas / weights.sum())
    shape = float(np.log1p(-theta * ordered).mean())
    return (num * shape + PRIOR_NUM * PRIOR_SHAPE) / (num + PRIOR_NUM) if prior else shape
