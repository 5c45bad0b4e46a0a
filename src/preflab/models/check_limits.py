"""The lengths at which a model changes its computation, and which of them the test rows of `preflab check` cross.

Examples: a sliding window starts to drop tokens, a scan starts its second chunk, a rotary scaling switches its factors.
Short rows do not reveal errors there. Long rows are slow on a large model, so the row length has a budget.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from preflab.models.facts import context_length
from preflab.models.rotary import RowLengths

WINDOWS = ("sliding_window", "attention_chunk_size", "attention_window_size", "window_size")
SCANS = ("chunk_size", "mamba_chunk_size")
DELTA_NET_CHUNK = 64
"""Chunk size in tokens of transformers' gated delta nets; configurations do not contain it."""

WORK, LEAST, MOST = 2e10, 32, 2048
"""Tokens of the longest row: WORK / number of weights (a few seconds per pass on a laptop), between LEAST and MOST."""


@dataclass(frozen=True)
class Limit:
    """A length in tokens beyond which a model computes differently."""

    name: str
    length: int

    def __str__(self) -> str:
        return f"{self.name} {self.length}"


@dataclass(frozen=True)
class Limits:
    """The limits that rows within a model's budget cross, and the limits beyond the budget."""

    crossed: tuple[Limit, ...]
    beyond: tuple[Limit, ...]
    longest_row: int
    """The budget, in tokens."""

    @classmethod
    def of(cls, model: Any, room: int) -> Limits:
        """The limits of a loaded model. A row that crosses a limit is `room` tokens longer than the limit.

        A limit that does not lie within the model's context is ignored.
        """
        context = context_length(model.config) or MOST
        num_weights = sum(parameter.numel() for parameter in model.parameters())
        longest = min(context, max(LEAST, min(MOST, int(WORK / max(1, num_weights)))))
        limits = [limit for limit in _limits(model) if limit.length + 1 < context]
        return cls(
            tuple(limit for limit in limits if limit.length + room <= longest),
            tuple(limit for limit in limits if limit.length + room > longest),
            longest,
        )


def _limits(model: Any) -> list[Limit]:
    config = model.config.get_text_config()
    lengths = {name: getattr(config, name, None) for name in (*WINDOWS, *SCANS)}
    if not getattr(config, "use_sliding_window", True):
        lengths["sliding_window"] = None
    if "linear_attention" in (getattr(config, "layer_types", None) or []) and not any(lengths[s] for s in SCANS):
        lengths["delta net chunk"] = DELTA_NET_CHUNK
    for scaling in RowLengths([model]).scalings:
        lengths["LongRoPE" if scaling.rope_type == "longrope" else "dynamic NTK"] = scaling.limit
    known = [Limit(name, length) for name, length in lengths.items() if isinstance(length, int) and length > 0]
    return sorted(known, key=lambda limit: limit.length)
