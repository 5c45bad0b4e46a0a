"""Known answers: campaigns with known utilities and known bad labelers, through assignment, EM and consensus.

The generator is the test's own (not `labelers/simulated`): quality N(0, 1), each labeler's noise uniform in 0.6 to 1.3,
a tie when two perceived qualities are nearer than 0.35; 12 labelers, of whom two are random and one reads the scale
backwards; 200 prompts of 4 completions, 3 labels each.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import combinations

import numpy as np

from preflab.feedback.agreement import agreement
from preflab.feedback.assignment import assign
from preflab.feedback.consensus import labeler_weights, preferences_of, reliabilities
from preflab.records import Judgment, Preference, RankingAnswer

NUM_SEEDS, NUM_TASKS, NUM_COMPLETIONS, OVERLAP = 12, 200, 4, 3
RANDOM, REVERSED = ("l00", "l01"), "l02"
LABELERS = [f"l{i:02d}" for i in range(12)]


def dense_ranks(perceived: np.ndarray) -> tuple[int, ...]:
    order = np.argsort(-perceived)
    ranks, current, best = [0] * len(perceived), 0, np.inf
    for i in order:
        if best - perceived[i] >= 0.35:
            best, current = perceived[i], current + 1
        ranks[i] = current
    return tuple(ranks)


def judgment(task: str, labeler: str, ranks: tuple[int, ...]) -> Judgment:
    return Judgment(
        id=f"{task}/{labeler}", campaign_id="c", task_id=task, prompt_id=task, completion_ids=tuple("abcd"),
        shown_order=(0, 1, 2, 3), question="?", polarity=1, answer=RankingAnswer(ranks), labeler_id=labeler,
        labeler_kind="simulated",
    )  # fmt: skip


@cache
def campaign(seed: int, bad: bool) -> tuple[np.ndarray, tuple[Judgment, ...]]:
    """True qualities (tasks, completions) and the judgments."""
    rng = np.random.default_rng(seed)
    quality = rng.normal(size=(NUM_TASKS, NUM_COMPLETIONS))
    noise = dict(zip(LABELERS, rng.uniform(0.6, 1.3, len(LABELERS)), strict=True))
    tasks = [f"{i:03d}" for i in range(NUM_TASKS)]
    judgments = []
    for row, (task, chosen) in enumerate(zip(tasks, assign(tasks, LABELERS, OVERLAP, seed), strict=True)):
        for name in chosen:
            sign = 0 if bad and name in RANDOM else -1 if bad and name == REVERSED else 1
            truth = quality[row] * sign
            perceived = truth + noise[name] * rng.normal(size=NUM_COMPLETIONS)
            judgments.append(judgment(task, name, dense_ranks(perceived)))
    return quality, tuple(judgments)


def accuracy(quality: np.ndarray, preferences: list[Preference]) -> float:
    """Pairs whose consensus agrees with the truth; an unresolved pair counts half."""

    def points() -> Iterator[float]:
        for row, preference in enumerate(preferences):
            margins = {(pair.first, pair.second): pair.margin for pair in preference.pairs}
            for i, j in combinations(range(NUM_COMPLETIONS), 2):
                yield 0.5 + 0.5 * np.sign(margins[i, j]) * np.sign(quality[row, i] - quality[row, j])

    return float(np.mean(list(points())))


def scores(method: str, bad: bool) -> np.ndarray:
    """Pair accuracy per seed."""
    return np.array(
        [
            accuracy(quality, preferences_of(judgments, method))
            for quality, judgments in (campaign(seed, bad) for seed in range(NUM_SEEDS))
        ]
    )


def test_em_beats_the_majority_when_a_quarter_is_bad() -> None:
    em, majority = scores("one_coin_em", bad=True), scores("majority", bad=True)
    assert (em > majority).all()
    assert (em - majority).mean() > 0.04
    assert 0.79 < em.mean() < 0.85


def test_em_costs_nothing_when_all_are_good() -> None:
    assert (scores("one_coin_em", bad=False) - scores("majority", bad=False)).mean() > -0.005


def test_the_bad_labelers_are_found() -> None:
    careless = []
    for seed in range(NUM_SEEDS):
        weights = labeler_weights(campaign(seed, True)[1])
        assert weights[REVERSED] == 0.0
        bad = max(weights[name] for name in RANDOM)
        good = min(weight for name, weight in weights.items() if name not in (*RANDOM, REVERSED))
        assert bad < min(good, 0.25)
        careless += [weights[name] for name in RANDOM]
    assert np.mean(careless) < 0.1


def test_reversed_and_careless_are_told_apart() -> None:
    for seed in range(NUM_SEEDS):
        found = reliabilities(campaign(seed, True)[1])
        assert found[REVERSED].accuracy < 0.35
        assert all(0.35 < found[name].accuracy < 0.63 for name in RANDOM)


def test_leave_one_out_sees_the_reversed_one_too() -> None:
    table = agreement(campaign(0, True)[1]).labelers
    values = {name: row.with_others.value or 0.0 for name, row in table.items()}
    assert min(values, key=lambda name: values[name]) == REVERSED
    assert values[REVERSED] < 0.4
