"""Two processes (gloo) take the same PPO step as one: the denominators are those of the whole step."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from preflab.models.trunk import Trunk
from preflab.policy.ppo import train_ppo
from preflab.settings.learning import LoraSettings
from preflab.training.processes import make_accelerator
from tiny_worlds import kept_rollouts, tiny_ppo, tiny_trunk
from two_processes import call_in_two_processes


def likes_odd(ids: tuple[int, ...]) -> float:
    """For a mixture: it has 160 tokens, and 1 alone would never be drawn."""
    return float(sum(i % 2 for i in ids))


def likes_ones(ids: tuple[int, ...]) -> float:
    return float(ids.count(1))


def tiny_mixture(name: str, lora: LoraSettings | None) -> Trunk:
    from architectures import build

    return Trunk(build(name), SimpleNamespace(pad_token_id=0), lora=lora, roles=("policy", "reference", "value"))


def tiny_encoder_decoder(lora: LoraSettings | None) -> Trunk:
    from tiny_encoder_decoders import tiny_t5

    return tiny_trunk(lora=lora, model=tiny_t5(8), sharpen=1.0)


def learn(folder: Path, adapters: str, treatment: str, precision: str, mixture: str = "") -> None:
    """Two steps of PPO, in as many processes as call it; the main one writes what was learned."""
    where: Any = "decoder" if adapters == "decoder" else "all"
    lora = None if adapters == "full" else LoraSettings(rank=2, alpha=4, where=where)
    if mixture == "t5":
        trunk = tiny_encoder_decoder(lora)
    else:
        trunk = tiny_mixture(mixture, lora) if mixture else tiny_trunk(lora=lora, precision=precision)
    run = tiny_ppo(
        folder,
        trunk,
        likes_odd if mixture else likes_ones,
        num_steps=2,
        num_minibatches=1,
        kl_treatment=treatment,
        optimiser={"learning_rate": 1e-2, "tokens_per_micro_batch": 25},
    )
    run.accelerator = make_accelerator(cpu=True)
    train_ppo(run)
    if run.accelerator.is_main_process:
        learned = [p.flatten().tolist() for role in ("policy", "value") for _, p in trunk.parameters_of(role)]
        (folder / "learned.json").write_text(json.dumps([x for part in learned for x in part]))
    run.accelerator.end_training()


SAME = (
    "reward/mean", "kl/exact", "kl/k1", "length/mean", "advantage/std", "loss/value", "entropy/mean",
    "value/explained_variance", "repeat/share",
)  # fmt: skip


def start(folder: Path, num_processes: int, *arguments: str) -> list[float]:
    """What is learned by this process, or by two of their own."""
    folder.mkdir()
    if num_processes == 1:
        learn(folder, *arguments)
    else:
        call_in_two_processes("flow.policy.test_two_processes:learn", folder, *arguments)
    learned: list[float] = json.loads((folder / "learned.json").read_text())
    return learned


@pytest.mark.parametrize(
    ("adapters", "treatment"), [("lora", "reward_k1"), pytest.param("full", "exact", marks=pytest.mark.slow)]
)
def test_two_processes_learn_what_one_learns(adapters: str, treatment: str, tmp_path: Path) -> None:
    one = start(tmp_path / "one", 1, adapters, treatment, "float32")
    two = start(tmp_path / "two", 2, adapters, treatment, "float32")
    assert two == pytest.approx(one, abs=5e-4)
    rows = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    ]
    for first, second in zip(*rows, strict=True):
        for name in SAME:
            assert second[name] == pytest.approx(first[name], abs=1e-4), name
    of_one, of_two = kept_rollouts(tmp_path / "one"), kept_rollouts(tmp_path / "two")
    assert [(row["step"], row["row"]) for row in of_one] == [(step, row) for step in (0, 1) for row in range(4)]
    assert [(row["step"], row["row"]) for row in of_two] == [(step, row) for step in (0, 1) for row in (0, 2, 4, 6)]
    for row in of_two:
        same = [one for one in of_one if (one["step"], one["row"]) == (row["step"], row["row"])]
        assert [one["seed"] for one in same] in ([], [row["seed"]]), "a row is the same completion in any process"


@pytest.mark.parametrize(
    "adapters", ["decoder", pytest.param("lora", marks=pytest.mark.slow), pytest.param("full", marks=pytest.mark.slow)]
)
def test_two_processes_learn_on_a_t5_what_one_learns(adapters: str, tmp_path: Path) -> None:
    one = start(tmp_path / "one", 1, adapters, "reward_k1", "float32", "t5")
    two = start(tmp_path / "two", 2, adapters, "reward_k1", "float32", "t5")
    assert two == pytest.approx(one, abs=5e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["deepseek_v3", "deepseek_v32"])
def test_two_processes_learn_on_experts_what_one_learns(name: str, tmp_path: Path) -> None:
    """Every adapter has a gradient in every step: a process that waits for one that never comes raises."""
    one = start(tmp_path / "one", 1, "lora", "reward_k1", "float32", name)
    two = start(tmp_path / "two", 2, "lora", "reward_k1", "float32", name)
    assert two == pytest.approx(one, abs=5e-4)


@pytest.mark.slow
def test_two_processes_learn_in_bfloat16_what_one_learns(tmp_path: Path) -> None:
    """The batches are others and rounding with them, so it is near and not equal."""
    one, two = (start(tmp_path / str(num), num, "full", "exact", "bfloat16") for num in (1, 2))
    difference = torch.tensor(two) - torch.tensor(one)
    assert difference.abs().mean() < 1e-3, "the rate is 1e-2, of eight updates"
    for num in (1, 2):
        rows = [json.loads(line) for line in (tmp_path / str(num) / "metrics.jsonl").read_text().splitlines()]
        assert [row["ratio/first_deviation"] for row in rows] == [0, 0]
        assert not (tmp_path / str(num) / "alarms.jsonl").exists()
