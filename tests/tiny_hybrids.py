"""Tiny random models with states: recurrent, convolutional, compressed, and mixtures of these with attention."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tiny_models import VOCABULARY

COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.1,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
DELTA_NET: dict[str, Any] = {
    "head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
MAMBA_2: dict[str, Any] = {
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_n_groups": 1,
    "mamba_d_state": 8,
    "mamba_expand": 2,
    "mamba_chunk_size": 8,
}

HYBRIDS: dict[str, dict[str, Any]] = {
    "mamba": {"state_size": 8},
    "falcon_mamba": {"state_size": 8},
    "mamba2": {"state_size": 8, "num_heads": 4, "head_dim": 16, "n_groups": 1, "expand": 2, "chunk_size": 8},
    "jamba": {
        "num_hidden_layers": 4,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "num_experts": 2,
        "num_experts_per_tok": 1,
        "mamba_d_state": 8,
        "mamba_dt_rank": 4,
        "use_mamba_kernels": False,
    },
    "bamba": {**MAMBA_2, "attn_layer_indices": [1]},
    "zamba2": {
        "num_hidden_layers": 4,
        "num_key_value_heads": 4,
        "mamba_d_state": 8,
        "n_mamba_heads": 4,
        "mamba_ngroups": 1,
        "layers_block_type": ["mamba", "mamba", "hybrid", "mamba"],
        "hybrid_layer_ids": [2],
        "chunk_size": 8,
        "num_mem_blocks": 1,
        "use_shared_attention_adapter": False,
        "time_step_min": 0.5,
    },
    "nemotron_h": {
        "num_hidden_layers": 4,
        "layers_block_type": ["mamba", "attention", "mlp", "mamba"],
        "head_dim": 8,
        "mamba_num_heads": 4,
        "mamba_head_dim": 16,
        "n_groups": 1,
        "ssm_state_size": 8,
        "chunk_size": 8,
        "time_step_min": 0.5,
    },
    "granitemoehybrid": {
        **MAMBA_2,
        "num_local_experts": 2,
        "num_experts_per_tok": 1,
        "shared_intermediate_size": 32,
        "layer_types": ["mamba", "attention"],
    },
    "falcon_h1": {**MAMBA_2, "head_dim": 8, "mamba_d_ssm": 64},
    "qwen3_next": {**DELTA_NET, **EXPERTS, "shared_expert_intermediate_size": 16},
    "qwen3_5_text": DELTA_NET,
    "qwen3_5_moe_text": {**DELTA_NET, **EXPERTS, "shared_expert_intermediate_size": 16},
    "olmo_hybrid": DELTA_NET,
    "kimi_linear": {
        "num_key_value_heads": 4,
        "layer_types": ["linear_attention", "full_attention"],
        "linear_num_heads": 4,
        "linear_head_dim": 8,
        "kv_lora_rank": 8,
        "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 8,
        "v_head_dim": 8,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
    },
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1, **EXPERTS},
    "minimax": {
        "head_dim": 8,
        "num_local_experts": 2,
        "num_experts_per_tok": 1,
        "layer_types": ["linear_attention", "full_attention"],
        "block_size": 4,
    },
    "recurrent_gemma": {"num_hidden_layers": 3, "attention_window_size": 6, "lru_width": 32, "head_dim": 8},
    "rwkv": {"attention_hidden_size": 32, "context_length": 128},
}


def tiny_hybrid(kind: str, **changes: Any) -> Any:
    """A random model with states, in eval mode, the same for the same seed of torch."""
    config = AutoConfig.for_model(kind, **{**COMMON, **HYBRIDS[kind], **changes})
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
