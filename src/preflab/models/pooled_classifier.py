"""A reward model for architectures without a transformers classifier that gives the trained scores.

This file is saved in the reward model's folder, so that transformers can open it:

AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)
"""

from __future__ import annotations

import copy
import importlib

import torch
from torch import nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class PooledClassifier(PreTrainedModel):
    """logits (B, 1) = score(last hidden state of the last or first real token, or its mean over all real tokens)."""

    config_class = PreTrainedConfig
    base_model_prefix = "encoder"
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = True  # the encoder itself decides what it supports

    def __init__(self, config: PreTrainedConfig) -> None:
        body_config = copy.deepcopy(config)
        # Only the body uses these settings: this class itself has no attention and no experts.
        config._attn_implementation_internal = config._experts_implementation_internal = None
        super().__init__(config)
        self.encoder = _make_body(body_config)
        self.score = nn.Linear(getattr(config, "preflab_reward_width", None) or config.hidden_size, 1)
        self.post_init()

    @classmethod
    def is_custom_code(cls) -> bool:
        """Return False, so that transformers also initialises the buffers that its own bodies compute on loading."""
        return False

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
    ) -> SequenceClassifierOutput:
        """Logits (B, 1) for tokens (B, L). attention_mask is 1 for real tokens and 0 for padding, on either side."""
        if attention_mask is None:
            attention_mask = input_ids != self.config.pad_token_id
        attention_mask = attention_mask.long()
        arguments = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        if self.config.preflab_reward_pooling == "last":
            return SequenceClassifierOutput(logits=self.score(self._last_states(input_ids, attention_mask)))
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **arguments).last_hidden_state
        if self.config.preflab_reward_pooling == "first":
            pooled = hidden[torch.arange(len(hidden), device=hidden.device), attention_mask.argmax(1)]
        else:
            real = attention_mask.bool()[:, :, None]
            pooled = torch.where(real, hidden, 0.0).sum(1) / real.sum(1)
        return SequenceClassifierOutput(logits=self.score(pooled))

    def _last_states(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """(B, H) states of a decoder at each row's last real token.

        Rows are rotated so that they start with their first real token. All padding then follows the last real token
        and affects neither positions nor recurrent states.
        """
        columns = torch.arange(input_ids.shape[1], device=input_ids.device)
        places = (columns + attention_mask.argmax(1)[:, None]) % input_ids.shape[1]
        hidden = self.encoder(input_ids=input_ids.gather(1, places), use_cache=False).last_hidden_state
        return hidden[torch.arange(len(hidden), device=hidden.device), attention_mask.sum(1) - 1]


def _make_body(config: PreTrainedConfig) -> nn.Module:
    """A body with random weights, of the transformers class that the configuration names, else of `AutoModel`."""
    module, _, name = getattr(config, "preflab_reward_body", "").partition(":")
    if not module:
        return AutoModel.from_config(config)
    if module.partition(".")[0] != "transformers":
        raise ValueError(f"preflab_reward_body is {module}:{name}, not a class of transformers: export the model again")
    return getattr(importlib.import_module(module), name)(config)
