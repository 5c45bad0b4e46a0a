"""Top-p training over every completion: with masks the gradient is that of the truncated policy's objective."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from preflab.errors import PreflabError
from preflab.files import read_jsonl
from preflab.maths.losses import clipped_policy_loss
from preflab.models.trunk import Trunk
from preflab.policy.grpo import train_grpo
from preflab.policy.ppo import train_ppo
from preflab.sampling.engines import EngineSource, make_engine
from preflab.settings.learning import LoraSettings
from preflab.training.batches import TokenSequence
from preflab.training.kept_tokens import KeptTokens
from tiny_groups import tiny_grpo
from tiny_worlds import PROMPT, tiny_ppo, tiny_trunk

TOP_P = 0.8
SIZE, LENGTH = 4, 3
REWARDS = torch.randn(SIZE**LENGTH, generator=torch.Generator().manual_seed(1))
LORA = LoraSettings(rank=4, alpha=8)


def nucleus(probabilities: Tensor) -> list[int]:
    """The smallest set of likeliest ids whose mass is at least `TOP_P`, written out here."""
    kept: list[int] = []
    mass = 0.0
    for token in probabilities.argsort(descending=True).tolist():
        if mass >= TOP_P:
            break
        kept.append(token)
        mass += float(probabilities[token])
    return kept


def next_logps(trunk: Trunk, ids: tuple[int, ...]) -> Tensor:
    """(V,) the policy's next-token log-probabilities by its own forward pass, with gradient."""
    with trunk.role("policy"):
        logits: Tensor = trunk.language_model("policy")(input_ids=torch.tensor([ids])).logits[0, -1]
    return logits.log_softmax(-1)


def truncated_world(trunk: Trunk) -> tuple[list[TokenSequence], Tensor, Tensor]:
    """All completions of the truncated policy with their masks, their log-probabilities (with gradient) and rewards."""
    sequences, logps, rewards = [], [], []
    for number, ids in enumerate(itertools.product(range(SIZE), repeat=LENGTH)):
        kept, total = [], torch.zeros(())
        for place, token in enumerate(ids):
            row = next_logps(trunk, PROMPT + ids[:place])
            kept.append(nucleus(row.detach().exp()))
            if token not in kept[-1]:
                break
            total = total + row[token] - row[kept[-1]].logsumexp(-1)
        else:
            sequences.append(TokenSequence(PROMPT, ids, None, KeptTokens.of(kept)))
            logps.append(total)
            rewards.append(REWARDS[number])
    return sequences, torch.stack(logps), torch.stack(rewards)


def gradient_of(trunk: Trunk, value: Tensor) -> Tensor:
    parameters = [p for _, p in trunk.parameters_of("policy")]
    gradients = torch.autograd.grad(value, parameters, allow_unused=True)
    return torch.cat(
        [torch.zeros(p.numel()) if g is None else g.flatten() for p, g in zip(parameters, gradients, strict=True)]
    )


def moved_trunk(lora: LoraSettings | None) -> Trunk:
    trunk = tiny_trunk(("policy", "reference"), lora=lora, vocab_size=SIZE, sharpen=4.0)
    with torch.no_grad():
        for number, (_, parameter) in enumerate(trunk.parameters_of("policy")):
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
            parameter.add_(0.1 * noise)
    return trunk


@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "full"])
def test_masks_give_the_gradient_of_the_truncated_policys_objective(lora: LoraSettings | None) -> None:
    """−∇ Σ_y π_M(y) r(y), masks held fixed, against PPO's loss at ratio 1, each completion as often as it is drawn."""
    trunk = moved_trunk(lora)
    sequences, logps, rewards = truncated_world(trunk)
    assert len(sequences) < SIZE**LENGTH, "some completions cannot be drawn"
    probabilities = logps.detach().exp()
    assert probabilities.sum().item() == pytest.approx(1.0, abs=1e-5)
    expected = gradient_of(trunk, -(logps.exp() * rewards).sum())
    advantages = (probabilities * rewards)[:, None].expand(-1, LENGTH)

    def loop_gradient(rows: list[TokenSequence]) -> Tensor:
        batch = trunk.collate(rows)
        found = trunk(batch, ("policy",))["policy"].logps
        loss = clipped_policy_loss(
            found, found.detach(), advantages, batch.completion_mask, clip_low=0.2, clip_high=0.2, denominator=1.0
        ).loss
        return gradient_of(trunk, loss)

    with_masks = loop_gradient(sequences)
    without = loop_gradient([TokenSequence(row.prompt_ids, row.completion_ids) for row in sequences])
    size = expected.norm()
    assert (with_masks - expected).norm() < 1e-4 * size
    assert (without - expected).norm() > 0.05 * size, "without masks the ratio is of another distribution"


@pytest.mark.parametrize(("make", "train"), [(tiny_grpo, train_grpo), (tiny_ppo, train_ppo)], ids=["grpo", "ppo"])
def test_own_engine_gives_masks_and_ratios_are_exact(
    make: Callable[..., Any], train: Callable[..., Any], tmp_path: Path
) -> None:
    roles: Any = ("policy", "reference", "value") if make is tiny_ppo else ("policy", "reference")
    trunk = tiny_trunk(roles, lora=LORA, vocab_size=16)
    decoding = {"max_new_tokens": 5, "top_p": 0.7, "temperature": 0.9}
    run = make(tmp_path, trunk, lambda ids: float(ids.count(1)), decoding=decoding, num_steps=3)
    source = EngineSource.of_trunk(trunk, (), keep_states=True, keep_masks=True)
    run.sampler = make_engine(source)
    result = train(run)
    rows = read_jsonl(tmp_path / "metrics.jsonl")
    assert all(row["mismatch/logps"] < 1e-4 for row in rows)
    assert all(row["ratio/first_deviation"] < 1e-4 for row in rows)
    assert not {alarm.alarm for alarm in result.alarms} & {"first ratio is not 1", "sampler holds other weights"}


def test_engine_without_masks_is_refused(tmp_path: Path) -> None:
    trunk = tiny_trunk(("policy", "reference"), lora=LORA, vocab_size=16)
    run = tiny_grpo(tmp_path, trunk, lambda ids: 0.0, decoding={"max_new_tokens": 2, "top_p": 0.7})
    with pytest.raises(PreflabError, match="does not give the ids it kept"):
        train_grpo(run)
