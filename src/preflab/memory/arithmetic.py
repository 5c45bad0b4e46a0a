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
    activations  alive + holes on a CPU, 1.1 · alive on a GPU (`memory.activations`)
    head         3 · 4 · C with C = min(N · V, chunk) logits; on a CPU also a copy of the head, 4 · H · V, in the layout
                 of its matrix product; full: also the gradient of the head, 4 · H · V
    cache        keys and values while decoding, and what a token is drawn from; on a GPU `fixed` of it stays for good
                 (`memory.decoding`)
    writing      LoRA  4 · P + 4 · A · (n + a) + gradients, the float32 copy of the model, whose adapter is then merged
                 ilql  also 8 · H · V, the Q head as the head of that copy

    peak = base + weights + optimiser + fixed + holes + the largest of
               learning   alive + head + gradients, if other micro-batches have left some; of several roles the
                          share (n − 1) / n, since the last one has none yet
               updating   gradients + last: the last block of the backward pass is beside all gradients
               sampling   cache − fixed; ilql: cache + gradients + writing − optimiser, since it samples at the end
               writing    gradients + writing − 0.25 · holes, since the copies fill some of the holes
               reading    4 · P, the weights file while its id is computed; only `sample`, and only on a CPU

`ilql` also trains a Q head of H · V weights and keeps a copy of it. On a GPU `alive` and `last` are multiplied by 1.1,
and there are no holes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from preflab.memory.activations import KEPT_FREE_GPU, holes, kept_activations, last_block
from preflab.memory.decoding import cache_bytes, fixed_bytes
from preflab.memory.load import SCORING, USUAL_RANK, Load
from preflab.memory.sizes import Sizes
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
NF4_BYTES = 0.52
"""Bytes of a weight in NF4: 4 bits, 8 bits for each 64 weights, and 32 bits for each 256 of those."""
STATES_IN_8_BIT = 2.03
"""Bytes of a weight's two states in 8 bits: 2, and two float32 numbers for each 256 weights."""
FILLED = 0.25
"""Share of the holes that the copy of the model fills: most are smaller than a weight. Measured: 0.2 to 0.4."""
WITHOUT_TABLES = ("sft", "sample", "classifier", "ilql")
"""Kinds of stages that do not load the libraries of `TABLES`."""


@dataclass(frozen=True)
class Estimate:
    """The estimated memory of a stage."""

    load: Load
    parts: Mapping[str, int]
    """Purpose → bytes; the names are those of the formulas."""
    phase: str
    """The phase of the peak: learning, updating, sampling, writing or reading."""
    total: int
    """Bytes at the peak."""


def num_adapter_weights(model: Sizes, rank: int = USUAL_RANK) -> int:
    """A = r · Σ (inputs + outputs) over the linear layers without the head."""
    return rank * model.linear_width


def estimate(model: Sizes, load: Load, *, accelerator: bool = False) -> Estimate:
    """The peak of a stage in bytes, by the formulas above."""
    trained = _trained(model, load)
    alive, kept = kept_activations(model, load), 0 if accelerator else holes(model, load)
    share = KEPT_FREE_GPU if accelerator else 1.0
    head_copy = _packed(model, load, accelerator)
    parts = {
        "base": _base(load, accelerator),
        "weights": _weights(model, load),
        "optimiser": _states(model, load, trained),
        "gradients": 4 * trained,
        "activations": round(share * alive) + kept,
        "head": _head(model, load, accelerator),
        "cache": cache_bytes(model, load, head_copy, accelerator=accelerator),
        "writing": _writing(model, load),
    }
    fixed = fixed_bytes(model, load, accelerator=accelerator)
    phases = {
        "sampling": parts["cache"] - fixed,
        "learning": parts["activations"] - kept + parts["head"] + _left(load, parts["gradients"]),
        "updating": parts["gradients"] + round(share * last_block(model, load)),
        "writing": parts["gradients"] + parts["writing"] - (round(FILLED * kept) if parts["writing"] else 0),
    }
    if load.kind == "ilql":  # it samples at the end, with the copy of the model and without the optimiser
        phases["sampling"] += phases["writing"] - parts["optimiser"]
    if load.kind == "sample" and not accelerator:
        phases["reading"] = 4 * model.num_parameters
    phase = max(phases, key=phases.__getitem__)
    always = parts["base"] + parts["weights"] + parts["optimiser"] + fixed + kept
    return Estimate(load, parts, phase, always + phases[phase])


def _left(load: Load, gradients: int) -> int:
    """Bytes of gradients beside the activations of a micro-batch: all that other micro-batches or roles have left."""
    return gradients if load.several else gradients * (load.roles - 1) // load.roles if load.roles else 0


def _base(load: Load, accelerator: bool) -> int:
    if accelerator:
        return CONTEXT
    return LIBRARIES + (0 if load.kind in WITHOUT_TABLES else TABLES)


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


def _writing(model: Sizes, load: Load) -> int:
    """Bytes of the copy of the model into which the adapter is merged."""
    if load.kind == "ilql":
        return 4 * model.num_parameters + 8 * _head_weights(model)
    if not load.lora or not load.roles or load.kind in SCORING:
        return 0
    adapters = num_adapter_weights(model, load.rank)
    return 4 * (model.num_parameters + adapters * (load.roles + load.adapters) + _trained(model, load))
