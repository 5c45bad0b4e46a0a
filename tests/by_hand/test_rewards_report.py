"""Figures of a reward model on a handful of pairs that can be counted on the fingers."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest

from preflab.rewards.report import (
    PairTable,
    ScoredGroup,
    by_length,
    calibration,
    fail_scores,
    pair_quality,
    scores_by_rank,
)

GROUPS = [
    # a ≻ b right by ln 3, a ≻ c a tie of scores; lengths say: a longer than b, a as long as c
    ScoredGroup("p1", (log(3), 0.0, log(3)), (5, 3, 5), (1, 2, 2), ((0, 1), (0, 2))),
    # b ≻ a wrong by ln 3; the chosen one is shorter
    ScoredGroup("p2", (log(3), 0.0), (9, 2), (2, 1), ((1, 0),)),
]


def test_accuracy_counts_ties_half_and_is_compared_with_length() -> None:
    quality = pair_quality(GROUPS)
    assert (quality["num_prompts"], quality["num_pairs"]) == (2, 3)
    assert quality["accuracy"]["value"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert quality["longer_wins"]["value"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert quality["beyond_length"]["value"] == pytest.approx(0.0)
    assert [quality[name]["num"] for name in ("accuracy", "longer_wins", "beyond_length")] == [2, 2, 2]
    # Two prompts of 2 and 1 pairs are worth (2 + 1)² / (4 + 1) = 1.8 independent ones: Wilson's interval of ½ of 1.8.
    z, n = 1.959964, 1.8
    half = z * (1 / 4 / n + z * z / (4 * n * n)) ** 0.5 / (1 + z * z / n)
    assert quality["accuracy"]["low"] == pytest.approx(0.5 - half, abs=1e-6)


def test_accuracy_beyond_length_is_positive_for_a_model_that_prefers_the_shorter() -> None:
    """Right on three pairs of four, of which the longer one is right on one: ¾ − ¼."""
    groups = [
        ScoredGroup("p1", (2.0, 1.0), (3, 9), (1, 2), ((0, 1),)),
        ScoredGroup("p2", (2.0, 1.0), (3, 9), (1, 2), ((0, 1),)),
        ScoredGroup("p3", (2.0, 1.0), (9, 3), (1, 2), ((0, 1),)),
        ScoredGroup("p4", (1.0, 2.0), (3, 9), (1, 2), ((0, 1),)),
    ]
    quality = pair_quality(groups)
    assert [quality[name]["value"] for name in ("accuracy", "longer_wins", "beyond_length")] == [0.75, 0.25, 0.5]


def test_log_loss_is_that_of_the_raw_margins() -> None:
    # σ(ln 3) = 3/4, σ(0) = 1/2, σ(−ln 3) = 1/4: −log of them, averaged
    assert pair_quality(GROUPS)["log_loss"] == pytest.approx((log(4 / 3) + log(2) + log(4)) / 3)
    assert pair_quality(GROUPS[:1])["log_loss"] == pytest.approx((log(4 / 3) + log(2)) / 2)


def test_calibration_compares_confidence_with_how_often_the_favourite_won() -> None:
    # margins ln 3, ln 3, ln 3, −ln 3: always 3/4 sure, right 3 times of 4; a tie is ½ sure and half right
    margins = np.array([log(3)] * 3 + [-log(3)] + [0.0] * 4)
    table = PairTable([f"p{i}" for i in range(8)], margins, np.zeros(8))
    unsure, sure = calibration(table, num_bins=2)
    assert (unsure["predicted"], unsure["observed"]["value"]) == (pytest.approx(0.5), 0.5)
    assert (sure["predicted"], sure["observed"]["value"]) == (pytest.approx(0.75), 0.75)


def test_by_length_shows_a_model_that_counts_characters() -> None:
    lengths = np.array([-30.0, -10.0, 10.0, 30.0])
    shorter, longer = by_length(PairTable(list("abcd"), lengths, lengths), num_bins=2)
    assert (shorter["from"], shorter["to"], shorter["accuracy"]["value"]) == (-30.0, -10.0, 0.0)
    assert (longer["from"], longer["to"], longer["accuracy"]["value"]) == (10.0, 30.0, 1.0)


def test_fails_are_compared_within_their_prompt() -> None:
    groups = [
        ScoredGroup("p1", (1.0, -1.0, 0.0), (1, 1, 1), (1, None, 2), ((0, 2),)),  # F below both others
        ScoredGroup("p2", (1.0, 3.0), (1, 1), (1, None), ()),  # F above
    ]
    found = fail_scores(groups, lambda raw: 2 * raw + 1)
    # means: F (−1 + 3)/2 = 1 → 3; others (1 + 0 + 1)/3 = 2/3 → 7/3; below in 2 of 3 pairs
    assert found == {
        "num": 2,
        "mean": pytest.approx(3.0),
        "num_others": 3,
        "mean_others": pytest.approx(7 / 3),
        "share_below": pytest.approx(2 / 3),
    }
    assert fail_scores(GROUPS, lambda raw: raw) is None
    # ranks 1: raw 1 and 1; rank 2: raw 0; F: raw −1 and 3
    assert scores_by_rank(groups, lambda raw: raw) == [
        {"rank": 1, "mean": 1.0, "num": 2},
        {"rank": 2, "mean": 0.0, "num": 1},
        {"rank": None, "mean": 1.0, "num": 2},
    ]


def test_pair_quality_without_pairs_has_only_counts() -> None:
    assert pair_quality([]) == {"num_prompts": 0, "num_pairs": 0}


def test_confidence_of_a_margin_of_one() -> None:
    (row,) = calibration(PairTable(["p"], np.array([-1.0]), np.zeros(1)))
    assert row["predicted"] == pytest.approx(exp(1) / (1 + exp(1)))
    assert row["observed"]["value"] == 0.0


def test_ranks_are_listed_from_the_best_whichever_comes_first() -> None:
    group = ScoredGroup("p", (3.0, 2.0, 1.0, 0.0), (1, 1, 1, 1), (None, 2, 3, 1), ())
    assert [row["rank"] for row in scores_by_rank([group], lambda raw: raw)] == [1, 2, 3, None]


def test_pairs_of_equal_length_are_divided_among_bins_in_their_order() -> None:
    """Sixty pairs, every other one a character longer; the model is right on the first thirty."""
    margins = np.array([1.0] * 30 + [-1.0] * 30)
    bins = by_length(PairTable([str(place) for place in range(60)], margins, np.array([1.0, 0.0] * 30)), num_bins=4)
    assert [(row["from"], row["to"], row["num"], row["accuracy"]["value"]) for row in bins] == [
        (0.0, 0.0, 15, 1.0), (0.0, 0.0, 15, 0.0), (1.0, 1.0, 15, 1.0), (1.0, 1.0, 15, 0.0),
    ]  # fmt: skip
