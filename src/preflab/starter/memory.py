"""How much memory a stage will need, estimated from the model's sizes before anything is loaded.

P parameters, A of one adapter, b bytes per frozen weight (4, or 2 in half precision), L layers, H hidden,
I feed-forward, V vocabulary, N tokens of a micro-batch, R completions decoded side by side, T tokens of each of them.

    weights      LoRA: b · P; full: 4 · P for each role that learns, in half precision 2 · P more for what autocast
                 rounds, b · P for the reference and other models
    moments      8 bytes per weight that learns, for Adam
    gradients    4 bytes per weight that learns; they grow as activations are given up
    activations  s · a · N · L · (10 · H + 4 · I), a = 4, or 3 in half precision, one role at a time; s is what the
                 allocator keeps beside them; with checkpointing s · a · N · (L · H + one layer)
    logits       3 · 4 · C, C the logits of a chunk (2^22 on a processor, 2^24 on a GPU), N · V at most
    states       b · R · T · L · K, K the width of keys and values, and 3 · 4 · R · V to draw from
    writing      4 · P: a copy of the model, into which adapters are added, in float32

The peak is the largest of activations with logits, gradients, drawing and writing, beside weights and moments and what
the libraries take themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from preflab.models.chunked import LOGITS_PER_CHUNK, LOGITS_PER_PACKED_CHUNK
from preflab.starter.model_look import ModelLook

LIBRARIES = 600 * 2**20
"""Bytes of Python with torch, transformers and peft: 500 MiB were measured after the imports; the rest is for data."""
CONTEXT = 500 * 2**20
"""Bytes that CUDA's context takes on a GPU."""
PER_WIDTH = (10, 4)
"""Numbers that a layer keeps of a token for the backward pass, per unit of H and per unit of I: counted on Llama and
Qwen 2 with all weights learning; adapters keep up to 12 % less, GPT-2 9 % more, Gemma 2 up to 29 % more."""
KEPT_FREE = (2.1, 1.3)
"""s on a processor and on a GPU. Fitted on a processor (docs/experiments/memory-estimate.md), where freed pieces stay
with the process; assumed on a GPU."""
KEPT_FREE_SAMPLING = (3.0, 1.6)
"""s of stages that sample while they learn: what sampling and scoring gave back lies in other pieces. Fitted to one run
on a processor, assumed on a GPU."""
SAMPLING = ("ppo", "grpo", "online_dpo")
RANK = 16
"""Rank of the adapters that a first recipe has."""


@dataclass(frozen=True)
class Load:
    """What one stage has in memory."""

    kind: str
    roles: int
    """Roles that learn: 1, or 2 with a value."""
    models: int
    """Further models of the same size that are only asked: a reference beside full fine-tuning, a reward model."""
    lora: bool
    half: bool
    tokens: int
    """N."""
    checkpointing: bool = False
    rows: int = 0
    """R; 0: nothing is drawn."""
    row_tokens: int = 0
    """T."""


@dataclass(frozen=True)
class Estimate:
    """Bytes by what they are for."""

    load: Load
    parts: Mapping[str, int]
    total: int


def num_adapter_weights(model: ModelLook, rank: int = RANK) -> int:
    """A = r · Σ (inputs + outputs) over the linear layers without the head."""
    return rank * model.linear_width


def estimate(model: ModelLook, load: Load, *, accelerator: bool = False) -> Estimate:
    """The peak of a stage in bytes, by the formula above."""
    weight = 2 if load.half else 4
    kept_free = (KEPT_FREE_SAMPLING if load.kind in SAMPLING else KEPT_FREE)[accelerator]
    size, adapter = model.num_parameters, num_adapter_weights(model)
    if load.lora:
        weights = weight * size * (1 + load.models) + 4 * adapter * load.roles
        learning = adapter * load.roles
    else:
        weights = (6 if load.half else 4) * size * load.roles + weight * size * load.models
        learning = size * load.roles
    parts = {
        "libraries": CONTEXT if accelerator else LIBRARIES,
        "weights": weights,
        "moments": 8 * learning,
        "activations and logits": round(kept_free * _activations(model, load)) + _logits(model, load, accelerator),
        "gradients": 4 * learning,
        "drawing": _states(model, load, weight),
        "writing": 4 * size if load.lora and load.roles else 0,
    }
    together = ("libraries", "weights", "moments")
    largest = max(size for name, size in parts.items() if name not in together)
    return Estimate(load, parts, sum(parts[name] for name in together) + largest)


def _activations(model: ModelLook, load: Load) -> int:
    """What a micro-batch keeps for its backward pass."""
    number = 3 if load.half else 4
    hidden, forward = PER_WIDTH
    layer = hidden * model.hidden_size + forward * model.intermediate_size
    if load.checkpointing:
        return number * load.tokens * (model.num_layers * model.hidden_size + layer)
    return number * load.tokens * model.num_layers * layer


def _logits(model: ModelLook, load: Load, accelerator: bool) -> int:
    """Reward models have none."""
    chunk = LOGITS_PER_CHUNK if accelerator else LOGITS_PER_PACKED_CHUNK
    return 3 * 4 * min(chunk, load.tokens * model.vocabulary) if load.kind not in ("reward", "rating") else 0


def _states(model: ModelLook, load: Load, weight: int) -> int:
    """Keys and values of the completions under way, and the distributions they are drawn from."""
    states = weight * load.rows * load.row_tokens * model.num_layers * model.state_width
    return states + 3 * 4 * load.rows * model.vocabulary
