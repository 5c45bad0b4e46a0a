"""Weights that are rounded once give what autocast gives by rounding them in every pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from architecture_trials import load_trunk, save
from preflab.models.packed import packed_linear
from preflab.models.rounded import RoundedWeights
from tiny_models import tiny_model

IDS = torch.tensor([[1, 5, 6, 7, 8, 9]])
KINDS: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {"tie_word_embeddings": True},
    "gpt2": {},
    "opt": {},
}
"""Linear layers without and with biases, a head tied to the embedding, layers of the kind Conv1D."""


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return model(input_ids=IDS, use_cache=False).logits


@pytest.mark.parametrize("kind", KINDS)
def test_results_are_those_of_autocast_bit_for_bit(kind: str) -> None:
    model = tiny_model(kind, **KINDS[kind])
    expected, names = logits(model), {name: p.data_ptr() for name, p in model.named_parameters()}
    rounded = RoundedWeights(model, torch.bfloat16)
    assert rounded.own
    assert bool(rounded.tied) == (kind in ("qwen2", "gpt2", "opt")), "tied to the embedding by default or by setting"
    rounded.refresh()
    with rounded.used():
        assert torch.equal(logits(model), expected)
    assert torch.equal(logits(model), expected)
    assert {name: p.data_ptr() for name, p in model.named_parameters()} == names
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert "forward" not in vars(model.get_output_embeddings())


@pytest.mark.parametrize("name", ["mixtral", "qwen3_next", "llama"])
def test_adapters_give_what_they_give_under_autocast(name: str, tmp_path: Path) -> None:
    """Adapters of experts are read as float32 numbers by their owner, so their weights stay as they are."""
    trunk = load_trunk(save(name, tmp_path), ("policy",))
    model = trunk.language_model("policy")
    with trunk.role("policy"):
        expected, rounded = logits(model), RoundedWeights(model, torch.bfloat16)
        rounded.refresh()
        with rounded.used():
            assert torch.equal(logits(model), expected)


def test_copies_hold_the_weights_of_the_last_refresh_at_one_address() -> None:
    model = tiny_model("llama")
    rounded = RoundedWeights(model, torch.bfloat16)
    rounded.refresh()
    places = {key: copy.data_ptr() for key, copy in rounded.copies.items()}
    before = logits(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    with rounded.used():
        norms_and_embedding_only = logits(model)
    rounded.refresh()
    with rounded.used():
        after = logits(model)
    assert torch.equal(after, logits(model))
    assert not torch.equal(after, before)
    assert not torch.equal(after, norms_and_embedding_only)
    assert {key: copy.data_ptr() for key, copy in rounded.copies.items()} == places


def test_what_stood_in_for_the_heads_product_comes_back() -> None:
    model = tiny_model("qwen2", tie_word_embeddings=True)
    rounded = RoundedWeights(model, torch.bfloat16)
    rounded.refresh()
    head = model.get_output_embeddings()
    with packed_linear(head, 4):
        former = vars(head).get("forward")
        with rounded.used():
            assert vars(head)["forward"] is not former
        assert vars(head).get("forward") is former


def test_gradients_of_the_masters_stay() -> None:
    model = tiny_model("llama")
    model(input_ids=IDS, labels=IDS).loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    rounded = RoundedWeights(model, torch.bfloat16)
    rounded.refresh()
    with rounded.used():
        logits(model)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, gradients[name])
