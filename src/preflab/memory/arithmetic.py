"""The memory of a stage in bytes, from the model's sizes and the stage's load, before anything is loaded.

    P  parameters                A  parameters of an adapter, r · Σ (inputs + outputs) of its layers
    L  layers                    H  hidden width              I  feed-forward width           V  vocabulary
    Q  width of queries          K  width of keys and values  N  tokens of a micro-batch
    R  rows decoded in parallel  T  tokens of such a row      b  bytes of a frozen weight: 4, or 2 in half precision
    n  trained roles             m  frozen models             a  frozen adapters
    W  weights of linear layers  E  trained weights of embeddings

    base         the process with its libraries; on a GPU the CUDA context, which is not measured
    weights      LoRA  b · P · (1 + m) + 4 · A · (n + a); with a base in NF4 0.52 · W in place of b · W
                 full  4 · P · n + b · P · m, and in half precision 2 · P · n for the copies that autocast rounds
    optimiser    8 bytes per trained weight, for Adam's two moments; in 8 bits 2.03, and 8 · E for the embeddings
    gradients    4 bytes per trained weight
    activations  s · N · (L · layer + block); with checkpointing s · N · (L · b · H + layer + block)
                     layer   bytes per token that the backward pass of one layer needs
                             LoRA  float32 4 · x, half 2 · x + 4 · H    with x = 4 · H + 2 · Q + K + 4 · I + 7 · r
                             full  float32 4 · x, half 2 · x + 22 · H   with x = 6 · H + 2 · Q + K + 4 · I
                     block   b · (2 · H + 3 · I), what one layer works on beside them
                     s       the allocator's factor: what it holds, divided by what is in use
    head         3 · 4 · C with C = min(N · V, chunk) logits; on a CPU also a copy of the head, 4 · H · V, in the layout
                 of its matrix product; full: also the gradient of the head, 4 · H · V
    cache        b · R · T · L · K for keys and values, 3 · 4 · R · V for drawing a token; on a CPU a copy of the head
    writing      LoRA  4 · P, the float32 copy of the model into which the adapter is merged
                 ilql  also 8 · H · V, the Q head as the head of that copy

    peak = base + weights + optimiser + the largest of
               learning   activations + head + gradients, if other micro-batches or roles have left some
               updating   gradients
               sampling   cache
               writing    gradients + writing

`ilql` also trains a Q head of H · V weights and keeps a copy of it. With cross-attention (encoder–decoders) L counts
the layers of both parts, and half of them store H + 2 · Q + K numbers more: an approximation, since N counts the tokens
of prompts and completions together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from preflab.memory.load import ON_POLICY, SCORING, USUAL_RANK, Load
from preflab.models.chunked import LOGITS_PER_CHUNK, LOGITS_PER_PACKED_CHUNK
from preflab.models.packed import LARGEST

MIB = 2**20
LIBRARIES = 425 * MIB
"""Bytes of a process with Python, torch, transformers and peft after its first step. Measured on Linux, x86-64."""
TABLES = 120 * MIB
"""Bytes of pandas, pyarrow and scipy, which stages load that read preferences or write reports and rollouts. Measured
on Linux, x86-64."""
CONTEXT = 500 * MIB
"""Bytes of the CUDA context on a GPU. Assumed, not measured."""
KEPT_FREE = 2.1
"""s on a CPU with LoRA: freed blocks below 32 MiB stay with the process, and glibc does not put the next tensor of a
size into the hole of the last, because an aligned block needs a margin. One value for all models, measured with glibc
2.36. If every block is returned at once (MALLOC_MMAP_THRESHOLD_=262144), s is 1, and steps take a tenth to a third
longer."""
KEPT_FREE_FULL = 1.6
"""s on a CPU with full fine-tuning, whose layers make half as many short-lived tensors as layers with adapters."""
KEPT_FREE_SAMPLING = 2.5
"""s on a CPU of on-policy stages with LoRA: sampling, scoring and the roles' passes leave holes of different sizes."""
KEPT_FREE_GPU = 1.1
"""s on a GPU, for the blocks that torch's allocator keeps. Assumed, not measured."""
NF4_BYTES = 0.52
"""Bytes of a weight in NF4: 4 bits, 8 bits for each 64 weights, and 32 bits for each 256 of those."""
STATES_IN_8_BIT = 2.03
"""Bytes of a weight's two states in 8 bits: 2, and two float32 numbers for each 256 weights."""
WITHOUT_TABLES = ("sft", "sample", "classifier", "ilql")
"""Kinds of stages that do not load the libraries of `TABLES`."""


class Sizes(Protocol):
    """The sizes of a model that the arithmetic reads, such as `memory.model_sizes.ModelSizes`."""

    @property
    def num_parameters(self) -> int: ...
    @property
    def num_head_parameters(self) -> int: ...
    @property
    def linear_width(self) -> int: ...
    @property
    def num_layers(self) -> int: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def intermediate_size(self) -> int: ...
    @property
    def state_width(self) -> int: ...
    @property
    def vocabulary(self) -> int: ...
    @property
    def query_width(self) -> int: ...
    @property
    def cross_attention(self) -> bool: ...
    @property
    def num_linear_parameters(self) -> int: ...


@dataclass(frozen=True)
class Estimate:
    """The estimated memory of a stage."""

    load: Load
    parts: Mapping[str, int]
    """Purpose → bytes; the names are those of the formulas."""
    phase: str
    """The phase of the peak: learning, updating, sampling or writing."""
    total: int
    """Bytes at the peak."""


def num_adapter_weights(model: Sizes, rank: int = USUAL_RANK) -> int:
    """A = r · Σ (inputs + outputs) over the linear layers without the head."""
    return rank * model.linear_width


def estimate(model: Sizes, load: Load, *, accelerator: bool = False) -> Estimate:
    """The peak of a stage in bytes, by the formulas above."""
    trained = _trained(model, load)
    parts = {
        "base": _base(load, accelerator),
        "weights": _weights(model, load),
        "optimiser": _states(model, load, trained),
        "gradients": 4 * trained,
        "activations": _activations(model, load, _kept_free(load, accelerator)),
        "head": _head(model, load, accelerator),
        "cache": _cache(model, load, accelerator),
        "writing": _writing(model, load),
    }
    left = parts["gradients"] if load.several or load.roles > 1 else 0
    phases = {
        "learning": parts["activations"] + parts["head"] + left,
        "updating": parts["gradients"],
        "sampling": parts["cache"],
        "writing": parts["gradients"] + parts["writing"],
    }
    phase = max(phases, key=phases.__getitem__)
    return Estimate(load, parts, phase, parts["base"] + parts["weights"] + parts["optimiser"] + phases[phase])


def _base(load: Load, accelerator: bool) -> int:
    if accelerator:
        return CONTEXT
    return LIBRARIES + (0 if load.kind in WITHOUT_TABLES else TABLES)


def _kept_free(load: Load, accelerator: bool) -> float:
    """s."""
    if accelerator:
        return KEPT_FREE_GPU
    if not load.lora:
        return KEPT_FREE_FULL
    return KEPT_FREE_SAMPLING if load.kind in ON_POLICY else KEPT_FREE


def _trained(model: Sizes, load: Load) -> int:
    """Trained weights of all roles."""
    each = num_adapter_weights(model, load.rank) if load.lora else model.num_parameters
    return each * load.roles + (_head_weights(model) if load.kind == "ilql" else 0)


def _states(model: Sizes, load: Load, trained: int) -> int:
    """Bytes of the optimiser's states. With states in 8 bits those of embeddings stay in float32."""
    if not load.eight_bit:
        return 8 * trained
    embeddings = 0 if load.lora else load.roles * _head_weights(model)
    return 8 * embeddings + round(STATES_IN_8_BIT * (trained - embeddings))


def _weights(model: Sizes, load: Load) -> int:
    size, frozen = model.num_parameters, 2 if load.half else 4
    q_head = 8 * _head_weights(model) if load.kind == "ilql" else 0
    if load.lora:
        adapter = num_adapter_weights(model, load.rank)
        saved = round((frozen - NF4_BYTES) * model.num_linear_parameters) if load.four_bit else 0
        return frozen * size * (1 + load.models) - saved + 4 * adapter * (load.roles + load.adapters) + q_head
    if not load.roles:
        return frozen * size * (1 + load.models)
    return (6 if load.half else 4) * size * load.roles + frozen * size * load.models + q_head


def _head_weights(model: Sizes) -> int:
    return model.hidden_size * model.vocabulary


def _activations(model: Sizes, load: Load, kept_free: float) -> int:
    """Bytes that a micro-batch needs for its backward pass."""
    if not load.roles:
        return 0
    number = 2 if load.half else 4
    layer = layer_bytes(model, load)
    block = number * (2 * model.hidden_size + 3 * model.intermediate_size)
    per_token = model.num_layers * layer + block
    if load.checkpointing:
        per_token = model.num_layers * number * model.hidden_size + layer + block
    return round(kept_free * load.tokens * per_token)


def layer_bytes(model: Sizes, load: Load) -> int:
    """Bytes per token that the backward pass of one layer needs."""
    hidden, queries = model.hidden_size, model.query_width or model.hidden_size
    numbers = 2 * queries + model.state_width + 4 * model.intermediate_size
    numbers += 4 * hidden + 7 * load.rank if load.lora else 6 * hidden
    if model.cross_attention:
        numbers += (hidden + 2 * queries + model.state_width) // 2
    if not load.half:
        return 4 * numbers
    return 2 * numbers + (4 if load.lora else 22) * hidden


def _head(model: Sizes, load: Load, accelerator: bool) -> int:
    """Bytes of the logits of a chunk and of the head's copy and gradient; 0 for reward models, which have no head."""
    if not load.roles or load.kind in (*SCORING, "ilql"):
        return 0
    packed = _packed(model, load, accelerator)
    chunk = LOGITS_PER_PACKED_CHUNK if packed else LOGITS_PER_CHUNK
    logits = 3 * 4 * min(chunk, load.tokens * model.vocabulary)
    return logits + packed + (0 if load.lora else 4 * _head_weights(model))


def _packed(model: Sizes, load: Load, accelerator: bool) -> int:
    """Bytes of the head's copy in the layout of its matrix product, on a CPU in float32."""
    size = 4 * _head_weights(model)
    return 0 if accelerator or load.half or size > LARGEST else size


def _cache(model: Sizes, load: Load, accelerator: bool) -> int:
    """Bytes of keys and values of the completions being decoded, and of the distributions they are drawn from."""
    if not load.rows:
        return 0
    states = (2 if load.half else 4) * load.rows * load.row_tokens * model.num_layers * model.state_width
    return states + 3 * 4 * load.rows * model.vocabulary + _packed(model, load, accelerator)


def _writing(model: Sizes, load: Load) -> int:
    """Bytes of the merged copy of the model."""
    if load.kind == "ilql":
        return 4 * model.num_parameters + 8 * _head_weights(model)
    return 4 * model.num_parameters if load.lora and load.roles and load.kind not in SCORING else 0
