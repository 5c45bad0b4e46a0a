"""Selects the weights of a model that carry a LoRA adapter, and gives a reason for each one that does not.

"all-linear" means the same as in peft: every linear layer of the text model except its head. In mixture-of-experts
models that peft supports, it also selects the experts' weights and the routers. Layers that an adapter could not change
correctly are left out:

- layers that peft refuses, because fused kernels read their weight (the output projections of Mamba mixers);
- layers whose weight the model reads without calling the layer: an adapter would have no effect until it is merged;
- layers whose weight another layer shares: merging would change both layers;
- layers that do not compute a linear map, and layers that a forward pass on text does not reach.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from preflab.errors import PreflabError, nearest
from preflab.models.linear_layers import LinearLayers, bare_modules, find_linear_layers
from preflab.settings.learning import LoraSettings

ALL_LINEAR = "all-linear"
LINEAR = (nn.Linear, Conv1D)
NOT_BY_PEFT = "peft's all-linear leaves out experts of this kind; name them in lora.target_modules to adapt them"
NO_MATRICES = ("A_log", "rel_logits_proj")
"""Names of three-dimensional weights that are not multiplied with hidden states."""
NO_LAYER = "it belongs to no linear layer; name it in lora.target_modules to adapt it"


@dataclass(frozen=True)
class AdapterTargets:
    """Full names of the layers and weights that carry an adapter, and the ranks that differ from `lora.rank`."""

    modules: tuple[str, ...]
    """Linear layers."""
    parameters: tuple[str, ...] = ()
    """Weights that belong to no linear layer: experts' weights (E, out, in) and router weights."""
    ranks: Mapping[str, int] = field(default_factory=dict)
    """peft's rank_pattern: name pattern → rank."""
    alphas: Mapping[str, float] = field(default_factory=dict)
    """peft's alpha_pattern: name pattern → alpha."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Name of a layer or weight → the reason why it carries no adapter."""
    by_weight: tuple[str, ...] = ()
    """The entries of `modules` that a saved configuration lists by the name of their weight, because peft would mistake
    the module's name for an expert's name in transformers v4."""

    def describe_left_out(self) -> str:
        """One line that lists the layers without an adapter by reason; "" if there are none.

        A layer that occurs in every block is listed once.
        """
        reasons: dict[str, dict[str, None]] = {}
        for name, reason in self.left_out.items():
            reasons.setdefault(reason, {})[re.sub(r"^.*\.\d+\.", "", name)] = None
        return "; ".join(f"{', '.join(names)} ({reason})" for reason, names in reasons.items())


def find_targets(model: Any, lora: LoraSettings) -> AdapterTargets:
    """The layers and weights that carry an adapter: those that `lora.target_modules` names, or "all-linear" selects.

    A name may be a full name or the end of one (`q_proj`, `experts.gate_up_proj`), as in peft.

    Raises:
        PreflabError: no layer or weight has any of the names, or a named layer cannot carry an adapter.
    """
    layers, inside = find_linear_layers(model), _part(model, lora.where)
    layers = replace(layers, fitting={name: layer for name, layer in layers.fitting.items() if inside(name)})
    wanted = lora.target_modules
    endings = (wanted,) if isinstance(wanted, str) else tuple(wanted)
    everything = endings == (ALL_LINEAR,)
    leaves = {ending for ending in endings if "." not in ending}
    converted = _converted_by_peft(model, ALL_LINEAR if everything else leaves, lora.rank, lora.alpha)
    weights = {name: w for name, w in _weights_without_layer(model, layers.prefix).items() if inside(name)}
    named = list(weights) if everything else _matching(endings, weights)
    modules = list(layers.fitting) if everything else _matching(endings, layers.fitting)
    parameters = _matching(tuple(converted.target_parameters or ()), weights)
    left_out = dict(layers.left_out)
    if everything:
        left_out |= {
            name: NOT_BY_PEFT if "expert" in name or name.endswith(".weight") else NO_LAYER
            for name in weights
            if name not in parameters
        }
    else:
        parameters = list(dict.fromkeys([*parameters, *named]))
        left_out = {name: reason for name, reason in left_out.items() if name in _matching(endings, left_out)}
        _check_named(endings, modules + parameters, layers, weights)
    return AdapterTargets(
        tuple(modules),
        tuple(parameters),
        converted.rank_pattern if parameters else {},
        converted.alpha_pattern if parameters else {},
        left_out,
        _named_by_weight(model, modules),
    )


def _part(model: Any, where: str) -> Callable[[str], bool]:
    """A function of a layer's name: True if the layer is in the part of the model that `lora.where` selects.

    Raises:
        PreflabError: "decoder" for a model without an encoder.
    """
    if where == "all":
        return lambda name: True
    if not getattr(model.config, "is_encoder_decoder", False):
        raise PreflabError(
            f"lora.where: {where} for {model.config.model_type}, which has no encoder",
            "an encoder–decoder such as T5",
            "leave lora.where out",
        )
    decoder = model.get_decoder()
    prefix = next(name for name, module in model.named_modules() if module is decoder)
    return lambda name: name.startswith(f"{prefix}.")


def read_targets(model: Any, config: Mapping[str, Any], tensors: Iterable[str]) -> AdapterTargets:
    """The layers and weights that a saved adapter changes.

    Linear layers are found by the names of the adapter's tensors, other weights by its configuration.

    Args:
        model: the base model.
        config: the adapter's `adapter_config.json`.
        tensors: names of the tensors in the adapter's `adapter_model.safetensors`.
    """
    linear = {name for name, module in bare_modules(model) if isinstance(module, LINEAR)}
    carriers = [re.sub(r"^base_model\.model\.|(\.base_layer)*\.lora_[AB]\.weight$", "", name) for name in tensors]
    modules = [name for name in dict.fromkeys(carriers) if name in linear]
    return AdapterTargets(
        tuple(modules),
        tuple(_matching(config.get("target_parameters") or (), _weights_without_layer(model, ""))),
        config.get("rank_pattern") or {},
        config.get("alpha_pattern") or {},
        {},
        _named_by_weight(model, modules),
    )


def _check_named(
    endings: tuple[str, ...], matched: list[str], layers: LinearLayers, weights: Mapping[str, nn.Parameter]
) -> None:
    known = {**layers.fitting, **weights, **layers.left_out}
    for ending in endings:
        places = _matching((ending,), known)
        refused = [name for name in places if name in layers.left_out]
        if places and len(refused) == len(places):
            raise PreflabError(
                f"lora.target_modules: {ending} cannot carry an adapter: {layers.left_out[refused[0]]}",
                "linear layers that the text model calls",
                f'remove {ending}, or use "all-linear", which leaves such layers out',
            )
    if matched:
        return
    leaves = sorted({name.split(".")[-1] for name in layers.fitting} | {".".join(n.split(".")[-2:]) for n in weights})
    near = nearest(endings[0], leaves) if endings else ""
    raise PreflabError(
        f"lora.target_modules: no linear layer is called {', '.join(endings)}",
        f"one of {', '.join(leaves)}" + (f" (near it: {near})" if near else ""),
        'name layers of this model, or use "all-linear"',
    )


def _matching(endings: Iterable[str], names: Iterable[str]) -> list[str]:
    """The names that equal one of the endings, or end with a dot and one of them."""
    endings = tuple(endings)
    dotted = tuple(f".{ending}" for ending in endings)
    return [name for name in names if name in endings or name.endswith(dotted)]


def _weights_without_layer(model: Any, prefix: str) -> dict[str, nn.Parameter]:
    """Full name → weight: experts' weights (E, out, in), and matrices (out, in) of routers that are no linear layer."""
    layers = (nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    weights = {}
    for name, module in bare_modules(model, prefix):
        if isinstance(module, layers):
            continue
        for leaf, parameter in module.named_parameters(recurse=False):
            full = f"{name}.{leaf}"
            experts = parameter.dim() == 3 and min(parameter.shape[1:]) > 1 and leaf not in NO_MATRICES
            router = parameter.dim() == 2 and leaf == "weight" and "router" in type(module).__name__.lower()
            stacked = parameter.dim() == 2 and "expert" in full and "bias" not in leaf and min(parameter.shape) > 1
            if experts or router or stacked:
                weights[full] = parameter
    return weights


def _converted_by_peft(model: Any, wanted: str | set[str], rank: int = 1, alpha: float = 1.0) -> Any:
    """peft's configuration, in which peft has replaced names from transformers v4 by the experts' current weights.

    Raises:
        PreflabError: only one of two projections is named, and the two are a single weight now.
    """
    from peft import LoraConfig
    from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers

    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=copy.copy(wanted))
    try:
        convert_peft_config_for_transformers(config, model, None)
    except ValueError as error:
        raise PreflabError(
            f"lora.target_modules: {error}", "both projections, which are one weight", "add the other one"
        ) from error
    return config


def _named_by_weight(model: Any, modules: Iterable[str]) -> tuple[str, ...]:
    """The linear layers whose names peft mistakes for experts' names in transformers v4."""
    modules = tuple(modules)
    taken = {leaf for leaf in {name.split(".")[-1] for name in modules} if _is_taken_for_expert(model, leaf)}
    return tuple(name for name in modules if name.split(".")[-1] in taken)


def _is_taken_for_expert(model: Any, leaf: str) -> bool:
    try:
        return bool(_converted_by_peft(model, {leaf}).target_parameters)
    except PreflabError:  # the name is one of two projections that are a single weight now
        return True
