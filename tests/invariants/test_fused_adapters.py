"""Fused LoRA layers against the same layers computed step by step; on a CPU they are switched on for the test."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor

from preflab.models import fused_adapters
from preflab.models.adapters import adapter_parameters
from preflab.models.fused_adapters import fused_product
from preflab.models.half_adapters import needs_own_layers, sum_before_rounding
from preflab.models.precision import weights_dtype
from preflab.models.trunk import Trunk
from preflab.settings.learning import LoraSettings
from preflab.training.batches import TokenSequence
from tiny_models import tiny_model

KINDS = pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2"])  # without bias, with some, Conv1D with bias
SEQUENCES = [TokenSequence((3, 1), (5, 20, 7)), TokenSequence((4,), (9, 60))]


def made(kind: str, precision: str = "float32") -> Trunk:
    """A trunk with learned adapters and a factor of 1.5 that is no power of two."""
    torch.manual_seed(0)
    model = tiny_model(kind).to(weights_dtype(precision, learns=False))
    lora = LoraSettings(rank=2, alpha=3)
    tokenizer, roles = SimpleNamespace(pad_token_id=0), ("policy", "value")
    trunk = Trunk(model, tokenizer, lora=lora, roles=roles, compute=precision, zero_value=False)
    with torch.no_grad():
        for role in ("policy", "value"):
            for number, p in enumerate(adapter_parameters(trunk.model, role).values()):
                p.copy_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(number + len(role))))
    sum_before_rounding(trunk.model)
    return trunk


def passes(trunk: Trunk, role: Any) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities or values, and the gradient of their squares with respect to the adapter."""
    outputs = trunk(trunk.collate(SEQUENCES), (role,))[role]
    found = outputs.values if role == "value" else outputs.logps
    if role == "reference":
        return found.detach(), None
    trunk.zero_grad()
    found.square().sum().backward()
    return found.detach(), torch.cat([p.grad.flatten() for p in adapter_parameters(trunk.model, role).values()])


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of rows of each fused product."""
    from preflab.models import half_adapters

    counted: list[int] = []

    def counting(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        counted.append(len(x))
        return fused_product(x, *args, **kwargs)

    monkeypatch.setattr(half_adapters, "fused_product", counting)
    return counted


def test_fused_product_by_hand() -> None:
    """x = (1, 2), W = (3 4), bias 5, A = (1 −1), B = 2, factor 1.5: 3 + 8 + 5 + 1.5 · 2 · (1 − 2) = 13.

    With upstream 1: h = 1.5 · 2 = 3, ∂x = W + 3 A = (6, 1), ∂A = 3 x = (3, 6), ∂B = 1.5 · (−1).
    """
    x, down = torch.tensor([[1.0, 2.0]], requires_grad=True), torch.tensor([[1.0, -1.0]], requires_grad=True)
    up = torch.tensor([[2.0]], requires_grad=True)
    y = fused_product(x, torch.tensor([[3.0, 4.0]]), torch.tensor([5.0]), down, up, 1.5)
    assert y.tolist() == [[13.0]]
    dx, d_down, d_up = torch.autograd.grad(y.sum(), (x, down, up))
    assert (dx.tolist(), d_down.tolist(), d_up.tolist()) == ([[6.0, 1.0]], [[3.0, 6.0]], [[-1.5]])


@pytest.mark.parametrize("bias", [True, False])
def test_fused_gradients_are_those_of_finite_differences(bias: bool) -> None:
    torch.manual_seed(0)
    shapes = ((5, 4), (2, 4), (3, 2))
    x, down, up = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)
    weight, offset = torch.randn(3, 4, dtype=torch.float64), torch.randn(3, dtype=torch.float64) if bias else None
    assert torch.autograd.gradcheck(lambda *a: fused_product(a[0], weight, offset, a[1], a[2], 0.7), (x, down, up))


@KINDS
@pytest.mark.parametrize("checkpointing", [False, True])
def test_fused_layers_equal_pefts_in_float32(
    kind: str, checkpointing: bool, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    trunk = made(kind)
    if checkpointing:
        trunk.enable_gradient_checkpointing()
    plain = {role: passes(trunk, role) for role in ("policy", "reference", "value")}
    assert not calls, "a CPU keeps peft's own computation"
    monkeypatch.setattr(fused_adapters, "FUSED_DEVICES", ("cpu",))
    for role, (expected, gradient) in plain.items():
        calls.clear()
        found, ours = passes(trunk, role)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        if gradient is None:
            assert not calls, "without an adapter nothing is fused"
        else:
            assert calls
            assert ours is not None
            assert gradient.abs().max() > 0.01
            assert (ours - gradient).abs().max() <= 1e-6 * max(1.0, float(gradient.abs().max()))


@KINDS
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_fused_layers_in_half_precision_give_the_same_bits(
    kind: str, precision: str, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outputs are equal; gradients are rounded at other places."""
    trunk = made(kind, precision)
    plain = {role: passes(trunk, role) for role in ("policy", "value")}
    monkeypatch.setattr(fused_adapters, "FUSED_DEVICES", ("cpu",))
    for role, (expected, gradient) in plain.items():
        found, ours = passes(trunk, role)
        assert torch.equal(found, expected)
        assert gradient is not None
        assert ours is not None
        assert torch.nn.functional.cosine_similarity(ours, gradient, dim=0) > 0.999
        assert ours.dtype == torch.float32
    assert calls


def test_dropout_merged_layers_and_trained_bases_are_not_fused(
    calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused_adapters, "FUSED_DEVICES", ("cpu",))
    trunk = made("llama")
    layer = next(module for module in trunk.model.modules() if isinstance(module, LoraLinear))
    x = torch.randn(2, 3, layer.in_features)
    with trunk.role("policy"):
        expected = layer(x)
        assert calls == [6]
        layer.base_layer.weight.requires_grad_(True)
        torch.testing.assert_close(layer(x), expected)
        layer.base_layer.weight.requires_grad_(False)
        layer.merge(adapter_names=["policy"])
        torch.testing.assert_close(layer(x), expected)
        layer.unmerge()
        layer.lora_dropout["policy"] = torch.nn.Dropout(0.0)
        torch.testing.assert_close(layer(x), expected)
    assert calls == [6]


def test_own_layers_are_for_half_precision_and_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not needs_own_layers(None)
    assert needs_own_layers(torch.bfloat16)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert needs_own_layers(None)
