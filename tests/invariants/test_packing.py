"""Sequences packed without padding: the same losses and gradients as padded rows, and no padding computed.

The trunk's own loops are run both ways. Models whose packed numbers differ keep their padding.
"""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from architecture_table import DECODERS, MIXTURES, RECURRENT, SEEING
from architecture_trials import tiers
from architectures import build
from preflab.errors import PreflabError
from preflab.models import varlen
from preflab.models.causality import why_not_causal
from preflab.models.trunk import Role, Trunk
from preflab.settings.learning import LoraSettings
from preflab.settings.recipe import DeviceSettings, PackingName
from preflab.training.batches import TokenBatch, TokenSequence
from preflab.training.shared_prompts import share_rows
from preflab.training.unpadded_rows import UnpaddedRows, join_unpadded
from tiny_encoder_decoders import tiny_t5
from tiny_models import tiny_model

CHOICES: tuple[PackingName, ...] = ("off", "on")
ROLES: tuple[Role, ...] = ("policy", "reference", "value", "reward")
LORA = LoraSettings(rank=2, alpha=4)
KINDS = ["llama", "qwen2", "qwen2, window", "mistral", "gemma3", "olmo3", "qwen3_moe", "deepseek_v3"]
"""Grouped keys, windows in all or some layers, norms of keys, experts, keys and values of two widths."""
PADDED = {
    "gemma2": "a soft cap on attention scores",
    "gpt_oss": "attention sinks",
    "inkling": "a bias added to attention scores",
    "llama4": "not told of its windows of 12 tokens",
    "stablelm": "do not pass on where sequences begin",
    "bloom": "change one another's numbers",
    "gptj": "change one another's numbers",
    "mamba": "change one another's numbers",
    "jamba": "change one another's numbers",
    "lfm2": "change one another's numbers",
    "roberta, decoder": "its numbers differ",
}
"""Architecture → part of the reason why its passes keep their padding."""


def sequences(num_tokens: int = 90) -> list[TokenSequence]:
    """Prompts and completions of differing lengths, one of them with a token that the policy did not write."""
    generator = torch.Generator().manual_seed(0)

    def ids(num: int) -> tuple[int, ...]:
        return tuple(torch.randint(5, num_tokens, (num,), generator=generator).tolist())

    return [
        TokenSequence(ids(4), ids(9)),
        TokenSequence(ids(1), ids(1)),
        TokenSequence(ids(2), ids(17)),
        TokenSequence(ids(7), ids(5), (True, True, False, True, True)),
        TokenSequence(ids(3), ids(2)),
    ]


def trunk_of(
    model: Any, packing: PackingName, lora: LoraSettings | None = LORA, roles: tuple[Role, ...] = ROLES, **changes: Any
) -> Trunk:
    """A trunk as if trained a little, equal for equal models."""
    trunk = Trunk(model, SimpleNamespace(pad_token_id=0), lora=lora, roles=roles, packing=packing, **changes)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for role in roles:
            for _, parameter in trunk.parameters_of(role):
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return trunk


def every_number(trunk: Trunk, batch: TokenBatch) -> tuple[Tensor, Tensor]:
    """What the losses of all roles are made of, and the gradient of a loss in which every number has its own weight."""
    trunk.zero_grad()
    said = trunk(batch, ROLES, entropy=True, exact_kl=True)
    mask = batch.completion_mask
    policy, value = said["policy"], said["value"]
    numbers = [policy.logps[mask], policy.entropy[mask], policy.kl[mask], said["reference"].logps[mask]]
    numbers += [value.values[mask], value.last_values, said["reward"].rewards]
    flat = torch.cat(numbers)
    (torch.linspace(-1, 1, len(flat)) * flat).sum().backward()
    gradients = [p.grad.flatten() for p in trunk.parameters() if p.grad is not None]
    return flat.detach(), torch.cat(gradients)


def relative(found: Tensor, expected: Tensor) -> float:
    """Largest difference as a share of the largest value."""
    return float((found - expected).abs().max() / expected.abs().max())


def ways() -> list[Any]:
    """Full and with adapters, with and without gradient checkpointing."""
    return [
        pytest.param(
            kind, lora, checkpointing, id=f"{kind}-{'lora' if lora else 'full'}{'-recomputed' * checkpointing}"
        )
        for kind in KINDS
        for lora in (None, LORA)
        for checkpointing in (False, True)
    ]


@pytest.mark.parametrize(("kind", "lora", "checkpointing"), ways())
def test_numbers_and_gradients_of_all_roles_equal_padded_ones(
    kind: str, lora: LoraSettings | None, checkpointing: bool
) -> None:
    results = []
    for packing in CHOICES:
        trunk = trunk_of(build(kind), packing, lora)
        if checkpointing:
            trunk.enable_gradient_checkpointing()
        batch = trunk.collate(sequences())
        assert isinstance(batch, UnpaddedRows) == (packing == "on")
        results.append(every_number(trunk, batch))
    (numbers, gradient), (packed_numbers, packed_gradient) = results
    assert relative(packed_numbers, numbers) <= 1e-6
    assert relative(packed_gradient, gradient) <= 1e-6


@pytest.mark.filterwarnings("ignore:Casting complex values to real")  # of Llama 4's tower, which text does not reach
@pytest.mark.parametrize("kind", tiers((), [*DECODERS, *MIXTURES, *RECURRENT, *SEEING]))
def test_every_architecture_gives_its_padded_numbers(kind: str) -> None:
    """Packed where the trial allows it, else padded. Gemma 4 does not scale its scores down, which magnifies rounding.

    The rows are longer than those of the trial, and cross every window of these models.
    """
    if (reason := why_not_causal(build(kind))) is not None:
        pytest.skip(reason)
    numbers = []
    for packing in CHOICES:
        trunk = trunk_of(build(kind), packing, roles=("policy",))
        trunk.row_lengths.fix(60)
        rows = [dataclasses.replace(each, completion_ids=each.completion_ids * 2) for each in sequences()]
        numbers.append(trunk(trunk.collate([dataclasses.replace(r, policy_tokens=None) for r in rows]), ("policy",)))
    padded, packed = (one["policy"].logps for one in numbers)
    torch.testing.assert_close(packed, padded, atol=2e-4 if kind.startswith("gemma4") else 2e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", PADDED)
def test_models_whose_packed_numbers_differ_keep_their_padding(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    trunk = trunk_of(build(kind), "on", roles=("policy",))
    for _ in range(2):
        assert not isinstance(trunk.collate(sequences()), UnpaddedRows)
    (said,) = [record.getMessage() for record in caplog.records if "padding" in record.getMessage()]
    assert said.startswith(f"{type(trunk.model).__name__}: learning passes keep their padding: ")
    assert PADDED[kind] in said


def test_encoder_decoders_keep_their_padding(caplog: pytest.LogCaptureFixture) -> None:
    trunk = trunk_of(tiny_t5(), "on", roles=("policy",))
    assert not isinstance(trunk.collate(sequences(30)), UnpaddedRows)
    assert "(encoder–decoder) reads a prompt apart from its completion" in caplog.text


def test_a_cpu_pads_unless_told_otherwise(caplog: pytest.LogCaptureFixture) -> None:
    trunk = trunk_of(build("llama"), "auto")
    assert not isinstance(trunk.collate(sequences()), UnpaddedRows)
    assert "padding" not in caplog.text


@pytest.mark.parametrize(("written", "read"), [(True, "on"), (False, "off"), ("auto", "auto")])
def test_the_words_on_and_off_of_a_recipe(written: Any, read: str) -> None:
    """YAML reads them as true and false."""
    assert DeviceSettings.model_validate({"packing": written}).packing == read


def test_every_reward_that_reads_another_state_than_the_last_keeps_its_padding() -> None:
    rewards = []
    for packing in CHOICES:
        trunk = trunk_of(build("llama"), packing, pooling="mean")
        batch = trunk.collate(sequences())
        assert not isinstance(batch, UnpaddedRows)
        rewards.append(trunk(batch, ("reward",))["reward"].rewards)
    assert torch.equal(*rewards)


def test_rows_whose_frequencies_depend_on_their_length_are_packed_once_these_are_fixed() -> None:
    trunk = trunk_of(build("llama, longrope"), "on", roles=("policy",))
    assert not isinstance(trunk.collate(sequences()), UnpaddedRows)
    trunk.row_lengths.fix(40)
    batch = trunk.collate(sequences())
    assert isinstance(batch, UnpaddedRows)
    alone = [trunk(trunk.collate([each]), ("policy",))["policy"].logps for each in sequences()]
    packed = trunk(batch, ("policy",))["policy"].logps
    for row, expected in zip(packed, alone, strict=True):
        torch.testing.assert_close(row[: expected.shape[1]], expected[0], atol=1e-5, rtol=1e-5)


def test_rows_that_share_a_prompt_keep_their_layout_and_numbers() -> None:
    same = [TokenSequence((3, 4, 5), ids) for ids in ((6, 7), (8,), (9, 10, 11))]
    results = []
    for packing in CHOICES:
        trunk = trunk_of(build("llama"), packing)
        trunk.collate(same)
        results.append(every_number(trunk, share_rows(same, 0, 64)))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_the_layout_of_three_sequences() -> None:
    batch = join_unpadded(
        [TokenSequence((5, 6), (7, 8, 9), (True, False, True)), TokenSequence((4,), (3,)), TokenSequence((2, 1), ())]
    )
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 9, 4, 3, 2, 1]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 4, 0, 1, 0, 1]]
    assert batch.cumulative.tolist() == [0, 5, 7, 9]
    assert batch.cumulative.dtype == torch.int32, "as the kernel takes it"
    assert batch.longest == 5
    assert batch.state_mask.tolist() == [[True] * 9]
    assert batch.lengths.tolist() == [5, 2, 2]
    assert batch.token_rows.tolist() == [0, 0, 0]
    assert batch.state_index[batch.completion_mask].tolist() == [1, 3, 5], "the states before 7, 9 and 3"
    assert [places.tolist() for places in batch.last_places] == [[0, 0, 0], [4, 6, 8]]
    with pytest.raises(PreflabError, match="a sequence without a prompt token"):
        join_unpadded([TokenSequence((), (1,))])


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_no_padding_goes_through_the_trunk(lora: LoraSettings | None) -> None:
    """Real tokens are 13 + 2 + 19 + 12 + 5 = 51; padded to the longest row, 5 · 19 = 95."""
    for packing, expected in zip(CHOICES, (95, 51), strict=True):
        trunk = trunk_of(build("llama"), packing, lora)
        batch = trunk.collate(sequences())
        counts: list[int] = []

        def count(module: Any, given: Any, counts: list[int] = counts) -> None:
            counts.append(given[0].numel())

        for model in trunk.models.values():
            model.get_input_embeddings().register_forward_pre_hook(count)
        trunk(batch, ROLES, exact_kl=True)
        assert counts == [expected] * 4, "policy, reference, value and reward"


def test_a_model_keeps_its_own_attention_outside_a_pass() -> None:
    trunk = trunk_of(build("mistral"), "on")
    model, former = trunk.model, trunk.model.config._attn_implementation
    inside: list[str] = []
    model.get_input_embeddings().register_forward_hook(lambda *_: inside.append(model.config._attn_implementation))
    loss = trunk(trunk.collate(sequences()), ("policy",))["policy"].logps.sum()
    assert (inside[-1], model.config._attn_implementation) == (varlen.NAME, former)
    loss.backward()
    assert model.config._attn_implementation == former
    with pytest.raises(KeyError), varlen.packed_attention(model):
        raise KeyError
    assert model.config._attn_implementation == former


def test_recomputation_uses_the_attention_of_the_forward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two layers attend once in the forward pass and once more in the backward pass."""
    trunk = trunk_of(build("llama"), "on")
    trunk.enable_gradient_checkpointing()
    batch, calls = trunk.collate(sequences()), []
    by_loop = varlen._by_loop
    monkeypatch.setattr(varlen, "_by_loop", lambda *given: calls.append(len(given[3])) or by_loop(*given))
    loss = trunk(batch, ("policy",))["policy"].logps.sum()
    assert calls == [6, 6], "five sequences begin, and the last ends"
    loss.backward()
    assert calls == [6] * 4
    assert trunk.model.config._attn_implementation != varlen.NAME


def test_half_precision_packs_within_rounding() -> None:
    results = []
    for packing in CHOICES:
        trunk = trunk_of(build("llama").bfloat16(), packing, compute="bfloat16")
        batch = trunk.collate(sequences())
        assert isinstance(batch, UnpaddedRows) == (packing == "on")
        results.append(every_number(trunk, batch))
    (numbers, gradient), (packed_numbers, packed_gradient) = results
    assert relative(packed_numbers, numbers) <= 2**-6, "a few roundings to 8 bits"
    assert float((packed_gradient - gradient).norm() / gradient.norm()) <= 2**-5


@pytest.mark.parametrize("reason", ["all-ones mask", "cache", "neither"])
def test_packing_by_positions_leaks_with_a_mask_or_a_cache(reason: str) -> None:
    """transformers' own packing for sdpa, which preflab does not use. If this fails, transformers has changed.

    Positions that start again keep sequences apart only if there is neither a mask nor a cache. Otherwise later
    sequences attend to earlier ones, and nothing says so.
    """
    torch.manual_seed(0)
    model = tiny_model("llama")
    assert model.config._attn_implementation == "sdpa"
    batch = join_unpadded(sequences())
    given = {"attention_mask": torch.ones_like(batch.input_ids)} if reason == "all-ones mask" else {}
    with torch.no_grad():
        packed = model(batch.input_ids, position_ids=batch.position_ids, use_cache=reason == "cache", **given).logits[0]
        rows = [torch.tensor([(*each.prompt_ids, *each.completion_ids)]) for each in sequences()]
        alone = torch.cat([model(row, use_cache=False).logits[0] for row in rows])
    error = float((packed - alone).abs().max())
    assert error < 1e-5 if reason == "neither" else error > 0.1


def flash(query: Tensor, key: Tensor, value: Tensor, *extent: Any, **options: Any) -> Tensor:
    """What the documentation of `varlen_attn` says that it computes, with a mask over the whole row."""
    cumulative, again, longest, longest_key = extent
    assert torch.equal(cumulative, again)
    assert longest == longest_key == int(cumulative.diff().max())
    assert query.shape[-1] == key.shape[-1] == value.shape[-1], "the kernel has one width"
    left, right = options["window_size"]
    assert options["enable_gqa"] == (query.shape[1] != key.shape[1])
    places = torch.arange(len(query))
    number = torch.bucketize(places, cumulative[1:-1], right=True)
    ahead = places - places[:, None]
    seen = (number == number[:, None]) & (ahead <= (right if right >= 0 else len(query)))
    seen &= ahead >= (-left if left >= 0 else -len(query))
    groups = query.shape[1] // key.shape[1]
    key, value = (states.repeat_interleave(groups, 1) for states in (key, value))
    scores = torch.einsum("qhd,khd->hqk", query, key).float() * options["scale"]
    weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
    return torch.einsum("hqk,khd->qhd", weights, value.float()).to(query.dtype)


@pytest.mark.parametrize(
    ("causal", "window", "width", "scale"),
    [(True, None, 8, 0.3), (True, 1, 8, 0.3), (True, 3, 8, None), (False, None, 8, 0.3), (True, None, 6, None),
     (True, None, 16, None)],
)  # fmt: skip
def test_the_kernel_is_asked_for_what_the_stand_in_computes(
    causal: bool, window: int | None, width: int, scale: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(varlen, "find_kernel", lambda: flash)
    query, key = (torch.randn(1, heads, 51, 8).bfloat16() for heads in (4, 2))
    value = torch.randn(1, 2, 51, width).bfloat16()
    cumulative = join_unpadded(sequences()).cumulative
    asked = (query, key, value, cumulative, 19, scale, causal, window)
    kernel, loop = varlen._by_kernel(*asked), varlen._by_loop(*(each.float() for each in asked[:3]), *asked[3:])
    assert kernel.shape == loop.shape == (1, 51, 4, width)
    torch.testing.assert_close(kernel.float(), loop, atol=2**-7, rtol=2**-7)
    if window == 1:
        expected = value.float().repeat_interleave(2, 1).transpose(1, 2)
        torch.testing.assert_close(loop, expected, msg="a token attends to itself alone")


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"softcap": 30.0}, "a soft cap on attention scores"),
        ({"s_aux": torch.zeros(4)}, "attention sinks"),
        ({"position_bias": torch.zeros(1)}, "a bias added to attention scores"),
        ({"dropout": 0.1}, "dropout"),
        ({"is_causal": False, "sliding_window": 4}, "windows on both sides"),
        ({"attention_mask": torch.zeros(1)}, "an attention mask of its own"),
        ({"cu_seq_lens_q": None}, "do not pass on where sequences begin"),
    ],
)
def test_what_the_kernel_does_not_have_is_refused(asked: dict[str, Any], reason: str) -> None:
    states = torch.randn(1, 2, 4, 8)
    given = {"attention_mask": None, "cu_seq_lens_q": torch.tensor([0, 4]), "max_length_q": 4, **asked}
    with pytest.raises(ValueError, match=reason):
        varlen.attend_within_sequences(torch.nn.Identity(), states, states, states, **given)


def test_the_kernel_of_this_torch_takes_what_preflab_gives() -> None:
    assert callable(varlen.find_kernel())


def test_a_kernel_with_another_signature_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.nn.attention import varlen as theirs

    monkeypatch.setattr(theirs, "varlen_attn", lambda query, key, value, cu_seq_q, cu_seq_k, max_q, max_k: None)
    why = varlen.find_kernel.__wrapped__()
    assert why == f"varlen_attn of torch {torch.__version__} does not take scale, window_size, enable_gqa"
    monkeypatch.delattr(theirs, "varlen_attn")
    assert varlen.find_kernel.__wrapped__() == f"torch {torch.__version__} has no torch.nn.attention.varlen"


@pytest.mark.parametrize(
    ("device", "dtype", "reason"),
    [
        ("cpu", torch.bfloat16, "variable-length kernels run on CUDA devices, not on cpu"),
        ("cuda", torch.float32, "variable-length kernels compute in half precision, and device.precision is float32"),
        ("cuda", torch.bfloat16, None),
    ],
)
def test_where_there_is_a_kernel(device: str, dtype: torch.dtype, reason: str | None) -> None:
    assert varlen.why_no_kernel(torch.device(device), dtype) == reason
