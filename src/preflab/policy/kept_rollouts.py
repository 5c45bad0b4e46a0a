"""Keeps a few rollouts of each step in a file, token by token, for people to read."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from preflab.files import append_jsonl
from preflab.training.protocols import Decode
from preflab.training.rollouts import Rollouts


def keep_rollouts(
    path: Path,
    num: int,
    step: int,
    rollouts: Rollouts,
    advantages: Tensor,
    scores: Tensor,
    decode: Decode,
    *,
    with_values: bool = False,
) -> None:
    """Append the first `num` rollouts of a step to a JSON-lines file, token by token, for people to read.

    Args:
        path: the JSON-lines file.
        num: how many rollouts to keep.
        step: the step that the row names.
        rollouts: the completions of the step.
        advantages: (B, T).
        scores: (B,), one reward per completion.
        decode: turns the ids of a token into text.
        with_values: also keep the values that the value role predicted.
    """
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
                "kl": _rounded(rollouts.exact_kl[row][mask]),
                **({"values": _rounded(rollouts.values[row][mask])} if with_values else {}),
                "advantages": _rounded(advantages[row][mask]),
            },
        )


def _rounded(per_token: Tensor) -> list[float]:
    return [round(value, 5) for value in per_token.tolist()]
