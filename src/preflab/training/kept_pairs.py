"""Keeps the numbers of a few fixed pairs while a model learns from preferences: `pairs/step-….parquet`.

The columns are listed in `training/record_columns.py`, the page is docs/reference/rollouts.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from preflab.training.batches import TokenSequence
from preflab.training.record_columns import SCHEMA, floats, pair_schema
from preflab.training.step_files import StepFiles

FOLDER = "pairs"
NUM_LOOKS = 20
"""Files of a run whose settings do not say how often held-out pairs are measured."""


@dataclass(frozen=True)
class KeptSide:
    """One completion of a pair."""

    sequence: TokenSequence
    text: str
    tokens: tuple[str, ...]
    """Text of each token."""
    completion_id: str | None = None


@dataclass(frozen=True)
class KeptPair:
    """A pair that is looked at again and again."""

    prompt_id: str
    prompt: str
    chosen: KeptSide
    rejected: KeptSide


def sides_of(pairs: Sequence[KeptPair]) -> list[KeptSide]:
    """The completions of pairs: chosen, rejected, chosen, …"""
    return [side for pair in pairs for side in (pair.chosen, pair.rejected)]


class PairRecord:
    """The record of a run's pairs. A resumed run's record is cut back to its checkpoint.

    Args:
        run: the run's folder.
        pairs: the pairs; without any, nothing is written.
        facts: the stage's `kind`, and what else the files' metadata say.
        num_done: optimiser steps that the checkpoint has done.
        every: steps between two looks.
        most_mib: the bound of the files together.
    """

    def __init__(
        self,
        run: Path,
        pairs: Sequence[KeptPair],
        facts: Mapping[str, Any],
        *,
        num_done: int,
        every: int,
        most_mib: float,
    ) -> None:
        self.pairs, self.facts, self.every = pairs, facts, every
        self.files = StepFiles(run / FOLDER, num_done=num_done + 1, most_mib=most_mib, unit=every)

    def due(self, step: int, *, last: bool = False) -> bool:
        """True if the pairs are measured after `step` optimiser steps."""
        return bool(self.pairs) and (last or self.files.due(step))

    def write(self, step: int, scores: Tensor, logps: Mapping[str, Sequence[Tensor]] | None = None) -> None:
        """Write what `step` optimiser steps have made of the pairs.

        Args:
            step: optimiser steps taken.
            scores: (2 P,) scores of chosen, rejected, chosen, …
            logps: per column one tensor for each completion, with one number per token.
        """
        per_token = logps or {}
        facts = json.dumps({"schema": SCHEMA, **self.facts})
        schema = pair_schema(["dpo"] if per_token else []).with_metadata({"preflab": facts})
        self.files.write(step, pa.table(self._columns(step, scores, per_token), schema=schema))

    def _columns(self, step: int, scores: Tensor, per_token: Mapping[str, Sequence[Tensor]]) -> dict[str, Any]:
        sides = sides_of(self.pairs)
        margins = (scores[::2] - scores[1::2]).repeat_interleave(2)
        return {
            "step": [step] * len(sides),
            "pair": [number for number in range(len(self.pairs)) for _ in range(2)],
            "prompt_id": [pair.prompt_id for pair in self.pairs for _ in range(2)],
            "prompt": [pair.prompt for pair in self.pairs for _ in range(2)],
            "side": ["chosen", "rejected"] * len(self.pairs),
            "completion": [side.text for side in sides],
            "completion_id": [side.completion_id for side in sides],
            "token_ids": [side.sequence.completion_ids for side in sides],
            "tokens": [side.tokens for side in sides],
            "written": [_written(side.sequence) for side in sides],
            **{name: [floats(row) for row in rows] for name, rows in per_token.items()},
            "score": floats(scores),
            "margin": floats(margins),
        }


def token_numbers(table: Tensor, sequences: Sequence[TokenSequence]) -> list[Tensor]:
    """Per sequence one number per token of its completion, from (B, T); NaN for tokens that no policy wrote."""
    rows = table.detach().float().cpu()
    return [
        torch.where(torch.tensor(_written(one), dtype=torch.bool), row[: len(one.completion_ids)], torch.nan)
        for row, one in zip(rows, sequences, strict=True)
    ]


def steps_between_looks(num_steps: int) -> int:
    """Steps between two looks, such that a run has about `NUM_LOOKS`."""
    return max(1, num_steps // NUM_LOOKS)


def _written(sequence: TokenSequence) -> list[bool]:
    return [True] * len(sequence.completion_ids) if sequence.policy_tokens is None else list(sequence.policy_tokens)
