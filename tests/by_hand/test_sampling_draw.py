"""Draws with given uniforms, against probabilities worked out by hand."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
import torch

from preflab.errors import PreflabError
from preflab.sampling.draw import draw, kept_from
from preflab.sampling.randomness import request_seed, uniforms

# Weights 1, 2, 5: probabilities 1/8, 2/8, 5/8, cumulative 0.125, 0.375, 1.
LOGITS = torch.tensor([log(1.0), log(2.0), log(5.0)])
ALMOST_ONE = float(np.nextafter(1.0, 0.0))


def drawn(logits: torch.Tensor, places: list[float], **settings: float) -> tuple[list[int], list[float]]:
    tokens, logps = draw(logits.expand(len(places), -1), torch.tensor(places, dtype=torch.float64), **settings)
    return tokens.tolist(), logps.tolist()


def test_a_uniform_falls_into_the_cumulative_distribution() -> None:
    tokens, logps = drawn(LOGITS, [0.0, 0.1249, 0.1251, 0.3749, 0.3751, ALMOST_ONE])
    assert tokens == [0, 0, 1, 1, 2, 2]
    assert logps == pytest.approx([log(1 / 8)] * 2 + [log(2 / 8)] * 2 + [log(5 / 8)] * 2, abs=1e-6)


def test_a_constant_added_to_all_logits_changes_nothing() -> None:
    tokens, logps = drawn(LOGITS + 300.0, [0.1249, 0.1251, 0.3751])
    assert tokens == [0, 1, 2]
    assert logps == pytest.approx([log(1 / 8), log(2 / 8), log(5 / 8)], abs=1e-4)


def test_temperature_two_takes_square_roots_of_the_weights() -> None:
    # Weights 1, 4, 16 at temperature 2 count 1, 2, 4: cumulative 1/7, 3/7, 1.
    tokens, logps = drawn(torch.tensor([0.0, log(4.0), log(16.0)]), [0.142, 0.144, 0.428, 0.429], temperature=2.0)
    assert tokens == [0, 1, 1, 2]
    assert logps == pytest.approx([log(1 / 7), log(2 / 7), log(2 / 7), log(4 / 7)], abs=1e-6)


def test_temperature_one_half_squares_the_weights() -> None:
    # Weights 1, 2, 5 at temperature 0.5 count 1, 4, 25 of 30.
    _, logps = drawn(LOGITS, [0.0, 0.1, 0.9], temperature=0.5)
    assert logps == pytest.approx([log(1 / 30), log(4 / 30), log(25 / 30)], abs=1e-6)


def test_temperature_zero_takes_the_likeliest_for_certain() -> None:
    assert drawn(LOGITS, [0.0, 0.5, 0.6, ALMOST_ONE], temperature=0.0) == ([2] * 4, [0.0] * 4)


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"top_k": 2}, [0, 2, 5]),
        ({"top_k": 1}, [0, 0, 5]),
        ({"top_k": 7}, [1, 2, 5]),
        ({"top_p": 0.62}, [0, 0, 5]),  # 5/8 = 0.625 reaches 0.62 alone
        ({"top_p": 0.63}, [0, 2, 5]),  # but not 0.63
        ({"top_p": 0.9}, [1, 2, 5]),  # 7/8 = 0.875 does not reach 0.9
        ({"min_p": 0.39}, [0, 2, 5]),  # 2/5 = 0.4 is at least 0.39 of the likeliest
        ({"min_p": 0.41}, [0, 0, 5]),
        ({"top_k": 2, "top_p": 0.7}, [0, 0, 5]),  # of the two left, 5/7 = 0.714 reaches 0.7
        ({"top_k": 2, "top_p": 0.72}, [0, 2, 5]),  # but not 0.72
        ({"top_p": 0.9, "min_p": 0.3}, [0, 2, 5]),
        ({"temperature": 2.0, "top_k": 2}, [0, 2**0.5, 5**0.5]),
    ],
)
def test_truncation_renormalises_over_what_is_kept(settings: dict[str, float], kept: list[float]) -> None:
    places = torch.linspace(0.0, ALMOST_ONE, 997).tolist()
    tokens, logps = drawn(LOGITS, places, **settings)
    total = sum(kept)
    assert set(tokens) == {token for token, weight in enumerate(kept) if weight}
    assert logps == pytest.approx([log(kept[token] / total) for token in tokens], abs=1e-6)
    assert tokens.count(2) / len(tokens) == pytest.approx(kept[2] / total, abs=0.002)


def test_truncation_of_a_single_row() -> None:
    # Of 2 and 5 the second begins at 2/7 = 0.286.
    assert drawn(LOGITS, [0.28], top_k=2)[0] == [1]
    assert drawn(LOGITS, [0.29], top_k=2)[0] == [2]


def test_least_weight_kept_is_told_of_any_weights() -> None:
    """Half of 8; of 1, 8 and 3 the two largest, whose share of 12 is 11/12; each row for itself."""
    weights = torch.tensor([[1.0, 8.0, 3.0], [2.0, 2.0, 1.0]])
    assert kept_from(weights, 0, 1.0, 0.5).tolist() == [[4.0], [1.0]]
    assert kept_from(weights, 2, 1.0, 0.0).tolist() == [[3.0], [2.0]]
    assert kept_from(weights, 0, 0.75, 0.125).tolist() == [[3.0], [2.0]]
    assert kept_from(torch.tensor([[1.0, 2.0, 1.0]]), 0, 0.5, 0.0).tolist() == [[2.0]], "half of the sum by itself"


def test_nucleus_of_a_whole_block_ends_with_its_last_token() -> None:
    """256 equal tokens: the first 255 are 0.9961 of all. One that weighs e⁻³⁰ makes no difference to the others."""
    logits = torch.zeros(256)
    assert drawn(logits, [0.5], top_p=0.999)[1] == pytest.approx([-log(256)])
    logits[7] = -30.0
    tokens, logps = drawn(logits, [7 / 255 - 1e-6, 7 / 255 + 1e-6], top_p=0.9999)
    assert tokens == [6, 8]
    assert logps == pytest.approx([-log(255)] * 2, abs=1e-6)


def test_mass_of_a_nucleus_is_summed_exactly() -> None:
    """Weights 1 and 2⁻²⁵: their sum is 1 in float32. A nucleus of 1 − 2⁻²⁷ of both holds both."""
    logits = torch.full((300,), -torch.inf)
    logits[0], logits[299] = 0.0, -25 * log(2)
    assert drawn(logits, [ALMOST_ONE], top_p=1 - 2**-27)[0] == [299]
    assert drawn(logits, [ALMOST_ONE], top_p=1 - 2**-23)[0] == [0]


def test_equal_weights_at_the_boundary_are_all_kept() -> None:
    tokens, logps = drawn(torch.tensor([0.0, log(3.0), log(3.0)]), [0.0, 0.49, 0.51, ALMOST_ONE], top_k=1)
    assert tokens == [1, 1, 2, 2]
    assert logps == pytest.approx([log(1 / 2)] * 4, abs=1e-6)


@pytest.mark.parametrize("num_tokens", [3, 255, 256, 257, 1000])
def test_impossible_tokens_are_never_drawn(num_tokens: int) -> None:
    # Only every fifth token is possible; the first and the last are not.
    logits = torch.full((num_tokens,), -torch.inf)
    logits[1::5] = 0.0
    logits[-1] = -torch.inf
    possible = set(torch.isfinite(logits).nonzero()[:, 0].tolist())
    places = [0.0, 1e-300, 1e-9, *np.linspace(0.0, ALMOST_ONE, 2001), 1.0]
    tokens, logps = drawn(logits, places)
    assert set(tokens) == possible
    assert logps == pytest.approx([-log(len(possible))] * len(tokens), abs=1e-6)


def test_a_far_tail_of_a_large_vocabulary_is_not_reached_by_rounding() -> None:
    # e^-200 is 0 in float32: a tail that must not be drawn, even by the largest uniform.
    logits = torch.full((151_936,), -200.0)
    logits[70_000:70_300] = torch.linspace(-1.0, 1.0, 300)
    tokens, _ = drawn(logits, [0.0, ALMOST_ONE, 1.0])
    assert tokens == [70_000, 70_299, 70_299]


@pytest.mark.parametrize("num_tokens", [5, 32_000, 151_936])
def test_a_grid_of_uniforms_reproduces_the_exact_distribution(num_tokens: int) -> None:
    # Of N midpoints, those below a cumulative probability c number N·c, rounded: no luck is involved.
    logits = torch.randn(num_tokens) * 2.0
    exact = np.exp(logits.double().numpy() - logits.max().item())
    cumulative = np.cumsum(exact) / exact.sum()
    num = 4000
    places = (np.arange(num) + 0.5) / num
    tokens = np.array([drawn(logits, places[i : i + 20].tolist())[0] for i in range(0, num, 20)]).ravel()
    counts = np.searchsorted(np.sort(tokens), np.arange(num_tokens), side="right")
    assert np.abs(counts - num * cumulative).max() < 0.51


def test_the_nucleus_of_a_flat_distribution_is_found_beyond_its_first_look() -> None:
    # 5,000 equal tokens and p = 0.5: all are equally likely, so ties keep all of them.
    _, logps = drawn(torch.zeros(5000), [0.3], top_p=0.5)
    assert logps == pytest.approx([-log(5000)], abs=1e-5)
    # Weights 1 + i/5000: the nucleus is cut where the largest weights sum to half of all.
    weights = 1 + np.arange(5000) / 5000
    largest = np.sort(weights)[::-1].cumsum()
    num_kept = int(np.searchsorted(largest, weights.sum() / 2)) + 1
    _, logps = drawn(torch.from_numpy(np.log(weights)).float(), [ALMOST_ONE], top_p=0.5)
    assert logps == pytest.approx([log(weights[-1] / largest[num_kept - 1])], abs=1e-4)


def test_bfloat16_logits_are_drawn_from_in_float32() -> None:
    # 0 and 1 are exact in bfloat16: probabilities 1/(1+e) and e/(1+e).
    tokens, logps = drawn(torch.tensor([0.0, 1.0], dtype=torch.bfloat16), [0.2, 0.5])
    assert tokens == [0, 1]
    assert logps == pytest.approx([-log(1 + np.e), 1 - log(1 + np.e)], abs=1e-6)


@pytest.mark.parametrize("settings", [{}, {"top_p": 0.5}, {"top_k": 1}, {"min_p": 0.5}, {"temperature": 0.0}])
@pytest.mark.parametrize("bad", [[0.0, torch.nan], [torch.nan, 0.0], [0.0, torch.inf], [-torch.inf, -torch.inf]])
def test_logits_that_are_no_numbers_are_refused(bad: list[float], settings: dict[str, float]) -> None:
    with pytest.raises(PreflabError, match="not numbers"):
        drawn(torch.tensor(bad), [0.5], **settings)


def test_the_logits_given_are_not_changed() -> None:
    logits = LOGITS[None].clone()
    draw(logits, torch.tensor([0.5]), temperature=0.7, top_k=2)
    assert torch.equal(logits[0], LOGITS)


def test_seeds_are_stable_and_differ_in_every_argument() -> None:
    # The same on every machine: written down once.
    assert request_seed(0, "prompt-a", 0) == 3507536669941790205
    seeds = {request_seed(s, p, i) for s in (0, 1) for p in ("a", "b", 3) for i in (0, 1)}
    assert len(seeds) == 12
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_uniforms_depend_on_their_own_seed_alone_and_longer_rows_begin_alike() -> None:
    together = uniforms([7, 8, 9], 5)
    assert together.dtype == torch.float64
    assert torch.equal(together[1], uniforms([8], 5)[0])
    assert torch.equal(together[1], uniforms([8], 50)[0, :5])
    many = uniforms(range(200), 50).flatten()
    assert many.min() >= 0
    assert many.max() < 1
    assert many.mean().item() == pytest.approx(0.5, abs=0.01)
    assert many.var().item() == pytest.approx(1 / 12, abs=0.002)
