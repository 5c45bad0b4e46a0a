"""Alarms on rounding and on stale weights: silent on a healthy run in bfloat16, not on a sampler that lags behind."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from preflab.conversations.renderer import Renderer
from preflab.files import read_jsonl
from preflab.models.loading import load_causal_lm, load_tokenizer
from preflab.models.precision import weights_dtype
from preflab.models.trunk import Role, Trunk
from preflab.policy.grpo import train_grpo
from preflab.policy.online_dpo import train_online_dpo
from preflab.policy.ppo import collect, train_ppo
from preflab.records import Prompt
from preflab.sampling.engine import TransformersEngine
from preflab.settings.learning import LoraSettings
from preflab.training.protocols import SampledCompletion, SampleRequest
from tiny_groups import tiny_engine, tiny_grpo, tiny_online_dpo
from tiny_worlds import tiny_ppo, tiny_trunk

LORA = LoraSettings(rank=4, alpha=8)
BOTH = pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
STALE, RATIO = "sampler holds other weights", "first ratio is not 1"
COMMON: dict[str, Any] = {"num_steps": 5, "decoding": {"max_new_tokens": 12}, "num_epochs": 1, "num_minibatches": 1}
Wrap = Callable[[Trunk], Any]


def likes_ones(ids: tuple[int, ...]) -> float:
    return float(ids.count(1))


def train(
    kind: str, folder: Path, precision: str, lora: LoraSettings | None, wrap: Wrap = tiny_engine, **changes: Any
) -> tuple[set[str], list[dict[str, float]]]:
    """The alarms of a run with a sampler made by `wrap`, and its metrics."""
    roles: tuple[Role, ...] = ("policy", "reference", "value") if kind == "ppo" else ("policy", "reference")
    trunk = tiny_trunk(roles, lora=lora, vocab_size=32, precision=precision)
    rate = {"optimiser": {"learning_rate": 3e-3 if lora else 1e-3, "schedule": "constant"}}
    chosen = {**COMMON, **rate, **changes}
    if kind == "ppo":
        run: Any = tiny_ppo(folder, trunk, likes_ones, num_completions_per_step=48, **chosen)
    else:
        make: Any = tiny_online_dpo if kind == "online_dpo" else tiny_grpo
        run = make(folder, trunk, likes_ones, num_prompts_per_step=12, **chosen)
    run.sampler = wrap(trunk)
    loops: dict[str, Any] = {"ppo": train_ppo, "grpo": train_grpo, "online_dpo": train_online_dpo}
    return {alarm.alarm for alarm in loops[kind](run).alarms}, read_jsonl(folder / "metrics.jsonl")


@BOTH
@pytest.mark.parametrize("kind", ["ppo", "grpo", "online_dpo"])
def test_healthy_run_in_bfloat16_raises_no_alarm(kind: str, lora: LoraSettings | None, tmp_path: Path) -> None:
    alarms, rows = train(kind, tmp_path, "bfloat16", lora, num_epochs=2, num_minibatches=2)
    assert alarms == set()
    assert max(row["mismatch/logps"] for row in rows) > 1e-3, "sampler and trainer do round differently"
    for row in rows:
        assert row["ratio/first_deviation"] == 0, "π_old and π are one computation before the first update"
        assert 0 < row["mismatch/logps_mean"] < 0.02
    assert rows[0]["kl/exact"] == rows[0]["kl/k1"] == 0, "k1 carries no rounding"
    assert rows[-1]["kl/exact"] > 1e-4, "it has learned"


class Lagging:
    """Writes with the weights that the policy had some calls before; `lag` None: with those of the start."""

    def __init__(self, trunk: Trunk, lag: int | None) -> None:
        self.trunk, self.lag, self.former = trunk, lag, []
        self.own = copy.deepcopy(trunk)
        self.engine: TransformersEngine = tiny_engine(self.own)
        self.engine.keep_states = False

    @property
    def exact(self) -> bool:
        """As the engine says of itself."""
        return self.engine.exact

    def sync(self, version: int) -> None:
        """Not followed: which weights it writes with is decided by `lag`."""

    def release(self) -> None:
        """Nothing is freed."""

    def sample(self, requests: Sequence[SampleRequest], decoding: Any, **_: Any) -> list[SampledCompletion]:
        """Completions of the weights of `lag` calls before."""
        self.former.append([p.detach().clone() for _, p in self.trunk.parameters_of("policy")])
        weights = self.former[0 if self.lag is None else max(0, len(self.former) - 1 - self.lag)]
        with torch.no_grad():
            for (_, mine), theirs in zip(self.own.parameters_of("policy"), weights, strict=True):
                mine.copy_(theirs)
        return self.engine.sample(requests, decoding)


@BOTH
@pytest.mark.parametrize("lag", [1, None], ids=["one step behind", "never synchronised"])
@pytest.mark.parametrize("kind", ["ppo", "grpo"])
def test_sampler_with_stale_weights_raises_the_alarm(
    kind: str, lag: int | None, lora: LoraSettings | None, tmp_path: Path
) -> None:
    alarms, rows = train(kind, tmp_path, "bfloat16", lora, lambda trunk: Lagging(trunk, lag))
    assert alarms == {STALE}
    fresh, stale = rows[0]["mismatch/logps_mean"], rows[-1]["mismatch/logps_mean"]
    assert stale > 2.5 * fresh
    assert all(row["ratio/first_deviation"] == 0 for row in rows), "π_old is the trainer's own all the same"


@BOTH
def test_stale_weights_are_seen_in_float32_too(lora: LoraSettings | None, tmp_path: Path) -> None:
    alarms, rows = train("grpo", tmp_path, "float32", lora, lambda trunk: Lagging(trunk, 1))
    assert alarms == {STALE, RATIO}
    assert rows[0]["mismatch/logps_mean"] < 1e-5


class Foreign:
    """An engine that computes the same with errors of its own."""

    exact = False

    def __init__(self, trunk: Trunk) -> None:
        self.engine = tiny_engine(trunk)

    def sync(self, version: int) -> None:
        """The engine inside decodes with the module that learns."""

    def release(self) -> None:
        """Nothing is freed."""

    def sample(self, requests: Sequence[SampleRequest], decoding: Any, **_: Any) -> list[SampledCompletion]:
        """What the engine writes, its log-probabilities off by 0.01 up and down, without states."""
        return [
            replace(one, logps=tuple(x + 0.01 * (-1) ** i for i, x in enumerate(one.logps)), states=None)
            for one in self.engine.sample(requests, decoding)
        ]


@pytest.mark.parametrize("kind", ["ppo", "grpo", "online_dpo"])
def test_old_policy_of_a_foreign_engine_is_the_trainers_in_float32(kind: str, tmp_path: Path) -> None:
    alarms, rows = train(kind, tmp_path / "foreign", "float32", LORA, Foreign)
    _, own = train(kind, tmp_path / "own", "float32", LORA)
    assert alarms == set()
    for row, exact in zip(rows, own, strict=True):
        assert row["mismatch/logps_mean"] == pytest.approx(0.01, rel=1e-3)
        assert row["mismatch/logps"] == pytest.approx(0.01, rel=1e-3)
        assert row["mismatch/kl"] == pytest.approx(0.01**2 / 2, rel=0.05)
        assert row["ratio/first_deviation"] == 0
        assert row["kl/k1"] == pytest.approx(exact["kl/k1"], abs=1e-3), "the engine's errors are in no reward"
        assert row["loss/total"] == pytest.approx(exact["loss/total"], abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("lag", [0, 1], ids=["healthy", "one step behind"])
@pytest.mark.parametrize("lora", [None, LoraSettings(rank=4)], ids=["full", "lora"])
def test_a_pretrained_model_tells_rounding_from_stale_weights(
    lora: LoraSettings | None, lag: int, stories_model: Path, tmp_path: Path
) -> None:
    tokenizer = load_tokenizer(stories_model)
    model = load_causal_lm(stories_model, dtype=weights_dtype("bfloat16", learns=lora is None))
    trunk = Trunk(model, tokenizer, lora=lora, roles=("policy", "reference"), seed=1, compute="bfloat16")
    rate = {"learning_rate": 1e-3 if lora else 1e-4, "schedule": "constant"}
    chosen = {**COMMON, "num_prompts_per_step": 8, "decoding": {"max_new_tokens": 32}, "optimiser": rate}
    run = tiny_grpo(tmp_path, trunk, lambda ids: float(len(set(ids))) / 8, **chosen)
    run.prompts = [
        (Prompt.make(text=text), (tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]))
        for text in ("Once upon a time", "Tom had a red", "The sun was", "One day a dog")
    ]
    run.decode = Renderer(tokenizer).decode
    if lag:
        run.sampler = Lagging(trunk, lag)
    alarms = {alarm.alarm for alarm in train_grpo(run).alarms}
    assert alarms == ({STALE} if lag else set())


def test_exact_engine_takes_no_pass_more(tmp_path: Path) -> None:
    """In float32 the sampler's states spare the policy's pass: value and reference alone go through the model."""
    passes: dict[str, int] = {}
    for precision in ("float32", "bfloat16"):
        trunk = tiny_trunk(lora=LORA, precision=precision)
        run = tiny_ppo(tmp_path, trunk, likes_ones)
        run.sampler.sample([SampleRequest((3,), 0)], run.settings.decoding)
        roles: list[str] = []
        hidden = Trunk._hidden

        def counted(self: Trunk, batch: Any, role: Role, roles: list[str] = roles, hidden: Any = hidden) -> Any:
            roles.append(role)
            return hidden(self, batch, role)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Trunk, "_hidden", counted)
            rollouts = collect(run, 0)
        passes[precision] = roles.count("policy")
        same = torch.equal(rollouts.old_logps, rollouts.sampler_logps)
        assert same == (precision == "float32")
    assert passes == {"float32": 0, "bfloat16": 2}  # two minibatches, a micro-batch each
