"""Finds the linear layers of a text model, and by test passes those on which an adapter cannot act."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from preflab.models.bitsandbytes_import import import_before_peft
from preflab.models.encoded_prompts import reading_anew
from preflab.models.facts import token_limits
from preflab.models.families import token_logits
from preflab.models.kinds import family_of
from preflab.models.text_model import states_of, text_prefix
from preflab.training.batches import TokenSequence

SHORT, LONG = 12, 384
"""Tokens of the test passes. Layers that have no effect in the short pass are tested again in the long one, because
some layers only affect how distant tokens are processed."""

INJECTED = {"base_layer", "lora_A", "lora_B", "lora_dropout", "lora_embedding_A", "lora_embedding_B"}
"""Parts of the names of modules that peft adds inside a layer."""

REFUSED = "peft refuses it: fused kernels read its weight"
BYPASSED = "its weight is read without calling it"
SHARED = "another layer has the same weight"
NOT_LINEAR = "it is not a linear map"
NOT_REACHED = "text input does not reach it"
NO_GRADIENT = "no gradient reaches it"


@dataclass(frozen=True)
class LinearLayers:
    """The linear layers of a text model by full name, without the language-model head."""

    fitting: dict[str, nn.Module]
    left_out: dict[str, str]
    """Name → the reason why an adapter cannot act on the layer."""
    prefix: str
    """Name of the text model inside a model that also takes images or audio; "" if the model takes text only."""


def find_linear_layers(model: Any) -> LinearLayers:
    """The linear layers of a model, sorted into those that an adapter fits and those left out.

    A fitting layer is called in a test pass, receives a gradient, is a linear map, shares its weight with no other
    layer and is accepted by peft.
    """
    prefix = text_prefix(model)
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    linear = {
        name: module
        for name, module in bare_modules(model, prefix)
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    }
    left_out = dict.fromkeys(_with_shared_weight(model, linear), SHARED)
    left_out |= {name: NOT_LINEAR for name, module in linear.items() if not _is_linear_map(module)}
    left_out |= _without_effect(model, {name: module for name, module in linear.items() if name not in left_out})
    left_out |= {name: REFUSED for name in linear if _refused_by_peft(model, name.split(".")[-1])}
    fitting = {name: module for name, module in linear.items() if name not in left_out}
    return LinearLayers(fitting, {name: left_out[name] for name in linear if name in left_out}, prefix)


def bare_modules(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Names and modules of a model as they were before adapters were injected; only those under the prefix."""
    import_before_peft()
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in model.named_modules():
        inside = not prefix or name == prefix or name.startswith(f"{prefix}.")
        if inside and INJECTED.isdisjoint(name.split(".")):
            yield name, module.get_base_layer() if isinstance(module, BaseTunerLayer) else module


def is_quantised(module: nn.Module) -> bool:
    """Whether a layer's weight is stored in 4 bits (`models.four_bit`)."""
    return hasattr(module, "dequantised")


def plain_weight(module: Any) -> torch.Tensor:
    """The weight that a linear layer computes with; of a quantised layer a new tensor, in the type it was made from."""
    weight: torch.Tensor = module.dequantised() if is_quantised(module) else module.weight
    return weight


def _with_shared_weight(model: nn.Module, linear: dict[str, Any]) -> list[str]:
    """Names of the layers whose weight is shared with another module."""
    owners: dict[int, int] = {}
    for _, module in bare_modules(model):
        for parameter in module.parameters(recurse=False):
            owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    return [name for name, module in linear.items() if owners[id(module.weight)] > 1]


@torch.no_grad()
def _is_linear_map(module: nn.Module) -> bool:
    """Whether a layer computes x Wᵀ + b. Subclasses of `nn.Linear` with their own `forward` are tested on numbers."""
    if type(module).forward is nn.Linear.forward or not isinstance(module, nn.Linear) or is_quantised(module):
        return True
    x = torch.linspace(-1.0, 1.0, 2 * module.in_features, dtype=module.weight.dtype, device=module.weight.device)
    x = x.view(1, 2, module.in_features)
    try:
        output = module(x)
    except (TypeError, ValueError, RuntimeError, IndexError):
        return False
    expected = nn.functional.linear(x, module.weight, module.bias)
    same = isinstance(output, torch.Tensor) and output.shape == expected.shape
    return same and torch.allclose(output, expected, rtol=1e-2, atol=1e-2 * float(expected.abs().max()))


def _without_effect(model: Any, linear: dict[str, Any]) -> dict[str, str]:
    """Name → reason, for layers whose adapter would not learn from text.

    Experts that are separate modules in a list are never included: the router may simply not have chosen them.
    """
    reached, called = _ask_for_gradients(model, linear, SHORT)
    silent = [name for name in linear if name not in reached and "experts" not in name.split(".")]
    if silent:
        reached, more = _ask_for_gradients(model, {name: linear[name] for name in silent}, LONG)
        silent, called = [name for name in silent if name not in reached], called | more
    uncalled = [name for name in silent if name not in called]
    bypassed = _weights_that_matter(model, [linear[name].weight for name in uncalled])
    reasons = dict.fromkeys(silent, NO_GRADIENT)
    return reasons | {name: BYPASSED if read else NOT_REACHED for name, read in zip(uncalled, bypassed, strict=True)}


def _ask_for_gradients(model: Any, linear: dict[str, Any], num_tokens: int) -> tuple[set[str], set[str]]:
    """Names of the layers whose output receives a gradient, and names of the layers that are called at all.

    A zero that requires a gradient is added to each output, so that the weights need no gradient.
    """
    zeros = {name: torch.zeros((), device=module.weight.device, requires_grad=True) for name, module in linear.items()}
    called: set[str] = set()

    def hook_of(name: str) -> Any:
        def add_zero(module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
            called.add(name)
            return output + zeros[name].to(output.dtype)

        return add_zero

    hooks = [module.register_forward_hook(hook_of(name)) for name, module in linear.items()]
    try:
        total = _last_states(model, num_tokens).float().sum()
        wanted = list(zeros.values())
        gradients = (
            torch.autograd.grad(total, wanted, allow_unused=True) if total.requires_grad else [None] * len(wanted)
        )
    finally:
        for hook in hooks:
            hook.remove()
    return {name for name, gradient in zip(zeros, gradients, strict=True) if gradient is not None}, called


def _weights_that_matter(model: Any, weights: list[Any]) -> list[bool]:
    """For each weight, whether it receives a gradient in a pass over text."""
    if not weights:
        return []
    learned = [weight.requires_grad for weight in weights]
    try:
        for weight in weights:
            weight.requires_grad_(True)
        total = _last_states(model, SHORT).float().sum()
        gradients = torch.autograd.grad(total, weights, allow_unused=True) if total.requires_grad else ()
    finally:
        for weight, had in zip(weights, learned, strict=True):
            weight.requires_grad_(had)
    return [gradient is not None for gradient in gradients] or [False] * len(weights)


def _last_states(model: Any, num_tokens: int) -> torch.Tensor:
    """Logits if the model has a language-model head, else last hidden states, for one row of tokens in its context."""
    num_rows = model.get_input_embeddings().weight.shape[0]
    limits = token_limits(model.config)
    # Use two positions fewer: RoBERTa's positions start after the padding position.
    longest = min(limits.both, limits.completion) - 2
    ids = tuple(number % num_rows for number in range(3, 3 + min(num_tokens, longest)))
    if hasattr(model, "get_output_embeddings") and model.get_output_embeddings() is not None:
        with reading_anew():
            return token_logits(family_of(model), model, [TokenSequence(ids[:1], ids[1:])])
    return states_of(model, torch.tensor([ids], device=model.device))


def _refused_by_peft(model: Any, leaf: str) -> bool:
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel

    try:
        LoraModel._check_target_module_compatiblity(None, LoraConfig(), model, leaf)
    except ValueError:
        return True
    return False
