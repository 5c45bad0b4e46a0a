"""Refuses half precision for models whose layers fail under autocast, by a short pass before a stage begins."""

from __future__ import annotations

from typing import Any

import torch

from preflab.errors import PreflabError
from preflab.models.causality import UNFIT, first_line
from preflab.models.families import Family
from preflab.models.precision import autocast
from preflab.training.batches import TokenSequence

ROWS = (TokenSequence((0, 1), (2, 3)), TokenSequence((0,), (1,)))
"""Two lengths, so that one row is padded."""


@torch.no_grad()
def check_half_passes(family: Family, model: Any, half: torch.dtype | None) -> None:
    """Check that a model which computes in float32 also does under autocast; with `half` None nothing is checked.

    Some layers mix types: DBRX adds bfloat16 states to float32 ones, DeBERTa fills scores with float32's minimum.

    Raises:
        PreflabError: a pass fails.
    """
    if half is None:
        return
    batch = family.collate(ROWS, 0).to(model.device)
    inputs = family.inputs(batch, half)
    try:
        with autocast(half, model.device):
            family.states(model, inputs)
    except UNFIT as error:
        name, kept = (str(dtype).removeprefix("torch.") for dtype in (half, model.dtype))
        or_adapters = f", or learn adapters (lora), whose base is in {name}" if model.dtype != half else ""
        raise PreflabError(
            f"{type(model).__name__} with {kept} weights cannot compute in {name} ({first_line(error)})",
            "layers that torch's autocast supports",
            "set device.precision to float32" + or_adapters,
        ) from error
