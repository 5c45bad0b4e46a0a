"""Decides whether a trunk's sequences are joined in one row without padding, by a test on the model itself.

Packed passes need a model whose tokens interact through attention alone, which takes positions and passes on where
sequences begin. Models with recurrence, sinks, soft caps or positions of their own keep padded rows, and so do
encoder–decoders, and encoders whose head reads another state than the last. Rows that share a prompt
(`training.shared_prompts`) keep their own layout.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from preflab.models.causality import UNFIT, first_line
from preflab.models.facts import context_length
from preflab.models.families import Family
from preflab.models.ordinary_ids import ordinary_ids
from preflab.models.precision import autocast
from preflab.models.rotary import RowLengths
from preflab.models.varlen import packed_attention, recorded_windows, why_no_kernel
from preflab.settings.recipe import PackingName
from preflab.training.batches import TokenBatch, TokenSequence
from preflab.training.unpadded_rows import UnpaddedRows, join_unpadded

Ask = Callable[[Any, dict[str, Any]], Tensor]
logger = logging.getLogger(__name__)

LENGTHS = (11, 2, 16, 7)
"""Tokens of the test's sequences: some cross a small window, and short ones follow long ones."""

MEAN, MOST = 3e-5, 1e-3
"""Largest mean and single difference in float32, as a share of the states' standard deviation; rounding stays below."""

MEAN_HALF, LEAK_HALF = 5e-2, 5e-3
"""In half precision: largest mean difference from separate passes, whose kernels round differently, and from the same
pass beside other sequences, which rounds alike."""


class RowLayout:
    """Joins sequences to batches, packed if the choice, the device and the models allow it.

    Args:
        family: the family of the models.
        models: the models that read the batches.
        pad_id: fills padded rows.
        choice: `on`; `off`; or `auto`, which packs on a CUDA device with a kernel.
        half: the half-precision type of passes; None: that of the weights.
        with_logits: whether the models' own logits are needed beside their states.
    """

    def __init__(
        self,
        family: Family,
        models: Iterable[Any],
        pad_id: int,
        choice: PackingName,
        half: torch.dtype | None,
        *,
        with_logits: bool,
    ) -> None:
        self.family, self.models, self.pad_id, self.choice, self.half = family, list(models), pad_id, choice, half
        self.asks: list[Ask] = [family.states, family.logits] if with_logits else [family.states]
        self._decided: dict[str, bool] = {}

    def collate(self, sequences: Sequence[TokenSequence], device: torch.device, *, packs: bool = True) -> TokenBatch:
        """A batch on the device; `packs` = False: padded in any case."""
        if packs and self.packs(device):
            return join_unpadded(sequences).to(device)
        return self.family.collate(sequences, self.pad_id).to(device)

    def packs(self, device: torch.device) -> bool:
        """Whether batches are packed. The first call per type of device tests the models, and says why if they are not.

        On a CPU `auto` says nothing, because padded rows are its rule there.
        """
        if self.choice == "off" or (self.choice == "auto" and device.type != "cuda"):
            return False
        if device.type not in self._decided:
            why = self.why_not(device)
            self._decided[device.type] = why is None
            if why is not None:
                logger.warning("%s: learning passes keep their padding: %s", type(self.models[0]).__name__, why)
        return self._decided[device.type]

    def why_not(self, device: torch.device) -> str | None:
        """None if packed passes on this device give the models' numbers, else the reason why they do not."""
        if device.type == "cuda" and (why := why_no_kernel(device, self.half or self.models[0].dtype)) is not None:
            return why
        with autocast(self.half, device):
            for model in self.models:
                for ask in self.asks if model.get_output_embeddings() is not None else [self.family.states]:
                    if (why := why_not_packed(self.family, model, ask, half=self.half is not None)) is not None:
                        return why
        return None


def may_pack(pooling: str, row_lengths: RowLengths) -> bool:
    """Whether a trunk's batches may be packed at all.

    Heads that read the mean or the first state need rows, and rotary frequencies that are not fixed are those of a row.
    """
    return pooling == "last" and (not row_lengths or row_lengths.longest is not None)


@torch.no_grad()
def why_not_packed(family: Family, model: Any, ask: Ask, *, half: bool = False) -> str | None:
    """None if a packed pass gives the numbers of separate passes, else the reason why it does not.

    Compares states or logits on short random sequences with those of each sequence alone, and with those beside other
    sequences of the same lengths. Also refuses a model whose masks have windows that its attention is not told of,
    because short sequences do not cross a large window.

    Args:
        family: the model's family.
        model: the model.
        ask: the family's method that computes states or logits.
        half: whether autocast computes in half precision.
    """
    if family.reads_prompts_apart:
        return f"its family ({family.name}) reads a prompt apart from its completion"
    sequences, others = _sequences(model, seed=0), _sequences(model, seed=1)
    mixed = [sequence if place % 2 else others[place] for place, sequence in enumerate(sequences)]
    try:
        with recorded_windows() as windows:
            packed = _packed(family, model, ask, sequences)
        beside = _packed(family, model, ask, mixed)
        alone = [_alone(family, model, ask, sequence) for sequence in sequences]
    except UNFIT as error:
        return f"it cannot read packed rows ({first_line(error)})"
    if not_told := sorted(windows.of_masks - windows.told):
        return f"its attention is not told of its windows of {', '.join(map(str, not_told))} tokens"
    spread = torch.cat(alone).std().clamp(min=1e-6)
    half = half or model.dtype != torch.float32
    difference = (torch.cat(packed) - torch.cat(alone)).abs() / spread
    leak = (torch.cat(packed[1::2]) - torch.cat(beside[1::2])).abs() / spread
    holds = difference.mean() <= MEAN_HALF if half else difference.mean() <= MEAN and difference.max() <= MOST
    if leak.mean() > (LEAK_HALF if half else MEAN):
        return f"sequences in one row change one another's numbers by {leak.mean():.1e} standard deviations"
    return None if holds else f"its numbers differ by {difference.mean():.1e} standard deviations"


def _sequences(model: Any, seed: int) -> list[TokenSequence]:
    ids = torch.tensor(ordinary_ids(model.config))
    generator = torch.Generator().manual_seed(seed)
    context = context_length(model.config) or 0
    most = context if context > 0 else max(LENGTHS)
    rows = [ids[torch.randint(len(ids), (min(length, most),), generator=generator)].tolist() for length in LENGTHS]
    return [TokenSequence(tuple(row[:1]), tuple(row[1:])) for row in rows]


def _packed(family: Family, model: Any, ask: Ask, sequences: Sequence[TokenSequence]) -> list[Tensor]:
    """Float32 states or logits (L, …) of each sequence, from one packed pass."""
    batch: UnpaddedRows = join_unpadded(sequences).to(model.device)
    with packed_attention(model):
        states = ask(model, family.inputs(batch, model.dtype))
    return list(states[0].float().split([len(sequence) for sequence in sequences]))


def _alone(family: Family, model: Any, ask: Ask, sequence: TokenSequence) -> Tensor:
    """Float32 states or logits (L, …) of one sequence, from a pass of its own."""
    batch = family.collate([sequence], 0).to(model.device)
    return ask(model, family.inputs(batch, model.dtype))[0].float()
