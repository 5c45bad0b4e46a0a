"""Forward passes of the decode loop for encoder–decoders: the encoder reads prompts once, the decoder writes.

U distinct prompts, B rows, P longest prompt, V vocabulary. Keys and values of self-attention are kept per row, those of
cross-attention per prompt: a prompt's rows look them up together (`models.cross_attention`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache, EncoderDecoderCache

from preflab.models.cross_attention import decoder_inputs, holds_once
from preflab.models.decoder_start import start_tokens
from preflab.models.decoder_tokens import decoder_tokens
from preflab.models.encoded_prompts import EncoderStates, encode
from preflab.sampling.cache import RowCache
from preflab.sampling.passes import moved


class EncoderDecoderPass:
    """Decodes with a cache; finished prompts leave it as soon as none of their rows is decoded any more.

    Args:
        model: the encoder–decoder.
        pad_id: token that pads shorter prompts on the right.
        once: whether cross-attention is held once per prompt; else once per row.
    """

    pads = True

    def __init__(self, model: PreTrainedModel, pad_id: int, *, once: bool) -> None:
        self.model, self.pad_id, self.once = model, pad_id, once
        self.start_tokens = start_tokens(model)
        self.written: Cache = RowCache()
        self.read: Cache = DynamicCache()
        self.prompt_rows = self.mask = self.encoded = torch.empty(0)

    @property
    def name(self) -> str:
        """The name of the way in the table of `preflab check`."""
        return "cache, cross-attention " + ("once per prompt" if self.once else "per completion")

    def start(self, prompts: Sequence[tuple[int, ...]], rows: torch.Tensor) -> torch.Tensor:
        """(B, V) logits after the start tokens; row b answers prompts[rows[b]]."""
        device, width = rows.device, max(map(len, prompts))
        ids = torch.tensor([prompt + (self.pad_id,) * (width - len(prompt)) for prompt in prompts], device=device)
        self.mask = torch.tensor([[1] * len(p) + [0] * (width - len(p)) for p in prompts], device=device)
        self.encoded = encode(self.model, ids, self.mask)
        self.written, self.read = RowCache(_decoder_config(self.model)), DynamicCache()
        self.prompt_rows = torch.arange(len(prompts), device=device)
        first = torch.tensor([self.start_tokens] * len(prompts), device=device)
        logits = self._forward(first)
        self.written.expand(rows, len(prompts))
        self._hold(rows)
        return logits[rows]

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, V) logits after one more token (B,) per row."""
        return self._forward(tokens[:, None])

    def move_rows(self, sources: torch.Tensor, targets: torch.Tensor, num_rows: int) -> None:
        """Copy rows `sources` over rows `targets`, then keep the first `num_rows` rows."""
        self.written.move_rows(sources, targets, num_rows)
        self._hold(moved(self.prompt_rows, sources, targets, num_rows))

    def release(self) -> None:
        """Free the cache."""
        self.written, self.read = RowCache(), DynamicCache()
        self.prompt_rows = self.mask = self.encoded = torch.empty(0)

    def _hold(self, prompt_rows: torch.Tensor) -> None:
        """Keep the prompts of these rows only and number them anew; with as many prompts as rows, row b is prompt b."""
        used, numbers = prompt_rows.unique(return_inverse=True)
        if not self.once or len(used) == len(prompt_rows):
            used, numbers = prompt_rows, torch.arange(len(prompt_rows), device=prompt_rows.device)
        if len(used) != len(self.encoded) or not torch.equal(used, torch.arange(len(used), device=used.device)):
            self.encoded, self.mask = self.encoded[used], self.mask[used]
            for layer in self.read.layers:
                layer.keys, layer.values = layer.keys[used], layer.values[used]
        self.prompt_rows = numbers

    def _forward(self, ids: torch.Tensor) -> torch.Tensor:
        cross = decoder_inputs(self.model, self.encoded, self.mask, self.prompt_rows)
        arguments: dict[str, Any] = {
            "encoder_outputs": EncoderStates(last_hidden_state=cross.pop("encoder_hidden_states")),
            "attention_mask": cross.pop("encoder_attention_mask"),
            **decoder_tokens(self.model, ids, "decoder_"),
            "past_key_values": EncoderDecoderCache(self.written, self.read),
            "use_cache": True,
            **cross,
        }
        return self.model(**arguments).logits[:, -1]


def ways_of_encoder_decoders(model: PreTrainedModel, pad_id: int) -> list[EncoderDecoderPass]:
    """The ways of decoding an encoder–decoder, fastest first."""
    per_row = EncoderDecoderPass(model, pad_id, once=False)
    return [EncoderDecoderPass(model, pad_id, once=True), per_row] if holds_once(model) else [per_row]


def _decoder_config(model: PreTrainedModel) -> Any:
    """The configuration that says what the decoder's layers keep."""
    return model.get_decoder().config
