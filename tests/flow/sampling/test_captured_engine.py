"""Loops whose sampler decodes over fixed buffers, from recorded steps: ratios, resuming, half precision."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch

from captured_trials import record_steps
from flow.sampling.test_second_engine import BOTH, LORA, learned, likes_ones
from preflab.files import read_jsonl
from preflab.models.trunk import Trunk
from preflab.policy.grpo import train_grpo
from preflab.policy.online_dpo import train_online_dpo
from preflab.policy.ppo import train_ppo
from preflab.sampling.buckets import Buckets
from preflab.sampling.engine import TransformersEngine
from preflab.sampling.engines import EngineSource, make_engine
from preflab.settings.learning import LoraSettings
from preflab.training.metrics import is_time
from tiny_groups import tiny_grpo, tiny_online_dpo
from tiny_worlds import files_of, tiny_ppo, tiny_trunk

LOOPS: dict[str, Any] = {"ppo": train_ppo, "grpo": train_grpo, "online_dpo": train_online_dpo}


def engine_over_buffers(trunk: Trunk, capture: Any = "on", *, recorded: bool = True) -> TransformersEngine:
    engine = TransformersEngine(
        trunk.language_model("policy"),
        pad_id=0,
        stop_token_ids=(2, 3),
        tokenizer=trunk.tokenizer,
        role=functools.partial(trunk.role, "policy"),
        keep_states=True,
        capture=capture,
        buckets=Buckets(rows_from=2, keys=4),
    )
    if capture == "on" and recorded:
        record_steps(engine)
    return engine


def train(
    kind: str, folder: Path, lora: LoraSettings | None, capture: str, num_steps: int = 3, **other: Any
) -> tuple[Any, Trunk]:
    """Steps of two epochs with two minibatches each, for completions that end early by one of two stop tokens."""
    roles: Any = ("policy", "reference", "value") if kind == "ppo" else ("policy", "reference")
    trunk = tiny_trunk(roles, lora=lora, vocab_size=32, sharpen=4.0, **other)
    values: dict[str, Any] = {
        "num_steps": num_steps, "num_epochs": 2, "num_minibatches": 2, "decoding": {"max_new_tokens": 12},
        "optimiser": {"learning_rate": 3e-3, "schedule": "constant"},
    }  # fmt: skip
    if kind == "ppo":
        run: Any = tiny_ppo(folder, trunk, likes_ones, num_completions_per_step=16, **values)
    else:
        run = (tiny_grpo if kind == "grpo" else tiny_online_dpo)(folder, trunk, likes_ones, **values)
    run.sampler = engine_over_buffers(trunk, capture)
    return LOOPS[kind](run), trunk


def rows_of(folder: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if not is_time(k)} for row in read_jsonl(folder / "metrics.jsonl")]


@BOTH
@pytest.mark.parametrize("kind", sorted(LOOPS))
def test_a_run_learns_what_it_learns_by_the_plain_loop(kind: str, lora: LoraSettings | None, tmp_path: Path) -> None:
    """Every step samples with the weights of that step, though the graphs were recorded in the first one."""
    _, plain = train(kind, tmp_path / "plain", lora, "off")
    result, ours = train(kind, tmp_path / "ours", lora, "on")
    torch.testing.assert_close(learned(ours), learned(plain), atol=2e-4, rtol=1e-3)
    start = learned(train(kind, tmp_path / "one", lora, "on", num_steps=1)[1])
    assert (learned(ours) - start).abs().max() > 1e-3, "it goes on learning"
    rows = rows_of(tmp_path / "ours")
    assert max(row.get("ratio/first_deviation", 0.0) for row in rows) <= 1e-5
    assert max(row.get("mismatch/logps", 0.0) for row in rows) <= 1e-5
    assert result.alarms == []
    assert len({row["length/mean"] for row in rows}) > 1 or rows[0]["length/mean"] < 12


@BOTH
@pytest.mark.parametrize("kind", sorted(LOOPS))
def test_n_restart_n_is_2n(kind: str, lora: LoraSettings | None, tmp_path: Path) -> None:
    _, whole = train(kind, tmp_path / "whole", lora, "on", num_steps=4)
    train(kind, tmp_path / "cut", lora, "on", num_steps=2)
    _, resumed = train(kind, tmp_path / "cut", lora, "on", num_steps=4)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert rows_of(tmp_path / "whole") == rows_of(tmp_path / "cut")
    assert files_of(tmp_path / "whole" / "rollouts") == files_of(tmp_path / "cut" / "rollouts")


@BOTH
@pytest.mark.parametrize("kind", ["grpo", "ppo"])
def test_in_half_precision_the_trainers_pass_is_the_old_policy(
    kind: str, lora: LoraSettings | None, tmp_path: Path
) -> None:
    """π_old comes from the micro-batches of the first update, so the first ratio is 1 exactly."""
    train(kind, tmp_path, lora, "on", precision="bfloat16")
    rows = rows_of(tmp_path)
    assert all(row["ratio/first_deviation"] == 0 for row in rows)
    assert 0 < max(row["mismatch/logps"] for row in rows) < 0.2, "what the engine rounds otherwise is logged"


def test_names_of_the_settings_choose_the_way() -> None:
    trunk = tiny_trunk(("policy",), lora=LORA, vocab_size=32)
    source = EngineSource.of_trunk(trunk, (2,))
    ways = {name: make_engine(source, name).decode_path for name in ("transformers", "captured", "plain")}  # type: ignore[attr-defined]
    assert ways["captured"] == f"{ways['plain']}, fixed buffers"
    assert ways["transformers"] == ways["plain"], "on a CPU"
