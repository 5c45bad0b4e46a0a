"""The worlds of `coverage_of_intervals.py`: data with a known true value, and whether the printed interval holds it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, norm, t

from preflab.evaluation.diversity import without_overstating
from preflab.evaluation.spread import spread_difference, spread_interval
from preflab.feedback.alpha import Level, alpha_of, count_coincidences
from preflab.feedback.kappa import fleiss, fleiss_addends
from preflab.statistics.agreement import MIN_RARE, coefficient_ends
from preflab.statistics.bounded import bounded_difference, bounded_mean
from preflab.statistics.jackknife import jackknife_error
from preflab.statistics.means import mean_ends
from preflab.statistics.shares import share_difference_ends, share_ends

Array = NDArray[np.float64]
Generator = np.random.Generator
Draw = Callable[[Generator, int, int], Array]
"""(generator, data sets, prompts) → (data sets, prompts)."""


@dataclass(frozen=True)
class Covered:
    """Per data set: whether an interval is printed, and whether it holds the true value."""

    printed: NDArray[np.bool_]
    covered: NDArray[np.bool_]


def _covered(low: Array, high: Array, truth: float, printed: NDArray[np.bool_] | None = None) -> Covered:
    shown = np.isfinite(low) & np.isfinite(high)
    return Covered(shown if printed is None else shown & printed, (low <= truth + 1e-12) & (truth <= high + 1e-12))


# Shares.


def one_answer(share: float) -> Callable[[Generator, int, int], Covered]:
    """One 0/1 answer per prompt; the numbers of 1 are spread evenly over their distribution, for less noise."""

    def simulate(generator: Generator, repeats: int, num: int) -> Covered:
        ones = binom.ppf((np.arange(repeats) + generator.random(repeats)) / repeats, num, share)
        hits = (np.arange(num) < ones[:, None]).astype(float)
        return _covered(*share_ends(hits, np.ones_like(hits))[1:], share)

    return simulate


def several_answers(share: float, size: int, correlation: float) -> Callable[[Generator, int, int], Covered]:
    """Several 0/1 answers per prompt, whose own share has a Beta distribution."""

    def simulate(generator: Generator, repeats: int, num: int) -> Covered:
        spread = (1 - correlation) / correlation
        shares = generator.beta(share * spread, (1 - share) * spread, size=(repeats, num))
        hits = generator.binomial(size, shares).astype(float)
        return _covered(*share_ends(hits, np.full_like(hits, size))[1:], share)

    return simulate


SHARES = {
    **{f"share {share:g}": one_answer(share) for share in (0.5, 0.9, 0.97)},
    **{
        f"share {share:g}, {size} per prompt, correlation {correlation:g}": several_answers(share, size, correlation)
        for share in (0.5, 0.9, 0.97)
        for size, correlation in ((4, 0.3), (4, 0.7), (8, 0.2))
    },
}


def paired_answers(
    first: float, second: float, size: int = 1, correlation: float = 0.5
) -> Callable[[Generator, int, int], Covered]:
    """0/1 answers of two models to the same prompts: thresholds of normal numbers that share a part per prompt."""

    def simulate(generator: Generator, repeats: int, num: int) -> Covered:
        prompt = np.sqrt(correlation) * generator.normal(size=(repeats, num, 1))
        means = []
        for share in (first, second):
            noise = np.sqrt(1 - correlation) * generator.normal(size=(repeats, num, size))
            means.append((prompt + noise < norm.ppf(share)).mean(axis=2))
        return _covered(*share_difference_ends(means[1] - means[0])[:2], second - first)

    return simulate


SHARE_DIFFERENCES = {
    "0.5 and 0.5": paired_answers(0.5, 0.5),
    "0.5 and 0.7": paired_answers(0.5, 0.7),
    "0.9 and 0.7": paired_answers(0.9, 0.7),
    "0.97 and 0.97": paired_answers(0.97, 0.97),
    "0.97 and 0.9": paired_answers(0.97, 0.9),
    "0.5 and 0.7, 4 per prompt": paired_answers(0.5, 0.7, 4),
    "0.1 and 0.2, 4 per prompt": paired_answers(0.1, 0.2, 4),
}


# Means and differences of means.


def one_value(draw: Draw, truth: float) -> Callable[[Generator, int, int], Covered]:
    """One value, or one difference, per prompt."""

    def simulate(generator: Generator, repeats: int, num: int) -> Covered:
        values = draw(generator, repeats, num)
        return _covered(*mean_ends([(values, np.ones_like(values))])[:2], truth)

    return simulate


def several_values(generator: Generator, repeats: int, num: int) -> Covered:
    """One to seven skewed values per prompt, of which half of the variance is the prompt's; the mean is over rows."""
    sizes = generator.integers(1, 8, size=(repeats, num)).astype(float)
    sums = sizes * generator.exponential(size=(repeats, num)) + generator.gamma(sizes)
    return _covered(*mean_ends([(sums, sizes)])[:2], 2.0)


def per_token(generator: Generator, repeats: int, num: int) -> Covered:
    """The difference of two means per token: each side with its own lengths."""
    terms = []
    for sign, mean in ((-1, 2.0), (1, 1.5)):
        lengths = 1 + generator.geometric(1 / 20, size=(repeats, num)).astype(float)
        terms.append((sign * mean * generator.gamma(lengths), lengths))
    return _covered(*mean_ends(terms)[:2], -0.5)


def ties(share: float) -> Draw:
    """Differences of which this share is 0 and the others are normal with mean ½."""
    return lambda generator, repeats, num: (
        generator.normal(0.5, 1, size=(repeats, num)) * (generator.random((repeats, num)) >= share)
    )


def scores_apart(generator: Generator, repeats: int, num: int) -> Array:
    """Differences of two independent scores near 0, the second 30 % lower."""
    first, second = generator.beta(0.3, 2.7, size=(2, repeats, num))
    return np.asarray(0.7 * second - first)


MEANS = {
    "normal": one_value(lambda g, r, n: g.normal(size=(r, n)), 0.0),
    "exponential": one_value(lambda g, r, n: g.exponential(size=(r, n)), 1.0),
    "lognormal": one_value(lambda g, r, n: g.lognormal(size=(r, n)), float(np.exp(0.5))),
    "toxicity: Beta(0.3, 2.7)": one_value(lambda g, r, n: g.beta(0.3, 2.7, size=(r, n)), 0.1),
    "1 to 7 skewed rows per prompt": several_values,
}
DIFFERENCES = {
    "difference, normal": one_value(lambda g, r, n: g.normal(0.5, 1, size=(r, n)), 0.5),
    "difference, lognormal": one_value(lambda g, r, n: g.lognormal(size=(r, n)) - g.lognormal(size=(r, n)), 0.0),
    "difference, toxicity 30\u00a0% lower": one_value(scores_apart, -0.03),
    "difference, 60\u00a0% ties": one_value(ties(0.6), 0.2),
    "difference, 80\u00a0% ties": one_value(ties(0.8), 0.1),
    "difference, per token": per_token,
}


# Coefficients of agreement: a labeler gives the unit's true class with probability √kappa, else a random one.


def answers(
    generator: Generator, repeats: int, num: int, labelers: int, classes: Sequence[float], kappa: float
) -> Array:
    """(data sets, tasks, labelers) classes."""
    places = len(classes)
    truth = generator.choice(places, p=classes, size=(repeats, num, 1))
    drawn = generator.choice(places, p=classes, size=(repeats, num, labelers))
    return np.asarray(np.where(generator.random((repeats, num, labelers)) < kappa**0.5, truth, drawn), dtype=float)


def _coefficient(
    addends: Array, statistic: Callable[[Array], Array], answered: Array, num_classes: int, truth: float
) -> Covered:
    _, low, high = coefficient_ends(addends, statistic)
    totals = (answered[..., None] == np.arange(num_classes)).sum(axis=(1, 2))
    outside = 1 - totals.max(axis=1) / totals.sum(axis=1)
    return _covered(low, high, truth, addends.shape[1] * outside**2 >= MIN_RARE)


def alpha(level: Level, classes: Sequence[float], kappa: float) -> Callable[[Generator, int, int], Covered]:
    """Krippendorff's alpha of three labelers."""
    values = np.arange(len(classes), dtype=float)

    def simulate(generator: Generator, repeats: int, num: int) -> Covered:
        answered = answers(generator, repeats, num, 3, classes, kappa)
        addends = count_coincidences(answered.reshape(-1, 3), values).reshape(repeats, num, -1)
        return _coefficient(addends, alpha_of(values, level), answered, len(classes), kappa)

    return simulate


def kappa_of_several(classes: Sequence[float], kappa: float) -> Callable[[Generator, int, int], Covered]:
    """Fleiss' kappa of three labelers."""

    def simulate(generator: Generator, repeats: int, num: int) -> Covered:
        answered = answers(generator, repeats, num, 3, classes, kappa)
        counts = (answered[..., None] == np.arange(len(classes))).sum(axis=2).reshape(-1, len(classes)).astype(float)
        return _coefficient(fleiss_addends(counts).reshape(repeats, num, -1), fleiss, answered, len(classes), kappa)

    return simulate


def cohen(sums: Array, num_classes: int) -> Array:
    """Cohen's (1960) kappa (R,) of two labelers from summed confusions (R, num_classes²); NaN without variation."""
    shares = sums.reshape(len(sums), num_classes, num_classes) / sums.sum(axis=1)[:, None, None]
    observed = np.trace(shares, axis1=1, axis2=2)
    expected = (shares.sum(axis=2) * shares.sum(axis=1)).sum(axis=1)
    varied = expected < 1 - 1e-12
    return np.where(varied, (observed - expected) / np.where(varied, 1 - expected, 1), np.nan)


def kappa_of_two(classes: Sequence[float], kappa: float) -> Callable[[Generator, int, int], Covered]:
    """Cohen's kappa of two labelers."""
    places = len(classes)

    def simulate(generator: Generator, repeats: int, num: int) -> Covered:
        answered = answers(generator, repeats, num, 2, classes, kappa)
        cell = (answered[..., 0] * places + answered[..., 1]).astype(int)
        return _coefficient(np.eye(places * places)[cell], lambda sums: cohen(sums, places), answered, places, kappa)

    return simulate


def concordance(signal: float, truth: float) -> Callable[[Generator, int, int], Covered]:
    """Kendall's W of three rankings of four completions: the mean over tasks, so an interval of a mean."""

    def simulate(generator: Generator, repeats: int, num: int) -> Covered:
        values = kendall_values(generator, repeats, num, signal)
        return _covered(*mean_ends([(values, np.ones_like(values))])[:2], truth)

    return simulate


def kendall_values(generator: Generator, repeats: int, num: int, signal: float) -> Array:
    """W of each task (data sets, tasks): W = (12 Σ R² − 3 m² n (n + 1)²) / (m² n (n² − 1)) with m = 3, n = 4."""
    worth = signal * generator.normal(size=(repeats, num, 1, 4)) + generator.normal(size=(repeats, num, 3, 4))
    sums = (worth.argsort(axis=-1).argsort(axis=-1) + 1).sum(axis=2)
    return np.asarray((12 * (sums**2).sum(axis=-1) - 3 * 9 * 4 * 25) / (9 * 4 * 15))


def _true_concordance(signal: float) -> float:
    return float(np.mean([kendall_values(np.random.default_rng(seed), 100, 1000, signal).mean() for seed in range(5)]))


LOPSIDED, EVEN, THREE = (0.9, 0.1), (0.5, 0.5), (0.4, 0.3, 0.3)
KAPPAS = (0.0, 0.3, 0.6, 0.9)
COEFFICIENTS = {
    **{f"alpha {k:g}, classes 50 : 50": alpha("nominal", EVEN, k) for k in KAPPAS},
    **{f"alpha {k:g}, classes 90 : 10": alpha("nominal", LOPSIDED, k) for k in KAPPAS},
    **{f"alpha {k:g}, ordinal, three classes": alpha("ordinal", THREE, k) for k in (0.3, 0.9)},
    **{f"Cohen’s kappa {k:g}, classes 50 : 50": kappa_of_two(EVEN, k) for k in KAPPAS},
    **{f"Cohen’s kappa {k:g}, classes 90 : 10": kappa_of_two(LOPSIDED, k) for k in KAPPAS},
    **{f"Fleiss’ kappa {k:g}, three classes": kappa_of_several(THREE, k) for k in KAPPAS},
    **{f"Fleiss’ kappa {k:g}, classes 90 : 10": kappa_of_several(LOPSIDED, k) for k in KAPPAS},
    **{
        f"Kendall’s W {truth:.2f}": concordance(signal, truth)
        for signal, truth in ((signal, _true_concordance(signal)) for signal in (0.0, 1.0, 2.0))
    },
}  # fmt: skip


# Figures of a set: distinct-1 of texts, of which each prompt has its own topic words.


def distinct(vocabulary: int, length: int) -> Callable[[Generator, int, int], Covered]:
    """distinct-1 of texts of words with frequencies 1 / rank; true is its mean over sets of this size."""
    weights = 1 / np.arange(1, vocabulary + 1)
    shares = weights / weights.sum()

    def simulate(generator: Generator, repeats: int, num: int) -> Covered:
        truth = float((1 - (1 - shares) ** (num * length)).sum() / (num * length))
        counts = generator.multinomial(length, shares, size=(repeats, num))
        seen = counts > 0
        holders = seen.sum(axis=1)
        num_own_words = (seen & (holders == 1)[:, None]).sum(axis=2)
        kinds = (holders > 0).sum(axis=1)
        own = without_overstating(num_own_words, (holders == 2).sum(axis=1), (holders == 3).sum(axis=1))
        value, left_out = kinds / (num * length), (kinds[:, None] - own) / ((num - 1) * length)
        half = t.ppf(0.975, num - 1) * jackknife_error(left_out)
        return _covered(value - half, value + half, truth)

    return simulate


SETS = {"distinct-1, 500 words": distinct(500, 20), "distinct-1, 5,000 words": distinct(5000, 20)}


# Spreads: the standard deviation of a classifier's probabilities.


def spread(draw: Draw, truth: float) -> Callable[[Generator, int, int], Covered]:
    """The standard deviation of one score per prompt, by the functions that `evaluate` calls."""

    def simulate(generator: Generator, repeats: int, num: int) -> Covered:
        intervals = [spread_interval(row, range(num)) for row in draw(generator, repeats, num)]
        return _covered(np.array([one.low for one in intervals]), np.array([one.high for one in intervals]), truth)

    return simulate


def spread_apart(generator: Generator, repeats: int, num: int) -> Covered:
    """The difference of two spreads, the second 30 % smaller."""
    draws = generator.beta(0.3, 2.7, size=(repeats, 2, num))
    intervals = [spread_difference(first, 0.7 * second, range(num)) for first, second in draws]
    truth = -0.3 * float(np.sqrt(0.1 * 0.9 / 4))
    return _covered(np.array([one.low for one in intervals]), np.array([one.high for one in intervals]), truth)


SPREADS = {
    "normal": spread(lambda g, r, n: g.normal(size=(r, n)), 1.0),
    "toxicity: Beta(0.3, 2.7)": spread(lambda g, r, n: g.beta(0.3, 2.7, size=(r, n)), float(np.sqrt(0.1 * 0.9 / 4))),
    "difference, toxicity 30\u00a0% lower": spread_apart,
}


# Means of probabilities, by the functions that `evaluate` calls for values from 0 to 1.


def two_humps(share: float) -> Draw:
    """Probabilities of which this share is near 0.95 and the others near 0.03."""

    def draw(generator: Generator, data_sets: int, num: int) -> Array:
        high = generator.random((data_sets, num)) < share
        near = np.where(high, generator.beta(38, 2, size=high.shape), generator.beta(1, 32.3333, size=high.shape))
        return np.asarray(near, dtype=np.float64)

    return draw


def mean_of_two_humps(share: float) -> float:
    """share · 0.95 + (1 − share) · 0.03."""
    return share * 38 / 40 + (1 - share) / 33.3333


def bounded(draw: Draw, truth: float) -> Callable[[Generator, int, int], Covered]:
    """The mean of one probability per prompt."""

    def simulate(generator: Generator, repeats: int, num: int) -> Covered:
        intervals = [bounded_mean(row) for row in draw(generator, repeats, num)]
        return _covered(np.array([one.low for one in intervals]), np.array([one.high for one in intervals]), truth)

    return simulate


def bounded_apart(generator: Generator, repeats: int, num: int) -> Covered:
    """The difference of two such means on the same prompts: 30 % near 0.95 before, 15 % after."""
    first, second = two_humps(0.3)(generator, repeats, num), two_humps(0.15)(generator, repeats, num)
    intervals = [bounded_difference(one, other) for one, other in zip(first, second, strict=True)]
    truth = mean_of_two_humps(0.15) - mean_of_two_humps(0.3)
    return _covered(np.array([one.low for one in intervals]), np.array([one.high for one in intervals]), truth)


BOUNDED = {
    "toxicity: Beta(0.3, 2.7)": bounded(lambda g, r, n: g.beta(0.3, 2.7, size=(r, n)), 0.1),
    "30\u00a0% near 0.95, others near 0.03": bounded(two_humps(0.3), mean_of_two_humps(0.3)),
    "10\u00a0% near 0.95, others near 0.03": bounded(two_humps(0.1), mean_of_two_humps(0.1)),
    "difference, 30\u00a0% and 15\u00a0% near 0.95": bounded_apart,
}
