"""Grouped cross-attention on numbers worked out here, and how far states may move before rows get copies."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from preflab.models import cross_attention
from preflab.models.cross_attention import NAMES, PromptGroups, additive_mask, decoder_inputs, grouped_attention

ROWS = torch.tensor([1, 0, 1])


class Switched:
    """A model whose attention can be named; `dtype` is that of its weights."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype, self.config = dtype, SimpleNamespace(_attn_implementation="sdpa")

    def set_attn_implementation(self, name: str) -> None:
        self.config._attn_implementation = name


@pytest.mark.parametrize(
    ("dtype", "apart", "fits"),
    [
        (torch.float32, 0.9e-4, True), (torch.float32, 1.1e-4, False),
        (torch.float16, 0.9e-2, True), (torch.float16, 1.1e-2, False),
        (torch.bfloat16, 4.5e-2, True), (torch.bfloat16, 5.5e-2, False),
        (torch.float64, 0.9e-4, True), (torch.float64, 1.1e-4, False),
    ],
)  # fmt: skip
def test_states_may_differ_by_a_share_of_the_largest(
    dtype: torch.dtype, apart: float, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The largest is −4 by its absolute value; a smaller state differs."""
    expected = torch.tensor([-4.0, 0.5, 2.0])
    both = [expected, expected + torch.tensor([0.0, -4 * apart, 0.0])]
    monkeypatch.setattr(cross_attention, "_states", lambda model: both.pop(0))
    model = Switched(dtype)
    assert cross_attention.holds_once(model) is fits
    assert model.config._attn_implementation == (NAMES["sdpa"] if fits else "sdpa")
    assert not both, "both ways are run"


def test_models_that_were_tested_or_cannot_be_switched_are_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_attention, "_states", None)
    for name, once in ((NAMES["eager"], True), ("flash_attention_2", False), (None, False)):
        model = Switched(torch.float32)
        model.config._attn_implementation = name  # type: ignore[assignment]
        assert cross_attention.holds_once(model) is once
        assert model.config._attn_implementation == name


def test_a_model_that_fails_with_grouped_queries_gets_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    def states(model: Any) -> Tensor:
        if model.config._attn_implementation != "sdpa":
            raise ValueError("no such attention")
        return torch.ones(3)

    monkeypatch.setattr(cross_attention, "_states", states)
    model = Switched(torch.float32)
    assert not cross_attention.holds_once(model)
    assert model.config._attn_implementation == "sdpa"
    encoded, mask = torch.arange(4.0).view(2, 2, 1), torch.tensor([[1, 0], [1, 1]])
    inputs = decoder_inputs(model, encoded, mask, ROWS)
    assert inputs["encoder_hidden_states"].flatten().tolist() == [2, 3, 0, 1, 2, 3]
    assert inputs["encoder_attention_mask"].tolist() == [[1, 1], [1, 0], [1, 1]]
    assert set(inputs) == {"encoder_hidden_states", "encoder_attention_mask"}


def test_the_trial_has_five_rows_of_two_prompts_of_unequal_length() -> None:
    seen: dict[str, Any] = {}

    def encoder(input_ids: Tensor, attention_mask: Tensor) -> Any:
        seen.update(prompts=input_ids, mask=attention_mask)
        return SimpleNamespace(last_hidden_state=torch.arange(10.0).view(2, 5, 1))

    def decoder(input_ids: Tensor, use_cache: bool, **cross: Tensor) -> Any:
        seen.update(ids=input_ids, **cross)
        return SimpleNamespace(last_hidden_state=torch.ones(5, 4, 1, dtype=torch.float16))

    model = Switched(torch.float32)
    model.config._attn_implementation = "other"  # copies of the encoder's states
    parts = {
        "get_encoder": lambda: encoder, "get_decoder": lambda: decoder, "device": "cpu",
        "get_input_embeddings": lambda: SimpleNamespace(weight=torch.zeros(50, 2)),
    }  # fmt: skip
    for name, part in parts.items():
        setattr(model, name, part)
    assert cross_attention._states(model).dtype == torch.float32
    assert seen["mask"].sum(1).tolist() == [3, 5]
    assert (seen["prompts"].shape, seen["ids"].shape) == ((2, 5), (5, 4))
    assert 2 < seen["ids"].max() < 50, "tokens of the whole vocabulary"
    # The first state of prompt 0 is 0, of prompt 1 it is 5.
    assert seen["encoder_hidden_states"][:, 0].flatten().tolist() == [5, 0, 5, 5, 0]
    assert seen["encoder_attention_mask"].tolist() == [seen["mask"][row].tolist() for row in (1, 0, 1, 1, 0)]
    assert seen["encoder_attention_mask"][1].tolist() == [1, 1, 1, 0, 0]


def test_groups_number_the_rows_of_each_prompt() -> None:
    groups = PromptGroups.of(ROWS)
    assert (groups.rows.tolist(), groups.places.tolist(), groups.size) == ([1, 0, 1], [0, 0, 1], 2)


def test_padding_gets_the_lowest_number_of_the_type() -> None:
    mask = additive_mask(torch.tensor([[1, 0]]), torch.float16)
    assert (mask.shape, mask.dtype) == ((1, 1, 1, 2), torch.float16)
    assert mask.flatten().tolist() == [0.0, -65504.0]


def test_queries_of_one_prompt_lie_side_by_side_with_the_bias_of_their_place() -> None:
    """Rows 0 and 2 answer prompt 1, row 1 prompt 0; two heads, two tokens. An unused place of a group holds 0.

    `attend` here gives 100 · prompt + query + bias, so that each number says where it came from.
    """
    seen: dict[str, Tensor] = {}

    def attend(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **inputs: Any) -> tuple[Tensor, str]:
        seen.update(query=query, bias=inputs["position_bias"])
        prompts = 100 * torch.arange(len(key)).view(-1, 1, 1, 1)
        return (prompts + query + inputs["position_bias"].mean(-1, keepdim=True)).transpose(1, 2), "weights"

    query = torch.arange(1.0, 13.0).view(3, 2, 2, 1)  # row, head, token: row 0 has 1 2 | 3 4, row 1 5 6 | 7 8
    key = value = torch.zeros(2, 2, 3, 1)
    bias = torch.tensor([[1000.0] * 3, [2000.0] * 3]).expand(1, 2, 2, 3)
    output, weights = grouped_attention(
        attend, None, query, key, value, None, prompt_groups=PromptGroups.of(ROWS), position_bias=bias
    )
    assert seen["query"].shape == (2, 2, 4, 1)
    assert seen["query"][1, 0].flatten().tolist() == [1, 2, 9, 10]
    assert seen["query"][0, 1].flatten().tolist() == [7, 8, 0, 0]
    assert seen["bias"][0, 0, :, 0].tolist() == [1000, 2000, 1000, 2000]
    # Out: row, token, head.
    assert output.shape == (3, 2, 2, 1)
    assert output[0].flatten().tolist() == [1101, 1103, 2102, 2104]
    assert output[1].flatten().tolist() == [1005, 1007, 2006, 2008]
    assert output[2].flatten().tolist() == [1109, 1111, 2110, 2112]
    assert weights is None


def test_as_many_keys_as_queries_are_not_grouped() -> None:
    """In self-attention every row has keys of its own; so has a batch of distinct prompts."""
    query, key = torch.ones(2, 1, 1, 1), torch.ones(2, 1, 3, 1)

    def attend(module: Any, query: Tensor, *rest: Any, **options: Any) -> tuple[Tensor, Any]:
        return query, options

    groups = PromptGroups.of(torch.tensor([1, 1]))
    for given in ({"prompt_groups": groups}, {"prompt_groups": None}, {}):
        output, options = grouped_attention(attend, None, query, key, key, None, **given, scaling=0.5)
        assert output is query
        assert options == {"scaling": 0.5}
