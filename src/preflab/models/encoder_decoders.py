"""Encoder–decoders such as T5 and BART: the encoder reads the prompt, the decoder writes the completion.

Each distinct prompt of a batch passes through the encoder once (`encoded_prompts`), and its keys and values for
cross-attention are held once for all its completions (`cross_attention`). See `training.separate_prompts` for the
layout. B sequences, U distinct prompts, P prompt tokens, L decoder tokens, H hidden, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from preflab.models.cross_attention import decoder_inputs
from preflab.models.decoder_start import start_tokens
from preflab.models.decoder_tokens import decoder_tokens
from preflab.models.encoded_prompts import EncoderStates, encode
from preflab.training.batches import TokenBatch, TokenSequence
from preflab.training.separate_prompts import SeparatePrompts, separate_prompts

SCALED_IF_TIED = ("umt5", "switch_transformers")
"""Relatives of T5 that scale the decoder's states if the head has the embedding's weight; T5 has a setting for it."""


class EncoderDecoder:
    """Prompts go through the encoder, completions through the decoder.

    Raises:
        PreflabError: the configuration names no token that the decoder starts with.
    """

    name = "encoder–decoder"
    reads_prompts_apart = True
    openers: ClassVar[tuple[str, ...]] = ("AutoModelForSeq2SeqLM",)

    def __init__(self, model: Any) -> None:
        self.start = start_tokens(model)

    def collate(self, sequences: Sequence[TokenSequence], pad_id: int) -> SeparatePrompts:
        """See `training.separate_prompts`."""
        return separate_prompts(sequences, pad_id, self.start)

    def inputs(self, batch: TokenBatch, dtype: torch.dtype) -> dict[str, Any]:
        """Prompts, their mask, the prompt of each completion, and the decoder's input ids."""
        return batch.model_inputs(dtype)

    def states(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """(B, L, H) last hidden states of the decoder."""
        mask = inputs["attention_mask"]
        encoded = encode(model, inputs["input_ids"], mask)
        cross = decoder_inputs(model, encoded, mask, inputs["prompt_rows"])
        written = inputs["decoder_input_ids"]
        # Without a mask T5Gemma would hide padding tokens that the policy wrote.
        return model.get_decoder()(
            **decoder_tokens(model, written), attention_mask=torch.ones_like(written), use_cache=False, **cross
        ).last_hidden_state

    def logits(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """(B, L, V) logits of the model's own forward pass, in which rows have copies of their prompt's states."""
        rows, mask, written = inputs["prompt_rows"], inputs["attention_mask"], inputs["decoder_input_ids"]
        return model(
            encoder_outputs=EncoderStates(last_hidden_state=encode(model, inputs["input_ids"], mask)[rows]),
            attention_mask=mask[rows],
            **decoder_tokens(model, written, "decoder_"),
            decoder_attention_mask=torch.ones_like(written),
            use_cache=False,
        ).logits

    def read_by_head(self, model: Any, states: Tensor) -> Tensor:
        """(…, H) input of the language-model head; T5 v1.0 multiplies the states by d_model^(−1/2)."""
        config = model.config
        tied = config.model_type in SCALED_IF_TIED and config.tie_word_embeddings
        scaled = getattr(config, "scale_decoder_outputs", tied)
        return states * config.d_model**-0.5 if scaled else states

    def without_head(self, model: Any) -> Any:
        """Encoder and decoder without the language-model head, for example a `T5Model`.

        Its modules are those of `model`, not copies. Its configuration is a copy and also holds the start tokens,
        which otherwise are in the generation configuration.
        """
        body = model.base_model
        if model.get_output_embeddings() is None:
            return model
        if body is model:
            body = _body_of_same_modules(model)
        body.config = copy.deepcopy(model.config)
        body.config.preflab_decoder_start = list(self.start)
        return body.eval()


def _body_of_same_modules(model: Any) -> Any:
    """A model without a head that holds the modules of `model`; for classes without a base model, such as T5's."""
    from transformers import AutoModel

    with torch.device("meta"):
        body = AutoModel.from_config(model.config)
    for name, _ in body.named_children():
        setattr(body, name, model.get_submodule(name))
    return body
