"""Half precision: the same zeros as in float32, gradients near float32's, float32 where something learns."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import BertConfig, BertModel

from architectures import build
from preflab.errors import PreflabError
from preflab.models.adapters import adapter_parameters
from preflab.models.facts import weights_hash
from preflab.models.loading import load_causal_lm
from preflab.models.merge import merged_language_model
from preflab.models.precision import autocast, computing_dtype, round_frozen, weights_dtype
from preflab.models.role_files import load_role, save_role
from preflab.models.trunk import Role, Trunk
from preflab.models.weights_id import base_hash
from preflab.rewards.score import load_reward_model, reward_scores, save_reward_model
from preflab.sampling.engine import TransformersEngine
from preflab.settings.learning import LoraSettings
from preflab.settings.sampling import DecodingSettings
from preflab.training.batches import TokenBatch, TokenSequence
from preflab.training.joined_rows import join_rows
from preflab.training.protocols import SampleRequest
from preflab.training.shared_prompts import share_rows
from tiny_models import LIKE_LLAMA, SIZES, tiny_model
from tiny_worlds import tiny_llama, tiny_trunk
from trunk_roles import learning_roles

LORA = LoraSettings(rank=2, alpha=4)
ALL: tuple[Role, ...] = ("policy", "reference", "value")
HALF = ["bfloat16", "float16"]
KINDS = sorted({*SIZES, *LIKE_LLAMA})


def batch() -> TokenBatch:
    """Three rows of differing prompts and completions."""
    rows = [
        TokenSequence((3, 1, 5), (20, 10, 41, 7)),
        TokenSequence((3,), (1, 60)),
        TokenSequence((3, 22, 12), (0, 1, 9)),
    ]
    return join_rows(rows, 0)


def made(kind: str, precision: str, lora: LoraSettings | None, roles: tuple[Role, ...] = ALL) -> Trunk:
    """The same random model in a precision, as a stage would load it."""
    torch.manual_seed(0)
    model = tiny_model(kind).to(weights_dtype(precision, learns=lora is None))
    tokenizer = SimpleNamespace(pad_token_id=0)
    return Trunk(model, tokenizer, lora=lora, roles=roles, seed=1, zero_value=False, compute=precision)


def gradient(trunk: Trunk) -> Tensor:
    """All that learns, flat."""
    learning = [p for role in learning_roles(trunk) for _, p in trunk.parameters_of(role)]
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in learning])


def learned_from(trunk: Trunk, *, checkpointing: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities (N,), exact KL (N,) and the gradient of log-probabilities and values."""
    if checkpointing:
        trunk.enable_gradient_checkpointing()
    rows = batch()
    said = trunk(rows, ALL, exact_kl=True, entropy=True)
    (said["policy"].logps.sum() + said["value"].values.sum()).backward()
    mask = rows.completion_mask
    return said["policy"].logps[mask].detach(), said["policy"].kl[mask].detach(), gradient(trunk)


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_starts_at_the_reference_and_learns_as_float32(kind: str, lora: LoraSettings | None) -> None:
    exact_logps, _, exact = learned_from(made(kind, "float32", lora))
    for precision, least, nats in (("bfloat16", 0.99, 0.2), ("float16", 0.999, 0.02)):
        logps, kl, found = learned_from(made(kind, precision, lora))
        assert (kl == 0).all(), "policy and reference are one computation, to the last bit"
        assert torch.nn.functional.cosine_similarity(found, exact, dim=0) > least
        assert (logps - exact_logps).abs().max() < nats
        assert found.dtype == torch.float32


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("precision", HALF)
def test_what_learns_is_float32_and_the_rest_is_not(precision: str, lora: LoraSettings | None) -> None:
    trunk = made("llama", precision, lora)
    half = weights_dtype(precision, learns=False)
    learning = {name for role in learning_roles(trunk) for name, _ in trunk.parameters_of(role)}
    assert learning
    for name, parameter in trunk.named_parameters():
        if name in learning:
            assert parameter.dtype == torch.float32, name
        elif ".weight" in name and "norm" not in name and "embed" not in name:
            assert parameter.dtype == half, name
    assert trunk.in_half_precision
    assert not made("llama", "float32", lora).in_half_precision


@pytest.mark.parametrize("name", ["mamba2", "falcon_mamba", "longt5, global"])
def test_adapters_on_half_precision_bases_of_other_kinds(name: str) -> None:
    """Mamba's last states are float32 on any base, and a layer of LongT5 gets no row of a short text."""
    numbers = []
    for precision in ("float32", "bfloat16"):
        model = build(name).to(weights_dtype(precision, learns=False))
        trunk = Trunk(model, SimpleNamespace(pad_token_id=0), lora=LORA, roles=("policy",), compute=precision)
        rows = trunk.collate([TokenSequence((3, 1, 5), (20, 10, 41, 7)), TokenSequence((3,), (1, 60))])
        logps = trunk(rows, ("policy",))["policy"].logps
        logps.sum().backward()
        numbers.append(logps[rows.completion_mask].detach())
        assert gradient(trunk).isfinite().all()
    assert (numbers[1] - numbers[0]).abs().max() < 0.2, "nats, as for the kinds above"


@pytest.mark.parametrize("name", ["dbrx", "deberta"])
def test_layers_that_autocast_does_not_support_are_refused(name: str) -> None:
    """Their weights in bfloat16 compute; float32 weights under autocast do not."""
    facts: Any = {"roles": ("reward",), "compute": "bfloat16"}
    with pytest.raises(PreflabError, match="with float32 weights cannot compute in bfloat16") as refused:
        Trunk(build(name), SimpleNamespace(pad_token_id=0), lora=None, **facts)
    assert refused.value.do == ("set device.precision to float32, or learn adapters (lora), whose base is in bfloat16")
    Trunk(build(name).bfloat16(), SimpleNamespace(pad_token_id=0), lora=LORA, **facts)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_frozen_weights_in_half_give_the_numbers_of_autocast(kind: str, tied: bool) -> None:
    torch.manual_seed(0)
    model, ids = tiny_model(kind, tie_word_embeddings=tied), batch().input_ids
    with torch.no_grad(), autocast(torch.bfloat16, model.device):
        expected = model(input_ids=ids).logits
        before = sum(p.nbytes for p in model.parameters())
        round_frozen(model, torch.bfloat16)
        assert torch.equal(model(input_ids=ids).logits, expected)
    assert sum(p.nbytes for p in model.parameters()) < before
    assert model.get_input_embeddings().weight.dtype == torch.float32
    assert model.get_output_embeddings().weight.dtype == (torch.float32 if tied else torch.bfloat16)


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_gradient_checkpointing_recomputes_in_the_same_precision(lora: LoraSettings | None) -> None:
    plain, checkpointed = (
        learned_from(made("llama", "bfloat16", lora), checkpointing=checkpointing) for checkpointing in (False, True)
    )
    for one, other in zip(plain, checkpointed, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_chunked_and_plain_paths_agree_in_bfloat16(lora: LoraSettings | None) -> None:
    """The model's own logits are rounded to bfloat16, those in chunks are not: at most half of the last bit each."""
    found = []
    for reason in (None, "to compare"):
        trunk = made("llama", "bfloat16", lora)
        trunk.plain_because = reason
        found.append(learned_from(trunk))
    assert (found[0][0] - found[1][0]).abs().max() < 2**-7 * 8  # logits below 8
    assert torch.nn.functional.cosine_similarity(found[0][2], found[1][2], dim=0) > 0.999


def test_rows_of_shared_prompts_agree_in_bfloat16() -> None:
    rows = [TokenSequence((3, 1, 5), (20, 10)), TokenSequence((3, 1, 5), (7, 9, 11)), TokenSequence((3,), (1, 60))]
    for lora in (None, LORA):
        trunk = made("llama", "bfloat16", lora, ("policy",))
        with torch.no_grad():
            apart, shared = (
                trunk(b, ("policy",))["policy"].logps for b in (join_rows(rows, 0), share_rows(rows, 0, 9))
            )
        assert torch.isfinite(shared).all()
        assert (apart - shared).abs().max() < 0.1


@pytest.mark.parametrize("pooling", ["last", "mean", "first"])
def test_encoder_scores_near_float32(pooling: Any) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    scores = []
    for precision in ("float32", "bfloat16"):
        torch.manual_seed(0)
        encoder = BertModel(BertConfig(vocab_size=97, initializer_range=0.3, **sizes)).eval()
        trunk = Trunk(
            encoder, SimpleNamespace(pad_token_id=0), lora=None, roles=("reward",), pooling=pooling, compute=precision
        )
        scores.append(trunk(batch(), ("reward",))["reward"].rewards)
        scores[-1].sum().backward()
        assert scores[-1].dtype == torch.float32
    assert torch.allclose(scores[0], scores[1], atol=0.05)
    assert not torch.equal(scores[0], scores[1])


class _Rounded(TorchDispatchMode):
    """Counts how often a tensor of a shape is cast."""

    def __init__(self, shape: torch.Size) -> None:
        super().__init__()
        self.shape, self.times = shape, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._to_copy.default and args[0].shape == self.shape:
            self.times += 1
        return func(*args, **(kwargs or {}))


def engine(trunk: Trunk) -> TransformersEngine:
    """Samples from the policy and would keep its states."""
    role = functools.partial(trunk.role, "policy")
    return TransformersEngine(trunk.language_model("policy"), pad_id=0, stop_token_ids=(), role=role, keep_states=True)


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_sampler_in_half_precision_is_near_the_trainer_and_does_not_stand_for_it(lora: LoraSettings | None) -> None:
    requests = [SampleRequest((3, 1, 5)[: 2 + seed % 2], seed) for seed in range(16)]
    for precision, mean in (("float32", 1e-5), ("bfloat16", 0.03)):
        trunk = made("llama", precision, lora)
        sampler = engine(trunk)
        sampled = sampler.sample(requests, DecodingSettings(max_new_tokens=20))
        assert sampler.exact == (precision == "float32")
        assert all((one.states is not None) == (precision == "float32") for one in sampled)
        assert sampler._pass is not None
        assert sampler._pass.pads, "the cache is used: models are compared in the type of their weights"
        rows = join_rows(
            [TokenSequence(r.prompt_ids, one.token_ids) for r, one in zip(requests, sampled, strict=True)], 0
        )
        with torch.no_grad():
            logps = trunk(rows, ("policy",))["policy"].logps
        difference = (logps - torch.tensor([one.logps for one in sampled])).abs()
        assert difference.mean() < mean
        assert computing_dtype(trunk.language_model("policy")) == (
            torch.bfloat16 if precision != "float32" and lora else torch.float32
        )


def test_a_learning_weight_is_rounded_once_for_all_tokens_of_a_call() -> None:
    trunk = made("llama", "bfloat16", None)
    sampler, weight = engine(trunk), trunk.language_model("policy").model.layers[0].mlp.up_proj.weight
    sampler.sample([SampleRequest((3,), 0)], DecodingSettings(max_new_tokens=2))
    with _Rounded(weight.shape) as counted:
        sampler.sample([SampleRequest((3,), 0)], DecodingSettings(max_new_tokens=12))
    per_layer = sum(p.shape == weight.shape for p in trunk.language_model("policy").parameters())
    assert counted.times == per_layer
    # What is kept for a call does not outlive it: the next one writes with the weights as they are then.
    before = sampler.sample([SampleRequest((3,), 0)], DecodingSettings(max_new_tokens=12))
    with torch.no_grad():
        weight.add_(1.0)
    after = sampler.sample([SampleRequest((3,), 0)], DecodingSettings(max_new_tokens=12))
    assert before[0].logps != after[0].logps


def test_adapter_smaller_than_the_bases_rounding_is_merged_in_float32() -> None:
    """B A of 1e-6 on bfloat16 weights near 1: W + 2 · B A to the last bit of float32, and nothing in bfloat16."""
    trunk = made("llama", "bfloat16", LORA, ("policy",))
    layer = trunk.language_model("policy").model.layers[0].mlp.up_proj
    with torch.no_grad():
        for name, parameter in adapter_parameters(trunk.model, "policy").items():
            parameter.fill_(1e-3 if "lora_A" in name else 5e-4)
        layer.base_layer.weight.fill_(1.0)
    merged = merged_language_model(trunk, "policy")
    weight = merged.model.layers[0].mlp.up_proj.weight
    # rank 2, alpha 4: 4/2 · (5e-4 · 1e-3 + 5e-4 · 1e-3) = 2e-6
    assert torch.allclose(weight, torch.tensor(1.0 + 2e-6), atol=1e-7, rtol=0)
    assert (weight.bfloat16() == 1).all()
    assert {p.dtype for p in merged.parameters()} == {torch.float32}
    assert layer.base_layer.weight.dtype == torch.bfloat16, "the trunk's own base is as it was"


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_saved_role_is_float32_and_comes_back_bit_for_bit(lora: LoraSettings | None, tmp_path: Path) -> None:
    trunk = tiny_trunk(("policy", "value"), lora=lora, precision="bfloat16")
    with torch.no_grad():
        for role in ("policy", "value"):
            for _, parameter in trunk.parameters_of(role):
                parameter.add_(1e-5)  # less than bfloat16 can say of most of them
            save_role(trunk, role, tmp_path / role)
    fresh = tiny_trunk(("policy", "value"), lora=lora, precision="bfloat16")
    for role in ("policy", "value"):
        load_role(fresh, role, tmp_path / role)
        for (_, one), (_, other) in zip(trunk.parameters_of(role), fresh.parameters_of(role), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_loaded_reward_model_scores_as_when_it_was_trained(lora: LoraSettings | None, tmp_path: Path) -> None:
    from preflab.models.tiny import build_model, build_tokenizer
    from preflab.rewards.rankings import Encoder

    tokenizer = build_tokenizer(["one two three four five six"], context=24)
    model = build_model(tokenizer, num_layers=2, hidden_size=16, num_heads=2, context=24, seed=0)
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    model = load_causal_lm(tmp_path / "base", dtype=weights_dtype("bfloat16", learns=lora is None))
    trunk = Trunk(model, tokenizer, lora=lora, roles=("reward",), compute="bfloat16")
    with torch.no_grad():
        for number, (_, p) in enumerate(trunk.parameters_of("reward")):
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(number)))
    place = tmp_path / "base"
    encoder = Encoder(tokenizer, True, 24)
    save_reward_model(trunk, tmp_path / "reward", base="../base", weights_hash=base_hash(place, model), encoder=encoder)
    rows = [TokenSequence((1, 5), (6, 7, 8)), TokenSequence((1, 5), (7,))]
    expected = reward_scores(trunk, rows, 100)
    loaded, _ = load_reward_model(tmp_path / "reward", dtype="bfloat16")
    assert torch.allclose(reward_scores(loaded, rows, 100), expected, atol=0 if lora else 0.02)


def test_hash_of_a_base_is_the_same_in_every_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder's is the folder's. What comes from the Hub has none: there it is that of the weights in float32."""
    model = tiny_llama(8)
    model.save_pretrained(tmp_path / "base")
    place = tmp_path / "base"
    found = {base_hash(place, load_causal_lm(place, dtype=dtype)) for dtype in ("float32", "bfloat16", "float16")}
    assert found == {weights_hash(place)}

    loads = []
    kind, read = type(model), type(model).from_pretrained

    def from_hub(name: str, **given: Any) -> Any:
        assert name == "somebody/model"
        loads.append(given["dtype"])
        return read(place, **given)

    monkeypatch.setattr(kind, "from_pretrained", from_hub)
    loaded = {dtype: read(place, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)}
    assert {base_hash("somebody/model", one) for one in loaded.values()} == found
    assert loads == [torch.float32]


def test_merged_model_says_float32_in_its_configuration(tmp_path: Path) -> None:
    merged_language_model(made("llama", "bfloat16", LORA, ("policy",)), "policy").save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "float32"
    assert load_causal_lm(tmp_path, dtype="float32").dtype == torch.float32
