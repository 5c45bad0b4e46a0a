"""A base in NF4: the published levels, what is stored in 4 bits, and what is merged (Dettmers et al. 2023)."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from preflab.errors import PreflabError
from preflab.models import bitsandbytes_import
from preflab.models.four_bit import dequantise, quantise_base, quantised_layers
from preflab.models.linear_layers import plain_weight
from preflab.models.loading import load_causal_lm, load_tokenizer
from preflab.models.merge import merged_language_model
from preflab.models.tiny import build_model, build_tokenizer
from preflab.models.trunk import Trunk
from preflab.pipeline.keys import key_content
from preflab.settings.learning import LoraSettings, SftSettings
from preflab.training.batches import TokenSequence
from tiny_encoder_decoders import tiny_t5
from tiny_models import tiny_model

needs_package = pytest.mark.skipif(
    not bitsandbytes_import.is_installed(), reason="needs bitsandbytes: pip install 'preflab[bitsandbytes]'"
)

LEVELS = (
    -1.0, -0.6961928, -0.5250731, -0.3949175, -0.2844414, -0.1847734, -0.0910500, 0.0,
    0.0795803, 0.1609302, 0.2461123, 0.3379152, 0.4407098, 0.5626170, 0.7229568, 1.0,
)  # fmt: skip
"""Appendix E of the paper, to 7 decimals."""
LORA = LoraSettings(rank=2, alpha=4, base="nf4")
ROWS = [TokenSequence((3, 1, 5), (20, 10, 21, 7)), TokenSequence((3,), (1, 30))]


def nf4_trunk(kind: str = "llama", roles: Any = ("policy", "value"), lora: LoraSettings = LORA, **other: Any) -> Trunk:
    torch.manual_seed(0)
    return Trunk(tiny_model(kind), SimpleNamespace(pad_token_id=0), lora=lora, roles=roles, seed=1, **other)


def named_linear(model: Any) -> dict[str, nn.Module]:
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}


@needs_package
def test_weights_become_the_nearest_of_sixteen_levels_times_their_scale() -> None:
    """Every row is one block. Its scale is 1 in row 0 and 2 in row 1, but stored in 8 bits: relative to the mean scale
    1.5 of the tensor they are −0.5 and 0.5, of which only +0.5 (the largest) and a level near −0.5 exist.

    The map of the scales has the level −0.9929687 as its lowest, so row 0 has the scale 1.5 − 0.5 · 0.9929687 =
    1.0035157.
    """
    model = build_model(build_tokenizer(["one two"], context=8), num_layers=1, hidden_size=64, num_heads=1, context=8,
                        seed=0)  # fmt: skip
    layer: Any = model.get_submodule("model.layers.0.self_attn.q_proj")
    with torch.no_grad():
        layer.weight.copy_(torch.cat([torch.linspace(-1, 1, 64)[None], torch.linspace(-2, 2, 64)[None].repeat(63, 1)]))
        layer.weight[2:] = 0
        layer.weight[2::2, 0], layer.weight[3::2, 0] = 1.0, 2.0
    quantise_base(model)
    found = plain_weight(model.get_submodule("model.layers.0.self_attn.q_proj"))
    levels = torch.tensor(LEVELS)
    wanted = torch.linspace(-1, 1, 64)
    nearest = levels[(wanted[:, None] - levels).abs().argmin(1)]
    torch.testing.assert_close(found[0], 1.0035157 * nearest, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found[1], 2.0 * nearest, rtol=1e-5, atol=1e-6)


@needs_package
def test_only_linear_layers_of_the_text_model_are_quantised() -> None:
    """7 per block of a Llama; embeddings, norms and the head keep their type. A weight takes half a byte."""
    trunk = nf4_trunk()
    stored = quantised_layers(trunk.model)
    assert len(stored) == 14
    assert not any("lm_head" in name for name in stored)
    for name in stored:
        base = trunk.model.get_submodule(name).base_layer
        assert base.weight.nbytes == base.in_features * base.out_features // 2
        assert not base.weight.requires_grad
    assert trunk.model.get_output_embeddings().weight.dtype == torch.float32
    assert {p.dtype for _, p in trunk.parameters_of("policy")} == {torch.float32}


@needs_package
def test_warning_says_what_quantisation_saves(caplog: pytest.LogCaptureFixture) -> None:
    """8 layers of 512 · 512 · 4 bytes are 8 MiB and take 8 · 512 · 512 / 2 bytes, 1 MiB. The embedding takes 1 MiB."""
    tokenizer = build_tokenizer([" ".join(f"word{number}" for number in range(508))], context=8)
    model = build_model(tokenizer, num_layers=1, hidden_size=512, num_heads=1, context=8, seed=0)
    model.model.layers[0].mlp = nn.Sequential(*(nn.Linear(512, 512, bias=False) for _ in range(4)))
    model.lm_head.weight = model.model.embed_tokens.weight
    with caplog.at_level(logging.WARNING):
        quantise_base(model)
        quantise_base(model)
    assert [record.getMessage() for record in caplog.records] == [
        "LlamaForCausalLM: 8 linear layers in NF4, 2 MiB instead of 9"
    ]


@needs_package
def test_layers_without_an_adapter_are_quantised_too() -> None:
    trunk = nf4_trunk(lora=LORA.model_copy(update={"target_modules": ("q_proj",)}))
    assert trunk.targets["policy"].modules == tuple(f"model.layers.{i}.self_attn.q_proj" for i in range(2))
    assert len(quantised_layers(trunk.model)) == 14


@needs_package
def test_later_adapter_with_other_targets_finds_the_quantised_layers() -> None:
    trunk = nf4_trunk(roles=("policy",))
    trunk.add_role("reward", lora=LORA.model_copy(update={"target_modules": ("up_proj", "o_proj")}))
    expected = {f"model.layers.{i}.{name}" for i in range(2) for name in ("mlp.up_proj", "self_attn.o_proj")}
    assert set(trunk.targets["reward"].modules) == expected


@needs_package
@pytest.mark.parametrize("compute", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("kind", ["llama", "opt", "gpt_neox", "t5"])
def test_passes_are_those_of_the_dequantised_base(kind: str, compute: str) -> None:
    """A trunk on the plain weights that NF4 stands for computes the same bits, gradients included.

    Layers of opt have biases. T5 reads the type of a weight and converts its states to it.
    """
    plain_model, stored = (tiny_t5() if kind == "t5" else tiny_model(kind) for _ in range(2))
    plain_model.load_state_dict(stored.state_dict())
    dtype = getattr(torch, compute)
    quantise_base(plain_model.to(dtype))
    dequantise(plain_model)
    tokenizer = SimpleNamespace(pad_token_id=0)
    as_loaded = LORA.model_copy(update={"base": "as_loaded"})
    trunks = [
        Trunk(model, tokenizer, lora=lora, roles=("policy", "value"), seed=1, compute=compute)
        for model, lora in ((stored.to(dtype), LORA), (plain_model, as_loaded))
    ]
    gradients = []
    for trunk in trunks:
        move(trunk)
        output = trunk(trunk.collate(ROWS), ("policy", "value"), exact_kl=True)
        (output["policy"].logps.sum() + output["value"].values.sum()).backward()
        gradients.append({name: p.grad for role in ("policy", "value") for name, p in trunk.parameters_of(role)})
        gradients[-1]["logps"], gradients[-1]["kl"] = output["policy"].logps, output["policy"].kl
    assert gradients[0]["kl"].abs().max() > 0.001, "the reference is the base with adapters off"
    for name, expected in gradients[1].items():
        torch.testing.assert_close(gradients[0][name], expected, rtol=0, atol=0, msg=name)


def move(trunk: Trunk) -> None:
    """Give every adapter and head weights that act, the same in every trunk.

    peft draws them in the base's type, so they differ by rounding between a base in half precision and one in 4 bits.
    """
    for role in ("policy", "value"):
        for number, (_, parameter) in enumerate(trunk.parameters_of(role)):
            generator = torch.Generator().manual_seed(number)
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)


@needs_package
@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
def test_fresh_adapters_start_at_the_quantised_reference(compute: str) -> None:
    trunk = nf4_trunk(compute=compute)
    output = trunk(trunk.collate(ROWS), ("policy",), exact_kl=True)
    assert (output["policy"].kl == 0).all()


@needs_package
def test_nothing_of_the_size_of_a_weight_is_kept_for_the_backward_pass() -> None:
    """Of a layer 64 → 64 with a single row, float32 activations take 256 bytes and a dequantised weight 16,384."""
    torch.manual_seed(0)
    model = tiny_model("llama", hidden_size=64, intermediate_size=64)
    model.to(torch.bfloat16)
    trunk = Trunk(model, SimpleNamespace(pad_token_id=0), lora=LORA, roles=("policy",), seed=1, compute="bfloat16")
    sizes: list[tuple[int, ...]] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        sizes.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        trunk(trunk.collate(ROWS[1:]), ("policy",))
    assert sizes
    assert (64, 64) not in sizes


@needs_package
def test_merged_model_is_the_trained_one_and_not_the_base_before_quantisation() -> None:
    """W is the level times the scale. Merged into the base before quantisation the same adapter gives other weights."""
    trunk = nf4_trunk(roles=("policy",))
    name = "model.layers.0.mlp.up_proj"
    layer = trunk.model.get_submodule(name)
    for part, value in ((layer.lora_A, 1.0), (layer.lora_B, 0.5)):
        nn.init.constant_(part["policy"].weight, value)
    merged = merged_language_model(trunk, "policy")
    weight = merged.get_submodule(name).weight
    # rank 2 of ones and halves: B A = 2 · 1 · 0.5 = 1, times alpha / rank = 2
    torch.testing.assert_close(weight, plain_weight(layer.base_layer) + 2.0)
    torch.manual_seed(0)
    original = tiny_model("llama").get_submodule(name).weight
    assert (weight - (original + 2.0)).abs().max() > 0.01
    assert not quantised_layers(merged)
    assert {type(module.weight) for module in named_linear(merged).values()} == {nn.Parameter}, "no 4-bit weight"
    assert quantised_layers(trunk.model), "the trunk itself stays quantised"


@needs_package
def test_model_without_linear_layers_is_refused() -> None:
    """GPT-2's layers are of transformers' class Conv1D."""
    with pytest.raises(PreflabError, match="no linear layer that can be quantised"):
        nf4_trunk("gpt2")


@needs_package
@pytest.mark.parametrize(
    ("before", "call"),
    [
        ("from preflab.models.bitsandbytes_import import import_bitsandbytes", "import_bitsandbytes('a test')"),
        ("import torch; from preflab.models.linear_layers import bare_modules", "[*bare_modules(torch.nn.ReLU())]"),
    ],
)
def test_import_asks_no_other_package_for_downloads(before: str, call: str) -> None:
    """bitsandbytes asks `kernels` for a kernel from the Hub when it is imported on some CPUs; peft imports it too."""
    code = f"""
import sys, types
{before}
other = types.ModuleType("kernels")
def get_kernel(*words, **named):
    sys.exit(3)
other.get_kernel = get_kernel
sys.modules["kernels"] = other
{call}
assert "bitsandbytes" in sys.modules
assert sys.modules["kernels"] is other
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_trunk_without_the_package_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bitsandbytes_import, "is_installed", lambda: False)
    with pytest.raises(PreflabError, match="lora.base: nf4 needs the package bitsandbytes"):
        nf4_trunk()


@pytest.mark.parametrize(
    "config", [{"quant_method": "bitsandbytes", "load_in_4bit": True}, {"quant_method": "gptq", "bits": 4}]
)
def test_quantised_checkpoints_are_refused_by_name(config: dict[str, Any], tmp_path: Path) -> None:
    tokenizer = build_tokenizer(["one two"], context=8)
    build_model(tokenizer, num_layers=1, hidden_size=32, num_heads=1, context=8, seed=0).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization_config": config}))
    for opened in (load_tokenizer, lambda ref: load_causal_lm(ref, dtype="float32")):
        with pytest.raises(PreflabError, match=f"quantised \\({config['quant_method']}\\)") as refused:
            opened(tmp_path)
        assert "base: nf4" in refused.value.do


def test_default_storage_leaves_keys_of_older_stages_as_they_were() -> None:
    def lora_of(**changes: Any) -> dict[str, Any]:
        settings = SftSettings(model="-", data="-", lora=LoraSettings(**changes))
        content = key_content(settings)
        assert "states" not in content["optimiser"]
        lora: dict[str, Any] = content["lora"]
        return lora

    assert "base" not in lora_of()
    assert lora_of(base="nf4")["base"] == "nf4"
