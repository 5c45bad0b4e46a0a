"""Two processes (gloo) learn from preferences as one does: denominators, z₀ and figures are those of the whole step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flow.policy.test_dpo_loop import LORA, dpo_run, policy_and_reference
from preflab.files import read_jsonl
from preflab.policy.dpo import train_dpo
from preflab.training.processes import make_accelerator
from two_processes import call_in_two_processes


def learn(folder: Path, adapters: str) -> None:
    """Three steps on a mixture of losses, in as many processes as call it; the main one writes what was learned."""
    trunk = policy_and_reference(LORA if adapters == "lora" else None)
    run = dpo_run(
        folder,
        trunk,
        num_steps=3,
        losses=[{"kind": "dpo"}, {"kind": "kto"}, {"kind": "nll", "weight": 0.1}],
        optimiser={"learning_rate": 1e-2, "tokens_per_micro_batch": 20},
    )
    run.accelerator = make_accelerator(cpu=True)
    train_dpo(run)
    if run.accelerator.is_main_process:
        learned = [p.flatten().tolist() for _, p in trunk.parameters_of("policy")]
        (folder / "learned.json").write_text(json.dumps([x for part in learned for x in part]))
    run.accelerator.end_training()


def start(folder: Path, num_processes: int, adapters: str) -> tuple[list[float], list[dict[str, float]]]:
    """What is learned by this process, or by two of their own, and its metrics."""
    folder.mkdir()
    if num_processes == 1:
        learn(folder, adapters)
    else:
        call_in_two_processes("flow.policy.test_dpo_two_processes:learn", folder, adapters)
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
