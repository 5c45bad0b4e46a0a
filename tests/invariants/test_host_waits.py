"""How often an update would make the host wait for a GPU: never per micro-batch, and rarely per step.

Each loop learns from the same rows in two and in four micro-batches; what the second needs more is that of two.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from host_waits import counted_waits, per_micro_batch
from preflab.models.action_values import add_q_head
from preflab.models.chunk import Head
from preflab.models.chunked import TokenStatistics, token_loss
from preflab.models.heads import CriteriaHead
from preflab.models.trunk import Trunk
from preflab.policy import dpo, grpo, ilql, online_dpo, ppo, sft
from preflab.policy.dpo_groups import Group, LabelledPair, Verdict, with_mismatched
from preflab.policy.dpo_logps import ReferenceCache
from preflab.rewards import rankings, regression, train
from preflab.rewards.ratings import Rated
from preflab.settings.dpo import DpoSettings
from preflab.settings.ilql import IlqlSettings
from preflab.settings.learning import LoraSettings, OptimiserSettings, RewardSettings
from preflab.settings.rating import RatingSettings
from preflab.training.batches import TokenSequence
from preflab.training.processes import make_accelerator
from tiny_groups import tiny_grpo, tiny_online_dpo
from tiny_models import tiny_model
from tiny_worlds import tiny_ppo, tiny_trunk

LORA = LoraSettings(rank=2, alpha=4)
LENGTH = 4
"""Tokens of every row: one of the prompt and three of the completion."""
NUM_ROWS = 16
ROWS = [TokenSequence((3,), (number % 5 + 1, number, 4 + number % 3)) for number in range(NUM_ROWS)]


def trunk(*roles: Any, lora: LoraSettings | None) -> Trunk:
    torch.manual_seed(0)
    return tiny_trunk(roles, lora=lora, model=tiny_model("llama"), sharpen=1.0)


def budget(num_micro_batches: int) -> int:
    """Tokens per micro-batch if all rows of a step are to be in this many."""
    return LENGTH * NUM_ROWS // num_micro_batches


def optimiser(num: int) -> dict[str, Any]:
    return {"learning_rate": 1e-3, "schedule": "constant", "tokens_per_micro_batch": budget(num)}


def sft_step(folder: Path, lora: LoraSettings | None) -> Callable[[int], Any]:
    made, accelerator = trunk("policy", lora=lora), make_accelerator(cpu=True)
    return lambda num: sft.accumulate(made, ROWS, budget(num), collate=made.collate, accelerator=accelerator)


def groups_of_two() -> list[Group]:
    halves = [ROWS[i : i + 2] for i in range(0, NUM_ROWS, 2)]
    pair, verdicts = LabelledPair(0, 1, 0.75, 1.0), (Verdict(0, 1.0, 1.0), Verdict(1, 0.0, 1.0))
    return with_mismatched([Group(f"p{n}", tuple(rows), (pair,), verdicts) for n, rows in enumerate(halves)])


def dpo_step(folder: Path, lora: LoraSettings | None, kind: str = "dpo") -> Callable[[int], Any]:
    def step(num: int) -> Any:
        settings = DpoSettings(model="m", preferences="p", losses=[{"kind": kind}], optimiser=optimiser(num), lora=lora)
        made = trunk("policy", "reference", lora=lora)
        cache = ReferenceCache(folder / "cache", "weights", "float32")
        run = dpo.DpoRun(
            made, settings, groups_of_two(), [], 1, cache, folder, seed=0, accelerator=make_accelerator(cpu=True)
        )
        run.groups, _ = dpo.ask_reference(run)
        with counted_waits() as waits:
            dpo.accumulate(run, made, run.groups, dpo.reference_point(run, run.groups) if kind == "kto" else 0.0)
        return waits

    return step


def reward_step(folder: Path, lora: LoraSettings | None, likelihood: str = "bradley_terry") -> Callable[[int], Any]:
    made, accelerator = trunk("reward", lora=lora), make_accelerator(cpu=True)
    pair = (rankings.LabelledPair(0, 1, 0.75, 1.0),)
    data = [rankings.Ranking(f"p{i}", tuple(ROWS[i : i + 2]), pair, (1, 1), (1, 1)) for i in range(0, NUM_ROWS, 2)]

    def step(num: int) -> Any:
        settings = RewardSettings(
            model="m", preferences="p", likelihood=likelihood, optimiser=OptimiserSettings(**optimiser(num))
        )
        return train.accumulate(made, data, settings, collate=made.collate, accelerator=accelerator)

    return step


def rating_step(folder: Path, lora: LoraSettings | None) -> Callable[[int], Any]:
    made, accelerator = trunk("reward", lora=lora), make_accelerator(cpu=True)
    made.heads["reward"] = CriteriaHead.beside(made.head("reward"), 2, 0)
    rows = [Rated(f"p{n}", row, (float(n), None), 5) for n, row in enumerate(ROWS)]
    targets = torch.tensor([[float(n), float("nan")] for n in range(NUM_ROWS)])

    def step(num: int) -> Any:
        settings = RatingSettings(model="m", preferences="p", optimiser=OptimiserSettings(**optimiser(num)))
        return regression.accumulate(made, rows, targets, settings, made.collate, accelerator)

    return step


def ilql_step(folder: Path, lora: LoraSettings | None) -> Callable[[int], Any]:
    made = trunk("reference", "value", lora=lora)
    add_q_head(made)

    def step(num: int) -> Any:
        settings = IlqlSettings(
            model="m", prompts="p", completions="c", rewards=[{"function": "a:b"}], optimiser=optimiser(num)
        )
        run = ilql.IlqlRun(made, settings, ROWS, torch.arange(NUM_ROWS) / 4, 1, folder, 0)
        return ilql.accumulate(run, made, range(NUM_ROWS))

    return step


def on_policy_step(kind: str, **changes: Any) -> Callable[[Path, LoraSettings | None], Callable[[int], Any]]:
    """A step of an on-policy loop, of which the update is counted."""

    def prepared(folder: Path, lora: LoraSettings | None) -> Callable[[int], Any]:
        roles = ("policy", "reference", "value") if kind == "ppo" else ("policy", "reference")
        made = trunk(*roles, lora=lora)
        make: Any = {"ppo": tiny_ppo, "grpo": tiny_grpo, "online_dpo": tiny_online_dpo}[kind]

        def step(num: int) -> Any:
            sizes = {"num_epochs": 1, "num_minibatches": 1, "optimiser": optimiser(num)}
            run = make(folder, made, lambda ids: float(ids[0]), **{**sizes, **changes})
            descent = torch.optim.SGD([p for p in made.parameters() if p.requires_grad], lr=1e-3)
            if kind == "ppo":
                rollouts = ppo.collect(run, 0)
                learned: Any = ppo.advantages(run, rollouts, ppo.score(run, rollouts)[0], 0.1)
                rest: tuple[Any, ...] = (learned, 0, 0.1)
                update: Any = ppo.update
            elif kind == "grpo":
                rollouts = grpo.collect(run, 0)
                rest = (grpo.advantages(run, rollouts, grpo.score(run, rollouts)[0], 0.1), 0, 0.1)
                update = grpo.update
            else:
                rollouts = online_dpo.collect(run, 0)
                rest = (online_dpo.label(run, online_dpo.score(run, rollouts)[0], 0), 0)
                update = online_dpo.update
            with counted_waits() as waits:
                update(run, made, descent, rollouts, *rest)
            return waits

        return step

    return prepared


READ_AT_END = {"training/rollouts.py:note_ratios cpu": 1, "policy/step_statistics.py:read_statistics tolist": 1}
OF_UPDATES = {"training/optimiser.py:clip_gradients _local_scalar_dense": 1, **READ_AT_END}
"""Once per optimiser step the norm of the gradient; once for all updates the ratios and the metrics."""

COUNTS_ON_HOST = {
    "ppo": {"policy/ppo.py:update _local_scalar_dense": 1},
    "grpo": {"policy/grpo.py:update _local_scalar_dense": 1, "policy/grpo.py:update tolist": 1},
    "online_dpo": {"policy/online_dpo.py:update _local_scalar_dense": 1, "policy/online_dpo.py:update tolist": 1},
}
"""The number of tokens of a minibatch, which is on the CPU on every machine."""

METRICS = {"policy/step_statistics.py:read_statistics tolist": 1}
REFERENCE_POINT = {"policy/dpo_logps.py:all_logps cpu": 1, "policy/dpo.py:reference_point _local_scalar_dense": 1}

STEPS: dict[str, tuple[Callable[..., Callable[[int], Any]], dict[str, int]]] = {
    "sft": (sft_step, {"policy/sft.py:accumulate _local_scalar_dense": 1}),
    "dpo": (dpo_step, METRICS),
    "kto": (lambda *a: dpo_step(*a, kind="kto"), METRICS | REFERENCE_POINT),
    "reward": (reward_step, {"rewards/train.py:step_figures tolist": 1}),
    "davidson": (lambda *a: reward_step(*a, likelihood="davidson"), {"rewards/train.py:step_figures tolist": 1}),
    "rating": (rating_step, {"rewards/regression.py:accumulate _local_scalar_dense": 2}),  # one for the targets: CPU
    "ilql": (ilql_step, {"policy/ilql.py:accumulate tolist": 1, "policy/ilql.py:accumulate _local_scalar_dense": 2}),
    "ppo": (on_policy_step("ppo", kl_treatment="exact"), OF_UPDATES | COUNTS_ON_HOST["ppo"]),
    "ppo of sequences": (on_policy_step("ppo", kl_treatment="sequence_loss"), OF_UPDATES | COUNTS_ON_HOST["ppo"]),
    "grpo": (on_policy_step("grpo"), OF_UPDATES | COUNTS_ON_HOST["grpo"]),
    "gspo": (on_policy_step("grpo", algorithm="gspo"), OF_UPDATES | COUNTS_ON_HOST["grpo"]),
    "online_dpo": (on_policy_step("online_dpo"), OF_UPDATES | COUNTS_ON_HOST["online_dpo"]),
}
"""Loop → how to make a step, and where a step waits, apart from its micro-batches."""


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("name", STEPS)
def test_no_micro_batch_waits(name: str, lora: LoraSettings | None, tmp_path: Path) -> None:
    prepare, expected = STEPS[name]
    each, rest = per_micro_batch(prepare(tmp_path, lora), (2, 4))
    assert not each
    assert dict(rest) == expected


def test_second_optimiser_step_waits_for_its_norm_only(tmp_path: Path) -> None:
    """Two passes of two minibatches: four optimiser steps."""
    waits = on_policy_step("ppo", num_epochs=2, num_minibatches=2)(tmp_path, None)(4)
    steps = {"training/optimiser.py:clip_gradients _local_scalar_dense": 4}
    assert dict(waits) == {**READ_AT_END, **steps, "policy/ppo.py:update _local_scalar_dense": 4}


@pytest.mark.parametrize(
    ("act", "name"),
    [
        (lambda x, mask: x[mask], "index"),
        (lambda x, mask: x.sum().item(), "_local_scalar_dense"),
        (lambda x, mask: bool(x.sum()), "_local_scalar_dense"),
        (lambda x, mask: mask.nonzero(), "nonzero"),
        (lambda x, mask: x.masked_select(mask), "masked_select"),
        (lambda x, mask: x.tolist(), "tolist"),
        (lambda x, mask: x.cpu(), "cpu"),
        (lambda x, mask: torch.tensor([1], device="cpu"), "tensor"),
        (lambda x, mask: x[torch.tensor([0, 2])] + torch.where(mask, x, 0.0).sum(), None),
    ],
)
def test_counter_sees_what_waits(act: Callable[[torch.Tensor, torch.Tensor], Any], name: str | None) -> None:
    """Each is called from a place in preflab, the loss of a chunk."""
    x, mask = torch.arange(4.0), torch.tensor([True, False, True, False])

    def loss(outputs: TokenStatistics, part: slice) -> torch.Tensor:
        act(x, mask)
        return outputs.logps.sum()

    states, head = torch.ones(2, 3, requires_grad=True), Head(torch.ones(5, 3))
    with counted_waits() as waits:
        token_loss(states, head, torch.tensor([0, 1]), loss=loss)
    assert dict(waits) == ({} if name is None else {f"models/chunked.py:_with_upstream {name}": 1})
