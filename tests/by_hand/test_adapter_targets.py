"""Which layers carry an adapter: lists written from the architectures, and peft's own lists beside them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable

import pytest
from transformers import BertModel

from architectures import build
from preflab.errors import PreflabError
from preflab.models.adapter_targets import find_targets
from preflab.settings.learning import LoraSettings

ATTENTION = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"}
MLP = {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}
EXPERTS = {"mlp.experts.gate_up_proj", "mlp.experts.down_proj"}
SHARED_EXPERTS = {"mlp.shared_experts.gate_proj", "mlp.shared_experts.up_proj", "mlp.shared_experts.down_proj"}
LATENT = {"q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"}


def inside_blocks(names: Iterable[str]) -> set[str]:
    """Names without what stands before and in the number of their block."""
    return {re.sub(r"^.*?\.\d+\.", "", name) for name in names}


CARRIERS = {
    "llama": ATTENTION | MLP,
    "gpt2": {"attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"},
    "mixtral": ATTENTION | EXPERTS | {"mlp.gate.weight"},
    "qwen3_moe": ATTENTION | EXPERTS | {"mlp.gate.weight"},
    # The first block is dense, the second one has routed and shared experts.
    "deepseek_v3": {f"self_attn.{name}" for name in LATENT} | MLP | EXPERTS | SHARED_EXPERTS | {"mlp.gate.weight"},
    "gpt_oss": ATTENTION,
    "mamba": {"mixer.in_proj", "mixer.x_proj"},
    "mamba2": {"mixer.in_proj"},
    "gemma3, seeing": ATTENTION | MLP,
}
LEFT_OUT = {
    "llama": {},
    "gpt2": {},
    "mixtral": {},
    "qwen3_moe": {},
    "deepseek_v3": {},
    "gpt_oss": dict.fromkeys(EXPERTS | {"mlp.router.weight"}, "peft's all-linear leaves out experts of this kind"),
    "mamba": {
        "mixer.out_proj": "peft refuses it: fused kernels read its weight",
        "mixer.dt_proj": "its weight is read without calling it",
    },
    "mamba2": {"mixer.out_proj": "peft refuses it: fused kernels read its weight"},
    "gemma3, seeing": {},
}


@pytest.mark.parametrize("name", CARRIERS)
def test_all_linear_is_every_linear_layer_of_the_text_model_that_an_adapter_can_change(name: str) -> None:
    targets = find_targets(build(name), LoraSettings())
    assert inside_blocks(targets.modules + targets.parameters) == CARRIERS[name]
    reasons = {key: reason.partition(";")[0] for key, reason in targets.left_out.items()}
    assert {re.sub(r"^.*?\.\d+\.", "", key): reason for key, reason in reasons.items()} == LEFT_OUT[name]


def test_the_vision_tower_carries_no_adapter() -> None:
    targets = find_targets(build("gemma3, seeing"), LoraSettings())
    assert len(targets.modules) == 4 * 7  # four blocks of seven layers
    assert all(name.startswith("model.language_model.layers.") for name in targets.modules)


def test_layers_that_text_does_not_reach_carry_no_adapter() -> None:
    targets = find_targets(build("mllama"), LoraSettings())
    # The block in the middle attends to images alone; its MLP is skipped with it.
    assert inside_blocks(targets.left_out) == {f"cross_attn.{name}_proj" for name in "qkvo"} | MLP
    assert all(".layers.1." in name for name in targets.left_out)
    assert set(targets.left_out.values()) == {"text input does not reach it"}


def test_layers_that_share_their_weight_carry_no_adapter() -> None:
    targets = find_targets(build("zamba"), LoraSettings())
    shared = {name for name, reason in targets.left_out.items() if reason == "another layer has the same weight"}
    # Blocks 2 and 5 are one transformer block, used twice.
    assert len(shared) == 2 * 7
    assert all(".shared_transf." in name for name in shared)


def test_a_router_that_is_no_linear_map_carries_no_adapter() -> None:
    targets = find_targets(build("llama4"), LoraSettings())
    assert targets.left_out["model.layers.1.feed_forward.router"] == "it is not a linear map"


def test_what_is_left_out_is_said_in_one_line() -> None:
    said = find_targets(build("mamba"), LoraSettings()).describe_left_out()
    assert said == (
        "mixer.dt_proj (its weight is read without calling it); "
        "mixer.out_proj (peft refuses it: fused kernels read its weight)"
    )
    assert find_targets(build("llama"), LoraSettings()).describe_left_out() == ""


@pytest.mark.parametrize(
    ("name", "wanted", "expected"),
    [
        ("llama", ("q_proj", "v_proj"), {"self_attn.q_proj", "self_attn.v_proj"}),
        ("llama", "q_proj", {"self_attn.q_proj"}),
        ("llama", ("self_attn.o_proj",), {"self_attn.o_proj"}),
        ("llama", ("model.layers.1.mlp.up_proj",), {"mlp.up_proj"}),
        # Experts by the name of their weight, where all-linear leaves them out.
        ("gpt_oss", ("q_proj", "gate_up_proj"), {"self_attn.q_proj", "mlp.experts.gate_up_proj"}),
        ("gpt_oss", ("experts.down_proj",), {"mlp.experts.down_proj"}),
        # Names of single experts of earlier versions, as peft reads them: both of two that are one weight now.
        ("mixtral", ("w1", "w3"), {"mlp.experts.gate_up_proj"}),
        ("qwen3_moe", ("q_proj", "down_proj"), {"self_attn.q_proj", "mlp.experts.down_proj"}),
    ],
)
def test_names_choose_layers_and_weights(name: str, wanted: str | tuple[str, ...], expected: set[str]) -> None:
    targets = find_targets(build(name), LoraSettings(target_modules=wanted))
    assert inside_blocks(targets.modules + targets.parameters) == expected


def test_two_projections_in_one_weight_get_twice_the_rank() -> None:
    targets = find_targets(build("qwen3_moe"), LoraSettings(rank=3, alpha=6.0))
    assert dict(targets.ranks) == {r".*\.gate_up_proj": 6}
    assert dict(targets.alphas) == {r".*\.gate_up_proj": 12.0}


@pytest.mark.parametrize(
    ("name", "wanted", "found"),
    [
        ("llama", ("q_porj",), "no linear layer is called q_porj"),
        ("mamba", ("in_proj", "out_proj"), "out_proj cannot carry an adapter: peft refuses it"),
        ("mamba", ("dt_proj",), "dt_proj cannot carry an adapter: its weight is read without calling it"),
        ("llama4", ("router",), "router cannot carry an adapter: it is not a linear map"),
        ("mllama", ("cross_attn.q_proj",), "cross_attn.q_proj cannot carry an adapter: text input does not reach it"),
        ("qwen3_moe", ("gate_proj",), "without also targeting up_proj"),
        ("gemma3, seeing", ("fc1",), "no linear layer is called fc1"),
    ],
)
def test_names_that_cannot_carry_an_adapter_are_refused(name: str, wanted: tuple[str, ...], found: str) -> None:
    with pytest.raises(PreflabError) as error:
        find_targets(build(name), LoraSettings(target_modules=wanted))
    assert found in error.value.found
    assert error.value.expected
    assert error.value.do


SAME_AS_PEFT = ["llama", "gpt2", "gemma2", "falcon", "dbrx", "granitemoe", "gpt_oss", "mixtral", "qwen3_moe", "qwen3_5",
                "bamba", "opt, projected", "phi3", "olmoe"]  # fmt: skip


@pytest.mark.parametrize("name", SAME_AS_PEFT)
def test_all_linear_is_what_it_is_for_peft(name: str) -> None:
    from peft import LoraConfig, get_peft_model

    model = build(name)
    targets = find_targets(model, LoraSettings(rank=2, alpha=4.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
    names = {key.removesuffix(".lora_A.default.weight") for key in theirs.state_dict() if ".lora_A." in key}
    carriers = {re.sub(r"^base_model\.model\.|(\.base_layer)+$", "", key) for key in names}
    ours = set(targets.modules) | {name.rpartition(".")[0] for name in targets.parameters}
    assert ours == carriers


def test_an_encoders_pooler_carries_no_adapter() -> None:
    targets = find_targets(BertModel(build("bert").config).eval(), LoraSettings())
    assert inside_blocks(targets.modules) == {
        *(f"attention.self.{name}" for name in ("query", "key", "value")),
        *(f"{name}.dense" for name in ("attention.output", "intermediate", "output")),
    }
    assert dict(targets.left_out) == {"pooler.dense": "no gradient reaches it"}


def test_layers_that_only_choose_carry_no_adapter() -> None:
    """The indexer of sparse attention ranks earlier tokens, and a rank has no gradient."""
    targets = find_targets(build("deepseek_v32"), LoraSettings())
    indexer = {name: reason for name, reason in targets.left_out.items() if "indexer" in name}
    assert inside_blocks(indexer) == {f"self_attn.indexer.{name}" for name in ("wq_b", "wk", "weights_proj")}
    assert set(indexer.values()) == {"no gradient reaches it"}


@pytest.mark.parametrize("frozen", [True, False])
def test_all_linear_covers_a_frozen_encoder_too(frozen: bool) -> None:
    """Two blocks in each part of T5: 4 + 2 layers per block of the encoder, 4 + 4 + 2 per block of the decoder."""
    model = build("t5").requires_grad_(not frozen)
    targets = find_targets(model, LoraSettings())
    assert targets.left_out == {}
    assert sum(name.startswith("encoder.") for name in targets.modules) == 2 * (4 + 2)
    assert sum(name.startswith("decoder.") for name in targets.modules) == 2 * (4 + 4 + 2)
