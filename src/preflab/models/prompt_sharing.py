"""Tests whether a model gives the same numbers if several completions share one row with their prompt.

It does if tokens interact only through attention, the attention accepts an arbitrary mask, and the model accepts
positions. Models with recurrence, with windows or without positions do not; they get one row per completion.
"""

from __future__ import annotations

from typing import Any

import torch

from preflab.models.families import Decoder, Family, at_tokens
from preflab.models.kinds import family_of
from preflab.training.batches import TokenSequence
from preflab.training.joined_rows import JoinedRows, join_rows
from preflab.training.shared_prompts import share_rows

WINDOWS = ("sliding_window", "attention_chunk_size", "local_attention_window_size", "window_size")
"""Settings that limit attention to a window. They have to be checked, because a short test row fits into the window."""

TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Largest allowed difference of hidden states, as a share of their largest absolute value."""


def why_not_shared(model: Any, family: Family | None = None) -> str | None:
    """None if rows with several completions give the same numbers as separate rows, else the reason why not.

    Checks the configuration and compares hidden states on one short batch with prompts of two lengths. `family` is the
    model's; None: the one that the model itself tells, which a decoder without its head does not.
    """
    family = family or family_of(model)
    if not isinstance(family, Decoder):
        return f"its family ({family.name}) has no rows of several completions"
    config = model.config.get_text_config()
    for key in WINDOWS:
        if getattr(config, key, None) and getattr(config, "use_sliding_window", True):
            return f"its configuration sets {key} = {getattr(config, key)}"
    ids = [number % config.vocab_size for number in range(3, 40)]
    sequences = [
        TokenSequence(tuple(ids[:5]), tuple(ids[5:9])),
        TokenSequence(tuple(ids[:5]), tuple(ids[20:27])),
        TokenSequence(tuple(ids[9:12]), tuple(ids[12:14])),
        TokenSequence(tuple(ids[9:12]), tuple(ids[30:33])),
    ]
    both = join_rows(sequences, 0), share_rows(sequences, 0, 100)
    with torch.no_grad():
        try:
            plain, ours = (_states(model, rows, family) for rows in both)
        except (TypeError, ValueError, RuntimeError, IndexError) as error:
            return f"it does not accept rows with several completions ({str(error).splitlines()[0][:80]})"
    difference = ((ours - plain).abs().max() / plain.abs().max().clamp(min=1e-6)).item()
    tolerance = TOLERANCE.get(model.dtype, 1e-4)
    return None if difference <= tolerance else f"its states differ by {difference:.1e} of their largest value"


def _states(model: Any, batch: JoinedRows, family: Family) -> torch.Tensor:
    """(N, H) float32 states from which the completion tokens are predicted."""
    batch = batch.to(model.device)
    return at_tokens(family.states(model, family.inputs(batch, model.dtype)), batch).float()
