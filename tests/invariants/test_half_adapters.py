"""Adapters on a base of half precision: what is small beside the base's outputs is not rounded away."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor, nn

from preflab.models.adapters import adapter_parameters
from preflab.models.merge import merged_language_model
from preflab.models.precision import weights_dtype
from preflab.models.trunk import Trunk
from preflab.settings.learning import LoraSettings
from tiny_models import tiny_model

KINDS = pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2"])  # without bias, with some, Conv1D with bias
HALF = pytest.mark.parametrize("precision", ["bfloat16", "float16"])


def made(kind: str, precision: str, roles: tuple[Any, ...] = ("policy", "value")) -> Trunk:
    """A trunk whose adapters have been learned a little."""
    torch.manual_seed(0)
    model = tiny_model(kind).to(weights_dtype(precision, learns=False))
    lora = LoraSettings(rank=2, alpha=4)
    trunk = Trunk(model, SimpleNamespace(pad_token_id=0), lora=lora, roles=roles, compute=precision)
    with torch.no_grad():
        for role in roles:
            for number, (name, p) in enumerate(adapter_parameters(trunk.model, role).items()):
                if "lora_B" in name:
                    random = torch.Generator().manual_seed(number + len(role))
                    p.copy_(1e-3 * torch.randn(p.shape, generator=random))
    return trunk


def layers(trunk: Trunk) -> list[LoraLinear]:
    found = [module for module in trunk.model.modules() if isinstance(module, LoraLinear)]
    assert found
    return found


def by_hand(layer: LoraLinear, x: Tensor, role: str | None) -> Tensor:
    """W x + scaling · B A x in float32, rounded once, and the bias added; the adapter's part rounded on its way."""
    weight, half = layer.base_layer.weight, layer.base_layer.weight.dtype
    weight = weight.float() if isinstance(layer.base_layer, nn.Linear) else weight.float().t()
    total = x.float() @ weight.t()
    if role is not None:
        down, up = (part[role].weight.to(half).float() for part in (layer.lora_A, layer.lora_B))
        total = total + 2.0 * ((x.float() @ down.t()).to(half).float() @ up.t()).to(half).float()
    total = total.to(half)
    bias = layer.base_layer.bias
    return total if bias is None else (total.float() + bias.float()).to(half)


@HALF
@KINDS
def test_layers_round_the_sum_once(kind: str, precision: str) -> None:
    trunk = made(kind, precision)
    for layer in layers(trunk):
        x = torch.randn(5, 7, layer.in_features, generator=torch.Generator().manual_seed(1)).to(trunk.model.dtype)
        for role in ("policy", "reference", "value"):
            with torch.no_grad(), trunk.role(role):  # type: ignore[arg-type]
                found = layer(x)
            expected = by_hand(layer, x, None if role == "reference" else role)
            assert found.dtype == expected.dtype
            # The order of the sum may move a value to the next one of the type.
            assert torch.allclose(found.float(), expected.float(), rtol=torch.finfo(found.dtype).eps, atol=1e-3)
            assert (found == expected).float().mean() > 0.95


def test_small_adapter_is_kept_on_average() -> None:
    """4e-4 on outputs of size 1 to 4, whose last bit is 0.008 to 0.03: most is lost when it is added after rounding."""
    trunk = made("llama", "bfloat16", ("policy",))
    layer = layers(trunk)[0]
    with torch.no_grad():
        layer.lora_A["policy"].weight.fill_(1.0)
        layer.lora_B["policy"].weight.fill_(1e-4)  # scaling 2, rank 2: 4e-4 times the sum of x
        x = torch.randn(4000, layer.in_features, generator=torch.Generator().manual_seed(1))
        x = (x - x.mean(1, keepdim=True) + 1 / layer.in_features).bfloat16()
        with trunk.role("reference"):
            base = layer(x).double()
        with trunk.role("policy"):
            kept = (layer(x).double() - base).mean().item()
    expected = 4e-4 * x.double().sum(1, keepdim=True).expand_as(base)
    after = ((base.float() + expected.float()).bfloat16().double() - base).mean().item()
    assert base.abs().mean() > 1
    assert kept == pytest.approx(expected.mean().item(), rel=0.15)
    assert after < 0.6 * expected.mean().item()


@HALF
@KINDS
def test_fresh_adapter_changes_no_bit(kind: str, precision: str) -> None:
    trunk = made(kind, precision)
    with torch.no_grad():
        for name, p in adapter_parameters(trunk.model, "policy").items():
            if "lora_B" in name:
                p.zero_()
    ids = torch.tensor([[3, 1, 5, 20], [4, 4, 9, 60]])
    with torch.no_grad():
        logits = []
        for role in ("policy", "reference", "value"):
            with trunk.role(role):  # type: ignore[arg-type]
                logits.append(trunk.model(input_ids=ids).logits)
    assert torch.equal(logits[0], logits[1])
    assert not torch.equal(logits[0], logits[2])


@HALF
def test_gradients_are_near_those_of_float32(precision: str) -> None:
    exact, half = made("qwen2", "float32"), made("qwen2", precision)
    ids = torch.tensor([[3, 1, 5, 20], [4, 4, 9, 60]])
    for role in ("policy", "value"):
        found = []
        for trunk in (exact, half):
            with trunk.role(role):  # type: ignore[arg-type]
                trunk.model(input_ids=ids).logits.float().logsumexp(-1).sum().backward()
            found.append(torch.cat([p.grad.flatten() for p in adapter_parameters(trunk.model, role).values()]))
        assert torch.nn.functional.cosine_similarity(*found, dim=0) > 0.99
        assert found[1].norm() == pytest.approx(float(found[0].norm()), rel=0.05)


def test_copies_and_layers_outside_autocast_sum_alike() -> None:
    trunk = made("gpt2", "bfloat16")
    other = copy.deepcopy(trunk)
    with torch.no_grad():
        for p in adapter_parameters(other.model, "policy").values():
            p.zero_()
    layer, copied = layers(trunk)[0], layers(other)[0]
    x = torch.randn(3, layer.in_features).bfloat16()
    with torch.no_grad(), trunk.role("policy"), other.role("policy"):
        inside, without = layer(x), copied(x)
        with torch.autocast("cpu", enabled=False):
            outside = layer(x)
    assert torch.equal(without, by_hand(copied, x, None)), "a copy reads its own weights"
    assert torch.allclose(outside.float(), inside.float(), rtol=2**-7, atol=1e-3)
    assert outside.dtype == torch.bfloat16


def test_float32_keeps_pefts_own_layers_and_merging_leaves_none() -> None:
    assert {type(layer) for layer in layers(made("llama", "float32"))} == {LoraLinear}
    trunk = made("llama", "bfloat16")
    assert {type(layer).__name__ for layer in layers(trunk)} == {"SummingLinear"}
    merged = merged_language_model(trunk, "policy")
    assert not [module for module in merged.modules() if isinstance(module, LoraLinear)]
    ids = torch.tensor([[3, 1, 5, 20]])
    with torch.no_grad(), trunk.role("policy"):
        unmerged = trunk.model(input_ids=ids).logits.float()
    assert (merged(input_ids=ids).logits - unmerged).abs().mean() < 0.05
