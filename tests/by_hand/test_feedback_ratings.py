"""Labelers' own scales: planted offsets and spreads are found, what differs in worth is left in."""

from __future__ import annotations

import random
from math import sqrt

import pytest

from preflab.feedback.ratings import OwnScale, Rating, level_rating, level_ratings, own_scales
from preflab.records import Judgment, LikertAnswer, ThumbsAnswer

WORTH = {f"item {n}": 1 + n % 5 for n in range(200)}


def test_level_rating_by_hand() -> None:
    # Centre 3: a 5 of somebody who adds 1 and goes twice as far is 3 + (5 − 3 − 1) / 2.
    assert level_rating(5.0, OwnScale(1.0, 2.0, 9), 3.0) == pytest.approx(3.5)


def test_one_round_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """a gives 1 and 9, b gives 1 and 5: centre 4, so −3 and 5 beside −3 and 1, with variances 16 and 4.

    The prior is four ratings of the variance of the worth, which for each is what the other gave:

        a    spread √((2 · 16 + 16) / (2 · 4 + 16)) = √2       offset (2 − √2 · −2) / (2 + 4)
        b    spread √((2 · 4 + 64) / (2 · 16 + 64)) = √¾       offset (−2 − √¾ · 2) / (2 + 4)

    Then spreads are divided by their mean, and the mean offset is taken off in proportion to them.
    """
    monkeypatch.setattr("preflab.feedback.ratings.NUM_ROUNDS", 1)
    found = own_scales([Rating("a", "x", 1), Rating("a", "y", 9), Rating("b", "x", 1), Rating("b", "y", 5)])
    spreads, offsets = (sqrt(2), sqrt(0.75)), ((2 + 2 * sqrt(2)) / 6, (-2 - 2 * sqrt(0.75)) / 6)
    mean_spread, mean_offset = sum(spreads) / 2, sum(offsets) / 2
    for name, spread, offset in zip("ab", spreads, offsets, strict=True):
        scaled = spread / mean_spread
        assert found[name] == pytest.approx((offset - scaled * mean_offset, scaled, 2))


def test_labeler_who_meets_nobody_keeps_the_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    """a gives 0 and 8, b gives 2 and 6, c rates what nobody else does: a spread of 1 in every round, over the mean."""
    assert own_scales([Rating("a", "x", 3.0), Rating("a", "y", 5.0)]) == {"a": OwnScale(0.0, 1.0, 2)}
    monkeypatch.setattr("preflab.feedback.ratings.NUM_ROUNDS", 2)
    found = own_scales(
        [Rating(*row) for row in (("a", "x", 0), ("a", "y", 8), ("b", "x", 2), ("b", "y", 6), ("c", "z", 4))]
    )
    # As above in the first round; in the second the worth is what the other gave, divided by their spread.
    first = (2 * sqrt(2) + 2 * sqrt(0.75) + 1) / 5
    by_b, by_a = 4 / (0.75 / first**2), 16 / (2 / first**2)
    wide, narrow = sqrt((2 * 16 + 4 * by_b) / (6 * by_b)), sqrt((2 * 4 + 4 * by_a) / (6 * by_a))
    second = (2 * wide + 2 * narrow + 1) / 5
    assert [found[name].spread for name in "abc"] == pytest.approx([wide / second, narrow / second, 1 / second])
    assert found["c"].num == 1


def test_own_scales_find_planted_offsets() -> None:
    # Worth 1 to 5, mean 3; labelers add −1, 0, +1. With 200 ratings each the prior of 4 takes 2 % off.
    ratings = [
        Rating(name, item, worth + add)
        for name, add in (("a", -1), ("b", 0), ("c", 1))
        for item, worth in WORTH.items()
    ]
    found = own_scales(ratings)
    assert [round(found[name].offset, 1) for name in "abc"] == [-1.0, 0.0, 1.0]
    assert [round(found[name].spread, 1) for name in "abc"] == [1.0, 1.0, 1.0]


def test_own_scales_find_a_planted_spread() -> None:
    # c goes half as far from the middle as a and b.
    ratings = [
        Rating(n, item, 3 + s * (worth - 3))
        for n, s in (("a", 1.0), ("b", 1.0), ("c", 0.5))
        for item, worth in WORTH.items()
    ]
    found = own_scales(ratings)
    assert found["c"].spread / found["a"].spread == pytest.approx(0.5, abs=0.03)


def test_own_scales_do_not_take_better_items_for_leniency() -> None:
    # a rates everything; b only the good half, c only the bad half; nobody adds anything.
    good = [(item, worth) for item, worth in WORTH.items() if worth >= 3]
    bad = [(item, worth) for item, worth in WORTH.items() if worth < 3]
    ratings = [Rating("a", item, worth) for item, worth in WORTH.items()]
    ratings += [Rating("b", item, worth) for item, worth in good] + [Rating("c", item, worth) for item, worth in bad]
    found = own_scales(ratings)
    assert all(abs(scale.offset) < 0.05 for scale in found.values())


def test_own_scales_stay_finite_for_narrow_and_wide_scales() -> None:
    # a and b say 9 of half of the items and 1 or 1.1 of the others, where c says 0 or 2: the same mean, give or take
    # 0.05, and a spread so wide that its limit is reached. Nobody can be far off on a scale from 0 to 9.
    ratings = [Rating(name, f"high {i}", 9.0) for name in "ab" for i in range(50)]
    ratings += [Rating(name, f"low {i}", 1.0 + 0.1 * (i % 2)) for name in "ab" for i in range(50)]
    ratings += [Rating("c", f"low {i}", 2.0 * (i % 2)) for i in range(50)]
    found, centre = own_scales(ratings), sum(r.value for r in ratings) / len(ratings)
    low = {
        name: [level_rating(r.value, found[name], centre) for r in ratings if r.labeler == name and "low" in r.item]
        for name in "abc"
    }
    means = {name: sum(values) / len(values) for name, values in low.items()}
    assert means["c"] == pytest.approx(means["a"], abs=1.0)
    assert sum(scale.offset * scale.num for scale in found.values()) == pytest.approx(0.0, abs=1e-9)
    assert sum(scale.spread * scale.num for scale in found.values()) == pytest.approx(250.0)


def test_own_scales_of_few_or_unshared_ratings_stay_at_the_prior() -> None:
    ratings = [Rating(name, item, worth) for name in ("a", "b") for item, worth in WORTH.items()]
    found = own_scales([*ratings, Rating("new", "item 0", 5.0), Rating("alone", "seen by nobody else", 5.0)])
    # new gave 5 for a worth of 1: 4 too much, once, against a prior of four ratings: at most 4/5
    assert 0.3 < found["new"].offset < 0.9
    assert found["alone"].offset == pytest.approx(0.0, abs=0.05)
    assert own_scales([]) == {}


def judgment(labeler: str, answer: LikertAnswer | ThumbsAnswer, completions: tuple[str, ...]) -> Judgment:
    return Judgment(
        f"j-{labeler}-{completions[0]}",
        "c",
        f"t-{completions[0]}",
        "p",
        completions,
        (0, 1),
        "?",
        1,
        answer,
        labeler,
        "person",
    )


def test_level_ratings_keep_the_order_within_a_labeler() -> None:
    rng = random.Random(0)
    judgments = []
    for pair in [(f"x{n}", f"y{n}") for n in range(60)]:
        worth = rng.choice([(2, 4), (3, 3), (4, 2)])
        for name, add in (("strict", -1), ("plain", 0), ("kind", 1)):
            judgments.append(judgment(name, LikertAnswer({"help": (worth[0] + add, worth[1] + add)}), pair))
    thumbs = judgment("plain", ThumbsAnswer((True, None)), ("z", "w"))
    found = level_ratings([*judgments, thumbs])
    assert found[-1] == thumbs
    for one, two, three in zip(found[0:-1:3], found[1:-1:3], found[2:-1:3], strict=True):
        means = [sum(j.answer.scores["help"]) / 2 for j in (one, two, three)]  # type: ignore[union-attr]
        assert max(means) - min(means) < 0.15
    assert [j.id for j in found] == [j.id for j in [*judgments, thumbs]]


def test_level_ratings_keep_missing_scores() -> None:
    found = level_ratings([judgment("a", LikertAnswer({"help": (4, None)}), ("x", "y"))])
    assert found[0].answer.scores["help"][1] is None  # type: ignore[union-attr]
