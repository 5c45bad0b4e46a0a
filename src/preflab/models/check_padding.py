"""The row "padding side" of `preflab check`: padded prompts give the same logits as prompts without padding.

The sampler pads the prompts of decoders on the left, so that all of them end in the last column, and those of
encoder–decoders on the right. The decoder of an encoder–decoder starts with the same tokens in every row and is never
padded on the left.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from preflab.models.check_rows import CheckRow, measured_row
from preflab.models.decoder_start import start_tokens
from preflab.models.trunk import Trunk

Side = Literal["left", "right"]
Prompt = tuple[int, ...]
UNPADDED = ("equal lengths", "plain")
"""Endings of the names of decode paths that never pad."""


def padding_side(trunk: Trunk, prompts: Sequence[Prompt], path: str, allowed: float) -> CheckRow:
    """The row for a model's family.

    Args:
        trunk: the model with a policy role.
        prompts: prompts of several lengths.
        path: the name of the way in which the sampler feeds the model.
        allowed: the largest difference that rounding explains, nats.
    """
    with torch.no_grad(), trunk.role("policy"):
        model = trunk.language_model("policy")
        if trunk.family.reads_prompts_apart:
            return _of_encoders(model, prompts, trunk.pad_id, allowed)
        return _of_decoders(model, prompts, trunk.pad_id, path, allowed)


def _of_decoders(model: Any, prompts: Sequence[Prompt], pad_id: int, path: str, allowed: float) -> CheckRow:
    """Compare rows that are left-padded with mask and positions, as in decoding, with unpadded rows."""
    ids, real = pad(prompts, pad_id, "left", model.device)
    positions = {"position_ids": (real.cumsum(1) - 1).clamp_min(0)}
    if "position_ids" not in inspect.signature(model.forward).parameters:
        positions = {}
    left = model(input_ids=ids, attention_mask=real, use_cache=False, **positions).logits[:, -1]
    alone = [
        model(input_ids=torch.tensor([row], device=model.device), use_cache=False).logits[0, -1] for row in prompts
    ]
    measured = _difference(left, torch.stack(alone))
    if measured > allowed and path.endswith(UNPADDED):
        advice = f"preflab does not pad it ({path}); in other programs, do not pad it on the left"
        return CheckRow("padding side", True, f"{measured:.1e} nats", "any: it is decoded without padding", advice)
    return measured_row("padding side", measured, allowed, "nats", "do not pad it on the left")


def _of_encoders(model: Any, prompts: Sequence[Prompt], pad_id: int, allowed: float) -> CheckRow:
    """Compare prompts that are padded on the right with a mask with unpadded ones; say if the left side differs."""
    start = torch.tensor([start_tokens(model)], device=model.device)

    def first_logits(ids: Tensor, real: Tensor) -> Tensor:
        starts = start.expand(len(ids), -1)
        return model(input_ids=ids, attention_mask=real, decoder_input_ids=starts, use_cache=False).logits[:, -1]

    alone = torch.cat([first_logits(*pad([row], pad_id, "right", model.device)) for row in prompts])
    sides: tuple[Side, ...] = ("right", "left")
    right, left = (_difference(first_logits(*pad(prompts, pad_id, side, model.device)), alone) for side in sides)
    row = measured_row("padding side", right, allowed, "nats", "the encoder reads padding in spite of its mask")
    if not row.holds or left <= allowed:
        return row
    return CheckRow(row.name, True, row.measured, row.allowed, "in other programs, pad prompts on the right as well")


def pad(rows: Sequence[Prompt], pad_id: int, side: Side, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """(B, L) tokens padded on one side, and (B, L) long, 1 = a real token.

    Example:
        >>> [each.tolist() for each in pad([(5, 6), (7,)], 0, "left")]
        [[[5, 6], [0, 7]], [[1, 1], [0, 1]]]
    """
    width = max(map(len, rows))
    fills = [width - len(row) for row in rows]

    def joined(fill: list[int], row: list[int]) -> list[int]:
        return fill + row if side == "left" else row + fill

    ids = [joined([pad_id] * num, list(row)) for row, num in zip(rows, fills, strict=True)]
    real = [joined([0] * num, [1] * len(row)) for row, num in zip(rows, fills, strict=True)]
    return torch.tensor(ids, device=device), torch.tensor(real, device=device)


def _difference(logits: Tensor, expected: Tensor) -> float:
    """Largest difference of log-probabilities, nats."""
    return (logits.float().log_softmax(-1) - expected.float().log_softmax(-1)).abs().max().item()
