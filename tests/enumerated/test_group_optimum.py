"""Where the loops end, sampler and optimiser and all, in a world where all sixteen completions can be listed.

Each algorithm on its own fixed point, which its page states; those without a closed form are found by listing groups.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from preflab.models.trunk import Trunk
from preflab.policy.best_of_n import keep_best
from preflab.policy.completion_groups import GroupSource
from preflab.policy.grpo import train_grpo
from preflab.policy.online_dpo import train_online_dpo
from preflab.settings.learning import LoraSettings
from tiny_groups import best_of_n_probabilities, expected_advantages, tilted_by, tiny_grpo, tiny_online_dpo
from tiny_worlds import all_sequences, sequence_logps, the_prompt, tiny_trunk

BETA = 0.5
REWARDS = {(0, 0): 1.0, (0, 1): -0.5, (0, 2): 0.3, (1, 0): 0.0, (1, 1): 0.8, (1, 2): -1.0, (2, 0): 0.2, (2, 1): 0.6}
SEQUENCES = all_sequences()
CASES = (
    ("rloo", "reward_k1", 2, BETA),
    ("rloo", "sequence_loss", 4, BETA),
    ("rloo", "exact", 4, BETA),
    ("dr_grpo", "reward_k1", 2, BETA),
    ("dr_grpo", "sequence_loss", 2, BETA),
    ("dr_grpo", "exact", 2, BETA),
    ("grpo", "reward_k1", 4, BETA),
    ("grpo", "sequence_loss", 4, 1.0),
    ("grpo", "exact", 4, 1.0),
    ("dapo", "sequence_loss", 4, 1.0),
    ("gspo", "exact", 2, 1.0),
)
"""Algorithm, KL treatment, completions per prompt, kl_coef."""
SMALL_STEPS = {("grpo", "sequence_loss"), ("dapo", "sequence_loss")}
"""Squared log-ratios beside advantages of the order of 1: noisier, so half the learning rate."""
WORTH = torch.tensor([REWARDS.get(s.completion_ids, 0.4) for s in SEQUENCES], dtype=torch.float64)


def reward(ids: tuple[int, ...]) -> float:
    """A known reward of each completion; 0.4 for those not listed."""
    return REWARDS.get(tuple(ids), 0.4)


def fixed_point(algorithm: str, treatment: str, num: int, ref_logps: Tensor, beta: float) -> Tensor:
    """(N,) log-probabilities at which the algorithm has no expected gradient."""
    if algorithm == "rloo" or treatment == "reward_k1":
        return (ref_logps + WORTH / beta).log_softmax(0)
    if algorithm == "dr_grpo":
        return (ref_logps + (num - 1) / num * WORTH / beta).log_softmax(0)
    return tilted_by(lambda p: expected_advantages(p, WORTH, num, divide=True), ref_logps, beta, 40)


def settings(num_steps: int, num: int, learning_rate: float, num_rows: int = 256) -> dict[str, object]:
    """Settings of a long run: 256 completions a step or fewer, a learning rate that falls to 0."""
    return {
        "num_steps": num_steps,
        "num_prompts_per_step": num_rows // num,
        "num_completions_per_prompt": num,
        "num_kept_rollouts": 0,
        "decoding": {"max_new_tokens": 2, "max_batch_rows": 256},
        "optimiser": {"learning_rate": learning_rate, "max_grad_norm": 10.0, "schedule": "linear"},
        "run": {"save_every": 1000},
    }


def both_logps(trunk: Trunk) -> tuple[Tensor, Tensor]:
    """(N,) log-probabilities of policy and reference."""
    policy, reference = (sequence_logps(trunk, role, SEQUENCES).double() for role in ("policy", "reference"))
    assert policy.exp().sum() == pytest.approx(1.0, abs=1e-4)
    return policy, reference


def kl(logps: Tensor, target: Tensor) -> float:
    return float((logps.exp() * (logps - target)).sum())


def ended(
    folder: Path, algorithm: str, treatment: str, num: int, beta: float, num_steps: int,
    lora: LoraSettings | None = None, **changes: object,
) -> tuple[float, float]:  # fmt: skip
    """KL of the trained policy to the algorithm's fixed point, and to π*."""
    trunk = tiny_trunk(("policy", "reference"), lora=lora)
    small = lora is not None or (algorithm, treatment) in SMALL_STEPS
    chosen = settings(num_steps, num, 5e-3 if small else 1e-2) | changes
    train_grpo(tiny_grpo(folder, trunk, reward, algorithm=algorithm, kl_treatment=treatment, kl_coef=beta, **chosen))
    policy, reference = both_logps(trunk)
    target = fixed_point(algorithm, treatment, num, reference, beta)
    return kl(policy, target), kl(policy, (reference + WORTH / beta).log_softmax(0))


def online_ended(folder: Path, labels: str, num_steps: int, num_rows: int) -> float:
    """KL of the trained policy to π*."""
    trunk, chosen = tiny_trunk(("policy", "reference")), settings(num_steps, 2, 1e-2, num_rows)
    train_online_dpo(tiny_online_dpo(folder, trunk, reward, labels=labels, beta=BETA, **chosen))
    policy, reference = both_logps(trunk)
    return kl(policy, (reference + WORTH / BETA).log_softmax(0))


def test_rloo_lands_on_the_tilted_reference(tmp_path: Path) -> None:
    assert ended(tmp_path, "rloo", "reward_k1", 4, BETA, 120, num_prompts_per_step=32)[0] < 0.02


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "treatment", "num", "beta"), CASES)
def test_each_algorithm_lands_on_its_own_fixed_point(
    algorithm: str, treatment: str, num: int, beta: float, tmp_path: Path
) -> None:
    own, optimum = ended(tmp_path, algorithm, treatment, num, beta, 200)
    assert own < 0.02
    if algorithm != "rloo" and treatment != "reward_k1":
        assert optimum > 2 * own, "not on π*"


@pytest.mark.slow
def test_several_clipped_updates_and_adapters_land_there_too(tmp_path: Path) -> None:
    adapters = LoraSettings(rank=8, alpha=16)
    assert ended(tmp_path / "a", "rloo", "reward_k1", 4, BETA, 200, adapters)[0] < 0.02
    assert ended(tmp_path / "b", "dr_grpo", "reward_k1", 4, BETA, 120, num_epochs=2, num_minibatches=2)[0] < 0.02


@pytest.mark.parametrize(
    ("labels", "num_steps", "num_rows"), [("soft", 100, 128), pytest.param("drawn", 200, 256, marks=pytest.mark.slow)]
)
def test_online_dpo_lands_on_the_tilted_reference(labels: str, num_steps: int, num_rows: int, tmp_path: Path) -> None:
    assert online_ended(tmp_path, labels, num_steps, num_rows) < 0.02


def test_best_of_n_has_its_exact_distribution(tmp_path: Path) -> None:
    trunk, num = tiny_trunk(("policy", "reference")), 4
    decoding = {"max_new_tokens": 2, "max_batch_rows": 1024}
    source = GroupSource(tiny_grpo(tmp_path, trunk, reward, decoding=decoding), num)
    rollouts = source.draw(the_prompt() * 1500, *((0, number) for number in range(1500)))
    written = [sequence.completion_ids for sequence in rollouts.sequences]
    places = {sequence.completion_ids: place for place, sequence in enumerate(SEQUENCES)}
    counted = torch.zeros(len(SEQUENCES), dtype=torch.float64)
    for start in range(0, len(written), num):
        group = written[start : start + num]
        counted[places[group[keep_best([reward(ids) for ids in group])]]] += 1
    probabilities = sequence_logps(trunk, "policy", SEQUENCES).double().exp()
    expected = best_of_n_probabilities(probabilities, WORTH, num)
    found = counted / counted.sum()
    seen = found > 0
    assert float((found[seen] * (found[seen] / expected[seen]).log()).sum()) < 0.02
    assert float((found[seen] * (found[seen] / probabilities[seen]).log()).sum()) > 0.2, "not that of one completion"
