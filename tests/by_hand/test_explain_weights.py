"""Importance weights on two texts, a and b, worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from preflab.explain.weights import (
    Draws,
    Target,
    estimate,
    measure,
    optimum,
    policy_target,
    pooled_kls,
    spread_within,
)

LN3 = math.log(3)
A, B = 0, 1
CHANCES = np.array([[3 / 4, 1 / 4], [1 / 4, 3 / 4]])
"""The reference writes a with 3/4, the other policy b with 3/4."""


def draws(texts: list[int], policies: list[int], prompts: list[int] | None = None) -> Draws:
    numbers = np.array(prompts or [0] * len(texts))
    return Draws(numbers, np.array(policies), np.log(CHANCES[:, texts]), ("ref", "other"))


TEXTS = [A, A, A, B, A, B, B, B]
EVEN = draws(TEXTS, [0, 0, 0, 0, 1, 1, 1, 1])
"""Each policy in its own shares: the mixture writes a and b with 1/2."""
IS_B = np.array(TEXTS, dtype=np.float64)


def test_optimum_by_hand() -> None:
    # R = ln 3 for b at β = 1: g = 1 and 3, u = 1·¾/½ and 3·¼/½, both 3/2, so all weights are 1/8.
    point = estimate(EVEN, optimum(LN3 * IS_B, 1.0), {"b": IS_B})
    assert point.weights == pytest.approx(np.full(8, 1 / 8))
    assert point.effective == pytest.approx(8)
    assert point.means["b"].value == pytest.approx(1 / 2)
    # √(8 · (1/8)² · (1/2)²) = √(1/32).
    assert point.means["b"].error == pytest.approx(math.sqrt(1 / 32))
    # π* = ½, ½: KL = ½ ln(½/¾) + ½ ln(½/¼) = ½ ln(4/3).
    assert point.kl.value == pytest.approx(0.5 * math.log(4 / 3))
    # Each term is (± ½ ln 3 − 1)/8 + v, where the reference's own weights v are ¾/4 of a and ¼/4 of b:
    # ± (½ ln 3 − ½)/8.
    assert point.kl.error == pytest.approx(math.sqrt(8) * (LN3 - 1) / 16)


def test_half_the_penalty_squares_the_factors() -> None:
    # β = ½: g = 1 and 9, u = 3/2 and 9/2; weights 3 : 9, of which each text has four samples: 1/16 and 3/16.
    point = estimate(EVEN, optimum(LN3 * IS_B, 0.5), {"b": IS_B})
    assert point.means["b"].value == pytest.approx(3 / 4)
    assert point.effective == pytest.approx(1 / (4 * (1 / 16) ** 2 + 4 * (3 / 16) ** 2))
    # π* = ¼, ¾: KL = ¼ ln(¼/¾) + ¾ ln(¾/¼) = ½ ln 3.
    assert point.kl.value == pytest.approx(LN3 / 2)


def test_infinite_penalty_is_the_reference() -> None:
    point = estimate(EVEN, optimum(LN3 * IS_B, math.inf), {"b": IS_B})
    assert point.means["b"].value == pytest.approx(1 / 4)
    assert (point.kl.value, point.kl.error) == pytest.approx((0, 0))
    # Also where the reference's samples are not in its shares: u = 3/2, 3/2, 1/2, whose mean is not 1.
    uneven = draws([A, A, B, B, B, B, B, B], [0, 0, 0, 0, 1, 1, 1, 1])
    assert estimate(uneven, optimum(LN3 * uneven.logps[0], math.inf), {}).kl.value == pytest.approx(0)


def test_kl_by_hand_where_samples_are_not_in_their_shares() -> None:
    # Of the reference a, b, b, b: v = g·1/4 each, E_ref[g] = (1 + 3·3)/4 = 5/2; weights 1/10 and 3·3/10.
    alone = draws([A, B, B, B], [0, 0, 0, 0])
    point = estimate(alone, optimum(LN3 * np.array([0.0, 1, 1, 1]), 1.0), {})
    assert point.kl.value == pytest.approx(0.9 * LN3 - math.log(5 / 2))


def test_another_policy_as_the_target() -> None:
    # π = ½, ½: u = 1 everywhere. KL to the reference ½ ln(4/3) as above, error that of the mean of log π/π_ref, which
    # is ln(2/3) and ln 2, ± ½ ln 3 around its mean.
    point = estimate(EVEN, policy_target(EVEN, np.log(np.full(8, 0.5))), {"b": IS_B})
    assert point.means["b"].value == pytest.approx(1 / 2)
    assert point.kl.value == pytest.approx(0.5 * math.log(4 / 3))
    assert point.kl.error == pytest.approx(math.sqrt(8) * LN3 / 16)


def test_reference_samples_alone_are_weighted_by_the_factor() -> None:
    alone = draws([A, A, A, B], [0, 0, 0, 0])
    # u = g = 1, 1, 1, 3: b has 3/6.
    assert estimate(alone, optimum(LN3 * np.array([0.0, 0, 0, 1]), 1.0), {}).weights[3] == pytest.approx(1 / 2)


def test_mixture_counts_samples_per_prompt() -> None:
    # Prompt 1: three samples of the reference and one of the other: m(a) = ¾·¾ + ¼·¼ = 5/8, m(b) = 3/8.
    mixed = draws([A, B, A, A, A, B], [0, 1, 0, 0, 0, 1], [0, 0, 1, 1, 1, 1])
    assert np.exp(mixed.log_mixture) == pytest.approx([1 / 2, 1 / 2, 5 / 8, 5 / 8, 5 / 8, 3 / 8])


def test_constants_of_prompts_change_no_weight() -> None:
    twice = draws(TEXTS * 2, [0, 0, 0, 0, 1, 1, 1, 1] * 2, [5] * 8 + [2] * 8)
    rewards = LN3 * np.tile(IS_B, 2)
    shifted = rewards + np.repeat([400.0, -7.0], 8)
    plain, moved = (estimate(twice, optimum(r, 0.5), {"reward": r}) for r in (rewards, shifted))
    assert moved.weights == pytest.approx(plain.weights)
    assert moved.kl.value == pytest.approx(plain.kl.value)
    assert moved.means["reward"].value == pytest.approx(plain.means["reward"].value + (400 - 7) / 2)
    # Two prompts like one: the error falls by √2.
    one = estimate(EVEN, optimum(LN3 * IS_B, 0.5), {"reward": LN3 * IS_B})
    assert moved.means["reward"].error == pytest.approx(one.means["reward"].error / math.sqrt(2))


def test_samples_without_a_score_are_left_out_of_that_mean_alone() -> None:
    gold = np.array([2.0, math.nan, 4.0, math.nan, math.nan, 1.0, math.nan, math.nan])
    point = estimate(EVEN, optimum(LN3 * IS_B, 0.5), {"gold": gold})
    # a: weights 1/16 for 2 and 4; b: 3/16 for 1: (2 + 4 + 3) / 5.
    assert point.means["gold"].value == pytest.approx(9 / 5)
    assert math.isnan(estimate(EVEN, optimum(IS_B, 1.0), {"gold": np.full(8, math.nan)}).means["gold"].value)


def test_kl_of_pooled_policies() -> None:
    # Of the other's samples a, b, b, b the log-ratios are −ln 3, ln 3, ln 3, ln 3: a mean of ½ ln 3.
    assert pooled_kls(EVEN) == pytest.approx([0, LN3 / 2])


def test_spread_is_measured_within_prompts() -> None:
    two = draws([A, B, A, B], [0] * 4, [0, 0, 1, 1])
    # Around their prompt's mean: ±1, ±3.
    assert spread_within(two, np.array([0.0, 2, 100, 106])) == pytest.approx(math.sqrt((1 + 1 + 9 + 9) / 4))


def many(num_prompts: int, num: int, texts: tuple[list[int], list[int]]) -> Draws:
    """Per prompt `num` copies of the reference's texts, then of the other's."""
    rows = [*texts[0] * num, *texts[1] * num]
    policies = [0] * len(texts[0]) * num + [1] * len(texts[1]) * num
    prompts = [prompt for prompt in range(num_prompts) for _ in rows]
    return draws(rows * num_prompts, policies * num_prompts, prompts)


def test_thin_prompts_make_a_point_unsure() -> None:
    # 8 samples of equal weight per prompt are fewer than 10 in effect, 16 are not.
    for num, unsure in ((1, True), (2, False)):
        pool = many(10, num, (TEXTS[:4], TEXTS[4:]))
        is_b = (pool.logps[1] > pool.logps[0]).astype(np.float64)
        point = measure(pool, optimum(LN3 * is_b, 1.0), {"b": is_b})
        assert (point.thin, point.unsure) == (10 if unsure else 0, unsure)
    assert "10 of 10 prompts" in measure(many(10, 1, (TEXTS[:4], TEXTS[4:])), Target(np.zeros(80)), {}).doubts[0]


def test_criterion_with_few_scores_makes_a_point_unsure() -> None:
    """16 samples of equal weight per prompt: with 9 scored ones too few speak about gold, with 10 enough do."""
    pool = many(4, 2, (TEXTS[:4], TEXTS[4:]))
    is_b = (pool.logps[1] > pool.logps[0]).astype(np.float64)
    for num, doubts in ((9, 1), (10, 0), (0, 0)):
        gold = np.where(np.tile(np.arange(16) < num, 4), is_b, math.nan)
        found = measure(pool, optimum(LN3 * is_b, 1.0), {"gold": gold}).doubts
        assert len([doubt for doubt in found if "scored samples" in doubt]) == doubts
    one = np.where(np.arange(64) == 0, 1.0, math.nan)
    assert "gold: 4 of 4 prompts" in measure(pool, optimum(LN3 * is_b, 1.0), {"gold": one}).doubts[0]


def test_point_that_depends_on_one_policy_is_unsure() -> None:
    # The reference never wrote b: without the other policy the optimum would seem to write a alone.
    pool = many(4, 20, ([A, A, A, A], [A, B, B, B]))
    is_b = (pool.logps[1] > pool.logps[0]).astype(np.float64)
    point = measure(pool, optimum(LN3 * is_b, 1.0), {"b": is_b})
    # a: 5 per copy, u = 3/2; b: 3, u = 3/2: a share of 3/8, and 0 without the other policy.
    assert point.means["b"].value == pytest.approx(3 / 8)
    assert point.doubts == ("b moves by 0.375 when other leaves the pool",)


def test_point_beyond_every_pooled_policy_is_unsure() -> None:
    # The pool reaches ½ ln 3 = 0.55 nats. With R/β = 12 for b, π* writes b alone: KL = ln 4 = 1.39 nats.
    pool = many(4, 20, (TEXTS[:4], TEXTS[4:]))
    is_b = (pool.logps[1] > pool.logps[0]).astype(np.float64)
    doubts = measure(pool, optimum(12 * is_b, 1.0), {}).doubts
    assert doubts == ("1.39 nats from the reference; the pool reaches 0.549",)


def test_policy_that_writes_what_the_pool_lacks_is_unsure() -> None:
    """The target writes a and b with 1/4 each and something else with 1/2: u = ¼ / ½, half of what it should be."""
    pool = many(4, 20, (TEXTS[:4], TEXTS[4:]))
    doubts = measure(pool, policy_target(pool, np.log(np.full(len(pool.prompts), 0.25))), {}).doubts
    assert doubts == ("the pool holds 50\u00a0% of what the policy writes",)


def test_kl_of_a_policy_with_a_long_tail_is_unsure_alone() -> None:
    """Weights with an exact tail of k = 0.62 are trusted; times their logarithm, the terms of the KL, they are not.

    The derivative of log(u · log u) by log u is 1 + 1/log u, so the tail of u · log u is heavier than that of u.
    """
    weights = (1 - (np.arange(1, 4001) - 0.5) / 4000) ** -0.62
    pool = Draws(np.zeros(4000, dtype=np.int64), np.zeros(4000, dtype=np.int64), np.zeros((1, 4000)), ("ref",))
    point = measure(pool, policy_target(pool, np.log(weights / weights.mean())), {})
    assert point.pareto_k == pytest.approx((190 * 0.62 + 5) / 200, abs=0.03)
    assert not any("Pareto" in doubt for doubt in point.doubts)
    assert len(point.kl_doubts) == 1
    # The optimum with the same weights has no such doubt: its rewards have an end, and so has the tail of its KL.
    assert measure(pool, Target(np.log(weights)), {}).kl_doubts == ()
