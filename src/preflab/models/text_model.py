"""Finds the part of a decoder that computes last hidden states from tokens; multimodal models have further parts."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor


def decoder_of(model: Any) -> Any:
    """The part of a causal model that computes last hidden states from tokens: the text model without its head.

    For some classes `get_decoder` returns the model itself, a text model with its head, or a layer called decoder. The
    model without a head is then one of the children.
    """
    decoder = model.get_decoder()
    if _gives_states(decoder):
        return decoder
    inside = decoder if decoder is not model and hasattr(decoder, "get_output_embeddings") else model
    return next((part for part in inside.children() if _gives_states(part)), decoder)


def text_prefix(model: Any) -> str:
    """The name of the text model inside a model that also takes images or audio; "" if the model takes text only.

    An encoder–decoder of text has two configurations, and both of its parts belong to the text model.
    """
    if getattr(model.config, "is_encoder_decoder", False):
        return ""
    if not getattr(model.config, "sub_configs", None) or model.config.get_text_config(decoder=True) is model.config:
        return ""
    decoder = decoder_of(model) if model.get_output_embeddings() is not None else model
    return next((name for name, module in model.named_modules() if module is decoder), "")


def freeze_towers(model: Any) -> None:
    """Freeze all parameters outside the text model and its head, because text gives them no gradient."""
    prefix = text_prefix(model)
    head = model.get_output_embeddings() if prefix else None
    parts = [model.get_submodule(prefix)] + ([] if head is None else [head])
    inside = {id(parameter) for part in parts for parameter in part.parameters()}
    for parameter in model.parameters():
        if id(parameter) not in inside:
            parameter.requires_grad_(False)


def states_of(body: Any, ids: Tensor) -> Tensor:
    """(B, L, H) last hidden states of a model without a head. The cache is off; encoders do not take that argument."""
    takes = inspect.signature(body.forward).parameters
    return body(input_ids=ids, **({"use_cache": False} if "use_cache" in takes else {})).last_hidden_state


def _gives_states(module: Any) -> bool:
    """Whether a module takes tokens and has no language-model head."""
    takes_tokens = hasattr(module, "get_input_embeddings") or hasattr(module, "embed_tokens")
    return takes_tokens and (not hasattr(module, "get_output_embeddings") or module.get_output_embeddings() is None)
