"""Encoder states of prompts: each distinct prompt is encoded once; if the encoder is frozen, once for a whole run.

With adapters on the decoder only, policy, reference and value share one encoder that never changes. Its states are
then kept, so that sampling, scoring and all updates of a step use one encoder pass per prompt. U distinct prompts, P
prompt tokens, H hidden.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from preflab.models.bitsandbytes_import import import_before_peft

MOST_BYTES = 2**28
"""Most bytes of states kept per model (256 MiB); the prompts used longest ago are dropped first."""

SAMPLED = 16
"""Most numbers of each weight in a fingerprint."""

Fingerprint = tuple[Any, ...]
"""Identifies the weights and the precision that states were computed with."""


@dataclass
class EncoderStates(BaseModelOutput):
    """Encoder states as an argument of a model's forward pass; mixtures of experts also read `router_logits`."""

    router_logits: tuple[Tensor, ...] | None = None


class KeptStates:
    """States of prompts under one fingerprint; a change of weights or precision empties it."""

    def __init__(self) -> None:
        self.fingerprint: Fingerprint = ()
        self.states: OrderedDict[tuple[int, ...], Tensor] = OrderedDict()
        self.num_bytes = 0

    def start(self, fingerprint: Fingerprint) -> None:
        """Drop all states that were computed under another fingerprint."""
        if fingerprint != self.fingerprint:
            self.fingerprint, self.num_bytes = fingerprint, 0
            self.states.clear()

    def keep(self, prompt: tuple[int, ...], states: Tensor) -> None:
        """Keep the states (P, H) of a prompt, and drop older ones if there are too many."""
        self.states[prompt] = states
        self.num_bytes += states.nbytes
        while self.num_bytes > MOST_BYTES and len(self.states) > 1:
            self.num_bytes -= self.states.popitem(last=False)[1].nbytes


_READ_ANEW: ContextVar[bool] = ContextVar("read_anew", default=False)
_KEPT: WeakKeyDictionary[Any, KeptStates] = WeakKeyDictionary()


def encode(model: Any, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """(U, P, H) encoder states of right-padded prompts (U, P); states of padding are undefined."""
    encoder = model.get_encoder()
    if _READ_ANEW.get() or not _is_frozen(encoder):
        return encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
    with torch.inference_mode(False), torch.no_grad():  # states kept from sampling have to serve in training
        kept = _KEPT.setdefault(encoder, KeptStates())
        kept.start(_fingerprint(encoder))
        prompts = _prompts(input_ids, attention_mask)
        missing = [row for row, prompt in enumerate(prompts) if prompt not in kept.states]
        states = {prompt: kept.states[prompt] for prompt in prompts if prompt in kept.states}
        for prompt in states:
            kept.states.move_to_end(prompt)
        if missing:
            ids, mask = input_ids[missing].clone(), attention_mask[missing].clone()
            fresh = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
            for row, one in zip(missing, fresh, strict=True):
                states[prompts[row]] = one[: len(prompts[row])].clone()
                kept.keep(prompts[row], states[prompts[row]])
        return torch.nn.utils.rnn.pad_sequence([states[prompt] for prompt in prompts], batch_first=True)


@contextmanager
def reading_anew() -> Iterator[None]:
    """Run the encoder in every pass inside the block, for passes that need a gradient from a frozen encoder."""
    token = _READ_ANEW.set(True)
    try:
        yield
    finally:
        _READ_ANEW.reset(token)


def _is_frozen(encoder: Any) -> bool:
    """Whether no weight of an encoder is trained and no adapter in it is active."""
    import_before_peft()
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in encoder.modules():
        if isinstance(module, BaseTunerLayer) and not module.disable_adapters and module.active_adapters:
            return False
    base = (p for name, p in encoder.named_parameters() if ".lora_" not in name)
    return not any(parameter.requires_grad for parameter in base)


def _fingerprint(encoder: Any) -> Fingerprint:
    """Identity, version and type of the encoder's base weights and buffers, a few of their numbers, and the autocast
    type if autocast is on.

    A write through `.data`, as by an average of weights or peft's merging, changes neither identity nor version.
    """
    base = [p for name, p in encoder.named_parameters() if ".lora_" not in name]
    tensors = [*base, *encoder.buffers()]
    device = base[0].device.type
    half = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    numbers = torch.cat([_some_numbers(tensor) for tensor in tensors]).tolist()
    return (half, *((t.data_ptr(), t._version, t.dtype) for t in tensors), *numbers)


def _some_numbers(tensor: Tensor) -> Tensor:
    """(at most `SAMPLED`) numbers of a tensor at equal distances, as float32."""
    flat = tensor.detach().reshape(-1)
    return flat[:: max(1, -(-flat.numel() // SAMPLED))].float()


def _prompts(input_ids: Tensor, attention_mask: Tensor) -> list[tuple[int, ...]]:
    lengths = attention_mask.sum(1).tolist()
    return [tuple(row[:length]) for row, length in zip(input_ids.tolist(), lengths, strict=True)]
