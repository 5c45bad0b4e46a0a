"""Cross-attention with keys and values held once per prompt, not once per completion.

transformers' decoders expect one row of encoder states per decoder row. Here the encoder states keep one row per
prompt, and the queries of a prompt's G completions, T tokens each, are put side by side:

    queries (B, heads, T, d) → (U, heads, G·T, d);   keys, values (U, heads, P, d);   output back to (B, T, heads, d)

The attention function is registered with transformers under two names: one wraps `sdpa` attention, the other a model's
eager attention. Each model is tested once. If its states change, every completion gets a copy of the encoder states.

B completions, U distinct prompts, G completions of the prompt that has most, P prompt tokens.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

NAMES = {"sdpa": "preflab_prompt_rows_sdpa", "eager": "preflab_prompt_rows_eager"}
"""Attention of transformers → the name of the function here that groups its queries by prompt."""
logger = logging.getLogger(__name__)
UNFIT = (TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError, AssertionError)
TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Largest allowed difference of states, as a share of their largest absolute value."""

_SHARES: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


class PromptGroups(NamedTuple):
    """The prompt of each decoder row, found once for all layers of a pass."""

    rows: Tensor
    """(B,) the prompt of each row."""
    places: Tensor
    """(B,) the position of each row among the rows of its prompt."""
    size: int
    """G, the most rows of a prompt."""

    @classmethod
    def of(cls, rows: Tensor) -> PromptGroups:
        """The groups of these rows."""
        places = places_in_groups(rows)
        return cls(rows, places, int(places.max()) + 1)


def decoder_inputs(model: Any, encoded: Tensor, mask: Tensor, prompt_rows: Tensor) -> dict[str, Any]:
    """The arguments that pass the encoder states of each row to a decoder.

    Args:
        model: the encoder–decoder.
        encoded: (U, P, H) encoder states.
        mask: (U, P) 1 = a real token.
        prompt_rows: (B,) the prompt of each decoder row. If B = U it is 0 … U − 1.
    """
    if len(prompt_rows) == len(encoded):
        return {"encoder_hidden_states": encoded, "encoder_attention_mask": mask}
    if not holds_once(model):
        return {"encoder_hidden_states": encoded[prompt_rows], "encoder_attention_mask": mask[prompt_rows]}
    return {
        "encoder_hidden_states": encoded,
        "encoder_attention_mask": additive_mask(mask, encoded.dtype),
        "prompt_groups": PromptGroups.of(prompt_rows),
    }


def holds_once(model: Any) -> bool:
    """True if the model gives the same states with keys and values once per prompt; the first call tests it."""
    if model not in _SHARES:
        _SHARES[model] = False  # during the test, rows get copies
        _SHARES[model] = _switch(model)
    return _SHARES[model]


def places_in_groups(prompt_rows: Tensor) -> Tensor:
    """(B,) the position of each row among the rows of the same prompt, from 0, in their order.

    Example:
        >>> places_in_groups(torch.tensor([1, 0, 1, 1, 0])).tolist()
        [0, 0, 1, 2, 1]
    """
    same = prompt_rows[:, None] == prompt_rows[None, :]
    return same.tril(-1).sum(1)


def additive_mask(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """(U, 1, 1, P) additive mask: 0 for real tokens, the lowest number of the type for padding."""
    hidden = torch.zeros(mask.shape, dtype=dtype, device=mask.device)
    return hidden.masked_fill(~mask.bool(), torch.finfo(dtype).min)[:, None, None]


def grouped_attention(
    attend: Callable[..., tuple[Tensor, Any]],
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, Any]:
    """Calls `attend`, with grouped queries if `prompt_groups` is set and keys have fewer rows than queries."""
    groups = options.pop("prompt_groups", None)
    if groups is None or len(key) == len(query):
        return attend(module, query, key, value, attention_mask, **options)
    rows, places, size = groups
    _, num_heads, num_tokens, width = query.shape
    grouped = query.new_zeros(len(key), size, num_heads, num_tokens, width).index_put((rows, places), query)
    folded = grouped.transpose(1, 2).reshape(len(key), num_heads, size * num_tokens, width)
    if (bias := options.get("position_bias")) is not None:
        options["position_bias"] = bias.repeat(1, 1, size, 1)
    output, _ = attend(module, folded, key, value, attention_mask, **options)
    return output.view(len(key), size, num_tokens, num_heads, -1)[rows, places], None


def _sdpa(module: Any, query: Tensor, *rest: Any, **options: Any) -> tuple[Tensor, Any]:
    return grouped_attention(sdpa_attention_forward, module, query, *rest, **options)


def _eager(module: Any, query: Tensor, *rest: Any, **options: Any) -> tuple[Tensor, Any]:
    attend = sys.modules[type(module).__module__].eager_attention_forward
    return grouped_attention(attend, module, query, *rest, **options)


def _switch(model: Any) -> bool:
    """Make a model use `grouped_attention` if that reproduces the states of copied rows; returns whether it does."""
    former = getattr(model.config, "_attn_implementation", None)
    if former in NAMES.values():
        return True  # a copy of a model that was tested
    if former not in NAMES:
        return False
    try:
        with torch.no_grad():
            expected = _states(model)
            model.set_attn_implementation(NAMES[former])
            _SHARES[model] = True
            states = _states(model)
    except UNFIT as error:
        logger.debug("%s: %s", type(model).__name__, error)
    else:
        largest = expected.abs().max().clamp(min=1e-6)
        if ((states - expected).abs().max() / largest).item() <= TOLERANCE.get(model.dtype, 1e-4):
            return True
    model.set_attn_implementation(former)
    return False


def _states(model: Any) -> Tensor:
    """(5, 4, H) states of the decoder for five rows, of two prompts of 3 and 5 tokens."""
    random, size = torch.Generator().manual_seed(0), model.get_input_embeddings().weight.shape[0]
    prompts, ids = (torch.randint(size, shape, generator=random).to(model.device) for shape in ((2, 5), (5, 4)))
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], device=model.device)
    rows = torch.tensor([1, 0, 1, 1, 0], device=model.device)
    encoded = model.get_encoder()(input_ids=prompts, attention_mask=mask).last_hidden_state
    cross = decoder_inputs(model, encoded, mask, rows)
    return model.get_decoder()(input_ids=ids, use_cache=False, **cross).last_hidden_state.float()


for base, function in (("sdpa", _sdpa), ("eager", _eager)):
    AttentionInterface.register(NAMES[base], function)
    AttentionMaskInterface.register(NAMES[base], ALL_MASK_ATTENTION_FUNCTIONS[base])
