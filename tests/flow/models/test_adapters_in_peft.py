"""Adapters go both ways: peft opens those that preflab saved, preflab merges those that peft saved."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from architecture_trials import batch, largest, load_trunk, logits, save
from preflab.files import read_json
from preflab.models.export import export_policy
from preflab.models.loading import load_causal_lm
from preflab.models.role_files import save_role
from preflab.settings.learning import LoraSettings

KINDS: list[tuple[str, str | tuple[str, ...]]] = [
    ("llama", "all-linear"),
    ("gpt2", "all-linear"),
    ("mixtral", "all-linear"),
    ("deepseek_v3", "all-linear"),  # routed and shared experts, and a dense block
    ("gpt_oss", ("q_proj", "gate_up_proj", "down_proj")),
    ("mamba", "all-linear"),
    ("gemma3, seeing", "all-linear"),
]


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft asks transformers
@pytest.mark.filterwarnings("ignore:The following .*_pattern keys:RuntimeWarning")  # peft looks at linear layers alone
@pytest.mark.parametrize(("name", "wanted"), KINDS, ids=[name for name, _ in KINDS])
def test_peft_opens_what_preflab_saved(name: str, wanted: Any, tmp_path: Path) -> None:
    from peft import PeftModel

    base = save(name, tmp_path / "base")
    trunk = load_trunk(base, ("policy", "value"), lora=LoraSettings(rank=2, alpha=4.0, target_modules=wanted))
    save_role(trunk, "policy", tmp_path / "adapter")
    ids = batch().input_ids
    theirs = PeftModel.from_pretrained(load_causal_lm(base, dtype="float32"), str(tmp_path / "adapter"))
    with torch.no_grad():
        found = theirs(input_ids=ids, use_cache=False).logits
    expected, plain = logits(trunk, "policy", ids), logits(trunk, "reference", ids)
    assert largest(expected - plain) > 0.05
    assert largest(found - expected) <= 1e-4 * largest(expected - plain)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft asks transformers
@pytest.mark.parametrize("name", ["llama", "qwen3_moe", "deepseek_v3", "gpt_oss"])
def test_preflab_merges_what_peft_saved(name: str, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    base, ids = save(name, tmp_path / "base"), batch().input_ids
    config = LoraConfig(r=2, lora_alpha=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        theirs = get_peft_model(load_causal_lm(base, dtype="float32"), config).eval()
        theirs.save_pretrained(str(tmp_path / "adapter"))
    export_policy(base, tmp_path / "adapter", tmp_path / "out")
    with torch.no_grad():
        expected = theirs(input_ids=ids, use_cache=False).logits
        found = load_causal_lm(tmp_path / "out", dtype="float32")(input_ids=ids, use_cache=False).logits
    assert largest(found - expected) <= 1e-4 * largest(expected)


def test_a_saved_adapter_names_its_layers_and_what_carries_none(tmp_path: Path) -> None:
    base = save("mamba", tmp_path / "base")
    save_role(load_trunk(base, ("policy",)), "policy", tmp_path / "adapter")
    config, role = (
        read_json(tmp_path / "adapter" / "adapter_config.json"),
        read_json(tmp_path / "adapter" / "role.json"),
    )
    blocks = [f"backbone.layers.{block}.mixer" for block in (0, 1)]
    assert sorted(config["target_modules"]) == sorted(f"{b}.{n}_proj" for b in blocks for n in ("in", "x"))
    assert role["left_out"] == {
        **{f"{block}.dt_proj": "its weight is read without calling it" for block in blocks},
        **{f"{block}.out_proj": "peft refuses it: fused kernels read its weight" for block in blocks},
    }


def test_experts_are_named_by_their_weights(tmp_path: Path) -> None:
    base = save("deepseek_v3", tmp_path / "base")
    save_role(load_trunk(base, ("policy",)), "policy", tmp_path / "adapter")
    config = read_json(tmp_path / "adapter" / "adapter_config.json")
    assert not [name for name in config["target_modules"] if name.endswith("down_proj")]
    named = {name.removeprefix("model.layers.") for name in config["target_parameters"]}
    shared = {f"1.mlp.shared_experts.{name}_proj.weight" for name in ("gate", "up", "down")}
    dense = {f"0.mlp.{name}_proj.weight" for name in ("gate", "up", "down")}
    assert named == shared | dense | {"1.mlp.experts.gate_up_proj", "1.mlp.experts.down_proj", "1.mlp.gate.weight"}
