"""Rotary frequencies that depend on the length of rows: set for one length, so that no row depends on another.

transformers looks at the largest position of a batch and then chooses, for all of its rows,

    LongRoPE       the short factors up to `original_max_position_embeddings` tokens, the long ones beyond
    dynamic NTK    θ · (factor · length / max − (factor − 1))^(d / (d − 2)) beyond max = `max_position_embeddings`

so a row's probabilities change with its neighbours, and while it is written. A stage fixes the frequencies once, for
its longest prompt + max_new_tokens; where nobody has, each row gets those of its own length, as if it were alone.
Configurations are never changed: a saved model is what it was.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

SET = "set by preflab"
"""The type of a rotary module whose frequencies transformers is to leave alone."""

SCALES = ("short_mscale", "long_mscale")
"""Factors of cosine and sine that PhiMoE switches beside the frequencies."""


@dataclass
class Origin:
    """What a rotary module was before its frequencies were set; lies in the module, and is copied with it."""

    rope_type: Any
    config: Any
    longest: int | None = None
    """The length that a stage has fixed; None: whoever uses the module sets it."""


@dataclass(frozen=True)
class Scaling:
    """The frequencies of one rotary module, or of one of its kinds of layers, where they depend on the length."""

    module: Any
    layer_type: str | None
    rope_type: str
    limit: int
    """Up to this many tokens a row gets the module's first frequencies."""

    def key(self, length: int) -> Hashable:
        """Rows with equal keys have equal frequencies."""
        return length > self.limit if self.rope_type == "longrope" else max(length, self.limit)

    @torch.no_grad()
    def use(self, length: int) -> None:
        """Give the module the frequencies that transformers gives a batch whose longest row has this length."""
        prefix = "" if self.layer_type is None else f"{self.layer_type}_"
        frequencies: torch.Tensor = getattr(self.module, f"{prefix}inv_freq")
        found = getattr(self.module, f"{prefix}original_inv_freq")
        if length > self.limit:
            named = {} if self.layer_type is None else {"layer_type": self.layer_type}
            config = self.module.length_origin.config
            found, _ = ROPE_INIT_FUNCTIONS[self.rope_type](config, frequencies.device, seq_len=length, **named)
        frequencies.copy_(found)
        if self.layer_type is None:
            self.module.rope_type = SET
        else:
            self.module.rope_type = {**self.module.rope_type, self.layer_type: SET}
        self._use_scale(length)

    def _use_scale(self, length: int) -> None:
        origin: Origin = self.module.length_origin
        parameters = origin.config.rope_parameters
        if self.layer_type is None and all(name in parameters for name in SCALES):
            scale = parameters[SCALES[length > self.limit]]
            self.module.config = copy.copy(origin.config)
            self.module.config.rope_parameters = {**parameters, **dict.fromkeys(SCALES, scale)}


class RowLengths:
    """Everything in some models whose rotary frequencies depend on the length of rows; falsy where nothing does."""

    def __init__(self, models: Iterable[nn.Module]) -> None:
        self.scalings = [scaling for model in models for module in model.modules() for scaling in _scalings(module)]

    def __bool__(self) -> bool:
        return bool(self.scalings)

    @property
    def longest(self) -> int | None:
        """The length that is fixed; None where there is nothing to fix, or nobody has fixed all of it."""
        fixed = [scaling.module.length_origin.longest for scaling in self.scalings]
        return max(fixed, default=None) if None not in fixed else None

    def fix(self, longest: int) -> None:
        """Frequencies for rows of up to `longest` tokens, whatever a batch holds, until they are fixed again."""
        self.use(longest)
        for scaling in self.scalings:
            scaling.module.length_origin.longest = longest

    def use(self, length: int) -> None:
        """Frequencies for rows of this length, for the time being."""
        for scaling in self.scalings:
            scaling.use(length)

    def groups(self, lengths: Sequence[int]) -> list[list[int]]:
        """Row numbers by the frequencies that rows of these lengths get; all in one group where they are fixed."""
        if not self.scalings or self.longest is not None:
            return [list(range(len(lengths)))]
        groups: dict[Hashable, list[int]] = {}
        for number, length in enumerate(lengths):
            groups.setdefault(tuple(scaling.key(length) for scaling in self.scalings), []).append(number)
        return list(groups.values())

    @property
    def are_long_range(self) -> bool:
        """Whether the length that is fixed lies beyond a limit."""
        return any((self.longest or 0) > scaling.limit for scaling in self.scalings)

    def description(self) -> str:
        """One line on what is fixed: the length, the kind of scaling, and whether its limit is crossed."""
        first = self.scalings[0]
        name = {"longrope": "LongRoPE"}.get(first.rope_type, "dynamic NTK")
        beyond = f"beyond its limit of {first.limit}: every row gets its long-range frequencies"
        side = beyond if self.are_long_range else f"within its limit of {first.limit}"
        return f"{name} is fixed for rows of up to {self.longest} tokens, {side}"


def _scalings(module: Any) -> Iterator[Scaling]:
    """What depends on the length in one module; notes in the module what it was."""
    origin: Origin | None = getattr(module, "length_origin", None)
    rope_type = origin.rope_type if origin else getattr(module, "rope_type", None)
    config = origin.config if origin else getattr(module, "config", None)
    kinds = rope_type.items() if isinstance(rope_type, dict) else [(None, rope_type)]
    for layer_type, kind in kinds:
        if kind != "longrope" and not (isinstance(kind, str) and "dynamic" in kind):
            continue
        if origin is None:
            origin = module.length_origin = Origin(copy.copy(rope_type), config)
        yield Scaling(module, layer_type, kind, _limit(module, config, layer_type, kind))


def _limit(module: Any, config: Any, layer_type: str | None, kind: str) -> int:
    if kind != "longrope":
        return int(module.original_max_seq_len)
    parameters = config.rope_parameters if layer_type is None else config.rope_parameters[layer_type]
    return int(parameters["original_max_position_embeddings"])
