"""Copies of float32 weights in half precision, at addresses that do not change, for many passes with the same weights.

Autocast rounds the weights of linear layers in every pass. It can keep what it has rounded, but only until the end of
its block, so a captured step would round all weights again for each token. The copies here are refreshed once per batch
of the sampler; results are the same, bit for bit.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from preflab.models.cpu_linear import LINEAR, TRANSPOSED


class RoundedWeights:
    """The linear layers of a model whose weights are float32, with their weights in `half`.

    Args:
        model: the model.
        half: the type that autocast computes in.
    """

    def __init__(self, model: nn.Module, half: torch.dtype) -> None:
        kinds = (*LINEAR, *TRANSPOSED)
        # peft's adapter of experts adds the product of its float32 weights to theirs and calls no linear layer.
        uncalled = {id(m) for w in model.modules() if type(w).__name__ == "ParamWrapper" for m in _factors(w)}
        modules: list[Any] = [module for module in model.modules() if id(module) not in uncalled]
        linear = [m for m in modules if type(m) in kinds and m.weight.dtype == torch.float32]
        others = {id(p) for m in modules if type(m) not in kinds for p in m.parameters(recurse=False)}
        self.own = [m for m in linear if id(m.weight) not in others]
        # A head that is tied to the embedding: the embedding is read in float32, so only the product is replaced.
        self.tied = [m for m in linear if id(m.weight) in others and type(m) in LINEAR]
        self.half = half
        self.copies = {id(m): torch.empty_like(m.weight, dtype=half) for m in (*self.own, *self.tied)}

    @torch.no_grad()
    def refresh(self) -> None:
        """Round the current weights again."""
        for module in (*self.own, *self.tied):
            self.copies[id(module)].copy_(module.weight)

    @contextmanager
    def used(self) -> Iterator[None]:
        """Compute with the copies inside the block."""
        with ExitStack() as stack:
            for module in self.own:
                stack.enter_context(_other_data(module.weight, self.copies[id(module)]))
            for module in self.tied:
                stack.enter_context(_other_product(module, self.copies[id(module)]))
            yield


def _factors(wrapper: Any) -> Iterator[nn.Module]:
    yield from wrapper.lora_A.values()
    yield from wrapper.lora_B.values()


@contextmanager
def _other_data(parameter: nn.Parameter, data: Tensor) -> Iterator[None]:
    former, parameter.data = parameter.data, data
    try:
        yield
    finally:
        parameter.data = former


@contextmanager
def _other_product(module: Any, weight: Tensor) -> Iterator[None]:
    former = vars(module).get("forward")
    module.forward = functools.partial(_product, weight, module.bias)
    try:
        yield
    finally:
        vars(module).pop("forward")
        if former is not None:
            module.forward = former


def _product(weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    return nn.functional.linear(x, weight, bias)
