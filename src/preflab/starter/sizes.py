"""Sizes of a model for the memory estimate, read from its configuration and its layers without weights."""

from __future__ import annotations

from typing import Any

STACKED = 3
"""Number of dimensions of a weight that holds all experts of a layer."""


def linear_width(model: Any, head: Any) -> int:
    """Σ (inputs + outputs) over the linear layers of the text model without the head; each expert counts.

    Adapters of rank r have r times as many weights.
    """
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    from preflab.models.linear_layers import bare_modules
    from preflab.models.text_model import text_prefix

    total = 0
    for _, module in bare_modules(model, text_prefix(model)):
        if isinstance(module, nn.Linear | Conv1D):
            total += 0 if module is head else sum(module.weight.shape)
        else:  # experts of one layer in one weight, (E, out, in)
            stacks = [weight.shape for weight in module.parameters(recurse=False) if weight.dim() == STACKED]
            total += sum(number * (rows + columns) for number, rows, columns in stacks)
    return total


def feed_forward_width(text: Any) -> int:
    """I: the feed-forward units of one token in a layer; the maximum if layers differ."""
    dense = largest(text, "intermediate_size") or 4 * text.hidden_size
    return max(dense, largest(text, "num_experts_per_tok") * largest(text, "moe_intermediate_size"))


def state_width(text: Any) -> int:
    """Width of keys and values of one token in one layer; the maximum if layers differ."""
    heads = largest(text, "num_attention_heads") or 1
    width = largest(text, "head_dim") or text.hidden_size // heads
    return 2 * width * (largest(text, "num_key_value_heads") or heads)


def largest(config: Any, name: str) -> int:
    """A size from a configuration, the largest of a list or of differing layers; 0 if the configuration has none."""
    try:
        value = getattr(config, name, None)
    except RuntimeError:  # transformers raises it if layers differ; then each layer has its own value
        value = [getattr(layer, name, None) for layer in config.per_layer_config]
    values = value if isinstance(value, list | tuple) else [value]
    return max((each for each in values if isinstance(each, int) and each > 0), default=0)
