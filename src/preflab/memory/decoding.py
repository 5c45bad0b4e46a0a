"""The memory of decoding: keys and values, distributions that tokens are drawn from, and fixed buffers on a GPU.

Letters are those of `memory.arithmetic`; U · P are the tokens of the distinct prompts that are read at once.

    on a CPU  cache   b · R · T · L · K + 3 · 4 · R · V, and a copy of the head; all freed after each call
                      ilql  2 · b · R · T · L · K + 5 · 4 · R · V, for its two models
    on a GPU  cache   fixed + b · U · P · L · K, for the states of the prompts before they are copied into the buffers
              fixed   b · R' · T' · L · K + 3 · 4 · R' · V + rounded, with R' and T' the buckets of R and T
                      rounded   in half precision the copies of float32 weights that a captured step reads:
                                LoRA 2 · A · (n + a), full 2 · (W + H · V)

A captured step reads and writes fixed addresses, so the buffers and the results of the graphs' operations stay between
calls, beside the activations of the update (`sampling.bucketed`). `ilql` decodes with two models at once, which are
never captured. Of encoder–decoders L counts the decoder's layers, and T prompt and completion: cross-attention keeps
the prompt, the decoder's own attention the completion.
"""

from __future__ import annotations

from preflab.memory.load import Load
from preflab.memory.sizes import Sizes
from preflab.sampling.buckets import Buckets

DRAWING = 3
"""Float32 distributions of a row while a token is drawn."""


def cache_bytes(model: Sizes, load: Load, head_copy: int, *, accelerator: bool) -> int:
    """Bytes while completions are decoded.

    Args:
        model: the sizes of the model.
        load: what the stage holds.
        head_copy: bytes of the head's copy in the layout of its matrix product.
        accelerator: whether it decodes on a GPU.
    """
    if not load.rows:
        return 0
    if captured(load, accelerator=accelerator):
        return fixed_bytes(model, load, accelerator=accelerator) + _state_bytes(model, load) * load.prompt_tokens
    models, drawing = (2, DRAWING + 2) if load.kind == "ilql" else (1, DRAWING)
    states = models * _state_bytes(model, load) * load.rows * load.row_tokens
    return states + 4 * drawing * load.rows * model.vocabulary + models * head_copy


def fixed_bytes(model: Sizes, load: Load, *, accelerator: bool) -> int:
    """Bytes of buffers that stay between calls; 0 on a CPU."""
    if not captured(load, accelerator=accelerator):
        return 0
    rows, keys = Buckets().num_rows(load.rows), Buckets().num_keys(load.row_tokens)
    states = _state_bytes(model, load) * rows * keys
    return states + 4 * DRAWING * rows * model.vocabulary + _rounded(model, load)


def captured(load: Load, *, accelerator: bool) -> bool:
    """True if a stage decodes over fixed buffers."""
    return accelerator and load.rows > 0 and load.kind != "ilql"


def _state_bytes(model: Sizes, load: Load) -> int:
    """Bytes of one token's keys and values."""
    return (2 if load.half else 4) * model.num_cached_layers * model.state_width


def _rounded(model: Sizes, load: Load) -> int:
    if not load.half or not load.roles:
        return 0
    if load.lora:
        return 2 * load.rank * model.linear_width * (load.roles + load.adapters)
    return 2 * (model.num_linear_parameters + model.hidden_size * model.vocabulary)
