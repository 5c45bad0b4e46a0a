"""What the backward pass of a micro-batch needs, and what the C library keeps of the memory that passes through it.

Letters are those of `memory.arithmetic`.

    alive   N · (L · layer + block), and with checkpointing N · (L · b · H + layer + block)
                layer   bytes per token that the backward pass of one layer needs
                        LoRA  float32 4 · x, half 2 · x + 4 · H    with x = 4 · H + 2 · Q + K + 4 · I + 7 · r
                        full  float32 4 · x, half 2 · x + 22 · H   with x = 6 · H + 2 · Q + K + 4 · I
                block   b · (2 · H + 3 · I), what one layer works on beside them
    last    N · (layer + block): the last block of the backward pass, when all gradients exist
    holes   h · N · (L · layer + block), of tensors below 32 MiB only; on a CPU

Holes are freed memory that stays with the process. glibc asks for an aligned block with a margin, so the hole of a
freed tensor is not used for the next one of its size, and a pass leaves about as many bytes of holes as it has made
tensors. It makes the same ones with checkpointing, where each is freed at once: only `alive` gets smaller, `holes` do
not. Blocks of 32 MiB and more are returned to the system at once (M_MMAP_THRESHOLD's maximum), so wide tensors of large
micro-batches leave none. On a GPU the allocator's factor stands for all of this.
"""

from __future__ import annotations

from collections.abc import Iterator

from preflab.memory.load import Load
from preflab.memory.sizes import Sizes

HOLES = 1.0
"""h with LoRA, for each trained role. Measured with glibc 2.36; 0.9 to 1.2 for one role, 1.7 to 2.2 for two."""
HOLES_CHECKPOINTED = 0.85
"""h with LoRA and checkpointing, for each trained role: the second pass of a block fills some of the holes. Measured:
0.85 to 0.9 for one role, 1.3 to 1.5 for two."""
HOLES_FULL = 0.6
"""h with full fine-tuning, whose layers make half as many short-lived tensors, with and without checkpointing, for all
roles together. Measured: 0.3 to 1."""
RETURNED = 32 * 2**20
"""Bytes of a block from which on glibc returns it to the system when it is freed."""
KEPT_FREE_GPU = 1.1
"""The factor on a GPU for the blocks that torch's allocator keeps. Assumed, not measured."""


def kept_activations(model: Sizes, load: Load) -> int:
    """Bytes alive at the end of the forward pass, for the backward pass."""
    if not load.roles:
        return 0
    layers = model.num_layers * layer_bytes(model, load)
    if load.checkpointing:
        layers = model.num_layers * _number(load) * model.hidden_size + layer_bytes(model, load)
    return load.tokens * (layers + _block(model, load))


def last_block(model: Sizes, load: Load) -> int:
    """Bytes alive in the last block of the backward pass, beside all gradients."""
    return load.tokens * (layer_bytes(model, load) + _block(model, load)) if load.roles else 0


def holes(model: Sizes, load: Load) -> int:
    """Bytes of freed memory that stay with the process on a CPU."""
    if not load.roles:
        return 0
    share = HOLES_CHECKPOINTED if load.checkpointing else HOLES
    share = share * load.roles if load.lora else HOLES_FULL
    number, passed = _number(load), 0
    for times, widths in ((model.num_layers, _widths(model, load)), (1, _block_widths(model))):
        small = ((count, width) for count, width in widths if number * load.tokens * width < RETURNED)
        passed += times * sum(count * width for count, width in small)
    return round(share * load.tokens * number * passed)


def layer_bytes(model: Sizes, load: Load) -> int:
    """Bytes per token that the backward pass of one layer needs."""
    numbers = sum(count * width for count, width in _widths(model, load))
    if not load.half:
        return 4 * numbers
    return 2 * numbers + (4 if load.lora else 22) * model.hidden_size


def _widths(model: Sizes, load: Load) -> Iterator[tuple[int, int]]:
    """(number, width) of the tensors that the backward pass of one layer needs: x numbers per token."""
    hidden, queries = model.hidden_size, model.query_width or model.hidden_size
    yield (4 if load.lora else 6), hidden
    yield 2, queries
    yield 2, model.state_width // 2
    yield 4, model.intermediate_size
    if load.lora:
        yield 7, load.rank
    if model.cross_attention:
        yield 1, (hidden + 2 * queries + model.state_width) // 2


def _block(model: Sizes, load: Load) -> int:
    """Bytes per token of what one layer works on."""
    return _number(load) * sum(count * width for count, width in _block_widths(model))


def _block_widths(model: Sizes) -> tuple[tuple[int, int], ...]:
    return (2, model.hidden_size), (3, model.intermediate_size)


def _number(load: Load) -> int:
    return 2 if load.half else 4
