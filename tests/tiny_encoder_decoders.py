"""Small random encoder–decoders: T5 v1.0 and v1.1, BART, mBART, Marian and T5Gemma, with heads that differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    MBartConfig,
    MBartForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
    T5GemmaConfig,
    T5GemmaForConditionalGeneration,
)

IDS = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}


def tiny_t5(vocab_size: int = 32, *, scaled: bool = False, seed: int = 0) -> T5ForConditionalGeneration:
    """A random T5: v1.1 with an untied head, or v1.0, whose states are scaled before a head tied to the embedding."""
    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=vocab_size, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0,
        scale_decoder_outputs=scaled, feed_forward_proj="relu" if scaled else "gated-gelu", **IDS,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config)
    if not scaled:
        model.lm_head.weight = nn.Parameter(torch.randn(vocab_size, 32) * 0.3)
    return model.eval()


def _like_bart(config: Any, kind: Any, vocab_size: int, seed: int, **changes: Any) -> Any:
    torch.manual_seed(seed)
    sides = {f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in (
        ("layers", 2), ("attention_heads", 4), ("ffn_dim", 48))}  # fmt: skip
    given = {"decoder_start_token_id": 1, "forced_eos_token_id": None, **IDS, **changes}
    model = kind(config(vocab_size=vocab_size, d_model=32, max_position_embeddings=64, **sides, **given))
    model.final_logits_bias.copy_(torch.randn(1, vocab_size))
    return model.eval()


def tiny_bart(vocab_size: int = 32, *, seed: int = 0, **changes: Any) -> BartForConditionalGeneration:
    """A random BART with a bias beside its head."""
    return _like_bart(BartConfig, BartForConditionalGeneration, vocab_size, seed, **changes)


def tiny_mbart(vocab_size: int = 32, *, seed: int = 0) -> MBartForConditionalGeneration:
    """A random mBART whose decoder starts with the end token and a language code."""
    return _like_bart(MBartConfig, MBartForConditionalGeneration, vocab_size, seed, forced_bos_token_id=3)


def tiny_marian(vocab_size: int = 32, *, seed: int = 0) -> MarianMTModel:
    """A random Marian, whose decoder starts with the padding token."""
    return _like_bart(MarianConfig, MarianMTModel, vocab_size, seed, decoder_start_token_id=0)


def tiny_t5gemma(vocab_size: int = 32, *, seed: int = 0) -> T5GemmaForConditionalGeneration:
    """A random T5Gemma, which caps its logits: preflab uses its own logits."""
    torch.manual_seed(seed)
    part = {
        "vocab_size": vocab_size, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "query_pre_attn_scalar": 8,
        "sliding_window": 16, **IDS,
    }  # fmt: skip
    return T5GemmaForConditionalGeneration(T5GemmaConfig(encoder=part, decoder=part, vocab_size=vocab_size)).eval()


MODELS: dict[str, Callable[..., Any]] = {
    "t5 1.0": lambda vocab_size=32, seed=0: tiny_t5(vocab_size, scaled=True, seed=seed),
    "t5 1.1": tiny_t5,
    "bart": tiny_bart,
    "mbart": tiny_mbart,
    "marian": tiny_marian,
    "t5gemma": tiny_t5gemma,
}
"""Name → a function (vocab_size, seed) that makes the model."""
