"""Encoder–decoders in the trunk and the sampler: whatever shares a batch, numbers are those of the model alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor
from transformers import AutoModelForSeq2SeqLM

from preflab.models import cross_attention
from preflab.models.cross_attention import NAMES, PromptGroups, grouped_attention, holds_once, places_in_groups
from preflab.models.encoded_prompts import MOST_BYTES, KeptStates, encode
from preflab.models.kinds import family_of
from preflab.models.language_model import open_language_model
from preflab.models.logit_path import why_not_chunked
from preflab.models.trunk import Trunk
from preflab.sampling.encoder_decoder_pass import EncoderDecoderPass
from preflab.sampling.engine import TransformersEngine
from preflab.sampling.pass_choice import fitting_pass
from preflab.settings.learning import LoraSettings
from preflab.settings.sampling import DecodingSettings
from preflab.training.batches import TokenSequence
from preflab.training.protocols import SampleRequest
from preflab.training.separate_prompts import separate_prompts
from tiny_encoder_decoders import MODELS, save_encoder_decoder, tiny_bart, tiny_mbart, tiny_t5

ROWS = [
    TokenSequence((5, 6, 7, 1), (4, 3)),
    TokenSequence((9, 1), (6, 7, 4, 3, 0)),
    TokenSequence((5, 6, 7, 1), (8, 9, 10)),
    TokenSequence((5, 6, 7, 1), (8,)),
    TokenSequence((9, 1), (6,)),
]
TOKENIZER = SimpleNamespace(pad_token_id=0)
STARTS = {"t5 1.0": (0,), "t5 1.1": (0,), "bart": (1,), "mbart": (1, 3), "marian": (0,), "t5gemma": (2,)}
"""What each decoder starts with: 0 is the padding token, 1 the end token, 2 BOS, 3 a language code."""
by_model = pytest.mark.parametrize("name", MODELS)


def trunk_of(model: Any, where: str = "all", roles: tuple[Any, ...] = ("policy", "value")) -> Trunk:
    """A trunk with adapters whose B is not zero."""
    trunk = Trunk(model, TOKENIZER, lora=LoraSettings(rank=2, where=where), roles=roles)
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in trunk.named_parameters():
            if ".lora_B." in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=random))
    return trunk


def alone(model: Any, row: TokenSequence) -> Tensor:
    """(T,) log-probabilities from transformers' own forward pass over one row."""
    start = family_of(model).start
    written = torch.tensor([[*start, *row.completion_ids]])
    output = model(
        input_ids=torch.tensor([row.prompt_ids]),
        decoder_input_ids=written,
        decoder_attention_mask=torch.ones_like(written),
    )
    logps = output.logits[0, len(start) - 1 : -1].log_softmax(-1)
    return logps[range(len(row.completion_ids)), row.completion_ids]


@by_model
def test_decoders_of_these_tests_start_with_one_token_or_two(name: str) -> None:
    assert family_of(MODELS[name]()).start == STARTS[name]


@by_model
def test_log_probabilities_in_a_batch_are_those_of_the_model_alone(name: str) -> None:
    trunk = trunk_of(MODELS[name]())
    with torch.no_grad():
        logps = trunk(trunk.collate(ROWS), ("policy",))["policy"].logps
        with trunk.role("policy"):
            expected = [alone(trunk.model, row) for row in ROWS]
    assert (trunk.plain_because is None) == (name != "t5gemma")
    for row, wanted in zip(logps, expected, strict=True):
        assert torch.allclose(row[: len(wanted)], wanted, rtol=1e-6, atol=1e-6)
        assert not row[len(wanted) :].any()


@by_model
def test_gradients_in_a_batch_are_the_sum_of_those_of_single_rows(name: str) -> None:
    trunk = trunk_of(MODELS[name]())
    parameters = [parameter for role in ("policy", "value") for _, parameter in trunk.parameters_of(role)]

    def gradients(rows: list[TokenSequence]) -> Tensor:
        out = trunk(trunk.collate(rows), ("policy", "value"))
        loss = out["policy"].logps.sum() + out["value"].values.sum() + out["value"].last_values.sum()
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])

    whole, parts = gradients(ROWS), sum(gradients([row]) for row in ROWS)
    assert (whole - parts).abs().max() <= 1e-5 * whole.abs().max()


@by_model
def test_copies_of_states_give_the_numbers_of_shared_cross_attention(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trunk = trunk_of(MODELS[name]())
    assert holds_once(trunk.model)
    assert trunk.model.config._attn_implementation in NAMES.values()
    with torch.no_grad():
        shared = trunk._hidden(trunk.collate(ROWS), "policy")
        monkeypatch.setattr(cross_attention, "holds_once", lambda model: False)
        copied = trunk._hidden(trunk.collate(ROWS), "policy")
    mask = trunk.collate(ROWS).state_mask
    assert torch.allclose(shared[mask], copied[mask], atol=1e-5)


@pytest.mark.parametrize("make", [tiny_t5, tiny_bart])
def test_padding_of_the_encoder_does_not_matter(make: Any) -> None:
    model = make()
    ids = torch.tensor([[5, 6, 7, 1]])
    wide = torch.cat([ids, torch.full((1, 3), 9)], 1)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0, 0]])
    written = torch.tensor([[0, 4, 3]])
    with torch.no_grad():
        plain = model(input_ids=ids, decoder_input_ids=written).logits
        padded = model(input_ids=wide, attention_mask=mask, decoder_input_ids=written).logits
        kept = encode(model, wide, mask)[:, :4]
        assert torch.allclose(kept, encode(model, ids, torch.ones_like(ids)), atol=1e-5)
    assert torch.allclose(plain, padded, atol=1e-5)


@pytest.mark.parametrize(("where", "expected"), [("decoder", 2), ("all", 6)])
def test_encoder_reads_each_prompt_once_per_adapter_state_that_reaches_it(where: str, expected: int) -> None:
    """Two distinct prompts: once with adapters on the decoder alone, else for policy, value and reference each."""
    trunk = trunk_of(tiny_t5(), where)
    holds_once(trunk.model)
    num = 0

    def add(module: Any, inputs: Any, output: Any) -> None:
        nonlocal num
        num += len(output.last_hidden_state)

    trunk.model.get_encoder().register_forward_hook(add)
    out = trunk(trunk.collate(ROWS), ("policy", "value", "reference"), exact_kl=True)
    (out["policy"].logps.sum() + out["value"].values.sum()).backward()
    assert num == expected
    trunk(trunk.collate(ROWS[:2]), ("reference",))
    assert num == expected, "the reference's encoder is frozen in both cases"


@pytest.mark.parametrize("where", ["decoder", "all"])
def test_sampler_and_trainer_share_the_states_of_a_frozen_encoder(where: str) -> None:
    trunk, requests = trunk_of(tiny_t5(), where), [SampleRequest((5, 6, 7, 1), seed) for seed in range(4)]
    engine = engine_of(trunk)
    num = 0

    def add(module: Any, inputs: Any, output: Any) -> None:
        nonlocal num
        num += len(output.last_hidden_state)

    engine.sample([SampleRequest((8, 1), 0)], DecodingSettings(max_new_tokens=1))  # chooses the way of decoding
    trunk.model.get_encoder().register_forward_hook(add)
    sampled = engine.sample(requests, DecodingSettings(max_new_tokens=4))
    rows = [TokenSequence(r.prompt_ids, s.token_ids) for r, s in zip(requests, sampled, strict=True)]
    trunk(trunk.collate(rows), ("policy",))["policy"].logps.sum().backward()
    assert num == (1 if where == "decoder" else 2)


def test_kept_states_are_dropped_when_the_encoder_changes() -> None:
    model = tiny_t5().requires_grad_(False)
    ids = torch.tensor([[5, 6, 1]])
    before = encode(model, ids, torch.ones_like(ids))
    assert torch.equal(encode(model, ids, torch.ones_like(ids)), before)
    with torch.no_grad():
        model.encoder.block[0].layer[0].SelfAttention.v.weight.mul_(2.0)
    after = encode(model, ids, torch.ones_like(ids))
    assert not torch.allclose(after, before)
    assert torch.equal(after, model.encoder(input_ids=ids).last_hidden_state)


def average_through_data(model: Any) -> None:
    """What moving averages of weights do; autograd's version of the weight stays the same."""
    model.encoder.block[0].layer[0].SelfAttention.v.weight.data.mul_(0.9).add_(0.1)


def merge_in_place(model: Any) -> None:
    """Add an adapter, merge it with peft, and take its layers away."""
    layer = model.encoder.block[1].layer[0].SelfAttention
    inject_adapter_in_model(LoraConfig(target_modules=["v"], r=2, init_lora_weights=False), model)
    model.requires_grad_(False)
    layer.v.merge()
    for block in [*model.encoder.block, *model.decoder.block]:
        for attention in (part for part in block.modules() if isinstance(getattr(part, "v", None), LoraLayer)):
            attention.v = attention.v.get_base_layer()


@pytest.mark.parametrize("change", [average_through_data, merge_in_place])
def test_kept_states_are_dropped_when_weights_change_unseen_by_autograd(change: Any) -> None:
    model = tiny_t5().requires_grad_(False)
    ids = torch.tensor([[5, 6, 1]])
    before = encode(model, ids, torch.ones_like(ids))
    change(model)
    after = encode(model, ids, torch.ones_like(ids))
    assert not torch.allclose(after, before)
    assert torch.equal(after, model.encoder(input_ids=ids).last_hidden_state)


def test_kept_states_stay_within_their_bytes() -> None:
    kept = KeptStates()
    kept.start(("weights",))
    size = MOST_BYTES // 4 // 3 + 1  # floats: three of them are one byte too many
    for prompt in ((1,), (2,), (3,)):
        kept.keep(prompt, torch.empty(size))
    assert list(kept.states) == [(2,), (3,)]
    assert kept.num_bytes == 2 * 4 * size
    kept.start(("other weights",))
    assert not kept.states
    assert kept.num_bytes == 0


def test_an_encoder_in_training_is_read_again_and_gets_gradients() -> None:
    model = tiny_t5()
    ids = torch.tensor([[5, 6, 1]])
    encode(model, ids, torch.ones_like(ids)).sum().backward()
    assert model.encoder.block[0].layer[0].SelfAttention.v.weight.grad is not None


def engine_of(trunk: Trunk) -> TransformersEngine:
    """The sampler of a trunk's policy."""
    return TransformersEngine(
        trunk.language_model("policy"), pad_id=0, stop_token_ids=(1,), role=lambda: trunk.role("policy"),
        keep_states=True,
    )  # fmt: skip


@by_model
def test_samples_do_not_depend_on_the_batch_and_have_the_trainers_log_probabilities(name: str) -> None:
    trunk = trunk_of(MODELS[name]())
    engine, decoding = engine_of(trunk), DecodingSettings(max_new_tokens=12)
    prompts = [(5, 6, 7, 1), (9, 1), (5, 6, 7, 1), (11, 12, 13, 14, 15, 1)]
    requests = [SampleRequest(prompt, 10 * seed + n) for seed in range(6) for n, prompt in enumerate(prompts)]
    together = engine.sample(requests, decoding)
    assert engine.decode_path == "cache, cross-attention once per prompt"
    assert [engine.sample([r], decoding)[0].token_ids for r in requests] == [s.token_ids for s in together]
    assert len({len(s.token_ids) for s in together}) > 1, "rows should retire at different steps"
    rows = [TokenSequence(r.prompt_ids, s.token_ids) for r, s in zip(requests, together, strict=True)]
    batch = trunk.collate(rows)
    with torch.no_grad():
        logps = trunk(batch, ("policy",))["policy"].logps
    sampled = torch.zeros_like(logps)
    for row, sample in zip(sampled, together, strict=True):
        row[: len(sample.logps)] = torch.tensor(sample.logps)
    assert torch.allclose(logps, sampled, atol=1e-5)


@by_model
def test_states_of_the_sampler_are_what_the_head_reads(name: str) -> None:
    trunk = trunk_of(MODELS[name]())
    requests = [SampleRequest((5, 6, 7, 1), seed) for seed in range(3)]
    sampled = engine_of(trunk).sample(requests, DecodingSettings(max_new_tokens=5))
    rows = [TokenSequence(r.prompt_ids, s.token_ids) for r, s in zip(requests, sampled, strict=True)]
    states = torch.cat([s.states for s in sampled])
    batch = trunk.collate(rows)
    with torch.no_grad():
        known = trunk(batch, ("policy",), policy_states=states)["policy"].logps
        computed = trunk(batch, ("policy",))["policy"].logps
    assert torch.allclose(known, computed, atol=1e-5)


@pytest.mark.parametrize("once", [True, False])
@pytest.mark.parametrize("make", [tiny_t5, tiny_mbart])
def test_finished_prompts_leave_the_cache(make: Any, once: bool) -> None:
    """Rows 0 and 1 answer prompt 0, rows 2 and 3 prompt 1; rows 2 and 3 take the places of 0 and 1."""
    model = make()
    way = EncoderDecoderPass(model, 0, once=once)
    with torch.no_grad():
        way.start([(5, 6, 1), (9, 8, 7, 1)], torch.tensor([0, 0, 1, 1]))
        assert len(way.read.layers[0].keys) == (2 if once else 4)
        way.step(torch.tensor([4, 4, 4, 5]))
        way.move_rows(torch.tensor([2, 3]), torch.tensor([0, 1]), 2)
        assert len(way.read.layers[0].keys) == (1 if once else 2)
        logits = way.step(torch.tensor([6, 6]))
        start = family_of(model).start
        written = torch.tensor([[*start, 4, 6], [*start, 5, 6]])
        expected = model(input_ids=torch.tensor([[9, 8, 7, 1]] * 2), decoder_input_ids=written).logits[:, -1]
    assert torch.allclose(logits, expected, atol=1e-5)


def test_a_model_whose_attention_cannot_be_replaced_keeps_one_copy_per_row() -> None:
    model = tiny_t5()
    model.config._attn_implementation = "something else"
    assert not holds_once(model)
    model.config._attn_implementation = "sdpa"
    assert fitting_pass(model, 0).name == "cache, cross-attention per completion"


def test_places_in_groups_count_the_rows_of_each_prompt() -> None:
    assert places_in_groups(torch.tensor([1, 0, 1, 1, 0])).tolist() == [0, 0, 1, 2, 1]


def test_grouped_attention_by_hand() -> None:
    """Two rows of one prompt whose two keys are ± the query: weights σ(±2·x) with a scale of 1."""

    def attend(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **inputs: Any) -> tuple[Tensor, None]:
        weights = (query @ key.transpose(-1, -2)).softmax(-1)
        return (weights @ value).transpose(1, 2), None

    query = torch.tensor([0.5, -1.0]).view(2, 1, 1, 1)  # (B, heads, T, d)
    key, value = torch.tensor([1.0, -1.0]).view(1, 1, 2, 1), torch.tensor([10.0, 0.0]).view(1, 1, 2, 1)
    output, _ = grouped_attention(
        attend, None, query, key, value, None, prompt_groups=PromptGroups.of(torch.tensor([0, 0]))
    )
    assert output.shape == (2, 1, 1, 1)
    assert output.flatten().tolist() == pytest.approx([10 / (1 + 2.718281828**-1), 10 / (1 + 2.718281828**2)])


def test_layout_of_separate_prompts() -> None:
    batch = separate_prompts([TokenSequence((5, 6), (7, 8)), TokenSequence((9,), ()), TokenSequence((5, 6), (4,))], 0,
                             (2, 3))  # fmt: skip
    assert batch.input_ids.tolist() == [[5, 6], [9, 0]]
    assert batch.attention_mask.tolist() == [[1, 1], [1, 0]]
    assert batch.prompt_rows.tolist() == [0, 1, 0]
    assert batch.decoder_input_ids.tolist() == [[2, 3, 7, 8], [2, 3, 0, 0], [2, 3, 4, 0]]
    assert batch.state_index[0].tolist() == [1, 2]
    assert batch.last_places[1].tolist() == [3, 1, 2]
    assert batch.state_mask.tolist() == [[True] * 4, [True, True, False, False], [True] * 3 + [False]]
    assert batch.token_rows.tolist() == [0, 0, 2]


def all_gradients(trunk: Trunk) -> Tensor:
    """Gradient of log-probabilities, KL and values with respect to both adapters, as one vector."""
    parameters = [parameter for role in ("policy", "value") for _, parameter in trunk.parameters_of(role)]
    out = trunk(trunk.collate(ROWS), ("policy", "value", "reference"), exact_kl=True)
    loss = out["policy"].logps.sum() + out["policy"].kl.sum() + out["value"].values.sum()
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])


@by_model
def test_recomputed_activations_give_the_same_gradients(name: str) -> None:
    """The prompts of the rows reach the recomputed blocks, too."""
    kept, recomputed = trunk_of(MODELS[name]()), trunk_of(MODELS[name]())
    recomputed.enable_gradient_checkpointing()
    expected = all_gradients(kept)
    assert (all_gradients(recomputed) - expected).abs().max() <= 1e-5 * expected.abs().max()


@by_model
def test_half_precision_stays_near_float32(name: str) -> None:
    with torch.no_grad():
        exact = Trunk(MODELS[name](), TOKENIZER, lora=LoraSettings(rank=2), roles=("policy",))
        half = Trunk(MODELS[name](), TOKENIZER, lora=LoraSettings(rank=2), roles=("policy",), compute="bfloat16")
        one, other = (trunk(trunk.collate(ROWS), ("policy",))["policy"].logps for trunk in (exact, half))
    assert (one - other).abs().max() < 0.05 * one.abs().max()


@pytest.mark.parametrize("name", ["t5 1.0", "t5 1.1", "bart"])
def test_heads_of_saved_checkpoints_are_exact(name: str, tmp_path: Path) -> None:
    """Scaled states with a tied head, an untied head, and a bias beside the head, each opened again from disk."""
    texts = ["where is my parcel ?", "the parcel is late ."] * 4
    folder = save_encoder_decoder(name, tmp_path / "model", texts)
    opened = open_language_model(folder, dtype="float32")
    tied = opened.model.get_output_embeddings().weight is opened.model.get_input_embeddings().weight
    assert tied == (name != "t5 1.1")
    assert why_not_chunked(opened.model) is None
    trunk = opened.trunk(("policy",))
    own = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    rows = [replace(row, completion_ids=tuple(token % 20 for token in row.completion_ids)) for row in ROWS]
    start = torch.tensor([family_of(opened.model).start])
    with torch.no_grad():
        logps = trunk(trunk.collate(rows), ("policy",))["policy"].logps
        for row, ours in zip(rows, logps, strict=True):
            written = torch.cat([start, torch.tensor([row.completion_ids])], 1)
            logits = own(input_ids=torch.tensor([row.prompt_ids]), decoder_input_ids=written).logits
            places = range(start.shape[1] - 1, written.shape[1] - 1)
            expected = logits[0].log_softmax(-1)[places, row.completion_ids]
            assert torch.allclose(ours[: len(expected)], expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@by_model
def test_weights_in_half_precision_keep_the_chunked_path(name: str, dtype: torch.dtype) -> None:
    """BART's bias is added to logits that are rounded already, which is no reason to compute full logits."""
    reason = why_not_chunked(MODELS[name]().to(dtype))
    assert (reason is None) == (name != "t5gemma"), reason
