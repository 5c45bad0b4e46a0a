"""A reward model on an encoder that pools as it was trained to; this file goes with an exported folder.

AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class PooledClassifier(PreTrainedModel):
    """logits (B, 1) = score(mean of the real tokens' last hidden states, or the first token's)."""

    config_class = PreTrainedConfig
    base_model_prefix = "encoder"
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = True  # what the encoder itself supports counts

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        self.encoder = AutoModel.from_config(config)
        self.score = nn.Linear(config.hidden_size, 1)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
    ) -> SequenceClassifierOutput:
        """Scores of (B, L) tokens; attention_mask is 1 for real tokens and 0 for padding on either side."""
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        arguments = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **arguments).last_hidden_state
        if self.config.preflab_reward_pooling == "first":
            pooled = hidden[torch.arange(len(hidden), device=hidden.device), attention_mask.long().argmax(1)]
        else:
            real = attention_mask.bool()[:, :, None]
            pooled = torch.where(real, hidden, 0.0).sum(1) / real.sum(1)
        return SequenceClassifierOutput(logits=self.score(pooled))
