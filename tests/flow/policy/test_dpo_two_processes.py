"""Two processes (gloo) learn from preferences as one does: denominators, z₀ and figures are those of the whole step."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from preflab.files import read_jsonl

SCRIPT = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from flow.policy.test_dpo_loop import LORA, dpo_run, policy_and_reference
from preflab.policy.dpo import train_dpo
from preflab.training.processes import make_accelerator
folder = Path(sys.argv[1])
trunk = policy_and_reference(LORA if sys.argv[2] == "lora" else None)
run = dpo_run(folder, trunk, num_steps=3, losses=[{"kind": "dpo"}, {"kind": "kto"}, {"kind": "nll", "weight": 0.1}],
              optimiser={"learning_rate": 1e-2, "tokens_per_micro_batch": 20})
run.accelerator = make_accelerator(cpu=True)
train_dpo(run)
if run.accelerator.is_main_process:
    learned = [p.flatten().tolist() for _, p in trunk.parameters_of("policy")]
    (folder / "learned.json").write_text(json.dumps([x for part in learned for x in part]))
run.accelerator.end_training()
"""


def start(folder: Path, num_processes: int, adapters: str) -> tuple[list[float], list[dict[str, float]]]:
    """Run the script on some processes; what was learned, and its metrics."""
    folder.mkdir()
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port = str(opened.getsockname()[1])
    path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    shared = {**os.environ, "PYTHONPATH": path, "ACCELERATE_USE_CPU": "true", "MASTER_ADDR": "127.0.0.1"}
    several = {"MASTER_PORT": port, "WORLD_SIZE": str(num_processes), "LOCAL_WORLD_SIZE": str(num_processes)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(folder), adapters],
            env=shared | (several | {"RANK": str(rank), "LOCAL_RANK": str(rank)} if num_processes > 1 else {}),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(num_processes)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=180)
        assert process.returncode == 0, errors[-3000:]
    return json.loads((folder / "learned.json").read_text()), read_jsonl(folder / "metrics.jsonl")


@pytest.mark.parametrize("adapters", ["lora", pytest.param("full", marks=pytest.mark.slow)])
def test_two_processes_learn_what_one_learns(adapters: str, tmp_path: Path) -> None:
    one, one_rows = start(tmp_path / "one", 1, adapters)
    two, two_rows = start(tmp_path / "two", 2, adapters)
    assert two == pytest.approx(one, abs=5e-4)
    for row, other in zip(one_rows, two_rows, strict=True):
        assert row.keys() == other.keys()
        for name in ("loss/dpo", "loss/kto", "accuracy/implicit", "logratio/chosen", "kl/mismatched", "held_out/loss"):
            assert other.get(name, 0) == pytest.approx(row.get(name, 0), abs=1e-3), name
        assert other.get("kl/exact", 0) == pytest.approx(row.get("kl/exact", 0), abs=1e-2)
