"""The best mean score that any policy can have at a given KL, estimated from samples of the reference.

π*(y|x) ∝ π_ref(y|x) exp(r(x, y)/β) maximises E[r] − β KL(π ‖ π_ref) (Korbak et al. 2022; Rafailov et al. 2023,
appendix A.1). Averages under π* are averages over samples of π_ref with weights w ∝ exp(r/β), normalised within each
prompt. The estimate is reliable while several samples carry the weight (effective sample size); the curve ends where
they no longer do.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from preflab.maths.best_of_n import expected_best_of

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TiltedPoint:
    """One point of the optimum curve: the mean score `value` at the distance `kl` (nats) from the reference."""

    beta: float
    value: float
    kl: float
    effective: float
    """Effective number of samples per prompt, 1 / Σ w², averaged over prompts."""


def _group_by_prompt(rewards: ArrayLike, prompts: Sequence[Hashable] | None) -> list[Array]:
    rows = np.asarray(rewards, dtype=np.float64)
    if prompts is None:
        return [rows]
    groups: dict[Hashable, list[float]] = {}
    for prompt, reward in zip(prompts, rows.tolist(), strict=True):
        groups.setdefault(prompt, []).append(reward)
    return [np.array(group) for group in groups.values()]


def tilt(rewards: ArrayLike, beta: float, prompts: Sequence[Hashable] | None = None) -> TiltedPoint:
    """The optimum at β: w_i = exp(r_i/β) / Σ_j exp(r_j/β) within each prompt; averages over prompts.

    value = E_w[r];  KL(π* ‖ π_ref) = E_w[r]/β − log E_ref[exp(r/β)].

    Args:
        rewards: (N,) of completions drawn from the reference.
        beta: reward per nat of KL, > 0; inf gives the reference itself.
        prompts: (N,) the prompt of each completion; None: all answer one prompt.
    """
    values, kls, effective = [], [], []
    for group in _group_by_prompt(rewards, prompts):
        scaled = group / beta
        top = float(scaled.max())
        unnormalised = np.exp(scaled - top)
        weights = unnormalised / unnormalised.sum()
        values.append(float(weights @ group))
        kls.append(float(weights @ scaled) - top - float(np.log(unnormalised.mean())))
        effective.append(1 / float((weights**2).sum()))
    return TiltedPoint(beta, float(np.mean(values)), max(0.0, float(np.mean(kls))), float(np.mean(effective)))


def tilted_curve(
    rewards: ArrayLike,
    prompts: Sequence[Hashable] | None = None,
    *,
    min_effective: float = 8.0,
    num_points: int = 60,
) -> list[TiltedPoint]:
    """The optimum curve, from the reference (KL 0) to the last β with `min_effective` effective samples per prompt.

    β falls geometrically from 30 standard deviations of the reward to a hundredth of one.
    """
    spread = float(np.std(np.asarray(rewards, dtype=np.float64)))
    curve = [tilt(rewards, float("inf"), prompts)]
    if spread == 0:
        return curve
    for beta in np.geomspace(30 * spread, spread / 100, num_points):
        point = tilt(rewards, float(beta), prompts)
        if point.effective < min_effective:
            break
        curve.append(point)
    return curve


def nats_needed(curve: Iterable[TiltedPoint], value: float) -> float | None:
    """KL at which the optimum reaches `value`, interpolated linearly; None if the curve ends below it."""
    points = sorted(curve, key=lambda point: point.kl)
    values = [point.value for point in points]
    if not values or value > max(values):
        return None
    return float(np.interp(value, np.maximum.accumulate(values), [point.kl for point in points]))


def best_of_n_value(rewards: ArrayLike, n: int, prompts: Sequence[Hashable] | None = None) -> float:
    """Unbiased estimate of E[max of n rewards] from K ≥ n samples per prompt; see `maths.best_of_n.expected_best_of`.

    Raises:
        ValueError: a prompt has fewer than n samples.
    """
    values = []
    for group in _group_by_prompt(rewards, prompts):
        size = len(group)
        if size < n:
            raise ValueError(f"best of {n} needs at least {n} samples of each prompt, one has {size}")
        values.append(float(expected_best_of(torch.as_tensor(group))[n - 1]))
    return float(np.mean(values))
