"""Tiny random models of every architecture that preflab is held to, each made on the spot in a second or less.

A model is made from the default configuration of its kind: every setting that says how large something is becomes
small, and what the kind needs besides stands in its row. Weights are drawn anew, so that no layer is hidden by zeros.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

ROWS = 160
"""Rows of every embedding."""
NUM_TOKENS = 144
"""Ids that the tokenizer has; the rows above are those of images and of nothing."""

SMALL: dict[str, Any] = {
    **dict.fromkeys(("vocab_size", "language_vocab_size"), ROWS),
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "dim_model", "emb_dim", "embed_dim"), 32),
    **dict.fromkeys(("word_embed_proj_dim", "output_dim", "out_hidden_size", "embedding_size", "lru_width"), 32),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "n_inner", "dff", "dim_ff", "d_ff", "mlp_dim"), 48),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim", "intermediate_size_mlp"), 48),
    **dict.fromkeys(("num_hidden_layers", "num_layers", "n_layer", "n_layers", "depth"), 2),
    **dict.fromkeys(("encoder_layers", "decoder_layers", "num_decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_global_key_value_heads", "num_kv_heads"), 2),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length"), 128),
    **dict.fromkeys(("head_dim", "dim_head", "d_kv", "attention_head_dim", "global_head_dim", "rotary_dim"), 8),
    **dict.fromkeys(("qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim", "state_size"), 8),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "moe_intermediate_size", "shared_expert_intermediate_size"), 16),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "top_k_experts"), 2),
    **dict.fromkeys(("n_shared_experts", "n_group", "topk_group", "num_expert_group", "first_k_dense_replace"), 1),
    "image_size": 28,
    "patch_size": 14,
    "initializer_range": 0.1,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


@dataclass(frozen=True)
class Architecture:
    """How a kind of model is made."""

    model_type: str
    changes: dict[str, Any] = field(default_factory=dict)
    """Settings besides the small ones; a mapping changes the configuration inside."""
    opener: str = "AutoModelForCausalLM"
    """The class of transformers that it is made and saved with."""


def architecture(name: str) -> Architecture:
    """The row of a name in `architecture_table`."""
    from architecture_table import ARCHITECTURES

    return ARCHITECTURES[name]


def small_config(kind: Any, changes: dict[str, Any]) -> Any:
    """The default configuration of a class, small, with changes; configurations inside it likewise."""
    known = {*inspect.signature(kind.__init__).parameters, *getattr(kind, "__dataclass_fields__", {})}
    settings = {name: value for name, value in SMALL.items() if name in known}
    inside = {name: getattr(kind(), name, None) for name in getattr(kind, "sub_configs", {})}
    for name, default in inside.items():
        if default is None and name not in changes:
            continue
        wanted = dict(changes.get(name) or {})
        sub_kind = config_class(wanted.pop("model_type")) if "model_type" in wanted else type(default)
        settings[name] = small_config(sub_kind, wanted)
    return kind(**settings | {name: value for name, value in changes.items() if name not in inside})


def config_class(model_type: str) -> Any:
    """The class of a kind's configuration."""
    from transformers import CONFIG_MAPPING

    return CONFIG_MAPPING[model_type]


def build(name: str) -> Any:
    """The model of a name, in float32 and eval mode, the same each time; the global generator is left as it was."""
    import transformers

    row = architecture(name)
    opener = getattr(transformers, row.opener)
    config = small_config(config_class(row.model_type), row.changes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = opener.from_config(config) if hasattr(opener, "from_config") else opener(config)
        model = made.to(torch.float32).eval()
        _draw_anew(model)
    return model


@torch.no_grad()
def _draw_anew(model: nn.Module) -> None:
    """Weights of layers with a spread that keeps states near 1; whatever was constant gets noise, too."""
    from transformers.pytorch_utils import Conv1D

    for module in model.modules():
        if (bias := getattr(module, "final_logits_bias", None)) is not None:
            bias.normal_()
        for parameter in module.parameters(recurse=False):
            if isinstance(module, nn.Linear | Conv1D) and parameter.dim() == 2:
                parameter.normal_(std=parameter.numel() ** -0.25)
            elif parameter.dim() == 3 and not isinstance(module, nn.Conv1d):
                parameter.normal_(std=min(parameter.shape[1:]) ** -0.5)
            elif isinstance(module, nn.Embedding):
                parameter.normal_(std=0.3)
            elif parameter.numel() and (parameter == parameter.flatten()[0]).all():
                parameter.add_(0.05 * torch.randn_like(parameter))
