"""Tests by a forward pass whether a model's logits depend on earlier tokens only; configurations do not say it."""

from __future__ import annotations

from typing import Any

import torch

from preflab.models.families import token_logits
from preflab.models.kinds import family_of
from preflab.training.batches import TokenSequence

NUM_SHARED, NUM_OTHER = 8, 4
"""Number of tokens that the two test rows share at the start, and number of differing tokens at the end."""

ALLOWED = {torch.float32: 1e-3, torch.float16: 5e-2, torch.bfloat16: 0.25}
"""Largest allowed change of a logit, as a share of the logits' standard deviation. Rounding stays below it; the effect
of later tokens exceeds it."""

UNFIT = (TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError, AssertionError)
"""Errors that a model raises if it cannot run with tokens as its only input."""


@torch.no_grad()
def why_not_causal(model: Any) -> str | None:
    """None if the logits at a token do not depend on later tokens, else the reason why the model cannot generate text.

    Two rows with the same first 8 tokens and different last 4 tokens must have the same logits at the first 8.
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
        return f"it cannot run with text as its only input ({first_line(error)})"
    change = (logits[0] - logits[1]).abs().max().item()
    spread = logits[0].masked_fill(logits[0] <= torch.finfo(model.dtype).min, 0.0).std().item()
    if change <= ALLOWED.get(model.dtype, 1e-3) * max(spread, 1e-3):
        return None
    return f"its logits change by {change:.1e} with later tokens, so it is not causal"


def first_line(error: BaseException) -> str:
    """The first line of an error's message, at most 200 characters; the error's type if the message is empty."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
