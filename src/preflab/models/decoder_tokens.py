"""How the tokens that a decoder has written are given to it: as ids, or as embeddings."""

from __future__ import annotations

from typing import Any

from torch import Tensor

SKIPS_PADDING = ("m2m_100", "nllb-moe")
"""Types of models whose positions do not count padding tokens, which a policy may write; given embeddings, they do."""


def decoder_tokens(model: Any, ids: Tensor, prefix: str = "") -> dict[str, Tensor]:
    """The argument that holds the tokens (B, L), for the decoder, or with the prefix `decoder_` for the whole model."""
    if model.config.model_type in SKIPS_PADDING:
        return {f"{prefix}inputs_embeds": model.get_decoder().embed_tokens(ids)}
    return {f"{prefix}input_ids": ids}
