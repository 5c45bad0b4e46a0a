"""A world of all 4,096 sequences of four tokens, with a rare token that the learned reward loves and gold hates."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from preflab.explain.weights import Draws

Array = NDArray[np.float64]
TOKENS = np.array(list(product(range(4), repeat=6)))
"""(4096, 6): bland, good, best and gibberish."""
CHANCES = np.array([0.5, 0.25, 0.2, 0.05])
"""Each token's probability under the reference, at every place."""


class Exact(NamedTuple):
    reward: float
    gold: float
    kl: float


class World:
    """Exact probabilities of one prompt: `reference`, `learned` and `gold` are (4096,).

    Learned reward: 0.05, 0.15 or 0.19 per ordinary token, c²/15.6 for c gibberish tokens, and noise of sd 0.03. Gold:
    the mean of 0.5, 0.75 and 0.8 per token, 0 for gibberish, and 0 in all from three gibberish tokens on.
    """

    def __init__(self, seed: int = 0, constant: float = 0.0) -> None:
        noise = np.random.default_rng([1, seed]).normal(0, 0.03, len(TOKENS))
        gibberish = (TOKENS == 3).sum(axis=1)
        self.reference: Array = CHANCES[TOKENS].prod(axis=1)
        self.learned: Array = np.array([0.05, 0.15, 0.19, 0.0])[TOKENS].sum(axis=1) + gibberish**2 / 15.6 + noise
        self.learned = self.learned + constant
        self.gold: Array = np.where(gibberish > 2, 0.0, np.array([0.5, 0.75, 0.8, 0.0])[TOKENS].mean(axis=1))

    def optimum(self, beta: float) -> Array:
        """(4096,) π ∝ π_ref · exp(learned / β)."""
        logs = np.log(self.reference) + self.learned / beta
        weights = np.exp(logs - logs.max())
        return weights / weights.sum()

    def exact(self, policy: Array) -> Exact:
        """Expectations under (4096,) probabilities, and KL to the reference."""
        there = policy > 0
        kl = float((policy[there] * np.log(policy[there] / self.reference[there])).sum())
        return Exact(float(policy @ self.learned), float(policy @ self.gold), kl)


class Pooled(NamedTuple):
    """Samples of several worlds, one prompt each."""

    draws: Draws
    learned: Array
    gold: Array


def pool(worlds: list[World], betas: tuple[float, ...], num: int, seed: int) -> Pooled:
    """`num` sequences per prompt of the reference and of the optimum at each β."""
    rng = np.random.default_rng([2, seed])
    prompts, policies, logps, learned, gold = [], [], [], [], []
    for prompt, world in enumerate(worlds):
        table = np.stack([world.optimum(beta) for beta in (float("inf"), *betas)])
        drawn = [rng.choice(len(TOKENS), num, p=policy) for policy in table]
        rows = np.concatenate(drawn)
        prompts.append(np.full(len(rows), prompt))
        policies.append(np.repeat(np.arange(len(table)), num))
        with np.errstate(divide="ignore"):
            logps.append(np.log(table[:, rows]))
        learned.append(world.learned[rows])
        gold.append(world.gold[rows])
    names = ("reference", *(f"optimum at {beta}" for beta in betas))
    draws = Draws(np.concatenate(prompts), np.concatenate(policies), np.concatenate(logps, axis=1), names)
    return Pooled(draws, np.concatenate(learned), np.concatenate(gold))
