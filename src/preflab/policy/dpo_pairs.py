"""Looks at a few fixed pairs while DPO learns: log-probabilities of each token, implicit rewards, margins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from preflab.maths.dpo import Side
from preflab.models.trunk import Role, Trunk
from preflab.policy.dpo_groups import num_policy_tokens
from preflab.policy.dpo_losses import implicit_reward
from preflab.settings.dpo import DpoSettings
from preflab.training.batches import token_budget_batches
from preflab.training.kept_pairs import KeptPair, PairRecord, sides_of, token_numbers


class DpoPairs:
    """The pairs of a run, with the reference's log-probabilities of their tokens.

    Create it before a checkpoint is loaded: a trunk without a reference role uses the policy before its first step.

    Args:
        trunk: has the role policy.
        settings: the losses, of which the first defines the implicit reward; how often to look; the bound of the files.
        pairs: the pairs; without any, nothing is computed or written.
        reference: the role that gives the reference's numbers now.
    """

    def __init__(self, trunk: Trunk, settings: DpoSettings, pairs: Sequence[KeptPair], reference: Role) -> None:
        self.trunk, self.settings, self.pairs = trunk, settings, pairs
        self.sequences = [side.sequence for side in sides_of(self.pairs)]
        self.ref_logps = self._logps(reference)

    def begin(self, folder: Path, num_done: int) -> None:
        """Open the record in the run's folder at a checkpoint; before the first step, look at the pairs."""
        self.record = PairRecord(
            folder,
            self.pairs,
            {"kind": self.settings.kind, "temperature": 1.0},
            num_done=num_done,
            every=self.settings.watch.every,
            most_mib=self.settings.max_record_mib,
        )
        if num_done == 0:
            self.look(0)

    def look(self, step: int, *, last: bool = False) -> None:
        """Write what the policy makes of the pairs after `step` optimiser steps, if it is due."""
        if not self.record.due(step, last=last):
            return
        logps = self._logps("policy")
        side = Side(
            _sums(logps),
            _sums(self.ref_logps),
            torch.tensor([float(num_policy_tokens(sequence)) for sequence in self.sequences]),
        )
        scores = implicit_reward(self.settings.losses)(side)
        self.record.write(step, scores, {"logps": logps, "ref_logps": self.ref_logps})

    @torch.no_grad()
    def _logps(self, role: Role) -> list[Tensor]:
        """Per sequence the log-probabilities of its tokens under a role."""
        trunk, budget = self.trunk, self.settings.optimiser.tokens_per_micro_batch
        found: dict[int, Tensor] = {}
        for rows in token_budget_batches([len(sequence) for sequence in self.sequences], budget):
            part = [self.sequences[row] for row in rows]
            logps = trunk(trunk.collate(part), (role,))[role].logps
            found |= dict(zip(rows, token_numbers(logps, part), strict=True))
        return [found[row] for row in range(len(self.sequences))]


def _sums(logps: Sequence[Tensor]) -> Tensor:
    """(N,) sums over the tokens that a policy wrote."""
    return torch.stack([row.nansum() for row in logps])
