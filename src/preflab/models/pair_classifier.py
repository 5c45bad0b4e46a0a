"""A reward model on an encoder–decoder: the encoder reads the prompt, the decoder the completion.

This file is saved in the reward model's folder, so that transformers can open it:

AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)
"""

from __future__ import annotations

import copy
import importlib

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class PairClassifier(PreTrainedModel):
    """logits (B, 1) = score(last hidden state of the decoder at the completion's last token, or their mean)."""

    config_class = PreTrainedConfig
    base_model_prefix = "body"
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = True  # the body itself decides what it supports

    def __init__(self, config: PreTrainedConfig) -> None:
        body_config = copy.deepcopy(config)
        config._attn_implementation_internal = config._experts_implementation_internal = None
        super().__init__(config)
        module, _, name = config.preflab_reward_body.partition(":")
        if module.partition(".")[0] != "transformers":
            raise ValueError(f"preflab_reward_body is {module}:{name}, not a class of transformers: export it again")
        self.body = getattr(importlib.import_module(module), name)(body_config)
        self.score = nn.Linear(config.preflab_reward_width, 1)
        self.post_init()

    @classmethod
    def is_custom_code(cls) -> bool:
        """Return False, so that transformers also initialises the buffers that its own bodies compute on loading."""
        return False

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
    ) -> SequenceClassifierOutput:
        """Logits (B, 1) for prompts (B, P) and completions (B, L), both right-padded.

        A row of `decoder_input_ids` is `config.preflab_decoder_start` followed by the completion with its end token.
        The masks are 1 for real tokens and 0 for padding; without them every token is real.
        """
        if decoder_input_ids is None:
            raise ValueError("decoder_input_ids is missing: the decoder reads the completion")
        attention_mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask.long()
        real = torch.ones_like(decoder_input_ids) if decoder_attention_mask is None else decoder_attention_mask.long()
        encoded = self.body.get_encoder()(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        hidden = self.body.get_decoder()(
            input_ids=decoder_input_ids,
            attention_mask=torch.ones_like(real),  # right padding needs none: no real token attends to it
            encoder_hidden_states=encoded,
            encoder_attention_mask=attention_mask,
            use_cache=False,
        ).last_hidden_state
        if self.config.preflab_reward_pooling == "last":
            pooled = hidden[torch.arange(len(hidden), device=hidden.device), real.sum(1) - 1]
        else:
            pooled = torch.where(real.bool()[:, :, None], hidden, 0.0).sum(1) / real.sum(1)[:, None]
        return SequenceClassifierOutput(logits=self.score(pooled))
