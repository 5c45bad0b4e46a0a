"""A base of adapters in 4 bits (QLoRA, Dettmers et al. 2023): its linear layers are stored as NF4.

Each block of 64 weights has one scale, and each weight is one of 16 levels times the scale. The scales are stored in 8
bits themselves (double quantisation), so a weight takes 4.13 bits. A forward pass computes with the level times the
scale, in the precision of the trunk; adapters and heads are float32.

Embeddings, the language-model head, norms, biases, experts' weights, image and audio encoders keep their type: they are
no linear layers of the text model, or rounding them costs too much.
"""

from __future__ import annotations

import functools
import logging
from typing import Any

import torch
from torch import Tensor, nn

from preflab.errors import PreflabError
from preflab.models.bitsandbytes_import import check_installed, import_bitsandbytes
from preflab.models.linear_layers import bare_modules, find_linear_layers, is_quantised, plain_weight

logger = logging.getLogger(__name__)

WANTED = "lora.base: nf4"
BLOCK = 64
"""Weights with one scale, as in the paper."""


def quantise_base(model: Any) -> None:
    """Store the linear layers of a model's text part as NF4, in place.

    The layers are those that adapters fit (`linear_layers.find_linear_layers`), whatever the adapter's targets are. A
    quantised model is not changed.

    Raises:
        PreflabError: bitsandbytes is not installed, or the model has no such layer.
    """
    if quantised_layers(model):
        return
    check_installed(WANTED)
    kind = _layer_class()
    names = _layers_to_store(model)
    if not names:
        raise PreflabError(
            f"{WANTED} for {type(model).__name__}, which has no linear layer that can be quantised",
            "a model with layers of torch's class Linear (GPT-2 has transformers' Conv1D)",
            "remove lora.base",
        )
    before = _num_bytes(model)
    for name in names:
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, kind.of(model.get_submodule(name)))
    logger.warning(  # commands show no other messages
        "%s: %d linear layers in NF4, %.0f MiB instead of %.0f",
        type(model).__name__,
        len(names),
        _num_bytes(model) / 2**20,
        before / 2**20,
    )


def check_not_quantised(model: nn.Module, wanted: str) -> None:
    """Refuse a setting that does not work on a quantised base.

    Raises:
        PreflabError: the model has quantised layers.
    """
    if quantised_layers(model):
        raise PreflabError(f"{wanted} together with {WANTED}", "one of the two", f"remove {wanted} or {WANTED}")


def _layers_to_store(model: Any) -> list[str]:
    """Names of the layers to quantise: those of whole blocks. Names alone, so that each layer is freed in its turn."""
    fitting = find_linear_layers(model).fitting
    return [name for name, m in fitting.items() if isinstance(m, nn.Linear) and m.weight.numel() % BLOCK == 0]


@torch.no_grad()
def dequantise(model: nn.Module) -> None:
    """Replace the quantised layers of a model by plain ones with the weights that those compute with, in place."""
    quantised: list[tuple[str, Any]] = [(name, m) for name, m in model.named_modules() if is_quantised(m)]
    for name, module in quantised:
        weight = plain_weight(module)
        with torch.device("meta"):
            plain = nn.Linear(weight.shape[1], weight.shape[0], bias=module.bias is not None)
        plain.weight = nn.Parameter(weight, requires_grad=False)
        if module.bias is not None:
            plain.bias = module.bias
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, plain.train(module.training))


def _num_bytes(model: nn.Module) -> int:
    """Bytes of all parameters; the scales of quantised ones (0.13 bits per weight) are left out."""
    return sum(parameter.nbytes for parameter in model.parameters())


@functools.cache
def _layer_class() -> Any:
    """The class of the quantised layers, made when it is first needed because bitsandbytes is optional."""
    bitsandbytes = import_bitsandbytes(WANTED)

    class Nf4Linear(bitsandbytes.nn.Linear4bit):  # type: ignore[name-defined]
        """bitsandbytes' layer with a forward pass that follows autocast and never repacks the weight in place."""

        @classmethod
        @torch.no_grad()
        def of(cls, layer: nn.Linear) -> Any:
            """A quantised copy of a layer; the bias is shared."""
            with torch.device("meta"):
                quantised = cls(layer.in_features, layer.out_features, bias=layer.bias is not None, quant_type="nf4")
            # Some models read the type of a weight and convert states to it (T5). So the levels are stored in tensors
            # of that type, two to eight in one number; nothing computes with these numbers.
            weight = bitsandbytes.nn.Params4bit(
                layer.weight.data,
                requires_grad=False,
                quant_type="nf4",
                blocksize=BLOCK,
                compress_statistics=True,
                quant_storage=layer.weight.dtype,
            )
            # `to` quantises. A GPU does so in seconds; the other parts of the model may still be on the CPU.
            fast = torch.device("cuda") if torch.cuda.is_available() else layer.weight.device
            quantised.weight = weight.to(fast).to(layer.weight.device)
            quantised.bias = layer.bias
            return quantised.train(layer.training)

        def dequantised(self) -> Tensor:
            """The weight (outputs, inputs) that the layer computes with, in the type it was quantised from."""
            weight: Tensor = bitsandbytes.functional.dequantize_4bit(self.weight.data, self.weight.quant_state)
            return weight

        def forward(self, x: Tensor) -> Tensor:
            device = x.device.type
            casts = torch.is_autocast_enabled(device)
            dtype = torch.get_autocast_dtype(device) if casts else self.weight.quant_state.dtype
            bias = None if self.bias is None else self.bias.to(dtype)
            with torch.autocast(device, enabled=False):
                output: Tensor = bitsandbytes.matmul_4bit(
                    x.to(dtype), self.weight, bias=bias, quant_state=self.weight.quant_state
                )
            return output

    return Nf4Linear


def quantised_layers(model: nn.Module) -> list[str]:
    """Names of the quantised layers, as they were before adapters were injected."""
    return [name for name, module in bare_modules(model) if is_quantised(module)]
