"""Masks of truncated sampling: which ids are kept, and the statistics of the restricted distribution, by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from preflab.errors import PreflabError
from preflab.models.chunk import Head
from preflab.models.chunked import token_statistics
from preflab.models.logit_path import plain_statistics
from preflab.sampling.draw import draw, kept_tokens
from preflab.training.batches import TokenSequence
from preflab.training.joined_rows import join_rows
from preflab.training.kept_tokens import KeptTokens

PROBABILITIES = (0.15, 0.5, 0.05, 0.3)
LOGITS = torch.tensor([PROBABILITIES]).log()


@pytest.mark.parametrize(
    ("how", "kept"),
    [
        ({"top_p": 0.7}, {1, 3}),  # 0.5, then 0.8 ≥ 0.7
        ({"top_p": 0.5}, {1}),
        ({"top_k": 3}, {0, 1, 3}),
        ({"min_p": 0.29}, {0, 1, 3}),  # at least 0.29 · 0.5 = 0.145
        ({"top_k": 3, "top_p": 0.83}, {1, 3}),  # of 0.95: 0.5 + 0.3 is 84 %
        ({}, {0, 1, 2, 3}),
    ],
)
def test_kept_ids_are_those_of_the_rule(how: dict[str, Any], kept: set[int]) -> None:
    settings: dict[str, Any] = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, **how}
    mask = kept_tokens(LOGITS, **settings)
    assert set(mask[0].nonzero()[:, 0].tolist()) == kept
    drawn = {int(draw(LOGITS, torch.tensor([u / 200]), **settings)[0]) for u in range(200)}
    assert drawn == kept


def test_temperature_counts_before_top_p() -> None:
    """At temperature 2 the shares go with √p: 0.387, 0.707, 0.224, 0.548 of 1.866; 0.379 + 0.294 = 0.67 < 0.7."""
    mask = kept_tokens(LOGITS, temperature=2.0, top_k=0, top_p=0.7, min_p=0.0)
    assert mask.tolist() == [[True, True, False, True]]


def test_slices_and_joins_keep_each_tokens_ids() -> None:
    one, other = KeptTokens.of([[4, 1], [2]]), KeptTokens.of([[0, 3, 5]])
    both = KeptTokens.joined([one, other])
    assert both.rows() == [[4, 1], [2], [0, 3, 5]]
    assert both[1:].rows() == [[2], [0, 3, 5]]
    assert both[1:2].rows() == [[2]]
    assert both[3:].rows() == []
    assert both.mask(6)[0].tolist() == [False, True, False, False, True, False]
    assert KeptTokens.of_mask(both.mask(6)).rows() == [[1, 4], [2], [0, 3, 5]]


def test_batch_has_masks_only_if_every_sequence_has() -> None:
    masked = TokenSequence((1,), (2, 3), None, KeptTokens.of([[2, 5], [3]]))
    batch = join_rows([masked, masked], 0).to("cpu")
    assert batch.kept is not None
    assert batch.kept.rows() == [[2, 5], [3], [2, 5], [3]]
    assert join_rows([masked, TokenSequence((1,), (2,))], 0).to("cpu").kept is None


def test_token_outside_its_mask_is_an_error() -> None:
    with pytest.raises(PreflabError, match="token 7 at position 1"):
        KeptTokens.of([[1], [2]]).check([1, 7])
    with pytest.raises(PreflabError, match="1 tokens for a completion of 2"):
        KeptTokens.of([[1]]).check([1, 7])


@pytest.mark.parametrize("chunk", [None, 4], ids=["whole", "token by token"])
def test_statistics_are_those_of_the_kept_ids(chunk: int | None) -> None:
    """Kept 0.5 and 0.3 of the policy become 5/8 and 3/8; the reference keeps its whole distribution, ¼ each.

    KL = 5/8 log(5/8 · 4) + 3/8 log(3/8 · 4); entropy = −5/8 log 5/8 − 3/8 log 3/8; ∂ log p_1 = (0, 3/8, 0, −3/8).
    """
    hidden = torch.ones(2, 1, requires_grad=True)
    weight = LOGITS[0][:, None].clone().requires_grad_()
    kept, targets = KeptTokens.of([[1, 3], [0, 1, 2, 3]]), torch.tensor([1, 0])
    found = token_statistics(
        hidden, Head(weight), targets, entropy=True, ref_hidden=torch.zeros(2, 1), kept=kept, logits_per_chunk=chunk
    )
    entropy = -(5 / 8) * math.log(5 / 8) - (3 / 8) * math.log(3 / 8)
    kl = 5 / 8 * math.log(5 / 2) + 3 / 8 * math.log(3 / 2)
    assert found.logps.tolist() == pytest.approx([math.log(5 / 8), math.log(0.15)], abs=1e-6)
    assert found.entropy[0].item() == pytest.approx(entropy, abs=1e-6)
    assert found.kl[0].item() == pytest.approx(kl, abs=1e-6)
    assert found.ref_logps.tolist() == pytest.approx([math.log(1 / 4)] * 2, abs=1e-6)
    (gradient,) = torch.autograd.grad(found.logps[0], weight, retain_graph=True)
    assert gradient[:, 0].tolist() == pytest.approx([0, 3 / 8, 0, -3 / 8], abs=1e-6)
    (of_kl,) = torch.autograd.grad(found.kl[0] + found.entropy[0], weight)  # KL + entropy = −Σ p log q, constant here
    assert of_kl[:, 0].tolist() == pytest.approx([0] * 4, abs=1e-6)
    plain = plain_statistics(
        LOGITS.expand(2, -1), targets, temperature=1.0, entropy=True, ref_logits=torch.zeros(2, 4), kept=kept
    )
    for name in ("logps", "entropy", "kl", "ref_logps"):
        assert torch.allclose(getattr(plain, name), getattr(found, name), atol=1e-6), name


def test_masks_of_logits_in_float16() -> None:
    """Kept are two equal logits of three, so each has probability 1/2; float16 ends at 65,504."""
    logits = torch.tensor([[1.0, 1.0, 4.0]], dtype=torch.float16)
    kept = KeptTokens.of([[0, 1]])
    found = plain_statistics(logits, torch.tensor([0]), temperature=1.0, entropy=True, ref_logits=None, kept=kept)
    assert found.logps.tolist() == pytest.approx([math.log(1 / 2)])
    assert found.entropy.tolist() == pytest.approx([math.log(2)])
