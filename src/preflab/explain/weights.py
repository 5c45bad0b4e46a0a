"""Estimates of what another policy would write, from pooled samples: importance weights, errors and doubts.

For prompt x the pool holds n_k(x) completions of each pooled policy k; policy 0 is the reference. As a whole they are
drawn from the mixture m(y|x) = Σ_k n_k(x)/n(x) · π_k(y|x), the balance heuristic, whose weights are bounded wherever
some pooled policy writes what the target writes (Veach & Guibas 1995; Owen & Zhou 2000). Of a target g·π_ref

    u_i = g(y_i|x) · π_ref(y_i|x) / m(y_i|x),     w_i = u_i / Σ_{j of the same prompt} u_j.

Two targets: the optimum g = exp(R/β) of E[R] − β·KL(π ‖ π_ref) (Korbak et al. 2022; Rafailov et al. 2023, appendix
A.1), and a policy whose own log-probabilities are known, g = π/π_ref. Weights are normalised within each prompt, so a
constant that a prompt adds to R changes no weight.

Errors are those of sampling for this set of prompts. Other prompts would differ by more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from preflab.explain.pareto import LIMIT, tail_shape
from preflab.words import count, percent, three_digits

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
FEWEST_EFFECTIVE = 10.0
"""A prompt with a smaller effective number of samples is thin."""
MOST_THIN = 0.1
"""Largest share of thin prompts in a point that is trusted."""
MOST_MISSING = 0.1
"""Largest share of what a known policy writes that may be missing from the pool."""
ERRORS_MOVED = 3.0
"""A point may move by this many standard errors when a policy leaves the pool."""
REACH = 0.5
"""Nats by which a point may be farther from the reference than the farthest pooled policy."""
LEAST_MOVED = 0.02
"""Movements below this share of a quantity's standard deviation in the pool do not count."""


@dataclass(frozen=True)
class Draws:
    """The numbers of a pool that weights are made of, N samples of K policies."""

    prompts: Numbers
    """(N,) number of each sample's prompt."""
    policies: Numbers
    """(N,) number of the policy that wrote each sample; 0 is the reference."""
    logps: Array
    """(K, N) log π_k(y_i|x): every sample's log-probability under every pooled policy."""
    names: tuple[str, ...] = ()
    """The K names of the policies, for messages."""

    @cached_property
    def groups(self) -> Numbers:
        """(N,) the prompts, numbered from 0 without gaps."""
        numbers: Numbers = np.unique(self.prompts, return_inverse=True)[1].reshape(-1)
        return numbers

    @cached_property
    def num_prompts(self) -> int:
        """The number of different prompts."""
        return int(self.groups.max()) + 1 if len(self.groups) else 0

    @cached_property
    def sizes(self) -> Array:
        """(P,) samples per prompt, n(x)."""
        sizes: Array = np.bincount(self.groups, minlength=self.num_prompts).astype(np.float64)
        return sizes

    @cached_property
    def log_mixture(self) -> Array:
        """(N,) log m(y_i|x), the mixture of the policies in the shares in which the prompt's samples are theirs."""
        num = len(self.logps)
        counts = np.zeros((num, self.num_prompts))
        np.add.at(counts, (self.policies, self.groups), 1.0)
        with np.errstate(divide="ignore"):
            shares = np.log(counts / self.sizes)[:, self.groups]
        return _logsumexp(shares + self.logps)

    def totals(self, values: Array) -> Array:
        """(P,) sums of (N,) values within each prompt."""
        sums: Array = np.bincount(self.groups, weights=values, minlength=self.num_prompts).astype(np.float64)
        return sums

    def largest(self, values: Array) -> Array:
        """(P,) the largest of (N,) values within each prompt."""
        tops = np.full(self.num_prompts, -np.inf)
        np.maximum.at(tops, self.groups, values)
        return tops

    def rows(self, chosen: NDArray[np.bool_]) -> Draws:
        """Only the chosen samples; the mixture follows, so a policy without samples leaves it."""
        return Draws(self.prompts[chosen], self.policies[chosen], self.logps[:, chosen], self.names)


@dataclass(frozen=True)
class Target:
    """The policy that is asked for, relative to the reference."""

    log_ratio: Array
    """(N,) log g(y_i|x): R/β for the optimum, log π/π_ref for a policy."""
    normalised: bool = False
    """True if g·π_ref sums to 1, so that no normaliser has to be estimated for the KL."""


def optimum(rewards: Array, beta: float) -> Target:
    """The optimum at β: log g = R/β. An infinite β is the reference."""
    return Target(np.asarray(rewards, dtype=np.float64) / beta)


def policy_target(draws: Draws, logps: Array) -> Target:
    """A policy by its own (N,) log-probabilities of the samples; its samples need not be in the pool."""
    return Target(np.asarray(logps, dtype=np.float64) - draws.logps[0], normalised=True)


@dataclass(frozen=True)
class Estimate:
    """A mean over prompts and its Monte Carlo standard error."""

    value: float
    error: float


@dataclass(frozen=True)
class Point:
    """Estimates of what a target policy writes."""

    kl: Estimate
    """KL(target ‖ reference), nats per completion."""
    means: Mapping[str, Estimate]
    """Quantity → its mean under the target: the reward, each criterion."""
    effective: float
    """Effective number of samples, Σ over prompts of 1 / Σ w²."""
    thin: int
    """Prompts with an effective number below 10."""
    num_prompts: int
    pareto_k: float
    weights: Array = field(repr=False)
    """(N,) w, which sums to 1 within each prompt."""
    doubts: tuple[str, ...] = ()
    """Reasons why the point is unsure, one sentence each; () if it is trusted."""
    kl_doubts: tuple[str, ...] = ()
    """Reasons why its KL alone is unsure."""

    @property
    def unsure(self) -> bool:
        """True if the point is greyed."""
        return bool(self.doubts)


def log_weights(draws: Draws, target: Target) -> Array:
    """(N,) log u_i = log g + log π_ref − log m."""
    return target.log_ratio + draws.logps[0] - draws.log_mixture


def estimate(draws: Draws, target: Target, quantities: Mapping[str, Array]) -> Point:
    """Means and KL of the target, without doubts; see `measure`.

        mean f   of a prompt: f̂ = Σ_i w_i f_i,                        error² = Σ_i w_i² (f_i − f̂)²
        KL       of a prompt: Σ_i w_i log g_i − log E_ref[g],          error² = Σ_i (w_i (log g_i − ĝ − 1) + v_i)²

    with ĝ = Σ_i w_i log g_i, v the weights of the reference itself and E_ref[g] = Σ_i v_i g_i: the same samples in both
    parts, so that the KL is exactly 0 at β = ∞ and close to exact near it, where log(Σ_i u_i / n) would be off by the
    variance of the weights. The KL of a normalised target has no log and its error is that of the mean ĝ. Values are
    means over prompts, error = √(Σ error²) / P. A mean KL below 0 is shown as 0. The errors are the delta method's for
    self-normalised importance sampling (Owen 2013, "Monte Carlo theory, methods and examples", section 9.2).

    Args:
        draws: the pool.
        target: the policy that is asked for.
        quantities: name → (N,) values; nan where a sample has none. A prompt without any is left out of that mean.
    """
    weights = _normalised(draws, log_weights(draws, target))[0]
    effective = 1 / draws.totals(weights**2)
    relative = weights * draws.sizes[draws.groups]
    return Point(
        kl=_kl(draws, target),
        means={name: _mean(draws, weights, np.asarray(values)) for name, values in quantities.items()},
        effective=float(effective.sum()),
        thin=int((effective < FEWEST_EFFECTIVE).sum()),
        num_prompts=draws.num_prompts,
        pareto_k=tail_shape(relative),
        weights=weights,
    )


def measure(draws: Draws, target: Target, quantities: Mapping[str, Array]) -> Point:
    """`estimate`, with every reason to doubt it.

    Unsure is a point of which more than a tenth of the prompts are thin, whose weights have a Pareto k above 0.7, or
    that moves when one policy leaves the pool (never the reference): |moved| > 3·√(error² + error_without²) and above
    2 % of the quantity's standard deviation within prompts. So is a point more than half a nat farther from the
    reference than the farthest pooled policy. These two find what effective numbers and k are blind to: texts that the
    target writes and that hardly any pooled policy, or none, does.

    The first rule also counts, for a criterion that gives some samples no score, the scored samples alone: the error of
    a prompt with one of them would be 0.

    A policy as the target has probabilities that sum to 1, so the mean of u estimates the share of what it writes that
    the pool holds; more than a tenth missing makes the point unsure. Of such a target the KL alone is unsure if the
    terms w·|log g − ĝ| have a k above 0.7: a trained policy writes some texts that the reference and other runs hardly
    ever do, and they make much of its KL and little of its means.
    """
    point = estimate(draws, target, quantities)
    doubts = _thin_or_heavy(point) + _unscored(draws, point, quantities)
    doubts += _beyond(draws, point) + _missing(draws, target)
    for policy in np.unique(draws.policies):
        if policy > 0:
            doubts += _moved(draws, target, quantities, point, int(policy))
    return replace(point, doubts=tuple(doubts), kl_doubts=tuple(_heavy_kl(draws, target, point)))


def _normalised(draws: Draws, logs: Array) -> tuple[Array, Array]:
    """(N,) weights that sum to 1 within each prompt, and (P,) the logs of their sums before."""
    tops = draws.largest(logs)
    unnormalised = np.exp(logs - tops[draws.groups])
    sums = draws.totals(unnormalised)
    return unnormalised / sums[draws.groups], np.log(sums) + tops


def _kl(draws: Draws, target: Target) -> Estimate:
    weights, log_sums = _normalised(draws, log_weights(draws, target))
    logs = np.where(weights > 0, target.log_ratio, 0.0)
    means = draws.totals(weights * logs)
    if target.normalised:
        values, terms = means, weights * (logs - means[draws.groups])
    else:
        plain, plain_sums = _normalised(draws, draws.logps[0] - draws.log_mixture)
        values = means - (log_sums - plain_sums)
        terms = weights * (logs - means[draws.groups] - 1) + plain
    error = float(np.sqrt((terms**2).sum())) / draws.num_prompts
    return Estimate(max(0.0, float(values.mean())), error)


def _mean(draws: Draws, weights: Array, values: Array) -> Estimate:
    known = ~np.isnan(values)
    kept, filled = np.where(known, weights, 0.0), np.where(known, values, 0.0)
    sums = draws.totals(kept)
    there = sums > 0
    if not there.any():
        return Estimate(float("nan"), float("nan"))
    safe = np.where(there, sums, 1.0)
    means = draws.totals(kept * filled) / safe
    terms = kept / safe[draws.groups] * (filled - means[draws.groups])
    return Estimate(float(means[there].mean()), float(np.sqrt((terms**2).sum())) / int(there.sum()))


def _thin_or_heavy(point: Point) -> list[str]:
    doubts = []
    if point.thin > MOST_THIN * point.num_prompts:
        who = f"{point.thin:,} of {count(point.num_prompts, 'prompt')}"
        doubts.append(f"{who}: an effective number of samples below {FEWEST_EFFECTIVE:.0f}")
    if point.pareto_k > LIMIT:
        doubts.append(f"a few samples decide: Pareto k is {point.pareto_k:.2f}, above {LIMIT}")
    return doubts


def _unscored(draws: Draws, point: Point, quantities: Mapping[str, Array]) -> list[str]:
    """A doubt for the first criterion with few scores; one without any score has no mean to doubt."""
    for name, values in quantities.items():
        known = ~np.isnan(np.asarray(values))
        if known.all() or not known.any():
            continue
        kept = np.where(known, point.weights, 0.0)
        sums, squares = draws.totals(kept), draws.totals(kept**2)
        thin = int(((sums**2 < FEWEST_EFFECTIVE * squares) | (squares == 0)).sum())
        if thin > MOST_THIN * point.num_prompts:
            who = f"{thin:,} of {count(point.num_prompts, 'prompt')}"
            return [f"{name}: {who} have an effective number of scored samples below {FEWEST_EFFECTIVE:.0f}"]
    return []


def _missing(draws: Draws, target: Target) -> list[str]:
    if not target.normalised:
        return []
    held = float((draws.totals(np.exp(log_weights(draws, target))) / draws.sizes).mean())
    return [f"the pool holds {percent(held)} of what the policy writes"] if held < 1 - MOST_MISSING else []


def _heavy_kl(draws: Draws, target: Target, point: Point) -> list[str]:
    if not target.normalised:
        return []
    means = draws.totals(point.weights * target.log_ratio)[draws.groups]
    shape = tail_shape(point.weights * draws.sizes[draws.groups] * np.abs(target.log_ratio - means))
    return [f"a few samples decide the KL: Pareto k is {shape:.2f}, above {LIMIT}"] if shape > LIMIT else []


def pooled_kls(draws: Draws) -> Array:
    """(K,) KL of each pooled policy to the reference: the mean of log π_k/π_ref over its own samples.

    nan for a policy without samples. Each prompt counts as many times as it has samples of the policy.
    """
    ratios = draws.logps - draws.logps[0]
    own = [ratios[policy, draws.policies == policy] for policy in range(len(draws.logps))]
    return np.array([max(0.0, float(rows.mean())) if len(rows) else float("nan") for rows in own])


def _beyond(draws: Draws, point: Point) -> list[str]:
    farthest = float(np.nanmax(pooled_kls(draws)))
    if point.kl.value <= farthest + REACH:
        return []
    return [f"{three_digits(point.kl.value)} nats from the reference; the pool reaches {three_digits(farthest)}"]


def _moved(draws: Draws, target: Target, quantities: Mapping[str, Array], point: Point, policy: int) -> list[str]:
    """A doubt for the first quantity that moves beyond its error when a policy leaves the pool.

    Prompts that only this policy answered leave both sides of the comparison.
    """
    rest = draws.policies != policy
    if not rest.any():
        return []
    answered = np.zeros(draws.num_prompts, dtype=bool)
    answered[draws.groups[rest]] = True
    if not answered.all():
        rows = answered[draws.groups]
        point = estimate(draws.rows(rows), _rows(target, rows), {n: v[rows] for n, v in quantities.items()})
    without = estimate(draws.rows(rest), _rows(target, rest), {n: v[rest] for n, v in quantities.items()})
    spread = {name: spread_within(draws, np.asarray(values)) for name, values in quantities.items()}
    pairs = {**{name: (point.means[name], without.means[name]) for name in quantities}, "KL": (point.kl, without.kl)}
    for name, (whole, part) in pairs.items():
        moved = abs(part.value - whole.value)
        error = float(np.hypot(whole.error, part.error))
        if moved > max(ERRORS_MOVED * error, LEAST_MOVED * spread.get(name, 1.0)):
            left_out = draws.names[policy] if draws.names else f"policy {policy}"
            return [f"{name} moves by {three_digits(moved)} when {left_out} leaves the pool"]
    return []


def spread_within(draws: Draws, values: Array) -> float:
    """Standard deviation of (N,) values around their prompt's mean; nan values are left out."""
    known = ~np.isnan(values)
    if not known.any():
        return 0.0
    filled, there = np.where(known, values, 0.0), known.astype(np.float64)
    means = draws.totals(filled) / np.maximum(draws.totals(there), 1.0)
    return float(np.sqrt(((filled - means[draws.groups])[known] ** 2).mean()))


def _rows(target: Target, chosen: NDArray[np.bool_]) -> Target:
    return Target(target.log_ratio[chosen], target.normalised)


def _logsumexp(values: Array) -> Array:
    """(N,) log Σ_k exp of (K, N), of which each column has a finite entry."""
    tops = values.max(axis=0)
    return tops + np.log(np.exp(values - tops).sum(axis=0))
