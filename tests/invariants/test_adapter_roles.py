"""Roles are kept apart on every kind of layer that carries adapters: experts, routers, state spaces, towers left alone.

The gradient of each role in a joint step is its gradient alone. With adapters off the model is the base bit for bit.
Merged, the policy is what it was.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from architecture_table import DECODERS, MIXTURES, RECURRENT, SEEING
from architecture_trials import LORA, batch, gradients, largest, logits, move, roles_loss, tiers
from architectures import build
from preflab.errors import PreflabError
from preflab.models.causality import why_not_causal
from preflab.models.merge import merge_error, merged_language_model
from preflab.models.role_files import load_role, save_role
from preflab.models.trunk import Role, Trunk
from preflab.settings.learning import LoraSettings

ROLES: tuple[Role, ...] = ("policy", "value", "reward")
QUICK = ["llama", "gpt2", "opt, projected", "qwen3_moe", "deepseek_v3", "jamba", "rwkv", "gemma3, seeing"]
"""One of each kind: linear layers, Conv1D, states of another width, experts, shared experts, layers whose weight is
read, layers called `value`, a vision tower."""
ALL = [*DECODERS, *MIXTURES, *RECURRENT, *SEEING]
EVERY = tiers(QUICK, ALL)


def trunk_of(name: str, roles: tuple[Role, ...] = ROLES, lora: LoraSettings | None = LORA) -> Trunk:
    model = build(name)
    if (reason := why_not_causal(model)) is not None:
        pytest.skip(reason)
    return Trunk(model, SimpleNamespace(pad_token_id=0), lora=lora, roles=roles, zero_value=False)


@pytest.mark.parametrize("name", EVERY)
def test_roles_share_a_base_and_nothing_else(name: str) -> None:
    trunk, ids = trunk_of(name), batch().input_ids
    base = logits(trunk, "reference", ids)
    assert torch.equal(base, logits(trunk, "policy", ids))  # B is 0
    move(trunk)
    assert torch.equal(base, logits(trunk, "reference", ids))
    joint = roles_loss(trunk, ROLES)
    for role in ROLES:
        alone = gradients(trunk, roles_loss(trunk, (role,)), role)
        together = gradients(trunk, joint, role)
        assert any(gradient is not None and largest(gradient) > 0 for gradient in alone.values())
        for key, gradient in alone.items():
            assert (gradient is None) == (together[key] is None), key
            if gradient is not None:
                assert largest(gradient - together[key]) <= 1e-5 * max(1.0, largest(gradient)), key
    policy = logits(trunk, "policy", ids)
    with torch.no_grad():
        merged = merged_language_model(trunk, "policy")(input_ids=ids, use_cache=False).logits
    assert largest(policy - base) > 0.05
    assert merge_error(merged, policy, base) < 1e-4


@pytest.mark.parametrize("name", ["rwkv", "bert, decoder"])
def test_layers_called_as_a_role_learn_in_every_role(name: str) -> None:
    """A layer called `value` beside a role of that name: peft takes one for the other."""
    trunk = trunk_of(name, ("policy", "value"))
    counts = {role: len(trunk.parameters_of(role)) for role in ("policy", "value")}
    assert counts["policy"] == 2 * len(trunk.targets["policy"].modules)  # A and B of each, none frozen
    assert counts["value"] == counts["policy"] + 2  # and the head
    move(trunk)
    policy = gradients(trunk, roles_loss(trunk, ("policy",)), "policy")
    assert any(".value.lora_B." in key and gradient is not None for key, gradient in policy.items())


@pytest.mark.parametrize("name", ["llama", "qwen3_moe", "deepseek_v3"])
def test_gradient_checkpointing_changes_no_role(name: str) -> None:
    trunk = trunk_of(name, ("policy", "value"))
    move(trunk)
    plain = {role: gradients(trunk, roles_loss(trunk, ("policy", "value")), role) for role in ("policy", "value")}
    trunk.enable_gradient_checkpointing()
    for role, expected in plain.items():
        found = gradients_of_backward(trunk, role)
        for key, gradient in expected.items():
            assert gradient is not None
            assert largest(found[key] - gradient) <= 1e-5 * max(1.0, largest(gradient)), key


def gradients_of_backward(trunk: Trunk, role: str) -> dict[str, Any]:
    """After one backward pass, which recomputes each block once."""
    trunk.zero_grad()
    roles_loss(trunk, ("policy", "value")).backward()
    return {name: parameter.grad for name, parameter in trunk.parameters_of(role)}


@pytest.mark.parametrize("name", ["qwen3_moe", "deepseek_v3", "mamba"])
def test_a_role_is_saved_and_loaded(name: str, tmp_path: Path) -> None:
    trunk, ids = trunk_of(name), batch().input_ids
    move(trunk)
    save_role(trunk, "policy", tmp_path / "policy")
    other = trunk_of(name)
    load_role(other, "policy", tmp_path / "policy")
    assert torch.equal(logits(other, "policy", ids), logits(trunk, "policy", ids))


def test_adapters_on_other_experts_of_one_base_are_refused() -> None:
    trunk = trunk_of("gpt_oss", ("policy",), LoraSettings(target_modules=("gate_up_proj",)))
    with pytest.raises(PreflabError, match="different weights of experts"):
        trunk.add_role("reward", lora=LoraSettings(target_modules=("down_proj",)))
    trunk.add_role("reward", lora=LoraSettings(target_modules=("q_proj",)))  # no experts at all: no trouble
    move(trunk)
    base = logits(trunk, "reference", batch().input_ids)
    assert not torch.equal(logits(trunk, "policy", batch().input_ids), base)


def test_full_fine_tuning_leaves_the_vision_tower_alone() -> None:
    trunk = trunk_of("gemma3, seeing", ("policy", "value"), lora=None)
    learning = [name for name, _ in trunk.parameters_of("policy")]
    assert learning
    assert all(".language_model." in name or ".lm_head." in name for name in learning)
    assert all("vision" not in name for name, _ in trunk.parameters_of("value"))


def test_what_carries_no_adapter_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    trunk_of("mamba")
    assert [r.getMessage() for r in caplog.records if "no adapter" in r.getMessage()] == [
        "MambaForCausalLM: no adapter on mixer.dt_proj (its weight is read without calling it);"
        " mixer.out_proj (peft refuses it: fused kernels read its weight)"
    ]
