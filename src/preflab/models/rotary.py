"""Sets rotary frequencies that depend on row length, so that a row's result does not depend on other rows.

From the largest position in a batch, transformers chooses the frequencies of all its rows:

    LongRoPE       the short factors up to `original_max_position_embeddings` tokens, the long ones beyond
    dynamic NTK    θ · (factor · length / max − (factor − 1))^(d / (d − 2)) beyond max = `max_position_embeddings`

A row's probabilities would therefore change with the other rows, and while the row is generated. A stage fixes the
frequencies once, for its longest prompt + max_new_tokens. If they are not fixed, each row gets the frequencies of its
own length, as if it were alone. Configurations of models are never changed, so a saved model keeps its original one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from preflab.errors import PreflabError

SET = "set by preflab"
"""Value of `rope_type` that stops transformers from updating a module's frequencies."""

SCALES = ("short_mscale", "long_mscale")
"""Parameters of PhiMoE: factors of cosine and sine, which switch together with the frequencies."""


@dataclass
class Origin:
    """The original settings of a rotary module. They are stored in the module, so that copies of it have them too."""

    rope_type: Any
    config: Any
    longest: int | None = None
    """The fixed length in tokens; None: not fixed, so the frequencies are set before each use of the module."""


@dataclass(frozen=True)
class Scaling:
    """The length-dependent frequencies of one rotary module, or of one layer type in it."""

    module: Any
    layer_type: str | None
    rope_type: str
    limit: int
    """Rows of up to this many tokens get the module's original frequencies."""

    def key(self, length: int) -> Hashable:
        """A key for a row length; rows with equal keys have equal frequencies."""
        return length > self.limit if self.rope_type == "longrope" else max(length, self.limit)

    @torch.no_grad()
    def use(self, length: int) -> None:
        """Set the module's frequencies to those that transformers uses if a batch's longest row has this length."""
        prefix = "" if self.layer_type is None else f"{self.layer_type}_"
        frequencies: torch.Tensor = getattr(self.module, f"{prefix}inv_freq")
        values = getattr(self.module, f"{prefix}original_inv_freq")
        if length > self.limit:
            named = {} if self.layer_type is None else {"layer_type": self.layer_type}
            config = self.module.length_origin.config
            values, _ = ROPE_INIT_FUNCTIONS[self.rope_type](config, frequencies.device, seq_len=length, **named)
        frequencies.copy_(values)
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
    """All length-dependent rotary frequencies of some models; falsy if there are none."""

    def __init__(self, models: Iterable[nn.Module]) -> None:
        self.scalings = [scaling for model in models for module in model.modules() for scaling in _scalings(module)]

    def __bool__(self) -> bool:
        return bool(self.scalings)

    @property
    def longest(self) -> int | None:
        """The fixed length in tokens; None if nothing depends on the length, or not all frequencies are fixed."""
        fixed = [scaling.module.length_origin.longest for scaling in self.scalings]
        return max(fixed, default=None) if None not in fixed else None

    def fix(self, longest: int) -> None:
        """Set the frequencies for rows of up to `longest` tokens, and keep them until the next `fix`."""
        self.use(longest)
        for scaling in self.scalings:
            scaling.module.length_origin.longest = longest

    def use(self, length: int) -> None:
        """Set the frequencies for rows of this length, without fixing them."""
        for scaling in self.scalings:
            scaling.use(length)

    def groups(self, lengths: Sequence[int]) -> list[list[int]]:
        """Group the row numbers by the frequencies that rows of these lengths get; one group if those are fixed."""
        if not self.scalings or self.longest is not None:
            return [list(range(len(lengths)))]
        groups: dict[Hashable, list[int]] = {}
        for number, length in enumerate(lengths):
            groups.setdefault(tuple(scaling.key(length) for scaling in self.scalings), []).append(number)
        return list(groups.values())

    def in_groups(self, lengths: Tensor, inputs: dict[str, Any], call: Callable[[dict[str, Any]], Tensor]) -> Tensor:
        """(rows, L, …) states or logits, where rows that need other frequencies get a pass of their own.

        Args:
            lengths: (rows,) tokens of each row.
            inputs: the arguments of a pass over all rows.
            call: computes the states or logits of some rows from their arguments.

        Raises:
            PreflabError: completions that need different frequencies share a row.
        """
        known = lengths.tolist()
        groups = self.groups(known)
        if len(groups) > 1 and len(next(iter(inputs.values()))) != len(known):
            raise PreflabError(
                f"completions of {min(known)} to {max(known)} tokens share rows but need different frequencies",
                "rotary frequencies fixed for the longest row",
                "call trunk.row_lengths.fix(longest) first",
            )
        parts = []
        for group in groups:
            self.use(max(known[row] for row in group))
            parts.append(call(inputs if len(groups) == 1 else {name: values[group] for name, values in inputs.items()}))
        places = torch.tensor([row for group in groups for row in group], device=lengths.device)
        return parts[0] if len(parts) == 1 else torch.cat(parts)[places.argsort()]

    @property
    def are_long_range(self) -> bool:
        """Whether the fixed length lies beyond the limit of any scaling."""
        return any((self.longest or 0) > scaling.limit for scaling in self.scalings)

    def description(self) -> str:
        """One line that names the kind of scaling, the fixed length, and whether it lies beyond the limit."""
        first = self.scalings[0]
        name = {"longrope": "LongRoPE"}.get(first.rope_type, "dynamic NTK")
        beyond = f"beyond its limit of {first.limit}: every row gets its long-range frequencies"
        side = beyond if self.are_long_range else f"within its limit of {first.limit}"
        return f"{name} is fixed for rows of up to {self.longest} tokens, {side}"


def _scalings(module: Any) -> Iterator[Scaling]:
    """The length-dependent scalings of one module; stores the module's original settings in it."""
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
