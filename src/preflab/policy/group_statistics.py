"""What a step on groups of completions says about itself: metrics, and the rollouts kept for reading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from preflab.files import append_jsonl
from preflab.maths.advantages import without_spread
from preflab.policy.ppo_statistics import LearningBatch, rollout_statistics
from preflab.training.processes import sum_over_processes
from preflab.training.protocols import Decode
from preflab.training.rollouts import Rollouts


def group_statistics(
    accelerator: Any,
    rollouts: Rollouts,
    advantages: Tensor,
    scores: Tensor,
    terms: dict[str, Tensor],
    num_completions: int,
) -> dict[str, float]:
    """The step's metrics about its rollouts, over all processes; those of PPO without the values there are none of."""
    batch = LearningBatch(advantages, torch.zeros_like(advantages), advantages, 1.0)
    common = rollout_statistics(accelerator, rollouts, batch, scores, terms)
    grouped = scores.view(-1, num_completions)
    sums = torch.stack(
        [torch.tensor(float(len(grouped))), without_spread(grouped).sum().float(), grouped.std(-1).sum()]
    )
    num_groups, num_equal, deviations = sum_over_processes(accelerator, sums).tolist()
    return {
        **{name: value for name, value in common.items() if not name.startswith("value/")},
        "group/no_spread": num_equal / num_groups,
        "group/std": deviations / num_groups,
    }


def keep_group_rollouts(
    path: Path,
    num: int,
    step: int,
    rollouts: Rollouts,
    advantages: Tensor,
    scores: Tensor,
    decode: Decode,
) -> None:
    """Append the first `num` rollouts of a step to a JSON-lines file, token by token, for people to read."""
    for row in range(min(num, len(rollouts))):
        mask, prompt = rollouts.completion_mask[row], rollouts.prompts[row]
        append_jsonl(
            path,
            {
                "step": step,
                "prompt_id": prompt.id,
                "prompt": prompt.shown,
                "completion": rollouts.texts[row],
                "finish_reason": "stop" if rollouts.finished[row] else "length",
                "reward": round(scores[row].item(), 5),
                "tokens": [decode([token]) for token in rollouts.sequences[row].completion_ids],
                "kl": [round(x, 5) for x in rollouts.exact_kl[row][mask].tolist()],
                "advantages": [round(x, 5) for x in advantages[row][mask].tolist()],
            },
        )
