"""Known answers: campaigns with known utilities and known bad labelers, through assignment, EM, order and read-outs.

The campaigns are those of tests/simulated_campaigns.py: 12 labelers, of whom two are random and one reads the scale
backwards; 200 prompts of 4 completions, 3 labels each.
"""

from __future__ import annotations

import functools
import importlib
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from preflab.feedback.agreement import agreement
from preflab.feedback.asking import consensus_accuracy
from preflab.feedback.consensus import consensus_of, preferences_of
from preflab.feedback.pair_votes import all_votes
from preflab.feedback.reading import USUAL, Reading
from preflab.feedback.readout import standings
from preflab.feedback.standing import CARELESS, IN_LINE, REVERSED, TOO_FEW
from preflab.records import Preference
from simulated_campaigns import BAD, SimulatedCampaign, campaign

NUM_SEEDS = 10
RANDOM, REVERSE = ("l00", "l01"), "l02"
TRUE_STANDING = {"random": CARELESS, "reversed": REVERSED, "attentive": IN_LINE}


def accuracy(world: SimulatedCampaign, preferences: list[Preference]) -> float:
    """Pairs whose consensus agrees with the truth; an undecided pair counts half."""
    points = []
    for quality, preference in zip(world.quality, preferences, strict=True):
        chosen = {(i, j) for i, j, _ in preference.chosen_rejected()}
        for i, j in combinations(range(len(quality)), 2):
            better = (i, j) if quality[i] > quality[j] else (j, i)
            points.append(1.0 if better in chosen else 0.0 if better[::-1] in chosen else 0.5)
    return float(np.mean(points))


@functools.cache
def scores(method: str, manners: tuple[tuple[str, str], ...], turned: tuple[str, ...] = ()) -> np.ndarray:
    """Pair accuracy per seed."""
    worlds = [campaign(seed, manners=manners) for seed in range(NUM_SEEDS)]
    reading = Reading(consensus=method, confirmed_reversed=frozenset(turned))  # type: ignore[arg-type]
    return np.array([accuracy(w, preferences_of(w.judgments, reading)) for w in worlds])


def named(world: SimulatedCampaign) -> dict[str, str]:
    return standings(world.judgments, Reading(gold=world.gold))


def exactly_right(world: SimulatedCampaign) -> bool:
    return named(world) == {name: TRUE_STANDING[manner] for name, manner in world.manners.items()}


def test_em_beats_the_majority_when_a_quarter_is_bad() -> None:
    em, majority = scores("one_coin_em", BAD), scores("majority", BAD)
    assert (em > majority).all()
    assert (em - majority).mean() > 0.04
    assert 0.78 < em.mean() < 0.85


def test_a_confirmed_reversal_is_worth_something() -> None:
    plain, turned = scores("one_coin_em", BAD), scores("one_coin_em", BAD, (REVERSE,))
    assert (turned - plain).mean() > 0.005


def test_em_costs_nothing_when_all_are_good() -> None:
    assert (scores("one_coin_em", ()) - scores("majority", ())).mean() > -0.005


def test_the_bad_labelers_weigh_little() -> None:
    careless = []
    for seed in range(NUM_SEEDS):
        weights = USUAL.weights(campaign(seed).judgments)
        assert weights[REVERSE] == 0.0
        bad = max(weights[name] for name in RANDOM)
        good = min(weight for name, weight in weights.items() if name not in (*RANDOM, REVERSE))
        assert bad < min(good, 0.5)
        careless += [weights[name] for name in RANDOM]
    assert np.mean(careless) < 0.15


def test_after_sixty_tasks_exactly_the_bad_ones_are_named() -> None:
    # At least 9 of 10 runs; 20 of 20 were seen, and 60 of 60 by benchmarks/consensus.py.
    right = [exactly_right(campaign.__wrapped__(seed, num_tasks=240)) for seed in range(10)]
    assert sum(right) >= 9


def test_with_gold_tasks_forty_are_enough() -> None:
    right = [exactly_right(campaign.__wrapped__(seed, num_tasks=160, gold_share=0.1)) for seed in range(10)]
    assert sum(right) >= 9


def test_after_twenty_tasks_they_are_only_ranked_for_review() -> None:
    lowest = 0
    for seed in range(20):
        world = campaign.__wrapped__(seed, num_tasks=80, gold_share=0.1)
        assert set(named(world).values()) == {TOO_FEW}
        found = {name: estimate.accuracy for name, estimate in USUAL.estimates(world.judgments)[0].items()}
        order = sorted(found, key=lambda name: (found[name], name))
        assert len(order) == 12
        assert USUAL.least_reliable_first(world.judgments)[0] == order[0]
        lowest += set(order[:3]) == {*RANDOM, REVERSE}
    assert lowest >= 13  # better than chance by far, and not good enough to name anyone


def test_leave_one_out_sees_the_reversed_one_too() -> None:
    table = agreement(campaign(0).judgments).labelers
    values = {name: row.with_others.value or 0.0 for name, row in table.items()}
    assert min(values, key=lambda name: values[name]) == REVERSE
    assert values[REVERSE] < 0.4


def test_what_more_labels_bring_is_foretold_from_the_agreement() -> None:
    strict = agreement(campaign(1, manners=()).judgments).strict.value or 0.0
    for num in (1, 3, 5):
        world = campaign(1, manners=(), overlap=num)
        sums: dict[tuple[str, int, int], int] = {}
        for vote in all_votes(world.judgments):
            sums[vote[1:4]] = sums.get(vote[1:4], 0) + vote.outcome
        right = [
            (total > 0) == (world.quality[int(task), i] > world.quality[int(task), j])
            for (task, i, j), total in sums.items()
            if total
        ]
        assert np.mean(right) == pytest.approx(consensus_accuracy(strict, num), abs=0.03)


def test_few_pairs_stay_open() -> None:
    found = consensus_of(campaign(0).judgments)
    num_open = sum(len(consensus.unresolved) for consensus in found)
    assert 0 < num_open < 0.02 * sum(len(consensus.pairs) for consensus in found)
    assert {consensus.method for consensus in found} == {"kemeny"}


@pytest.mark.timeout(1800)  # 480 s on two idle cores
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # crowd-kit's and its libraries' own
def test_at_least_as_good_as_crowd_kit(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mean of ten seeds, 3 of 12 labelers bad, 3 labels per task; a development tool, skipped where it is missing.

    The Dawid–Skene family turns a reversed labeler round by itself, silently; ours waits for a lead to confirm it. So
    it is compared once that is done; before, the reversed labeler's votes are lost to us and not to them.
    """
    pytest.importorskip("crowdkit", reason="crowd-kit is not installed; only this comparison needs it")
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    benchmark = importlib.import_module("consensus")
    names = [name for name in benchmark.METHODS if "OneCoin" not in name]
    mean = {name: float(np.mean(values)) for name, values in benchmark.methods(10, names=names).items()}
    ours = mean["preflab: one-coin EM, Kemeny"]
    others = {name: value for name, value in mean.items() if name.startswith("crowd-kit")}
    assert len(others) == 6
    assert mean["preflab: the same, reversal confirmed"] >= max(others.values())
    unturned = [value for name, value in others.items() if "Majority" in name or "MACE" in name]
    assert ours >= max(unturned)
