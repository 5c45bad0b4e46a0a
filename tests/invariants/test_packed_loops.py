"""Every learning loop takes the same step on packed as on padded sequences, whatever the micro-batches."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from preflab.models.action_values import add_q_head
from preflab.models.trunk import Role, Trunk
from preflab.policy import dpo, ilql, sft
from preflab.policy.dpo_groups import Group
from preflab.policy.dpo_logps import ReferenceCache
from preflab.policy.grpo import train_grpo
from preflab.policy.online_dpo import train_online_dpo
from preflab.policy.ppo import train_ppo
from preflab.rewards import train
from preflab.rewards.rankings import LabelledPair, Ranking
from preflab.sampling.engine import TransformersEngine
from preflab.settings.dpo import DpoSettings
from preflab.settings.ilql import IlqlSettings
from preflab.settings.learning import LoraSettings, OptimiserSettings, RewardSettings
from preflab.settings.recipe import PackingName
from preflab.training.batches import TokenSequence
from preflab.training.processes import make_accelerator
from preflab.training.unpadded_rows import UnpaddedRows
from tiny_groups import tiny_grpo, tiny_online_dpo
from tiny_worlds import tiny_ppo, tiny_trunk
from two_processes import call_in_two_processes

CHOICES: tuple[PackingName, ...] = ("off", "on")
LORA = LoraSettings(rank=2, alpha=4)
BUDGETS = [10_000, 25, 1]
"""Tokens per micro-batch: one micro-batch, several, and a sequence in each."""
V = 7


def groups() -> list[Group]:
    """Three prompts with two to four completions of differing lengths, and all their pairs."""
    generator = torch.Generator().manual_seed(2)
    made = []
    for number in range(3):
        rows = [tuple(torch.randint(0, V, (length,), generator=generator).tolist()) for length in (2, 9, 1, 5)]
        sequences = tuple(TokenSequence((3, number)[: number + 1], ids) for ids in rows[: number + 2])
        pairs = itertools.combinations(range(len(sequences)), 2)
        made.append(Group(f"p{number}", sequences, tuple(LabelledPair(i, j, 0.8, 0.5) for i, j in pairs)))
    return made


def sequences() -> list[TokenSequence]:
    return [sequence for group in groups() for sequence in group.sequences]


def trunk_of(packing: PackingName, roles: tuple[Role, ...], lora: LoraSettings | None) -> Trunk:
    """A trunk whose policy is not its reference."""
    trunk = tiny_trunk(roles, lora=lora, vocab_size=V, packing=packing)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for role in roles:
            for _, parameter in trunk.parameters_of(role):
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return trunk


def sft_step(trunk: Trunk, budget: int, folder: Path) -> dict[str, float]:
    return {
        "loss": sft.accumulate(trunk, sequences(), budget, collate=trunk.collate, accelerator=Accelerator(cpu=True))
    }


def reward_step(trunk: Trunk, budget: int, folder: Path) -> dict[str, float]:
    optimiser = OptimiserSettings(learning_rate=1e-3, tokens_per_micro_batch=budget)
    settings = RewardSettings(model="-", preferences="-", num_rankings_per_step=3, optimiser=optimiser)
    rankings = [
        Ranking(group.prompt_id, group.sequences, group.pairs, (1,) * len(group.sequences), (1,) * len(group.sequences))
        for group in groups()
    ]
    return train.accumulate(trunk, rankings, settings, collate=trunk.collate, accelerator=Accelerator(cpu=True))


def dpo_step(trunk: Trunk, budget: int, folder: Path) -> dict[str, float]:
    settings = DpoSettings.model_validate(
        {"model": "tiny", "preferences": "all", "losses": [{"kind": "dpo"}],
         "lora": None if trunk.lora is None else trunk.lora.model_dump(), "share_prompts": False,
         "optimiser": {"learning_rate": 1e-2, "tokens_per_micro_batch": budget}}
    )  # fmt: skip
    cache = ReferenceCache(folder / "cache", "tiny", "float32")
    run = dpo.DpoRun(trunk, settings, groups(), [], 1, cache, folder, 0, accelerator=Accelerator(cpu=True))
    known, _ = dpo.ask_reference(run)
    return dpo.accumulate(run, trunk, known, 0.0)


def ilql_step(trunk: Trunk, budget: int, folder: Path) -> dict[str, float]:
    with torch.no_grad():
        for parameter in add_q_head(trunk).parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    settings = IlqlSettings.model_validate(
        {"model": "tiny", "completions": "all", "rewards": [{"function": "known:reward"}], "prompts": "one",
         "lora": None if trunk.lora is None else trunk.lora.model_dump(),
         "optimiser": {"learning_rate": 1e-2, "tokens_per_micro_batch": budget}}
    )  # fmt: skip
    scores = torch.linspace(-1, 1, len(sequences()))
    run = ilql.IlqlRun(trunk, settings, sequences(), scores, 1, folder, 0, accelerator=Accelerator(cpu=True))
    return ilql.accumulate(run, trunk, range(len(sequences())))


STEPS: dict[str, tuple[tuple[Role, ...], Callable[[Trunk, int, Path], dict[str, float]]]] = {
    "sft": (("policy",), sft_step),
    "reward": (("reward",), reward_step),
    "dpo": (("policy", "reference"), dpo_step),
    "ilql": (("reference", "value"), ilql_step),
}
"""Loop → the roles of its trunk, and a function that adds the gradient of one step and returns its figures."""


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("name", STEPS)
def test_gradient_of_a_step_equals_the_padded_one(name: str, lora: LoraSettings | None, tmp_path: Path) -> None:
    roles, step = STEPS[name]
    results: list[tuple[dict[str, float], Tensor]] = []
    for number, (packing, budget) in enumerate([("off", 10_000), *(("on", budget) for budget in BUDGETS)]):
        trunk = trunk_of(packing, roles, lora)
        if budget == 25:
            trunk.enable_gradient_checkpointing()
        assert isinstance(trunk.collate(sequences()), UnpaddedRows) == (packing == "on")
        figures = step(trunk, budget, tmp_path / str(number))
        results.append((figures, torch.cat([p.grad.flatten() for p in trunk.parameters() if p.grad is not None])))
    (figures, gradient), *others = results
    assert gradient.abs().max() > 1e-3
    for packed_figures, packed_gradient in others:
        assert packed_figures == pytest.approx(figures, abs=1e-6, rel=1e-6)
        assert float((packed_gradient - gradient).abs().max() / gradient.abs().max()) <= 1e-6


def likes_ones(ids: tuple[int, ...]) -> float:
    return float(ids.count(1))


LOOPS: dict[str, tuple[Callable[..., Any], Callable[[Any], Any]]] = {
    "ppo": (tiny_ppo, train_ppo),
    "grpo": (tiny_grpo, train_grpo),
    "online_dpo": (tiny_online_dpo, train_online_dpo),
}


def learn(folder: Path, name: str, packing: PackingName, adapters: str = "lora") -> None:
    """Two steps of a loop on completions of differing lengths; the main process writes what was learned."""
    make_run, train_loop = LOOPS[name]
    trunk = tiny_trunk(lora=LORA if adapters == "lora" else None, vocab_size=V, packing=packing, sharpen=2.0)
    assert isinstance(trunk.collate(sequences()), UnpaddedRows) == (packing == "on")
    run = make_run(
        folder,
        trunk,
        likes_ones,
        decoding={"max_new_tokens": 9},
        optimiser={"learning_rate": 1e-3, "schedule": "constant", "tokens_per_micro_batch": 40},
        num_kept_rollouts=0,
        num_minibatches=1,
    )
    engine = TransformersEngine(
        trunk.language_model("policy"),
        pad_id=0,
        stop_token_ids=(0, 5),
        tokenizer=trunk.tokenizer,
        role=functools.partial(trunk.role, "policy"),
        keep_states=True,
    )
    run = dataclasses.replace(run, sampler=engine, accelerator=make_accelerator(cpu=True))
    train_loop(run)
    if run.accelerator.is_main_process:
        learned = [p.flatten().tolist() for role in ("policy", "value") for _, p in trunk.parameters_of(role)]
        (folder / "learned.json").write_text(json.dumps([x for part in learned for x in part]))
    run.accelerator.end_training()


def what_was_learned(folder: Path) -> tuple[Tensor, list[dict[str, float]]]:
    """The learned parameters, and the metrics of every step without times."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    figures = [
        {key: value for key, value in row.items() if not key.startswith(("time", "tokens/s", "memory"))} for row in rows
    ]
    return torch.tensor(json.loads((folder / "learned.json").read_text())), figures


@pytest.mark.parametrize("adapters", ["lora", "full"])
@pytest.mark.parametrize("name", LOOPS)
def test_on_policy_loops_learn_the_same(name: str, adapters: str, tmp_path: Path) -> None:
    results = []
    for packing in CHOICES:
        (tmp_path / packing).mkdir()
        learn(tmp_path / packing, name, packing, adapters)
        results.append(what_was_learned(tmp_path / packing))
    (learned, figures), (packed, packed_figures) = results
    torch.testing.assert_close(packed, learned, atol=1e-5, rtol=1e-5)  # AdamW divides small gradients by their size
    for row, packed_row in zip(figures, packed_figures, strict=True):
        assert packed_row == pytest.approx(row, abs=2e-6, rel=1e-5)


def test_two_processes_pack_their_own_rows_and_learn_what_one_learns(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    learn(tmp_path / "one", "ppo", "off")
    call_in_two_processes("invariants.test_packed_loops:learn", tmp_path / "two", "ppo", "on")
    learned, packed = (what_was_learned(tmp_path / name)[0] for name in ("one", "two"))
    torch.testing.assert_close(packed, learned, atol=5e-5, rtol=1e-4)
