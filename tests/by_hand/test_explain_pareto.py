"""The shape of a generalised Pareto tail, from exact quantiles: x = σ·((1 − p)^(−k) − 1)/k."""

from __future__ import annotations

import math

import numpy as np
import pytest

from preflab.explain.pareto import pareto_shape, tail_shape


def quantiles(shape: float, num: int, scale: float = 1.0) -> np.ndarray:
    """The quantiles at (i − ½)/num of P(X > x) = (1 + k·x/σ)^(−1/k); of the exponential for k = 0."""
    above = 1 - (np.arange(1, num + 1) - 0.5) / num
    return scale * (-np.log(above) if shape == 0 else (above**-shape - 1) / shape)


@pytest.mark.parametrize("shape", [-0.5, 0.0, 0.3, 0.7, 1.0, 1.5])
@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_pareto_shape_of_exact_quantiles(shape: float, scale: float) -> None:
    # Quantiles stop at (n − ½)/n, so the largest exceedances are missing; n = 2,000 leaves little of that.
    assert pareto_shape(quantiles(shape, 2000, scale), prior=False) == pytest.approx(shape, abs=0.03)


def test_pareto_prior_counts_as_ten_exceedances_of_one_half() -> None:
    exceedances = quantiles(1.0, 40)
    alone = pareto_shape(exceedances, prior=False)
    assert pareto_shape(exceedances) == pytest.approx((40 * alone + 5) / 50)


@pytest.mark.parametrize("shape", [0.4, 0.7, 1.0])
def test_tail_shape_of_weights_above_a_bulk(shape: float) -> None:
    # 4,000 weights: min(800, 3·√4000 = 189.7) → the 190 largest are the tail, exactly those added to the bulk.
    weights = np.concatenate([np.linspace(0.1, 1.0, 3810), 1.0 + quantiles(shape, 190)])
    # The prior: (190·k + 10·½)/200.
    assert tail_shape(weights) == pytest.approx((190 * shape + 5) / 200, abs=0.06)
    assert tail_shape(1000 * weights) == pytest.approx(tail_shape(weights))


def test_equal_weights_have_no_tail() -> None:
    assert tail_shape(np.ones(100)) == -math.inf


def test_equal_exceedances_have_an_end() -> None:
    """105 exceedances of ½: of the 40 θ one, 1/x · (1 − (√(40/2.5) − 1)/3), is 0. The tail ends, so k is below 0."""
    assert tail_shape([1.0] * 1120 + [2.0] * 105) < 0


def test_few_weights_tell_nothing() -> None:
    # A fifth of 20 samples is 4, of 25 it is 5.
    assert tail_shape(np.arange(1.0, 21.0)) == math.inf
    assert math.isfinite(tail_shape(np.arange(1.0, 26.0)))
