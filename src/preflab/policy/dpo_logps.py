"""Log-probabilities of whole completions: the policy's with gradient, the reference's once, kept on disk."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from preflab.errors import PreflabError
from preflab.files import new_folder
from preflab.models.trunk import Role, Trunk
from preflab.models.vocabulary import Vocabulary
from preflab.training.batches import TokenBatch, TokenSequence, token_budget_batches
from preflab.training.processes import sum_over_processes
from preflab.training.row_order import own_micro_batches
from preflab.training.tensor_files import read_tensors, write_tensors

logger = logging.getLogger(__name__)

FILE = "logps.safetensors"


def sequence_logps(model: Any, batch: TokenBatch, role: Role, device: Any) -> Tensor:
    """Σ_t log π(token) of each completion, nats; (B,), with the role's gradient (the reference has none)."""
    return model(batch.to(device), (role,))[role].logps.sum(1)


@torch.no_grad()
def all_logps(
    trunk: Trunk, sequences: Sequence[TokenSequence], role: Role, tokens_per_batch: int, accelerator: Any
) -> Tensor:
    """(N,) float32 on the CPU of any number of sequences, in micro-batches shared among the processes."""
    logps = torch.zeros(len(sequences))
    batches = token_budget_batches([len(s) for s in sequences], tokens_per_batch)
    for indices, factor in own_micro_batches(batches, accelerator.process_index, accelerator.num_processes):
        if factor:
            batch = trunk.collate([sequences[i] for i in indices])
            logps[indices] = sequence_logps(trunk, batch, role, trunk.device).float().cpu()
    return sum_over_processes(accelerator, logps)


class ReferenceCache:
    """What a reference says of data, kept on disk: computed once for all runs on the same weights and tokens.

    Args:
        folder: where the caches of all runs of a workspace lie.
        weights_hash: of the reference.
        passes: how its passes are computed; other precisions give other numbers.
        vocabulary: the ids its probabilities are shared among; None: all rows of its embedding.
        longest: the length its rotary frequencies are fixed for; None: they do not depend on it.
    """

    def __init__(
        self,
        folder: Path,
        weights_hash: str,
        passes: str,
        vocabulary: Vocabulary | None = None,
        longest: int | None = None,
    ) -> None:
        self.folder, self.weights_hash, self.passes = folder, weights_hash, passes
        self.vocabulary, self.longest = vocabulary, longest

    def path(self, sequences: Sequence[TokenSequence]) -> Path:
        """The file for these sequences: all that the numbers depend on, every token included, is in its name."""
        digest = hashlib.sha256(f"{self.weights_hash} {self.passes} {self.vocabulary} {self.longest}\n".encode())
        for s in sequences:
            digest.update(f"{s.prompt_ids} {s.completion_ids} {s.policy_tokens}\n".encode())
        return self.folder / digest.hexdigest()[:24] / FILE

    def logps(
        self, trunk: Trunk, sequences: Sequence[TokenSequence], role: Role, tokens_per_batch: int, accelerator: Any
    ) -> Tensor:
        """(N,) log-probabilities from the cache, or computed now and kept.

        Raises:
            PreflabError: the disk is full.
        """
        path, main = self.path(sequences), accelerator.is_main_process
        kept = self._kept(path, len(sequences)) if main else None  # the main process alone may see the disk
        if sum_over_processes(accelerator, torch.tensor([float(kept is not None)])):
            return sum_over_processes(accelerator, torch.zeros(len(sequences)) if kept is None else kept)
        found = all_logps(trunk, sequences, role, tokens_per_batch, accelerator)
        if main:
            with new_folder(path.parent) as beside:
                write_tensors(beside / FILE, {"logps": found})
        return found

    def _kept(self, path: Path, num: int) -> Tensor | None:
        """What is kept; None where nothing is, or a file that is damaged: it is computed again."""
        if not path.exists():
            return None
        try:
            logps = read_tensors(path).get("logps")
        except PreflabError:
            logps = None
        if logps is None or logps.shape != (num,) or not logps.isfinite().all():
            logger.warning("%s is damaged; what the reference says of the data is computed again", path)
            return None
        return logps
