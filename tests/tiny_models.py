"""Tiny random causal models of many architectures, sharp enough that attention and positions matter."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

VOCABULARY = 97

SIZES = {
    "llama": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
    },
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
}
LIKE_LLAMA: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "mistral": {"sliding_window": 6},
    "gemma2": {"sliding_window": 6, "head_dim": 8, "query_pre_attn_scalar": 8},
    "gpt_neox": {},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "granite": {},
}


def tiny_model(kind: str, **changes: Any) -> Any:
    """A random model of a kind that transformers knows, in eval mode, the same for the same seed of torch."""
    sizes = SIZES.get(kind) or SIZES["llama"] | LIKE_LLAMA[kind]
    special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    sizes = {**sizes, **changes}
    config = AutoConfig.for_model(kind, vocab_size=VOCABULARY, initializer_range=0.3, **special, **sizes)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
