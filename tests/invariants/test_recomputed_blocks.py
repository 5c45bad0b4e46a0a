"""Gradient checkpointing changes no number of any model, and says where it has no effect."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from architecture_trials import LORA, batch, roles_loss
from architectures import build
from preflab.models.recomputed_blocks import recompute_blocks
from preflab.models.roles import RoleSwitch
from preflab.models.trunk import Trunk
from preflab.settings.learning import LoraSettings


def trunk_of(model: Any, lora: LoraSettings | None = None) -> Trunk:
    """A trunk with the policy alone."""
    return Trunk(model, SimpleNamespace(pad_token_id=0), lora=lora, roles=("policy",))


def gradient(trunk: Trunk) -> Tensor:
    """The gradient of all trained weights in one vector."""
    trunk.zero_grad()
    roles_loss(trunk, ("policy",)).backward()
    return torch.cat([p.grad.flatten() for _, p in trunk.parameters_of("policy") if p.grad is not None])


@pytest.fixture
def recomputed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Grows by one with each block that will be recomputed."""
    calls: list[Any] = []
    checkpointed = RoleSwitch.checkpointed

    def counted(switch: RoleSwitch, function: Any, *args: Any) -> Any:
        calls.append(function)
        return checkpointed(switch, function, *args)

    monkeypatch.setattr(RoleSwitch, "checkpointed", counted)
    return calls


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("name", ["llama", "phimoe", "jetmoe", "falcon", "prophetnet", "switch_transformers"])
def test_recomputed_blocks_have_the_stored_gradient(
    name: str, lora: LoraSettings | None, recomputed: list[Any]
) -> None:
    """In training mode PhiMoE and Switch Transformers add noise to their router, and ProphetNet drops states."""
    trunk = trunk_of(build(name), lora)
    if name in ("prophetnet", "switch_transformers"):
        assert trunk.family.reads_prompts_apart
    stored = gradient(trunk)
    assert recomputed == []
    trunk.enable_gradient_checkpointing()
    found = gradient(trunk)
    assert len(recomputed) >= 2, "the model's two blocks"
    assert stored.norm() > 0
    assert (found - stored).norm() <= 1e-6 * stored.norm()


def test_dropout_of_a_configuration_stays_off() -> None:
    """Falcon's block reads `hidden_dropout` from the configuration if its flag `training` is set."""
    model = build("falcon")
    model.config.hidden_dropout = 0.9
    trunk = trunk_of(model)
    stored = gradient(trunk)
    trunk.enable_gradient_checkpointing()
    assert (gradient(trunk) - stored).norm() <= 1e-6 * stored.norm()


def test_model_without_marked_blocks_says_that_nothing_is_recomputed(caplog: pytest.LogCaptureFixture) -> None:
    trunk = trunk_of(build("openai-gpt"))
    stored = gradient(trunk)
    with caplog.at_level(logging.WARNING):
        trunk.enable_gradient_checkpointing()
    assert [record.getMessage() for record in caplog.records if record.name.startswith("preflab")] == [
        "OpenAIGPTLMHeadModel: gradient_checkpointing has no effect, activations are stored: it has no "
        "GradientCheckpointingLayer of transformers"
    ]
    assert torch.equal(gradient(trunk), stored)


def test_function_is_called_once_per_block_and_computes_in_evaluation_mode() -> None:
    model = build("llama")
    flags: list[list[bool]] = []

    def plain(function: Any, *args: Any) -> Any:
        result = function(*args)
        flags.append([layer.training for layer in model.model.layers])
        return result

    recompute_blocks(model, plain)
    assert [layer.training for layer in model.model.layers] == [True, True]
    assert not model.training
    assert not model.model.layers[0].mlp.training
    seen: list[bool] = []
    model.model.layers[0].mlp.register_forward_hook(lambda *_: seen.append(model.model.layers[0].training))
    model(input_ids=batch().input_ids)
    assert seen == [False]
    assert flags == [[True, True], [True, True]], "set again after each block"
