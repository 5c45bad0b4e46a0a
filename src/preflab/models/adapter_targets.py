"""Which weights of a model carry a LoRA adapter, which do not, and why.

"all-linear" is what it is for peft: every linear layer of the text model but its head, and in the mixtures of experts
that peft knows the experts' weights and their routers as well. Left out is what an adapter could not change rightly:

- layers that peft refuses, because fused kernels read their weight (the output projections of Mamba mixers);
- layers whose weight the model reads without calling them: an adapter would act only once it is merged;
- layers whose weight another layer shares: merging would change both;
- layers that are no linear map, and those that text alone does not reach.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
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
"""Weights of three dimensions that multiply no state."""
NO_LAYER = "it belongs to no linear layer; name it in lora.target_modules to adapt it"


@dataclass(frozen=True)
class AdapterTargets:
    """Full names of what carries an adapter, with the ranks that differ from the settings' one."""

    modules: tuple[str, ...]
    """Linear layers."""
    parameters: tuple[str, ...] = ()
    """Weights that belong to no linear layer: experts' (E, out, in) and their routers'."""
    ranks: Mapping[str, int] = field(default_factory=dict)
    """peft's rank_pattern: pattern of a name → its rank."""
    alphas: Mapping[str, float] = field(default_factory=dict)
    """peft's alpha_pattern."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Name → why it carries no adapter."""
    by_weight: tuple[str, ...] = ()
    """Those of `modules` that a saved configuration names by their weight: peft would take their own names for v4
    names of experts."""

    def describe_left_out(self) -> str:
        """One line: layers without an adapter by reason, those of all blocks once; "" if there are none."""
        reasons: dict[str, dict[str, None]] = {}
        for name, reason in self.left_out.items():
            reasons.setdefault(reason, {})[re.sub(r"^.*\.\d+\.", "", name)] = None
        return "; ".join(f"{', '.join(names)} ({reason})" for reason, names in reasons.items())


def find_targets(model: Any, lora: LoraSettings) -> AdapterTargets:
    """What carries an adapter: "all-linear", or the layers and weights that are named.

    A name is a full one or the end of one (`q_proj`, `experts.gate_up_proj`), as for peft.

    Raises:
        PreflabError: nothing has one of the names, or a layer that is named cannot carry an adapter.
    """
    layers = find_linear_layers(model)
    wanted = lora.target_modules
    endings = (wanted,) if isinstance(wanted, str) else tuple(wanted)
    everything = endings == (ALL_LINEAR,)
    leaves = {ending for ending in endings if "." not in ending}
    converted = _converted_by_peft(model, ALL_LINEAR if everything else leaves, lora.rank, lora.alpha)
    weights = _weights_without_layer(model, layers.prefix)
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


def read_targets(model: Any, config: Mapping[str, Any], tensors: Iterable[str]) -> AdapterTargets:
    """What a saved adapter carries: linear layers by the names of its tensors, other weights by its configuration.

    Args:
        model: the base model.
        config: its `adapter_config.json`.
        tensors: names in its `adapter_model.safetensors`.
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
    endings: tuple[str, ...], found: list[str], layers: LinearLayers, weights: Mapping[str, nn.Parameter]
) -> None:
    known = {**layers.fitting, **weights, **layers.left_out}
    for ending in endings:
        places = _matching((ending,), known)
        refused = [name for name in places if name in layers.left_out]
        if places and len(refused) == len(places):
            raise PreflabError(
                f"lora.target_modules: {ending} cannot carry an adapter: {layers.left_out[refused[0]]}",
                "layers of the text model that are called as linear maps",
                f'leave {ending} out, or use "all-linear", which does',
            )
    if found:
        return
    leaves = sorted({name.split(".")[-1] for name in layers.fitting} | {".".join(n.split(".")[-2:]) for n in weights})
    near = nearest(endings[0], leaves) if endings else ""
    raise PreflabError(
        f"lora.target_modules: no linear layer is called {', '.join(endings)}",
        f"one of {', '.join(leaves)}" + (f" (near it: {near})" if near else ""),
        'name layers of this model, or use "all-linear"',
    )


def _matching(endings: Iterable[str], names: Iterable[str]) -> list[str]:
    """Names that are one of the endings, or end with one after a dot."""
    endings = tuple(endings)
    dotted = tuple(f".{ending}" for ending in endings)
    return [name for name in names if name in endings or name.endswith(dotted)]


def _weights_without_layer(model: Any, prefix: str) -> dict[str, nn.Parameter]:
    """Experts' weights (E, out, in), and the matrices (out, in) of routers that are no linear layer, by full name."""
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
    """peft's configuration after it has put experts in the place of names that meant them in transformers v4.

    Raises:
        PreflabError: one of two projections is named that are one weight now.
    """
    from peft import LoraConfig
    from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers

    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=copy.copy(wanted))
    try:
        convert_peft_config_for_transformers(config, model, None)
    except ValueError as error:
        raise PreflabError(
            f"lora.target_modules: {error}", "both of two projections that are one weight", "name the other one, too"
        ) from error
    return config


def _named_by_weight(model: Any, modules: Iterable[str]) -> tuple[str, ...]:
    """Linear layers whose names peft takes for those of experts in transformers v4."""
    modules = tuple(modules)
    taken = {leaf for leaf in {name.split(".")[-1] for name in modules} if _is_taken_for_expert(model, leaf)}
    return tuple(name for name in modules if name.split(".")[-1] in taken)


def _is_taken_for_expert(model: Any, leaf: str) -> bool:
    try:
        return bool(_converted_by_peft(model, {leaf}).target_parameters)
    except PreflabError:  # one of two projections that are one weight now
        return True
