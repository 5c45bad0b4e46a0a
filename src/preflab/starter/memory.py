"""Estimate the memory of a stage from the model's sizes, before anything is loaded.

P parameters, A parameters of one adapter, b bytes per frozen weight (4, or 2 in half precision), L layers, H hidden,
I feed-forward, V vocabulary, N tokens of a micro-batch, R completions decoded in parallel, T tokens of each completion.

    weights      LoRA: b · P plus 4 · A per trained role; full: 4 · P per trained role, in half precision 2 · P more
                 for autocast's rounded copy; b · P per further model, such as the reference
    moments      8 bytes per trained weight, for Adam
    gradients    4 bytes per trained weight; they fill up while activations are freed
    activations  s · a · N · L · (10 · H + 4 · I), a = 4, or 3 in half precision, for one role at a time; s covers
                 memory that the allocator does not return; with checkpointing s · a · N · (L · H + one layer)
    logits       3 · 4 · C, C the logits of a chunk (2^22 on a CPU, 2^24 on a GPU), at most N · V
    states       b · R · T · L · K, K the width of keys and values, plus 3 · 4 · R · V for drawing tokens
    writing      4 · P: a float32 copy of the model into which adapters are merged

The peak is weights, moments and libraries plus the largest of: activations with logits, gradients, drawing, writing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from preflab.models.chunked import LOGITS_PER_CHUNK, LOGITS_PER_PACKED_CHUNK
from preflab.starter.model_look import ModelLook

LIBRARIES = 600 * 2**20
"""Bytes of Python with torch, transformers and peft: 500 MiB measured after the imports, plus room for data."""
CONTEXT = 500 * 2**20
"""Bytes of the CUDA context on a GPU."""
PER_WIDTH = (10, 4)
"""Numbers that a layer stores per token for the backward pass, per unit of H and per unit of I. Counted on Llama and
Qwen 2 with full fine-tuning; adapters store up to 12 % less, GPT-2 9 % more, Gemma 2 up to 29 % more."""
KEPT_FREE = (2.1, 1.3)
"""s on a CPU and on a GPU. Fitted on a CPU (docs/experiments/memory-estimate.md), where freed memory stays with the
process; assumed on a GPU."""
KEPT_FREE_SAMPLING = (3.0, 1.6)
"""s of on-policy stages: memory freed by sampling and scoring is fragmented differently. Fitted to one run on a CPU,
assumed on a GPU."""
SAMPLING = ("ppo", "grpo", "online_dpo")
"""Kinds of on-policy stages."""
RANK = 16
"""Rank of the adapters in a first recipe."""


@dataclass(frozen=True)
class Load:
    """The quantities of one stage that decide its memory."""

    kind: str
    roles: int
    """Trained roles: 1, or 2 with a value role."""
    models: int
    """Further frozen models of the same size: a reference with full fine-tuning, a reward model."""
    lora: bool
    half: bool
    tokens: int
    """N."""
    checkpointing: bool = False
    rows: int = 0
    """R; 0: nothing is sampled."""
    row_tokens: int = 0
    """T."""


@dataclass(frozen=True)
class Estimate:
    """The estimated memory of a stage."""

    load: Load
    parts: Mapping[str, int]
    """Purpose → bytes."""
    total: int
    """Bytes at the peak."""


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
    """Bytes that a micro-batch stores for its backward pass, without the factor s."""
    number = 3 if load.half else 4
    hidden, forward = PER_WIDTH
    layer = hidden * model.hidden_size + forward * model.intermediate_size
    if load.checkpointing:
        return number * load.tokens * (model.num_layers * model.hidden_size + layer)
    return number * load.tokens * model.num_layers * layer


def _logits(model: ModelLook, load: Load, accelerator: bool) -> int:
    """Bytes of the logits; 0 for reward models, which have none."""
    chunk = LOGITS_PER_CHUNK if accelerator else LOGITS_PER_PACKED_CHUNK
    return 3 * 4 * min(chunk, load.tokens * model.vocabulary) if load.kind not in ("reward", "rating") else 0


def _states(model: ModelLook, load: Load, weight: int) -> int:
    """Bytes of keys and values of the completions being decoded, and of the distributions they are drawn from."""
    states = weight * load.rows * load.row_tokens * model.num_layers * model.state_width
    return states + 3 * 4 * load.rows * model.vocabulary
