"""Compiles a trunk's blocks with torch.compile, for the trunk's own passes only.

All blocks of a model share their compiled code. It is compiled once per role, with and without gradients, at the first
pass of each kind, and then reused when roles switch. Sampling calls the same modules and stays as it is.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from preflab.errors import PreflabError
from preflab.models.four_bit import check_not_quantised

WANTED = "optimiser.compile: true"
MOST_VARIANTS = 64
"""Variants of the code that torch keeps: of each role, with and without gradients. Its own limit of 8 is too low for
PPO; beyond the limit torch stops compiling without an error."""
OPTIONS = {"emulate_precision_casts": True}
"""Round after each operation as without compilation. In bfloat16 the two then agree on a processor, and a policy starts
at its reference."""


class CompiledBlocks:
    """The compiled blocks of some models; they are used inside `passes` only."""

    def __init__(self) -> None:
        self._active = False
        self._compiled = False

    def compile(self, models: Iterable[nn.Module]) -> None:
        """Compile the blocks of these models when they are first used.

        Raises:
            PreflabError: there is no compiler, a model is quantised, or it has no blocks that transformers marks.
        """
        check_compiler()
        for model in models:
            check_not_quantised(model, WANTED)
            blocks = blocks_of(model)
            if not blocks:
                raise PreflabError(
                    f"{WANTED} for {type(model).__name__}, which has no GradientCheckpointingLayer of transformers",
                    "a model built of such blocks",
                    "remove optimiser.compile",
                )
            for block in blocks:
                block._compiled_call_impl = self._gated(block)  # what `nn.Module.compile` sets
        self._compiled = True

    @contextmanager
    def passes(self) -> Iterator[None]:
        """Use the compiled blocks inside the block; without compiled blocks nothing changes."""
        if not self._compiled:
            yield
            return
        import torch._dynamo

        former, self._active = self._active, True
        try:
            with torch._dynamo.config.patch(recompile_limit=MOST_VARIANTS):
                yield
        finally:
            self._active = former

    def _gated(self, block: nn.Module) -> Callable[..., Any]:
        plain = block._call_impl
        compiled = torch.compile(plain, dynamic=True, options=dict(OPTIONS))

        def call(*args: Any, **kwargs: Any) -> Any:
            return compiled(*args, **kwargs) if self._active else plain(*args, **kwargs)

        return call


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """The repeated blocks of a model, outermost ones only."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    blocks: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        if isinstance(module, GradientCheckpointingLayer) and not any(name.startswith(f"{other}.") for other in blocks):
            blocks[name] = module
    return list(blocks.values())


def check_compiler() -> None:
    """Check that torch.compile finds what it compiles with: Triton on a GPU, a C++ compiler on a processor.

    Raises:
        PreflabError: it is missing.
    """
    if torch.cuda.is_available():
        if importlib.util.find_spec("triton") is None:
            raise PreflabError(f"{WANTED}: the package triton is not installed", "Triton", "pip install triton")
        return
    names = [os.environ.get("CXX", ""), "g++", "clang++", "c++", "cl"]
    if not any(name and shutil.which(name) for name in names):
        raise PreflabError(
            f"{WANTED}: no C++ compiler", "one of g++ and clang++", "install one, or remove optimiser.compile"
        )
