"""Floors of a job by bytes and by operations, and the share of a card's operations that a step uses (MFU).

    M  weights of all matrices in the layers      V · H  weights of the head        b  bytes per number
    U  distinct prompts of P tokens               B      completions of T tokens each
    W  bytes per second of the card's memory      F      operations per second in matrix products

Decoding reads all matrices once per token step, and each row's keys and values so far:

    bytes      = T · b · (M + V · H)  +  b · 2 · layers · D · B · Σ_{t=0}^{T−1} (P + t)
    operations = 2 · M · U · P  +  2 · (M + V · H) · B · T
    floors     = bytes / W  and  operations / F, seconds

An update multiplies each token with each matrix once forwards and, backwards, once for the gradient of its input and
once for that of the weights. With adapters the matrices are frozen, which saves the last. The head multiplies N
completion tokens only, and each of the passes that score rollouts multiplies once. Logits that are computed again,
attention scores and the adapters' own products are not counted as useful:

    operations = f · (M · tokens + V · H · N),   f = 6 with full fine-tuning, 4 with adapters, 2 in a pass for scoring
    MFU        = operations / (seconds · F)
"""

from __future__ import annotations

from dataclasses import dataclass

from gpu_models import Shape


@dataclass(frozen=True)
class Speeds:
    """What a device reaches, or what its data sheet says."""

    bandwidth: float
    """W, bytes per second."""
    operations: float
    """F, operations per second in matrix products; a multiplication and an addition are two."""


@dataclass(frozen=True)
class Decoding:
    """The size of a sampling call."""

    prompts: int
    """U, distinct prompts."""
    prompt_tokens: int
    """P."""
    rows: int
    """B."""
    new: int
    """T."""


def decode_bytes(shape: Shape, size: Decoding, bytes_per_number: int) -> float:
    """Bytes that decoding has to read."""
    weights = size.new * bytes_per_number * (shape.layer_weights + shape.head_weights)
    keys = size.new * size.prompt_tokens + size.new * (size.new - 1) // 2
    return float(weights + bytes_per_number * 2 * shape.layers * shape.kv_width * size.rows * keys)


def decode_operations(shape: Shape, size: Decoding) -> float:
    """Operations of prefill and decoding."""
    prefill = 2 * shape.layer_weights * size.prompts * size.prompt_tokens
    return float(prefill + 2 * (shape.layer_weights + shape.head_weights) * size.rows * size.new)


def update_operations(shape: Shape, tokens: int, completion_tokens: int, *, lora: bool) -> float:
    """Useful operations of forward and backward passes over `tokens`, of which N reach the head."""
    factor = 4 if lora else 6
    return float(factor * (shape.layer_weights * tokens + shape.head_weights * completion_tokens))


def pass_operations(shape: Shape, tokens: int, head_rows: int) -> float:
    """Operations of a pass without gradient over `tokens`, with logits for `head_rows` of them."""
    return float(2 * (shape.layer_weights * tokens + shape.head_weights * head_rows))


def seconds_by_bytes(num_bytes: float, speeds: Speeds) -> float:
    """The floor by bytes, seconds."""
    return num_bytes / speeds.bandwidth


def seconds_by_operations(operations: float, speeds: Speeds) -> float:
    """The floor by operations, seconds."""
    return operations / speeds.operations


def mfu(operations: float, seconds: float, speeds: Speeds) -> float:
    """Share of the device's operations that were useful."""
    return operations / (seconds * speeds.operations)


CARDS = {
    "H200": Speeds(4.80e12, 989e12),
    "H100 PCIe": Speeds(2.00e12, 756e12),
    "H100": Speeds(3.35e12, 989e12),
    "A100-SXM4-80GB": Speeds(2.04e12, 312e12),
    "A100 80GB": Speeds(1.94e12, 312e12),
    "A100": Speeds(1.56e12, 312e12),
    "L40S": Speeds(0.864e12, 362e12),
    "L4": Speeds(0.300e12, 121e12),
    "RTX 4090": Speeds(1.008e12, 165e12),
}
"""Part of a card's name → its data sheet: memory, and bfloat16 products with float32 sums, without sparsity. Source:
NVIDIA's data sheets of H200, H100 (SXM and PCIe), A100, L40S and L4, and the Ada architecture paper (RTX 4090)."""


def data_sheet(card: str) -> Speeds | None:
    """The data sheet of a card by its name; None for an unknown one. The first entry whose words all occur is taken."""
    words = set(card.replace("-", " ").split())
    return next((speeds for name, speeds in CARDS.items() if set(name.replace("-", " ").split()) <= words), None)
