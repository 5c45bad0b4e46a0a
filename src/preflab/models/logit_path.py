"""Tests whether a model's logits equal its head applied to the last hidden state, as the chunked path assumes.

For a model that scales or caps its logits, preflab uses the model's own logits instead and logs a warning.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from preflab.models.chunk import HIDDEN, Head
from preflab.models.chunked import TokenStatistics
from preflab.models.families import token_logits, token_states
from preflab.models.kinds import family_of
from preflab.training.batches import TokenSequence
from preflab.training.kept_tokens import KeptTokens

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "logit_scale": (None, 1, 1.0),
    "logits_scaling": (None, 1, 1.0),
    "final_logit_softcapping": (None, 0, 0.0),
    "logits_soft_cap": (None, 0, 0.0),
    "output_logit_soft_cap": (None, 0, 0.0),
    "lm_head_multiplier": (None, 1, 1.0),
}
"""Settings of model configurations that change logits after the head, with the values that leave logits unchanged."""

TOLERANCE = 1e-4


def why_not_chunked(model: Any) -> str | None:
    """None if the chunked path gives the model's own logits, else the reason why it does not.

    Compares logits on one short row. It also checks the configuration, because a soft cap hardly changes small logits.
    """
    config = model.config.get_text_config()
    for key, neutral in NEUTRAL.items():
        if getattr(config, key, None) not in neutral:
            return f"its configuration sets {key} = {getattr(config, key)}"
    ids = tuple(number % config.vocab_size for number in range(8))
    row = TokenSequence(ids[:1], ids[1:])
    family, head = family_of(model), head_of(model)
    with torch.no_grad():
        logits = token_logits(family, model, [row]).float()
        hidden = token_states(family, model, [row]).to(head.weight.dtype)  # Mamba returns float32 states
        beside = head.bias if hasattr(model, "final_logits_bias") else None
        ours = torch.nn.functional.linear(hidden, head.weight, None if beside is not None else head.bias)
        ours = (ours if beside is None else ours + beside).float()  # rounded twice in half precision, as the model does
    if ours.shape != logits.shape:
        return f"its logits have shape {tuple(logits.shape)}, its head gives {tuple(ours.shape)}"
    scale = max(1.0, logits.abs().max().item())
    difference = (ours - logits).abs().max().item()
    return None if difference <= TOLERANCE * scale else f"its logits differ from its head's by {difference:.1e}"


def head_of(model: Any) -> Head:
    """The language-model head's weight and bias; BART and Marian keep the bias in `final_logits_bias`."""
    output = model.get_output_embeddings()
    beside = getattr(model, "final_logits_bias", None)
    bias = getattr(output, "bias", None) if beside is None else beside[0]
    return Head(output.weight, bias)


def plain_statistics(
    logits: Tensor,
    targets: Tensor,
    *,
    temperature: float,
    entropy: bool,
    ref_logits: Tensor | None,
    kept: KeptTokens | None = None,
) -> TokenStatistics:
    """The same statistics as `chunked.token_statistics`, computed from logits (N, V) of the model's forward pass."""
    logits = logits.float()  # before the mask: float16 cannot hold HIDDEN
    if kept is not None:
        logits = logits.masked_fill(~kept.mask(logits.shape[1]), HIDDEN)
    log_p = (logits / temperature).log_softmax(-1)
    logps = log_p.gather(-1, targets[:, None]).squeeze(-1)
    zeros = torch.zeros_like(logps.detach())
    entropies = -(log_p.exp() * log_p).sum(-1) if entropy else zeros
    if ref_logits is None:
        return TokenStatistics(logps, entropies, zeros, zeros)
    log_q = (ref_logits.detach().float() / temperature).log_softmax(-1)
    kl = (log_p.exp() * (log_p - log_q)).sum(-1)
    return TokenStatistics(logps, entropies, kl, log_q.gather(-1, targets[:, None]).squeeze(-1))
