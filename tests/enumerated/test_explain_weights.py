"""The simulator's estimates against a world of which every sequence is known, and where it greys what it cannot know.

With little KL penalty the optimum writes a rare token that the learned reward loves: gold falls from 0.64 at β = 0.15
to 0.005 at β = 0.07.
"""

from __future__ import annotations

import numpy as np
import pytest

from enumerated.tilted_world import TOKENS, Exact, Pooled, World, pool
from preflab.explain.curve import beyond_training
from preflab.explain.weights import Point, estimate, measure, optimum, policy_target

BETAS = (3.0, 1.0, 0.5, 0.3, 0.15, 0.1, 0.07, 0.05)
POOLED = (0.5, 0.2, 0.1, 0.07, 0.05)
NUM_ERRORS = 4.0
"""A normal estimate is farther off once in 16,000 times; each test makes 360 or fewer comparisons."""
LEAST = 1e-3
"""Differences that nobody could see: the KL at β = 3 is 0.001 nats, and its estimate is cut at 0."""


def exact(worlds: list[World], beta: float) -> Exact:
    """The mean over prompts at β."""
    return Exact(*np.mean([world.exact(world.optimum(beta)) for world in worlds], axis=0))


def off(point: Point, truth: Exact) -> dict[str, float]:
    """By how many of its errors each quantity is off."""
    pairs = {
        "reward": (point.means["reward"], truth.reward),
        "gold": (point.means["gold"], truth.gold),
        "kl": (point.kl, truth.kl),
    }
    return {name: abs(one.value - true) / max(one.error, LEAST / NUM_ERRORS) for name, (one, true) in pairs.items()}


def points(pooled: Pooled, betas: tuple[float, ...] = BETAS) -> dict[float, Point]:
    quantities = {"reward": pooled.learned, "gold": pooled.gold}
    return {beta: measure(pooled.draws, optimum(pooled.learned, beta), quantities) for beta in betas}


def wrong(found: dict[float, Point], worlds: list[World]) -> dict[float, dict[str, float]]:
    """β → the quantities off by more than 4 errors."""
    bad = {beta: {n: z for n, z in off(p, exact(worlds, beta)).items() if z > NUM_ERRORS} for beta, p in found.items()}
    return {beta: names for beta, names in bad.items() if names}


def trusted(found: dict[float, Point]) -> dict[float, Point]:
    return {beta: point for beta, point in found.items() if not point.unsure}


def test_world_hacks_at_little_penalty() -> None:
    truth = {beta: exact([World()], beta) for beta in (0.15, 0.07)}
    assert (truth[0.15].gold > 0.6, truth[0.15].kl < 1) == (True, True)
    assert (truth[0.07].gold < 0.01, truth[0.07].kl > 15) == (True, True)


def test_pooled_samples_agree_with_enumeration() -> None:
    """3,840 samples of one prompt; five seeds; every β is trusted, so greying excuses nothing."""
    world = World()
    for seed in range(5):
        found = points(pool([world], POOLED, 640, seed))
        assert not wrong(found, [world])
        assert [beta for beta in BETAS if found[beta].unsure] == []


def test_many_prompts_with_constants_agree_with_enumeration() -> None:
    """4,200 samples of 50 prompts whose rewards differ by constants of sd 5, ten times the spread within a prompt."""
    constants = np.random.default_rng(3).normal(0, 5, 50)
    worlds = [World(seed, constant) for seed, constant in enumerate(constants)]
    for seed in range(5):
        found = points(pool(worlds, POOLED, 14, seed))
        assert not wrong(trusted(found), worlds)
        assert len(trusted(found)) >= 7


def test_errors_are_not_too_small_nor_far_too_large() -> None:
    """Over 40 pools the estimates spread as stated: about 5 % lie beyond 2 errors, hardly any inside a tenth of one."""
    world = World()
    spread = {"reward": 0, "gold": 0, "kl": 0}
    for seed in range(40):
        for beta, point in points(pool([world], POOLED, 640, 100 + seed), (0.3, 0.1)).items():
            for name, errors in off(point, exact([world], beta)).items():
                spread[name] += errors > 1
    # 80 points: a normal estimate is beyond one error in 32 % of them, 25; stratified samples spread somewhat less.
    assert all(8 <= number <= 38 for number in spread.values()), spread


def visibly_wrong(found: dict[float, Point], worlds: list[World]) -> set[float]:
    """The β at which gold or reward is off by more than 0.02, or the KL by more than a tenth of a nat."""
    bad = set()
    for beta, point in found.items():
        truth = exact(worlds, beta)
        apart = (abs(point.means["reward"].value - truth.reward), abs(point.means["gold"].value - truth.gold))
        if max(apart) > 0.02 or abs(point.kl.value - truth.kl) > 0.1:
            bad.add(beta)
    return bad


def test_reference_samples_alone_say_that_hacking_does_not_happen() -> None:
    """Without a doubt they would tell gold 0.6 where it is 0.005, mostly with a k that is trusted."""
    world, small = World(), 0
    for seed in range(5):
        pooled = pool([world], (), 4000, seed)
        found = points(pooled)
        blind = estimate(pooled.draws, optimum(pooled.learned, 0.07), {"gold": pooled.gold})
        assert blind.means["gold"].value > 0.6
        assert blind.effective > 80
        small += blind.pareto_k < 0.7
        assert {0.1, 0.07, 0.05} <= set(wrong(found, [world]))
        assert visibly_wrong(found, [world]) == {0.1, 0.07, 0.05}
        assert {0.1, 0.07, 0.05} <= {beta for beta in BETAS if found[beta].unsure} <= {0.15, 0.1, 0.07, 0.05}
    assert small >= 3


@pytest.mark.parametrize("betas", [(0.5, 0.2), (0.2,)])
def test_pool_without_a_hacking_policy_is_greyed_where_it_is_visibly_wrong(betas: tuple[float, ...]) -> None:
    """The doubt is the distance: leaving out a policy that does not write the rare token either moves nothing."""
    world = World()
    for seed in range(5):
        found = points(pool([world], betas, 4000 // (len(betas) + 1), seed))
        assert {0.1, 0.07} <= visibly_wrong(found, [world])
        assert visibly_wrong(found, [world]) <= {beta for beta in BETAS if found[beta].unsure}
        assert {1.0, 0.5, 0.3} <= set(trusted(found))


def test_penalties_far_below_those_of_training_are_doubted_where_other_rules_are_blind() -> None:
    """Reward is 0.2 with one best token, which three texts in four have, and 1 for six gibberish tokens.

    At β = 0.03 the optimum writes gibberish alone: 0.05⁶·exp(1/0.03) = 4.7 million against 0.74·exp(0.2/0.03) = 580.
    The optima at 0.5 and 0.3 never do. All other samples with the highest reward weigh equally, so nothing else doubts.
    """
    world = World()
    world.learned = np.where((TOKENS == 3).all(axis=1), 1.0, 0.2 * (TOKENS == 2).any(axis=1))
    pooled = pool([world], (0.5, 0.3), 1300, 0)
    point = points(pooled, (0.03,))[0.03]
    assert exact([world], 0.03).reward > 0.999
    assert point.means["reward"].value == pytest.approx(0.2, abs=0.001)
    assert not point.unsure
    assert beyond_training(0.03, [0.5, 0.3]) == ("the smallest penalty that a pooled policy was trained with is 0.300",)
    assert beyond_training(0.15, [0.5, 0.3]) == ()


@pytest.mark.parametrize("coefficients", [[], [0.3, 0.0], [0.3, None]])
def test_penalties_have_no_end_without_known_coefficients_above_0(coefficients: list[float | None]) -> None:
    assert beyond_training(0.001, coefficients) == ()


def test_region_that_one_policy_alone_covers_is_greyed() -> None:
    """Only the optimum at 0.1 writes the rare token: the points are right, and nothing in the pool can confirm them."""
    world = World()
    found = points(pool([world], (0.5, 0.2, 0.1), 1000, 0))
    for beta in (0.1, 0.07, 0.05):
        assert any("optimum at 0.1 leaves the pool" in doubt for doubt in found[beta].doubts)
    assert not found[0.3].unsure


def test_policy_target_left_out_of_the_pool_agrees_with_enumeration() -> None:
    """Each pooled optimum, its samples left out, is found again by its own log-probabilities, or greyed."""
    world = World()
    pooled = pool([world], POOLED, 640, 0)
    sure = 0
    for number, beta in enumerate(POOLED, 1):
        rest = pooled.draws.policies != number
        draws = pooled.draws.rows(rest)
        target = policy_target(draws, draws.logps[number])
        point = measure(draws, target, {"reward": pooled.learned[rest], "gold": pooled.gold[rest]})
        sure += not point.unsure
        assert point.unsure or max(off(point, exact([world], beta)).values()) < NUM_ERRORS
    assert sure >= 4
