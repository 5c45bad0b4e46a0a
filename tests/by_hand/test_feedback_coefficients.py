"""Alpha, kappa, tau-b and W against published worked examples and cases worked out on paper."""

from __future__ import annotations

from itertools import permutations
from math import atanh, sqrt, tanh
from typing import Any

import numpy as np
import pytest

from preflab.feedback.alpha import krippendorff_alpha
from preflab.feedback.coefficients import coefficients
from preflab.feedback.estimates import NO_VARIATION, NOTHING, Estimate
from preflab.feedback.kappa import fleiss_kappa
from preflab.feedback.kendall import kendall_w, mean_tau_b, mean_w, tau_b
from preflab.feedback.published_agreement import HUMAN_HIGH, HUMAN_LOW, PUBLISHED
from preflab.records import Answer, Judgment, LikertAnswer, RankingAnswer, ThumbsAnswer

N = None
# Krippendorff 2011, example C and D: four observers, twelve units, missing values.
FOUR_OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, N, N, N],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, N, 3],
    [N, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, N],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, N],
]


def units(observers: list[list[Any]]) -> list[list[Any]]:
    return [list(unit) for unit in zip(*observers, strict=True)]


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_of_four_observers_with_missing_values(level: Any, published: float) -> None:
    found = krippendorff_alpha(units(FOUR_OBSERVERS), level)
    assert found.value == pytest.approx(published, abs=5e-4)
    assert found.num_tasks == 11  # the last unit has one value
    assert (found.low or 0.0) < published < (found.high or 0.0)


def test_alpha_of_two_observers_and_two_values() -> None:
    # Krippendorff 2011, example A: alpha = 1 − 19 · 4 / (14 · 6) = 0.095.
    first, second = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    for level in ("nominal", "interval", "ordinal"):  # two values: all the same
        found = krippendorff_alpha(units([first, second]), level)  # type: ignore[arg-type]
        assert found.value == pytest.approx(1 - 19 * 4 / (14 * 6))


def test_alpha_of_two_observers_and_five_values() -> None:
    # Krippendorff 2011, example B: 0.692.
    meg, owen = "aabbdcccedda", "babbbcccedd" + "d"
    codes = [[float(ord(value)) for value in row] for row in (meg, owen)]
    assert krippendorff_alpha(units(codes), "nominal").value == pytest.approx(0.692, abs=5e-4)


def test_alpha_of_full_agreement_and_systematic_disagreement() -> None:
    assert krippendorff_alpha([[1, 1], [2, 2], [5, 5]], "interval").value == pytest.approx(1.0)
    # Two units that always differ: o(1,2) = 4, n = 4, so 1 − 3 · 4 / (2 · 2 · 2) = −0.5.
    assert krippendorff_alpha([[1, 2], [2, 1]], "nominal").value == pytest.approx(-0.5)


def test_alpha_does_not_depend_on_the_unit_of_the_scale() -> None:
    """Two units that always differ, by 0.1: as above, −0.5."""
    assert krippendorff_alpha([[0.1, 0.2], [0.2, 0.1]], "interval").value == pytest.approx(-0.5)


def test_coefficients_without_variation_are_undefined() -> None:
    constant = Estimate(None, None, None, 3, NO_VARIATION)
    assert krippendorff_alpha([[4, 4], [4, 4], [4, 4]], "ordinal") == constant
    assert fleiss_kappa([[3, 0], [3, 0], [3, 0]]) == constant
    assert mean_tau_b([[(1, 1), (1, 2)]]) == Estimate(None, None, None, 1, NO_VARIATION)
    assert mean_w([[(1, 1), (1, 1)]]) == Estimate(None, None, None, 1, NO_VARIATION)


def test_coefficients_with_nothing_to_compare_are_undefined() -> None:
    nothing = Estimate(None, None, None, 0, NOTHING)
    assert krippendorff_alpha([[4, N], [N, 4]], "interval") == nothing
    assert krippendorff_alpha([], "interval") == nothing
    assert fleiss_kappa([[1, 0]]) == nothing
    assert fleiss_kappa([]) == nothing
    assert mean_tau_b([[(1, 2)]]) == nothing
    assert mean_w([[(1, 2)]]) == nothing


def judged(labeler: str, answer: Answer, num: int) -> Judgment:
    return Judgment(
        id=labeler, campaign_id="c", task_id="t", prompt_id="p", completion_ids=tuple("ab"[:num]),
        shown_order=tuple(range(num)), question="?", polarity=1, answer=answer, labeler_id=labeler,
        labeler_kind="person",
    )  # fmt: skip


def test_a_campaign_without_a_pair_or_a_score_has_coefficients() -> None:
    # Thumbs for one completion at a time leave no pairs. Up and down among two: 1 − (2 − 1) · 2 / (2 · 1 · 1) = 0.
    thumbs = coefficients([judged("ann", ThumbsAnswer((True,)), 1), judged("bob", ThumbsAnswer((False,)), 1)])
    assert thumbs["alpha"].value == pytest.approx(0.0)
    assert (thumbs["pair_alpha"].note, thumbs["pair_fleiss"].note) == (NOTHING, NOTHING)
    all_failed = coefficients([judged(name, RankingAnswer((None, None)), 2) for name in ("ann", "bob")])
    assert (all_failed["pair_alpha"].note, all_failed["fail_alpha"].note) == (NOTHING, NO_VARIATION)
    unscored = coefficients([judged(name, LikertAnswer({"kind": (None,)}, (True,)), 1) for name in ("ann", "bob")])
    assert unscored["alpha_ordinal:kind"].note == NOTHING


def test_fleiss_against_a_published_table() -> None:
    # Ten subjects, fourteen raters, five categories: P̄ = 0.378, P_e = 0.213, kappa = 0.210 (after Fleiss 1971).
    table = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    assert fleiss_kappa(table).value == pytest.approx(0.210, abs=5e-4)


def test_fleiss_by_hand_with_differing_numbers_of_labelers() -> None:
    # P = 1 (two of two), 1/3 (two of three): P̄ = 2/3. p = 4/5, 1/5: P_e = 17/25. (2/3 − 17/25) / (8/25) = −1/24.
    assert fleiss_kappa([[2, 0], [2, 1]]).value == pytest.approx(-1 / 24)


def test_tau_b_by_hand() -> None:
    assert tau_b((1, 2, 3), (1, 2, 3)) == 1.0
    assert tau_b((1, 2, 3), (3, 2, 1)) == -1.0
    # Pairs ab, ac, bc: + + +, and − + +: (2 − 1) / 3.
    assert tau_b((1, 2, 3), (2, 1, 3)) == pytest.approx(1 / 3)
    # A tie in the first: two concordant of 2 and 3 strict pairs: 2 / √6.
    assert tau_b((1, 1, 2), (1, 2, 3)) == pytest.approx(2 / sqrt(6))
    assert tau_b((1, 2, 3), (1, 1, 2)) == pytest.approx(2 / sqrt(6))
    assert tau_b((1, N, 2), (1, 5, 2)) == 1.0
    assert tau_b((1, 1), (1, 2)) is None
    assert tau_b((N, 1), (1, 2)) is None


def test_w_by_hand() -> None:
    assert kendall_w([(1, 2, 3, 4)] * 3) == pytest.approx(1.0)
    assert kendall_w([(1, 2, 3), (3, 2, 1)]) == pytest.approx(0.0)
    # Rank sums 4, 5, 9: 12 · 122 − 27 · 3 · 16 = 168, over 9 · 3 · 8 = 216.
    assert kendall_w([(1, 2, 3), (2, 1, 3), (1, 2, 3)]) == pytest.approx(168 / 216)
    # With a tie: ranks 1.5, 1.5, 3 and 1, 2, 3; sums 2.5, 3.5, 6: 12 · 54.5 − 12 · 3 · 16 = 78, over 96 − 2 · 6 = 84.
    assert kendall_w([(1, 1, 2), (1, 2, 3)]) == pytest.approx(78 / 84)
    # An F of one takes the completion out for all: a, c remain.
    assert kendall_w([(1, N, 2), (1, 2, 3)]) == pytest.approx(1.0)
    assert kendall_w([(N, 1), (1, N)]) is None


def test_w_by_chance_is_one_over_m() -> None:
    # Over all 6 · 6 pairs of rankings of three, W averages to exactly 1/2.
    orders = list(permutations((1, 2, 3)))
    values = [kendall_w([a, b]) for a in orders for b in orders]
    assert np.mean([value for value in values if value is not None]) == pytest.approx(1 / 2)
    taus = [tau_b(a, b) for a in orders for b in orders]
    assert np.mean([tau for tau in taus if tau is not None]) == pytest.approx(0.0)


def test_tau_b_and_w_means_over_tasks() -> None:
    tasks = [[(1, 2), (1, 2), (2, 1)], [(1, 2), (1, 2)]]
    # Couples: 1, −1, −1 and 1: mean 0.
    assert mean_tau_b(tasks).value == pytest.approx(0.0)
    # Sums 4, 5 of three: 12 · 41 − 27 · 2 · 9 = 6, over 9 · 2 · 3 = 54: 1/9; and 1.
    assert mean_w(tasks).value == pytest.approx((1 / 9 + 1) / 2)


def test_fleiss_interval_by_hand() -> None:
    """4 yes/yes, 4 no/no, 2 yes/no: P̄ = 0.8, P_e = 0.5, kappa 0.6.

    Without an agreement P̄ = 63/81, P_e = 41/81: 22/40; without a disagreement P̄ = 8/9, P_e = 1/2: 7/9. The jackknife's
    bias and error on the atanh scale are those over 1 − 0.36, and t of nine degrees of freedom is 2.262157.
    """
    left_out = [22 / 40] * 8 + [7 / 9] * 2
    mean = sum(left_out) / 10
    bias = 9 * (mean - 0.6) / 0.64
    error = sqrt(9 / 10 * sum((each - mean) ** 2 for each in left_out)) / 0.64
    estimate = fleiss_kappa([[2, 0]] * 4 + [[0, 2]] * 4 + [[1, 1]] * 2)
    assert estimate.value == pytest.approx(0.6)
    ends = [tanh(atanh(0.6) - bias + side * 2.262157 * error) for side in (-1, 1)]
    assert (estimate.low, estimate.high) == pytest.approx(tuple(ends), abs=1e-6)


def test_coefficient_intervals_are_over_tasks() -> None:
    pairs = [[1, 1], [1, 2], [2, 2], [2, 2]] * 3
    by_pair, by_task = krippendorff_alpha(pairs, "nominal"), krippendorff_alpha(pairs, "nominal", tasks=list("abc") * 4)
    assert by_pair.value == by_task.value
    assert (by_pair.num_tasks, by_task.num_tasks) == (12, 3)
    assert (by_pair.note, by_task.note) == ("", "no interval: too few (n = 3)")
    # Each of ten tasks written down four times: four times the votes, the same interval but for the n − 1 of alpha.
    units = [[1, 1], [1, 2], [2, 2], [2, 2], [1, 1]] * 2
    once = krippendorff_alpha(units, "nominal")
    four = krippendorff_alpha(units * 4, "nominal", tasks=list(range(10)) * 4)
    naive = krippendorff_alpha(units * 4, "nominal")
    width = [(each.high or 0.0) - (each.low or 0.0) for each in (once, four, naive)]
    assert width[1] == pytest.approx(width[0], rel=0.05)
    assert width[2] < 0.6 * width[0]


def test_agreement_without_an_interval_says_why() -> None:
    full = krippendorff_alpha([[1, 1], [2, 2]] * 6, "nominal")
    assert (full.value, full.low, full.note) == (1.0, None, "no interval: too few differ (n = 12)")
    # Twelve tasks, one answer of 24 differs: 12 / 24² is below 1.
    rare = krippendorff_alpha([[1, 2], *[[1, 1]] * 11], "nominal")
    assert (rare.low, rare.note) == (None, "no interval: too few differ (n = 12)")
    assert fleiss_kappa([[1, 1], *[[2, 0]] * 11]).note == "no interval: too few differ (n = 12)"


def test_the_interval_of_an_alpha_covers_it() -> None:
    # Answers with known alpha: two labelers who agree with chance q, else draw: nominal alpha is q.
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(60):
        truth, first, second = rng.integers(0, 3, size=(3, 150))
        copied = rng.random(150) < 0.5
        pairs = np.column_stack([np.where(copied, truth, first), np.where(copied, truth, second)])
        found = krippendorff_alpha(pairs, "nominal")
        covered += (found.low or 0.0) <= 0.5 <= (found.high or 0.0)
    assert 52 <= covered <= 60  # 57 expected; a standard deviation is 1.7


def test_published_figures_are_in_order_and_sourced() -> None:
    shares = [figure.share for figure in PUBLISHED]
    assert shares == sorted(shares)
    assert (shares[0], round(shares[-1], 2)) == (HUMAN_LOW, HUMAN_HIGH)
    assert all("arXiv" in figure.source or "README" in figure.source for figure in PUBLISHED)
    assert all(figure.between for figure in PUBLISHED)


def test_fleiss_counts_tasks_and_not_units() -> None:
    counts = [[2, 0], [2, 0], [1, 1], [1, 1]]
    by_unit = fleiss_kappa(counts)
    by_task = fleiss_kappa(counts, ["t", "t", "u", "u"])
    # Both units of t agree, those of u do not: P̄ = 1/2, p = (6/8, 2/8), P_e = 5/8, kappa = (1/2 − 5/8) / (3/8).
    assert by_unit.value == pytest.approx(-1 / 3)
    assert by_task.value == pytest.approx(-1 / 3)
    assert (by_unit.num_tasks, by_task.num_tasks) == (4, 2)


def test_published_figures_are_those_of_the_papers() -> None:
    assert [(figure.share, figure.plus_minus) for figure in PUBLISHED] == [
        (0.63, None), (0.657, None), (0.726, 0.015), (0.73, 0.04), (0.77, 0.02), (0.773, 0.013),
    ]  # fmt: skip
    assert (HUMAN_LOW, HUMAN_HIGH) == (0.63, 0.77)
