"""Whether a model's logits are its head applied to its last hidden state, so that the chunked path may be used.

A model that scales or caps its logits does not fit; it falls back to its own logits, and says so.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from preflab.models.chunk import Head
from preflab.models.chunked import TokenStatistics

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "logit_scale": (None, 1, 1.0),
    "logits_scaling": (None, 1, 1.0),
    "final_logit_softcapping": (None, 0, 0.0),
    "logits_soft_cap": (None, 0, 0.0),
    "output_logit_soft_cap": (None, 0, 0.0),
    "lm_head_multiplier": (None, 1, 1.0),
}
"""Settings of model configurations that change logits after the head, with the values that do not."""

TOLERANCE = 1e-4


def why_not_chunked(model: Any) -> str | None:
    """None when the chunked path gives the model's own logits, else the reason it does not.

    Looks at the configuration (a soft cap hardly shows at small logits) and compares numbers on one short batch.
    """
    config = model.config.get_text_config()
    for key, neutral in NEUTRAL.items():
        if getattr(config, key, None) not in neutral:
            return f"its configuration sets {key} = {getattr(config, key)}"
    ids = torch.arange(8, device=model.device).remainder(config.vocab_size)[None] + 0
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits.float()
        hidden = decoder_of(model)(input_ids=ids, use_cache=False).last_hidden_state
        head = head_of(model)
        ours = torch.nn.functional.linear(hidden, head.weight, head.bias).float()
    if ours.shape != logits.shape:
        return f"its logits have shape {tuple(logits.shape)}, its head gives {tuple(ours.shape)}"
    scale = max(1.0, logits.abs().max().item())
    difference = (ours - logits).abs().max().item()
    return None if difference <= TOLERANCE * scale else f"its logits differ from its head's by {difference:.1e}"


def decoder_of(model: Any) -> Any:
    """The part of a causal model that turns tokens into last hidden states: the text model, without its head.

    `get_decoder` of some classes gives the model itself, a text model with its head, or a layer of that name; the
    headless model is then one of the parts.
    """
    decoder = model.get_decoder()
    if _gives_states(decoder):
        return decoder
    inside = decoder if decoder is not model and hasattr(decoder, "get_output_embeddings") else model
    return next((part for part in inside.children() if _gives_states(part)), decoder)


def text_prefix(model: Any) -> str:
    """The name of the text model inside a model that also sees or hears; "" where text is all it takes."""
    if not getattr(model.config, "sub_configs", None) or model.config.get_text_config(decoder=True) is model.config:
        return ""
    decoder = decoder_of(model) if model.get_output_embeddings() is not None else model
    return next((name for name, module in model.named_modules() if module is decoder), "")


def freeze_towers(model: Any) -> None:
    """Take what is no part of the text model or its head out of training: text would give it no gradient."""
    prefix = text_prefix(model)
    head = model.get_output_embeddings() if prefix else None
    parts = [model.get_submodule(prefix)] + ([] if head is None else [head])
    inside = {id(parameter) for part in parts for parameter in part.parameters()}
    for parameter in model.parameters():
        if id(parameter) not in inside:
            parameter.requires_grad_(False)


def state_width(model: Any) -> int:
    """H: the width of last hidden states, asked of the model; a configuration's `hidden_size` may mean another one."""
    ids = torch.arange(4, device=model.device)[None]
    body = model if model.get_output_embeddings() is None else decoder_of(model)
    with torch.no_grad():
        return int(states_of(body, ids).shape[-1])


def states_of(body: Any, ids: Tensor) -> Tensor:
    """(B, L, H) last hidden states of a model without a head; no cache is built (encoders have no such argument)."""
    takes = inspect.signature(body.forward).parameters
    return body(input_ids=ids, **({"use_cache": False} if "use_cache" in takes else {})).last_hidden_state


def _gives_states(module: Any) -> bool:
    """A model of transformers (or a part that takes tokens) without a head of its own."""
    takes_tokens = hasattr(module, "get_input_embeddings") or hasattr(module, "embed_tokens")
    return takes_tokens and (not hasattr(module, "get_output_embeddings") or module.get_output_embeddings() is None)


def head_of(model: Any) -> Head:
    """The language-model head's weight and bias."""
    output = model.get_output_embeddings()
    return Head(output.weight, getattr(output, "bias", None))


def plain_statistics(
    logits: Tensor, targets: Tensor, *, temperature: float, entropy: bool, ref_logits: Tensor | None
) -> TokenStatistics:
    """The same statistics as `chunked.token_statistics`, from logits (N, V) that the model itself made."""
    log_p = (logits.float() / temperature).log_softmax(-1)
    logps = log_p.gather(-1, targets[:, None]).squeeze(-1)
    zeros = torch.zeros_like(logps.detach())
    entropies = -(log_p.exp() * log_p).sum(-1) if entropy else zeros
    if ref_logits is None:
        return TokenStatistics(logps, entropies, zeros, zeros)
    log_q = (ref_logits.detach().float() / temperature).log_softmax(-1)
    kl = (log_p.exp() * (log_p - log_q)).sum(-1)
    return TokenStatistics(logps, entropies, kl, log_q.gather(-1, targets[:, None]).squeeze(-1))
