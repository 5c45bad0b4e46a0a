"""Whether a model's logits depend on earlier tokens alone: the model is asked, since configurations do not say."""

from __future__ import annotations

from typing import Any

import torch

from preflab.models.families import token_logits
from preflab.models.kinds import family_of
from preflab.training.batches import TokenSequence

NUM_SHARED, NUM_OTHER = 8, 4
"""Two rows begin with the same tokens and end with others."""

ALLOWED = {torch.float32: 1e-3, torch.float16: 5e-2, torch.bfloat16: 0.25}
"""Largest change of a logit, as a share of the spread of logits; rounding stays below, seeing later tokens does not."""

UNFIT = (TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError, AssertionError)
"""What a model raises when it cannot be asked with tokens alone."""


@torch.no_grad()
def why_not_causal(model: Any) -> str | None:
    """None where the logits at a token do not depend on later tokens, else the reason the model cannot write.

    Two rows with the same first 8 tokens and other last 4 must have the same logits at those 8.
    """
    num_rows = model.get_input_embeddings().weight.shape[0]
    ids = tuple(number % num_rows for number in range(3, 3 + NUM_SHARED + 2 * NUM_OTHER))
    first, shared = ids[:1], ids[1:NUM_SHARED]
    ends = ids[NUM_SHARED : NUM_SHARED + NUM_OTHER], ids[NUM_SHARED + NUM_OTHER :]
    rows = [TokenSequence(first, (*shared, *end)) for end in ends]
    try:
        logits = token_logits(family_of(model), model, rows).view(2, NUM_SHARED - 1 + NUM_OTHER, -1)
        logits = logits[:, :NUM_SHARED].float()
    except UNFIT as error:
        return f"it cannot be asked with text alone ({first_line(error)})"
    change = (logits[0] - logits[1]).abs().max().item()
    spread = logits[0].masked_fill(logits[0] <= torch.finfo(model.dtype).min, 0.0).std().item()
    if change <= ALLOWED.get(model.dtype, 1e-3) * max(spread, 1e-3):
        return None
    return f"its logits change by {change:.1e} with later tokens, so it does not write from left to right"


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
