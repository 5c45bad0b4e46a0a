"""Decoding-time realignment in worlds whose distributions are known: exact for one token, not for two."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from preflab.errors import PreflabError
from preflab.explain.realign import Ended, WrittenToken, check_alpha, decode_mixture, mix_logits
from preflab.settings.sampling import DecodingSettings

A, B, C, D = range(4)


class Table:
    """A model whose probabilities are written down: tokens so far → probability of each token."""

    def __init__(self, table: Mapping[tuple[int, ...], Sequence[float]]) -> None:
        self.table = table
        self.written: tuple[int, ...] = ()

    def start(self, prompt_ids: tuple[int, ...]) -> Tensor:
        self.written = ()
        return self._logits()

    def step(self, token: Tensor) -> Tensor:
        self.written = (*self.written, int(token[0]))
        return self._logits()

    def _logits(self) -> Tensor:
        # Shifted by a constant, as a model's logits are: only differences count.
        return torch.tensor([self.table[self.written]]).log() + 3.0


def written(reference: Table, run: Table, alpha: float, seed: int, length: int = 2) -> tuple[list[WrittenToken], Ended]:
    *tokens, end = decode_mixture(
        (reference, run), (), alpha, seed, DecodingSettings(max_new_tokens=length), ends=lambda ids: False,
        decode=lambda ids: "".join("abcd"[i] for i in ids),
    )  # fmt: skip
    assert isinstance(end, Ended)
    assert end.finish_reason == "length"
    return [token for token in tokens if isinstance(token, WrittenToken)], end


def test_mixture_of_one_token_by_hand() -> None:
    """ref (1/2, 1/4, 1/4), run (1/4, 1/4, 1/2): at α = 2 ref⁻¹ run² = (1/8, 1/4, 1) ∝ (1, 2, 8) / 11.

    At α = 1/2 √(ref · run) = (√2, √1 · 1, √2) / 4 up to a factor: (√2, 1, √2) / (1 + 2 √2).
    """
    ref, run = torch.tensor([[0.5, 0.25, 0.25]]), torch.tensor([[0.25, 0.25, 0.5]])
    at_2 = mix_logits(ref.log(), run.log() + 7, 2.0).softmax(-1)[0]
    assert at_2.tolist() == pytest.approx([1 / 11, 2 / 11, 8 / 11], abs=1e-6)
    root = math.sqrt(2)
    at_half = mix_logits(ref.log(), run.log(), 0.5).softmax(-1)[0]
    assert at_half.tolist() == pytest.approx(
        [root / (1 + 2 * root), 1 / (1 + 2 * root), root / (1 + 2 * root)], abs=1e-6
    )


def test_mixture_of_one_token_is_the_optimum_at_another_penalty() -> None:
    """ref (1/2, 1/3, 1/6), r = ln (1, 2, 4). At β = 1 the weights are 1/2, 2/3, 2/3, so the run is (3, 4, 4) / 11.

    At β = 1/2, that is α = 2: 1/2 · 1, 1/3 · 4, 1/6 · 16 = (3, 8, 16) / 6, so (3, 8, 16) / 27.
    """
    ref, run = torch.tensor([[1 / 2, 1 / 3, 1 / 6]]), torch.tensor([[3 / 11, 4 / 11, 4 / 11]])
    found = mix_logits(ref.log(), run.log(), 2.0).softmax(-1)[0]
    assert found.tolist() == pytest.approx([3 / 27, 8 / 27, 16 / 27], abs=1e-6)


def test_ends_of_the_mixture_are_the_models_bit_for_bit() -> None:
    ref, run = torch.tensor([[0.1, -torch.inf]]), torch.tensor([[-torch.inf, 0.3]])
    assert mix_logits(ref, run, 0.0) is ref
    assert mix_logits(ref, run, 1.0) is run
    assert torch.isneginf(mix_logits(ref, run, 3.0)).all()


def test_tokens_that_one_model_excludes_stay_excluded_beyond_the_run() -> None:
    """(1 − 2) · (−inf) would be +inf, and +inf − inf no number."""
    ref, run = torch.tensor([[0.0, -torch.inf, -torch.inf]]), torch.tensor([[0.0, 0.0, -torch.inf]])
    assert mix_logits(ref, run, 2.0).softmax(-1)[0].tolist() == [1.0, 0.0, 0.0]


REFERENCE = Table({(): (0.5, 0.5, 0, 0), (A,): (0, 0, 0.5, 0.5), (B,): (0, 0, 0.5, 0.5)})
# r(ac) = ln 3 and 0 elsewhere, β = 1: Z(a) = (3 + 1) / 2 = 2 and Z(b) = 1.
RUN = Table({(): (2 / 3, 1 / 3, 0, 0), (A,): (0, 0, 3 / 4, 1 / 4), (B,): (0, 0, 0.5, 0.5)})


def test_two_tokens_differ_from_the_exact_optimum() -> None:
    """At β = 1/2 (α = 2) the optimum has r = ln 9: Z(a) = (9 + 1) / 2 = 5, so P(a) = 5/6 and P(c | a) = 9/10.

    Token by token, P(a) ∝ (1/2)⁻¹ (2/3)² = 8/9 and P(b) ∝ (1/2)⁻¹ (1/3)² = 2/9, so P(a) = 4/5: the mixture does not
    know how much more there is to gain after a. The last token is exact: (1/2)⁻¹ (3/4)² : (1/2)⁻¹ (1/4)² = 9 : 1.
    """
    exact = {A: Fraction(5, 6), B: Fraction(1, 6)}
    mixture = {A: Fraction(4, 5), B: Fraction(1, 5)}
    seen = set()
    for seed in range(24):
        (first, second), _ = written(REFERENCE, RUN, 2.0, seed)
        assert math.exp(first.logp) == pytest.approx(float(mixture[first.id]), abs=1e-6)
        assert math.exp(first.logp) != pytest.approx(float(exact[first.id]), abs=0.02)
        assert math.exp(first.ref_logp) == pytest.approx(0.5, abs=1e-6)
        expected = {(A, C): 0.9, (A, D): 0.1, (B, C): 0.5, (B, D): 0.5}[first.id, second.id]
        assert math.exp(second.logp) == pytest.approx(expected, abs=1e-6)
        assert second.log_ratio == pytest.approx(math.log(expected / 0.5), abs=1e-6)
        seen.add((first.id, second.id))
    assert {(A, C), (B, C)} <= seen


def test_share_of_drawn_tokens_is_that_of_the_mixture() -> None:
    """P(a) = 4/5 over 2,000 seeds: the standard error is √(0.16 / 2000) = 0.009; four of them allow 0.036."""
    drawn = [written(REFERENCE, RUN, 2.0, seed, length=1)[0][0].id for seed in range(2000)]
    assert drawn.count(A) / 2000 == pytest.approx(0.8, abs=0.036)


def test_pieces_of_text_join_to_the_completion() -> None:
    tokens, end = written(REFERENCE, RUN, 1.0, 3)
    assert "".join(token.text for token in tokens) == "".join("abcd"[i] for i in end.token_ids)


@pytest.mark.parametrize("alpha", [-0.1, 10.1, math.nan, math.inf])
def test_shares_outside_are_refused(alpha: float) -> None:
    with pytest.raises(PreflabError, match="divided by the one asked for"):
        check_alpha(alpha)
