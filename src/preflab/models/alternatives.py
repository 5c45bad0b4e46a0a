"""The most likely tokens at each position of a completion, for records that people read."""

from __future__ import annotations

import torch
from torch import Tensor

from preflab.models.chunk import Projection, slices
from preflab.models.chunked import LOGITS_PER_CHUNK
from preflab.models.logit_path import head_of
from preflab.models.trunk import Trunk
from preflab.training.batches import TokenBatch


@torch.no_grad()
def most_likely(trunk: Trunk, batch: TokenBatch, num: int, *, temperature: float) -> tuple[Tensor, Tensor]:
    """Ids and log-probabilities (nats) of the policy's most likely tokens, largest first.

    Args:
        trunk: has the role policy.
        batch: N completion tokens, in the order of `tensor[batch.completion_mask]`.
        num: alternatives per position; a smaller vocabulary gives fewer.
        temperature: the sampling temperature.

    Returns:
        Two (N, num) tensors on the CPU.
    """
    states = trunk.token_states(batch, "policy")
    if trunk.plain_because:  # the model's own logits
        return _top(states.float() / temperature, num)
    head = head_of(trunk.language_model("policy"))
    head = head if trunk.vocabulary is None else trunk.vocabulary.cut_head(head)
    per_chunk = max(1, LOGITS_PER_CHUNK // len(head.weight))
    project = Projection(head, temperature, min(per_chunk, len(states)), states.dtype)
    parts = [_top(project(states[part]), num) for part in slices(len(states), per_chunk)]
    return torch.cat([ids for ids, _ in parts]), torch.cat([logps for _, logps in parts])


def _top(logits: Tensor, num: int) -> tuple[Tensor, Tensor]:
    logps, ids = logits.log_softmax(-1).topk(min(num, logits.shape[-1]))
    return ids.cpu(), logps.cpu()
