"""A second engine, which holds a copy of the weights: what the loops owe it, and what happens where it is not paid."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from preflab.files import read_jsonl
from preflab.models.trunk import Role, Trunk
from preflab.policy.grpo import train_grpo
from preflab.policy.online_dpo import train_online_dpo
from preflab.policy.ppo import train_ppo
from preflab.sampling.engine import TransformersEngine
from preflab.sampling.engines import ENGINES, EngineSource, make_engine
from preflab.settings.learning import LoraSettings
from preflab.settings.recipe import EngineName
from preflab.settings.sampling import DecodingSettings
from preflab.training.protocols import SampledCompletion, SampleRequest
from tiny_groups import tiny_engine, tiny_grpo, tiny_online_dpo
from tiny_worlds import tiny_ppo, tiny_trunk
from trunk_roles import learning_roles

LORA = LoraSettings(rank=4, alpha=8)
BOTH = pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
LOOPS: dict[str, Any] = {"ppo": train_ppo, "grpo": train_grpo, "online_dpo": train_online_dpo}
STALE = "sampler holds other weights"


class CopyingEngine:
    """Writes with a copy of the policy that `sync` refreshes; between `release` and `sync` it holds nothing.

    Args:
        trunk: whose policy is copied.
        exact: what it says of its log-probabilities.
        copies: False for one that forgets to copy.
        keep_states: whether it hands out the states of its copy, which it should not.
    """

    def __init__(self, trunk: Trunk, *, exact: bool = True, copies: bool = True, keep_states: bool = False) -> None:
        self.trunk, self.exact, self.copies = trunk, exact, copies
        self.mirror = copy.deepcopy(trunk)
        self.engine = tiny_engine(self.mirror)
        self.engine.keep_states = keep_states
        self.is_ready = True
        self.calls: list[str] = []

    def sync(self, version: int) -> None:
        """Copy the weights, unless it is one that forgets to."""
        self.calls.append(f"sync {version}")
        if self.copies:
            pairs = zip(self.mirror.parameters_of("policy"), self.trunk.parameters_of("policy"), strict=True)
            with torch.no_grad():
                for (_, mine), (_, theirs) in pairs:
                    mine.copy_(theirs)
        self.engine.sync(version)
        self.is_ready = True

    def sample(self, requests: Sequence[SampleRequest], decoding: Any, **_: Any) -> list[SampledCompletion]:
        """Completions of the copy."""
        assert self.is_ready, "released, and not synchronised since"
        self.calls.append("sample")
        return self.engine.sample(requests, decoding)

    def release(self) -> None:
        """Not ready until the next `sync`."""
        self.calls.append("release")
        self.is_ready = False


def likes_ones(ids: tuple[int, ...]) -> float:
    return float(ids.count(1))


def make_run(kind: str, folder: Path, lora: LoraSettings | None, **changes: Any) -> Any:
    """Three steps of two epochs with two minibatches each, so four updates a step."""
    roles: tuple[Role, ...] = ("policy", "reference", "value") if kind == "ppo" else ("policy", "reference")
    trunk = tiny_trunk(roles, lora=lora, vocab_size=32)
    values: dict[str, Any] = {
        "num_steps": 3, "num_epochs": 2, "num_minibatches": 2, "decoding": {"max_new_tokens": 12},
        "optimiser": {"learning_rate": 3e-3, "schedule": "constant"}, **changes,
    }  # fmt: skip
    if kind == "ppo":
        return tiny_ppo(folder, trunk, likes_ones, num_completions_per_step=16, **values)
    return (tiny_grpo if kind == "grpo" else tiny_online_dpo)(folder, trunk, likes_ones, **values)


def learned(trunk: Trunk) -> Tensor:
    return torch.cat([p.detach().flatten() for role in learning_roles(trunk) for _, p in trunk.parameters_of(role)])


def train(kind: str, folder: Path, lora: LoraSettings | None, engine: Any = None, **changes: Any) -> tuple[Any, Tensor]:
    """A run's result and what it has learned; `engine` makes the sampler from the trunk."""
    run = make_run(kind, folder, lora, **changes)
    if engine is not None:
        run.sampler = engine(run.trunk)
    return LOOPS[kind](run), learned(run.trunk)


@BOTH
@pytest.mark.parametrize("kind", sorted(LOOPS))
def test_engine_with_copied_weights_trains_to_the_same_weights(
    kind: str, lora: LoraSettings | None, tmp_path: Path
) -> None:
    start = learned(make_run(kind, tmp_path, lora).trunk)
    _, ours = train(kind, tmp_path / "ours", lora)
    result, theirs = train(kind, tmp_path / "copying", lora, CopyingEngine)
    assert torch.equal(ours, theirs)
    assert (ours - start).abs().max() > 1e-3, "it has learned"
    assert result.alarms == []


@pytest.mark.parametrize("kind", ["grpo", "ppo"])
def test_inexact_engine_leaves_old_policy_to_the_trainer(kind: str, tmp_path: Path) -> None:
    """The same completions, π_old by the trainer's pass: apart from ours by what rounding becomes in three steps."""
    _, ours = train(kind, tmp_path / "ours", LORA)
    result, theirs = train(kind, tmp_path / "inexact", LORA, lambda trunk: CopyingEngine(trunk, exact=False))
    rows = read_jsonl(tmp_path / "inexact" / "metrics.jsonl")
    assert all(row["ratio/first_deviation"] == 0 for row in rows), "π and π_old are one computation"
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert result.alarms == []


@pytest.mark.parametrize("kind", sorted(LOOPS))
def test_loop_synchronises_before_it_collects_and_releases_before_it_updates(kind: str, tmp_path: Path) -> None:
    """Four updates a step: what step n collects is of version 4 n."""
    run = make_run(kind, tmp_path, LORA)
    run.sampler = CopyingEngine(run.trunk)
    LOOPS[kind](run)
    step = ["sample", "release"]
    assert run.sampler.calls == ["sync 0", *step, "sync 4", *step, "sync 8", *step]


@pytest.mark.parametrize("kind", sorted(LOOPS))
def test_held_out_criterion_is_told_the_version_after_the_update(kind: str, tmp_path: Path) -> None:
    stop = {"criterion": "known:reward", "every": 2}
    run = make_run(kind, tmp_path, LORA, stop=stop, held_out_prompts="one")
    versions: list[int] = []

    def held_out(version: int) -> tuple[float, float]:
        versions.append(version)
        return 0.0, 1.0

    run.held_out = held_out
    LOOPS[kind](run)
    assert versions == [8], "after two steps of four updates"


@BOTH
@pytest.mark.parametrize("kind", ["grpo", "ppo"])
def test_forgotten_sync_raises_the_alarm(kind: str, lora: LoraSettings | None, tmp_path: Path) -> None:
    result, _ = train(kind, tmp_path, lora, lambda trunk: CopyingEngine(trunk, copies=False))
    rows = read_jsonl(tmp_path / "metrics.jsonl")
    assert rows[0]["mismatch/logps_mean"] < 1e-5, "the weights of the start are the same"
    assert rows[-1]["mismatch/logps_mean"] > 1e-3
    assert STALE in {alarm.alarm for alarm in result.alarms}


def test_forgotten_sync_with_states_shows_in_the_first_ratio(tmp_path: Path) -> None:
    """States of old weights hide the mismatch, whose head has not moved under LoRA; the trainer's pass does not."""
    result, _ = train("grpo", tmp_path, LORA, lambda trunk: CopyingEngine(trunk, copies=False, keep_states=True))
    rows = read_jsonl(tmp_path / "metrics.jsonl")
    assert rows[-1]["mismatch/logps_mean"] < 1e-5
    assert rows[-1]["ratio/first_deviation"] > 1e-2
    assert {alarm.alarm for alarm in result.alarms} == {"first ratio is not 1"}


def test_settings_and_table_name_the_same_engines() -> None:
    assert set(ENGINES) == set(get_args(EngineName))


@BOTH
def test_engine_of_a_trunk_writes_as_its_policy(lora: LoraSettings | None) -> None:
    trunk = tiny_trunk(lora=lora, vocab_size=32)
    with torch.no_grad():
        for number, (_, parameter) in enumerate(trunk.parameters_of("policy")):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
    requests = [SampleRequest((3, 5), seed) for seed in range(8)]
    decoding = DecodingSettings(max_new_tokens=6)
    source = EngineSource(trunk.language_model("policy"), None, (), trunk, keep_states=True)
    made = make_engine(source)
    assert isinstance(made, TransformersEngine)
    assert made.sample(requests, decoding) == tiny_engine(trunk).sample(requests, decoding)
    plain = TransformersEngine(source.merged_model(), pad_id=0, stop_token_ids=())
    for one, other in zip(made.sample(requests, decoding), plain.sample(requests, decoding), strict=True):
        assert one.token_ids == other.token_ids
        assert one.logps == pytest.approx(other.logps, abs=1e-4)
