"""Two processes (gloo) take the same PPO step as one: the denominators are those of the whole step."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from tiny_worlds import tiny_ppo, tiny_trunk
from preflab.policy.ppo import train_ppo
from preflab.settings.learning import LoraSettings
from preflab.training.processes import make_accelerator
def tiny_mixture(name, lora):
    from types import SimpleNamespace
    from architectures import build
    from preflab.models.trunk import Trunk
    return Trunk(build(name), SimpleNamespace(pad_token_id=0), lora=lora, roles=("policy", "reference", "value"))
folder = Path(sys.argv[1])
lora = LoraSettings(rank=2, alpha=4) if sys.argv[2] == "lora" else None
mixture = sys.argv[5:]
trunk = tiny_mixture(mixture[0], lora) if mixture else tiny_trunk(lora=lora, precision=sys.argv[4])
odd = lambda ids: float(sum(i % 2 for i in ids))  # a mixture has 160 tokens, and 1 alone would never be drawn
run = tiny_ppo(folder, trunk, odd if mixture else lambda ids: float(ids.count(1)), num_steps=2, num_minibatches=1,
               kl_treatment=sys.argv[3], optimiser={"learning_rate": 1e-2, "tokens_per_micro_batch": 25})
run.accelerator = make_accelerator(cpu=True)
train_ppo(run)
if run.accelerator.is_main_process:
    learned = [p.flatten().tolist() for role in ("policy", "value") for _, p in trunk.parameters_of(role)]
    (folder / "learned.json").write_text(json.dumps([x for part in learned for x in part]))
run.accelerator.end_training()
"""


SAME = (
    "reward/mean", "kl/exact", "kl/k1", "length/mean", "advantage/std", "loss/value", "entropy/mean",
    "value/explained_variance", "repeat/share",
)  # fmt: skip


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def start(folder: Path, num_processes: int, *arguments: str) -> list[float]:
    """Run the script on some processes; what was learned."""
    folder.mkdir()
    port, path = str(free_port()), os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    shared = {**os.environ, "PYTHONPATH": path, "ACCELERATE_USE_CPU": "true", "MASTER_ADDR": "127.0.0.1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(folder), *arguments],
            env={
                **shared,
                **(
                    {"MASTER_PORT": port, "WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank)}
                    if num_processes > 1
                    else {}
                ),
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(num_processes)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=180)
        assert process.returncode == 0, errors[-3000:]
    return json.loads((folder / "learned.json").read_text())


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
