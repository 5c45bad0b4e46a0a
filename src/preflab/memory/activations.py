"""The memory of a micro-batch: tensors for its backward pass, and freed memory that the C library keeps.

Letters are those of `memory.arithmetic`.

    alive   N · (L · layer + block) + summed, and with checkpointing N · (L · b · H + layer + block) + summed / L
                layer   bytes per token that the backward pass of one layer needs
                        LoRA  float32 4 · x, half 2 · x + 4 · H    with x = 4 · H + 2 · Q + K + 4 · I + 7 · r
                        full  float32 4 · x, half 2 · x + 22 · H   with x = 6 · H + 2 · Q + K + 4 · I
                        x is larger by
                            2 · k · H        k experts per token: their inputs and outputs
                            Q + K / 2        norms of queries and keys; in half precision 2 · (Q + K / 2) bytes more
                            3 · I            `gelu_new`, which is computed by several operations
                            2 · H + 2 · Q    cross-attention
                block   b · (2 · H + 3 · I), what one layer works on beside them
                summed  b · X, the experts' weights with their adapter added; LoRA only
    last    N · (layer + block) + summed / L: the last block of the backward pass, when all gradients exist
    holes   h · (N · (L · b · x + block) + summed), on a CPU

Holes are freed memory that stays with the process. glibc asks for an aligned block with a margin, so the hole of a
freed tensor is not used for the next one of its size, and a pass leaves about as many bytes of holes as it has made
tensors. It makes the same ones with checkpointing, where each is freed at once: only `alive` gets smaller, `holes` do
not. On a GPU the allocator's factor stands for them.

Of an encoder–decoder L counts the decoder's layers: prompts pass through the encoder only, completions through the
decoder only, and N counts the tokens of both. Every layer is taken for one of the decoder.

Not counted: attention that stores scores of all pairs of tokens (models without fused attention), shared experts and
the rows of experts' auxiliary losses. A feed-forward layer without a gate keeps 2 · I instead of the 4 · I above.
"""

from __future__ import annotations

from typing import NamedTuple

from preflab.memory.load import Load
from preflab.memory.sizes import Sizes
from preflab.models.onednn import is_faster


class Shares(NamedTuple):
    """h for one trained role."""

    lora: float
    checkpointed: float
    """With LoRA and checkpointing, which takes less new memory in the second pass of a block."""
    full: float
    """With full fine-tuning, whose layers make half as many short-lived tensors; for all roles together, with and
    without checkpointing."""


BY_MKL = Shares(1.0, 0.85, 0.6)
"""Measured with glibc 2.36, where torch multiplies: 0.9 to 1.2, 0.85 to 0.9, 0.3 to 1."""
BY_ONEDNN = Shares(0.6, 0.5, 0.45)
"""Measured where oneDNN multiplies in float32 (`models.onednn`), which takes fewer buffers of its own from the heap."""
FURTHER_ROLE = 0.65
"""Share of h that a further trained role adds. Measured: 0.4 to 1.2 for Llamas, less for T5 and with experts."""
KEPT_FREE_GPU = 1.1
"""The factor on a GPU for the blocks that torch's allocator keeps. Assumed, not measured."""


def kept_activations(model: Sizes, load: Load) -> int:
    """Bytes alive at the end of the forward pass, for the backward pass."""
    if not load.roles:
        return 0
    if not load.checkpointing:
        layers = model.num_cached_layers * layer_bytes(model, load)
        return load.tokens * (layers + _block(model, load)) + _summed(model, load)
    inputs = model.num_cached_layers * _number(load) * model.hidden_size
    return load.tokens * inputs + last_block(model, load)


def last_block(model: Sizes, load: Load) -> int:
    """Bytes alive in the last block of the backward pass, beside all gradients."""
    if not load.roles:
        return 0
    of_tokens = load.tokens * (layer_bytes(model, load) + _block(model, load))
    return of_tokens + _summed(model, load) // model.num_cached_layers


def holes(model: Sizes, load: Load) -> int:
    """Bytes of freed memory that stay with the process on a CPU."""
    if not load.roles:
        return 0
    passed = load.tokens * (model.num_cached_layers * _number(load) * _numbers(model, load) + _block(model, load))
    return round(_share_of_holes(load) * (passed + _summed(model, load)))


def _share_of_holes(load: Load) -> float:
    """h."""
    shares = BY_ONEDNN if is_faster() and not load.half else BY_MKL
    if not load.lora:
        return shares.full
    return (shares.checkpointed if load.checkpointing else shares.lora) * (1 + FURTHER_ROLE * (load.roles - 1))


def _summed(model: Sizes, load: Load) -> int:
    """Bytes of the experts' weights with their adapter added."""
    return _number(load) * model.num_expert_parameters if load.lora else 0


def layer_bytes(model: Sizes, load: Load) -> int:
    """Bytes per token that the backward pass of one layer needs."""
    numbers = _numbers(model, load)
    if not load.half:
        return 4 * numbers
    normed = (model.query_width or model.hidden_size) + model.state_width // 2 if model.normed_states else 0
    return 2 * numbers + (4 if load.lora else 22) * model.hidden_size + 2 * normed


def _numbers(model: Sizes, load: Load) -> int:
    """x, the numbers per token that the backward pass of one layer needs."""
    hidden, queries = model.hidden_size, model.query_width or model.hidden_size
    x = (4 if load.lora else 6) * hidden + 2 * queries + model.state_width
    x += (7 if model.composed_activation else 4) * model.intermediate_size
    x += 7 * load.rank if load.lora else 0
    x += 2 * model.num_experts_per_token * hidden
    if model.normed_states:
        x += queries + model.state_width // 2
    if model.cross_attention:
        x += 2 * hidden + 2 * queries
    return x


def _block(model: Sizes, load: Load) -> int:
    """Bytes per token of what one layer works on."""
    return _number(load) * (2 * model.hidden_size + 3 * model.intermediate_size)


def _number(load: Load) -> int:
    return 2 if load.half else 4
