"""Two processes (gloo) fine-tune and train a reward model as one does: denominators are those of the whole step."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from flow.rewards.test_reward_training import LORA, rankings, settings, trunk
from flow.policy import test_sft_loop as sft
from preflab.policy.sft import train_sft
from preflab.rewards.train import train_reward_model
from preflab.training.processes import make_accelerator
folder, accelerator = Path(sys.argv[1]), make_accelerator(cpu=True)
common = {"num_steps": 3, "seed": 0, "accelerator": accelerator}
policy, reward = sft.trunk(), trunk(LORA)
train_sft(policy, sft.sequences(policy.tokenizer), sft.settings(optimiser={"tokens_per_micro_batch": 9}),
          folder=folder / "sft", **common)
train_reward_model(reward, rankings(), settings(optimiser={"tokens_per_micro_batch": 30}, score_l2=0.1),
                   folder=folder / "reward", **common)
if accelerator.is_main_process:
    learned = [p.flatten().tolist() for t, role in ((policy, "policy"), (reward, "reward"))
               for _, p in t.parameters_of(role)]
    (folder / "learned.json").write_text(json.dumps([x for part in learned for x in part]))
accelerator.end_training()
"""


def start(folder: Path, num_processes: int) -> list[float]:
    """Run the script on some processes; what was learned."""
    folder.mkdir()
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port = str(opened.getsockname()[1])
    path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    shared = {**os.environ, "PYTHONPATH": path, "ACCELERATE_USE_CPU": "true", "MASTER_ADDR": "127.0.0.1"}
    several = {"MASTER_PORT": port, "WORLD_SIZE": str(num_processes), "LOCAL_WORLD_SIZE": str(num_processes)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(folder)],
            env=shared | (several | {"RANK": str(rank), "LOCAL_RANK": str(rank)} if num_processes > 1 else {}),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(num_processes)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=180)
        assert process.returncode == 0, errors[-3000:]
    learned: list[float] = json.loads((folder / "learned.json").read_text())
    return learned


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    one, two = start(tmp_path / "one", 1), start(tmp_path / "two", 2)
    assert two == pytest.approx(one, abs=5e-4)
    for loop in ("sft", "reward"):
        first, second = (
            [json.loads(line) for line in (tmp_path / name / loop / "metrics.jsonl").read_text().splitlines()]
            for name in ("one", "two")
        )
        assert len(first) == len(second) == 3
        for rows in zip(first, second, strict=True):
            names = [name for name in rows[0] if not name.startswith("time/") and name != "tokens/s"]
            assert [rows[1][name] for name in names] == pytest.approx([rows[0][name] for name in names], abs=1e-4)
