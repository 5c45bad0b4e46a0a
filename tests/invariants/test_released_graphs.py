"""An update keeps the numbers of its micro-batches, not their graphs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from preflab.policy import grpo, online_dpo, ppo
from preflab.settings.learning import LoraSettings
from tiny_groups import tiny_grpo, tiny_online_dpo
from tiny_worlds import tiny_ppo, tiny_trunk

LOOPS: dict[str, tuple[Any, Callable[..., Any], Callable[..., Any]]] = {
    "ppo": (ppo, ppo.train_ppo, tiny_ppo),
    "grpo": (grpo, grpo.train_grpo, tiny_grpo),
    "online_dpo": (online_dpo, online_dpo.train_online_dpo, tiny_online_dpo),
}
LORA = LoraSettings(rank=2, alpha=4)


def reward(ids: tuple[int, ...]) -> float:
    """Likes token 1."""
    return float(ids.count(1))


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "LoRA"])
@pytest.mark.parametrize("kind", list(LOOPS))
def test_statistics_of_micro_batches_have_no_graph(
    kind: str, lora: LoraSettings | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kept graph holds its nodes until the step ends, which scatters the freed activations of a large model."""
    module, train, make = LOOPS[kind]
    kept: list[Tensor] = []
    original = module.update_statistics

    def looked_at(accelerator: Any, updates: Sequence[Sequence[Mapping[str, Tensor]]], norms: Any) -> Any:
        kept.extend(value for parts in updates for part in parts for value in part.values())
        return original(accelerator, updates, norms)

    monkeypatch.setattr(module, "update_statistics", looked_at)
    roles: Any = ("policy", "reference", "value") if kind == "ppo" else ("policy", "reference")
    train(make(tmp_path, tiny_trunk(roles, lora=lora), reward, num_steps=1))
    assert kept
    assert not any(value.requires_grad for value in kept)
