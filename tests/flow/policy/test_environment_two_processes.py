"""Two processes (gloo) play the same episodes and take the same steps as one, with episodes of different lengths."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from preflab.environments.protocol import Reply
from preflab.files import read_jsonl
from preflab.policy.grpo import train_grpo
from preflab.policy.ppo import train_ppo
from preflab.settings.learning import LoraSettings
from preflab.training.processes import make_accelerator
from talking_world import Echo, talking_grpo, talking_ppo, talking_trunk
from tiny_worlds import kept_rollouts
from two_processes import call_in_two_processes

SAME = ("reward/mean", "reward/environment", "reward/environment/num_turns", "kl/exact", "length/mean", "num/tokens")


class Uneven(Echo):
    """Ends after one, two or three turns, by its seed; pays for long answers."""

    def step(self, completion: str) -> Reply:
        self.turn += 1
        return Reply("More", reward=len(completion) / 4, end=self.turn > self.seed % 3)


def learn(folder: Path, kind: str) -> None:
    """Two steps in as many processes as call it; the main one writes what was learned."""
    roles = ("policy", "reference", "value") if kind == "ppo" else ("policy", "reference")
    trunk = talking_trunk(roles, lora=LoraSettings(rank=2, alpha=4))  # type: ignore[arg-type]
    if kind == "ppo":
        run = talking_ppo(folder, trunk, Uneven, num_minibatches=1)
        run.accelerator = make_accelerator(cpu=True)
        train_ppo(run)
    else:
        run = talking_grpo(folder, trunk, Uneven)  # type: ignore[assignment]
        run.accelerator = make_accelerator(cpu=True)
        train_grpo(run)  # type: ignore[arg-type]
    if run.accelerator.is_main_process:
        learned = [p.flatten().tolist() for _, p in trunk.parameters_of("policy")]
        (folder / "learned.json").write_text(json.dumps([x for part in learned for x in part]))
    run.accelerator.end_training()


@pytest.mark.parametrize("kind", ["ppo", "grpo"])
def test_two_processes_learn_what_one_does(kind: str, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
    learn(one, kind)
    call_in_two_processes("flow.policy.test_environment_two_processes:learn", two, kind)
    learned = [torch.tensor(json.loads((folder / "learned.json").read_text())) for folder in (one, two)]
    untrained = talking_trunk(("policy", "reference"), lora=LoraSettings(rank=2, alpha=4))
    start = torch.cat([p.flatten() for _, p in untrained.parameters_of("policy")])
    assert not torch.equal(learned[0], start)
    assert torch.allclose(learned[0], learned[1], atol=1e-4)
    for a, b in zip(*(read_jsonl(folder / "metrics.jsonl") for folder in (one, two)), strict=True):
        for name in SAME:
            assert a[name] == pytest.approx(b[name], abs=1e-4), name
    turns = {row["reward/environment/num_turns"] for row in kept_rollouts(one)}
    assert len(turns) > 1, "so that one process has done before the other"
