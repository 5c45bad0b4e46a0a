"""Gradient checkpointing: the activations of a model's blocks are computed again in the backward pass, not stored.

transformers recomputes a block whose flag `training` is set. In training mode some models change their numbers, though:
a mixture of experts adds noise to its router (PhiMoE, Switch Transformers), and some layers read a dropout probability
from the configuration. So the flag is set on the blocks alone, and cleared while a block computes.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

from torch import nn

logger = logging.getLogger(__name__)

Recompute = Callable[..., Any]
"""Called with a function and its arguments; returns the function's result, and calls it again in the backward pass."""


def recompute_blocks(model: Any, recompute: Recompute) -> None:
    """Recompute a model's blocks in the backward pass. Logs a warning if it has no blocks that transformers marks."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    blocks = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not blocks:
        logger.warning(
            "%s: gradient_checkpointing has no effect, activations are stored: it has no GradientCheckpointingLayer of "
            "transformers",
            type(model).__name__,
        )
        return
    model._set_gradient_checkpointing(enable=True, gradient_checkpointing_func=recompute)
    for block in blocks:
        block.training = True
        block._gradient_checkpointing_func = functools.partial(_in_evaluation_mode, block, recompute)


def _in_evaluation_mode(block: nn.Module, recompute: Recompute, forward: Callable[..., Any], *args: Any) -> Any:
    def evaluated(*inputs: Any) -> Any:
        block.training = False
        try:
            return forward(*inputs)
        finally:
            block.training = True

    return recompute(evaluated, *args)
