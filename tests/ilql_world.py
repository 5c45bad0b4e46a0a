"""A world of implicit language Q-learning in which Q and V are listed: two tokens of four, after the one prompt."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from preflab.models.action_values import action_value_model, add_q_head
from preflab.models.trunk import Trunk
from preflab.policy.ilql import IlqlRun
from preflab.sampling.reweighted import ReweightedEngine
from preflab.settings.ilql import IlqlSettings
from preflab.settings.learning import LoraSettings
from preflab.training.batches import TokenSequence
from tiny_worlds import sequence_logps, tiny_trunk

V = 4
PROMPT = (1, 3)
"""Two tokens: a causal model cannot tell one token from its repetition, so (3,) and (3, 3) would be one state."""
PAIRS = [(a, b) for a in range(V) for b in range(V)]
SEQUENCES = [TokenSequence(PROMPT, pair) for pair in PAIRS]
"""Every completion."""
REWARDS = torch.tensor(
    [[1.0, -0.5, 0.3, 0.4], [0.0, 0.8, -1.0, 0.4], [0.2, 0.6, 0.4, 0.4], [0.4, 0.4, 0.4, 1.5]], dtype=torch.float64
)
"""(V, V) reward of the completion (first token, second token)."""


def expectile(numbers: Tensor, weights: Tensor, tau: float) -> float:
    """The v with Σ weights · |tau − 1[numbers < v]| · (numbers − v) = 0, by bisection."""
    low, high = float(numbers.min()), float(numbers.max())
    for _ in range(200):
        middle = (low + high) / 2
        errors = numbers - middle
        pull = (weights * torch.where(errors < 0, 1 - tau, tau) * errors).sum()
        low, high = (middle, high) if pull > 0 else (low, middle)
    return (low + high) / 2


def listed_values(data: Tensor, tau: float) -> tuple[Tensor, Tensor, Tensor, float]:
    """Q and V that the losses end on, from the end backwards.

    Args:
        data: (V, V) how often the data hold each completion; each at least once.
        tau: the expectile.

    Returns:
        Q of the first token (V,), Q of the second token (V, V), V after the first token (V,), V of the prompt.
    """
    after = torch.tensor([expectile(REWARDS[a], data[a], tau) for a in range(V)], dtype=torch.float64)
    return after, REWARDS, after, expectile(after, data.sum(1), tau)


def reference_of(trunk: Trunk) -> tuple[Tensor, Tensor]:
    """(V,) log π_ref of the first token and (V, V) of the second, float64."""
    logps = sequence_logps(trunk, "reference", SEQUENCES).double().view(V, V)
    first = logps.logsumexp(1)
    return first, logps - first[:, None]


def listed_policy(trunk: Trunk, data: Tensor, tau: float, beta: float) -> Tensor:
    """(V, V) log π of every completion, π ∝ π_ref · exp(beta · (Q − V)) at both tokens, with the listed Q."""
    first, second = reference_of(trunk)
    q_first, q_second, after, start = listed_values(data, tau)
    first = (first + beta * (q_first - start)).log_softmax(0)
    second = (second + beta * (q_second - after[:, None])).log_softmax(1)
    return first[:, None] + second


def optimum(trunk: Trunk, beta: float) -> Tensor:
    """(V, V) log π* ∝ π_ref · exp(beta · reward): the optimum of reward − KL / beta."""
    first, second = reference_of(trunk)
    return (first[:, None] + second + beta * REWARDS).flatten().log_softmax(0).view(V, V)


def kl(logps: Tensor, others: Tensor) -> float:
    """KL of two distributions over completions, nats."""
    return float((logps.exp() * (logps - others)).sum())


def tiny_ilql(
    folder: Path, data: Tensor, lora: LoraSettings | None = None, *, num_steps: int = 300, **changes: object
) -> IlqlRun:
    """A run on the whole data in every step; `changes` are settings of ILQL."""
    trunk = tiny_trunk(("value",) if lora else ("reference", "value"), lora=lora)
    add_q_head(trunk)
    pairs = [pair for pair in PAIRS for _ in range(int(data[pair]))]
    values: dict[str, object] = {
        "num_completions_per_step": len(pairs),
        "target_rate": 0.2,
        "optimiser": {"learning_rate": 1e-2, "max_grad_norm": 10.0, "schedule": "linear"},
        "run": {"save_every": 1000},
        "lora": None if lora is None else lora.model_dump(),
    }
    settings = IlqlSettings(
        model="tiny", completions="some", prompts="one", rewards=[{"function": "known:reward"}], **{**values, **changes}
    )
    sequences = [TokenSequence(PROMPT, pair) for pair in pairs]
    scores = torch.tensor([float(REWARDS[pair]) for pair in pairs])
    return IlqlRun(trunk, settings, sequences, scores, num_steps, folder, seed=0)


def reweighted(trunk: Trunk, beta: float) -> ReweightedEngine:
    """The sampler of the policy that a run ends with."""
    return ReweightedEngine(
        trunk.language_model("reference"),
        action_value_model(trunk),
        beta,
        pad_id=0,
        stop_token_ids=(),
        role=lambda: trunk.role("reference"),
    )
