"""Runs of the loops on groups of completions in the tiny world of `tiny_worlds`, and what they should end on."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from preflab.models.trunk import Trunk
from preflab.policy.grpo import GrpoRun
from preflab.policy.online_dpo import OnlineDpoRun
from preflab.sampling.engine import TransformersEngine
from preflab.settings.grpo import GrpoSettings
from preflab.settings.online_dpo import OnlineDpoSettings
from tiny_worlds import FunctionScorer, letters, the_prompt

VALUES: dict[str, object] = {
    "model": "tiny",
    "prompts": "one",
    "rewards": [{"function": "known:reward"}],
    "num_steps": 2,
    "num_prompts_per_step": 4,
    "num_completions_per_prompt": 4,
    "decoding": {"max_new_tokens": 3},
    "optimiser": {"learning_rate": 1e-2, "schedule": "constant"},
    "run": {"save_every": 1},
}


def tiny_engine(trunk: Trunk) -> TransformersEngine:
    """Samples from the trunk's policy; no token ends a completion."""
    return TransformersEngine(
        trunk.language_model("policy"),
        pad_id=0,
        stop_token_ids=(),
        tokenizer=trunk.tokenizer,
        role=functools.partial(trunk.role, "policy"),
        keep_states=True,
    )


def tiny_grpo(folder: Path, trunk: Trunk, reward: Callable[[tuple[int, ...]], float], **changes: object) -> GrpoRun:
    """A run of the GRPO family on the one prompt; `changes` are its settings."""
    lora = None if trunk.lora is None else trunk.lora.model_dump()
    settings = GrpoSettings.model_validate({**VALUES, "lora": lora, **changes})
    return GrpoRun(trunk, settings, the_prompt(), tiny_engine(trunk), FunctionScorer(reward), letters, folder, seed=0)


def tiny_online_dpo(
    folder: Path, trunk: Trunk, reward: Callable[[tuple[int, ...]], float], **changes: object
) -> OnlineDpoRun:
    """A run of Online DPO on the one prompt; `changes` are its settings."""
    lora = None if trunk.lora is None else trunk.lora.model_dump()
    settings = OnlineDpoSettings.model_validate({**VALUES, "lora": lora, **changes})
    return OnlineDpoRun(
        trunk, settings, the_prompt(), tiny_engine(trunk), FunctionScorer(reward), letters, folder, seed=0
    )


def expected_advantages(probabilities: Tensor, rewards: Tensor, num: int, *, divide: bool) -> Tensor:
    """(N,) E[advantage of y | y is in the group], the other completions of the group listed, not drawn.

    Written out here and not taken from the package. N completions with probabilities (N,) and rewards (N,). Other
    completions come as combinations with repetition, weighed by in how many orders they can come.
    """
    expected = torch.zeros_like(rewards)
    for others in itertools.combinations_with_replacement(range(len(rewards)), num - 1):
        orders = _factorial(num - 1)
        for other in set(others):
            orders //= _factorial(others.count(other))
        weight = orders * probabilities[list(others)].prod()
        group = torch.cat([rewards.unsqueeze(1), rewards[list(others)].expand(len(rewards), -1)], dim=1)
        advantage = rewards - group.mean(1)
        if divide:
            advantage = advantage / (group.std(1) + 1e-4)
        expected += weight * advantage
    return expected


def best_of_n_probabilities(probabilities: Tensor, scores: Tensor, n: int) -> Tensor:
    """The distribution of best-of-n over listed completions: p / mass · ((below + mass)^n − below^n); (N,) → (N,).

    mass is the probability of all completions with the same score, below that of all with a lower score.
    """
    mass = ((scores.unsqueeze(0) == scores.unsqueeze(1)) * probabilities).sum(-1)
    below = ((scores.unsqueeze(0) < scores.unsqueeze(1)) * probabilities).sum(-1)
    return probabilities / mass * ((below + mass) ** n - below**n)


def tilted_by(
    advantages: Callable[[Tensor], Tensor], ref_logps: Tensor, kl_coef: float, num_rounds: int = 400
) -> Tensor:
    """(N,) log π with kl_coef · log(π / π_ref) = advantages(π) + constant, by damped iteration from the reference."""
    logps = ref_logps
    for _ in range(num_rounds):
        target = (ref_logps + advantages(logps.exp()) / kl_coef).log_softmax(0)
        logps = (0.7 * logps + 0.3 * target).log_softmax(0)
    return logps


def _factorial(n: int) -> int:
    return 1 if n < 2 else n * _factorial(n - 1)
