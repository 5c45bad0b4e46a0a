"""Log-probabilities of whole completions: with gradient for the policy, cached on disk for the reference."""

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
    """(B,) Σ_t log π(token) of each completion, nats; with gradient for the policy, without for the reference."""
    return model(batch.to(device), (role,))[role].logps.sum(1)


@torch.no_grad()
def all_logps(
    trunk: Trunk, sequences: Sequence[TokenSequence], role: Role, tokens_per_batch: int, accelerator: Any
) -> Tensor:
    """(N,) log-probabilities of all sequences, float32 on the CPU. The processes share the micro-batches."""
    logps, parts, places = torch.zeros(len(sequences)), [], []
    batches = token_budget_batches([len(s) for s in sequences], tokens_per_batch)
    for indices, factor in own_micro_batches(batches, accelerator.process_index, accelerator.num_processes):
        if factor:
            batch = trunk.collate([sequences[i] for i in indices])
            parts.append(sequence_logps(trunk, batch, role, trunk.device).float())
            places += indices
    if parts:
        logps[places] = torch.cat(parts).cpu()  # the host waits for the device here, once for all micro-batches
    return sum_over_processes(accelerator, logps)


class ReferenceCache:
    """A reference's log-probabilities on disk, computed once for all runs with the same weights and tokens.

    Args:
        folder: the folder of all caches of a workspace.
        weights_hash: hash of the reference's weights.
        passes: describes how forward passes are computed; other precisions give other numbers.
        vocabulary: the token ids over which the reference normalises; None: all rows of its embedding.
        longest: the length for which its rotary frequencies are fixed; None: they do not depend on a length.
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
        """The cache file of these sequences. Its folder's name is a hash of every input, all tokens included."""
        digest = hashlib.sha256(f"{self.weights_hash} {self.passes} {self.vocabulary} {self.longest}\n".encode())
        for s in sequences:
            digest.update(f"{s.prompt_ids} {s.completion_ids} {s.policy_tokens}\n".encode())
        return self.folder / digest.hexdigest()[:24] / FILE

    def logps(
        self, trunk: Trunk, sequences: Sequence[TokenSequence], role: Role, tokens_per_batch: int, accelerator: Any
    ) -> Tensor:
        """(N,) log-probabilities, read from the cache or computed now and cached.

        Raises:
            PreflabError: the disk is full.
        """
        path, main = self.path(sequences), accelerator.is_main_process
        kept = self._kept(path, len(sequences)) if main else None  # other processes may not see this disk
        if sum_over_processes(accelerator, torch.tensor([float(kept is not None)])):
            return sum_over_processes(accelerator, torch.zeros(len(sequences)) if kept is None else kept)
        computed = all_logps(trunk, sequences, role, tokens_per_batch, accelerator)
        if main:
            with new_folder(path.parent) as beside:
                write_tensors(beside / FILE, {"logps": computed})
        return computed

    def _kept(self, path: Path, num: int) -> Tensor | None:
        """The cached values; None if the file is missing or damaged, so that they are computed again."""
        if not path.exists():
            return None
        try:
            logps = read_tensors(path).get("logps")
        except PreflabError:
            logps = None
        if logps is None or logps.shape != (num,) or not logps.isfinite().all():
            logger.warning("%s is damaged; the reference's log-probabilities are computed again", path)
            return None
        return logps
