"""Decoding rows in any order of their prompts: each row has the logits of the model alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from preflab.models.kinds import family_of
from preflab.sampling.encoder_decoder_pass import EncoderDecoderPass, ways_of_encoder_decoders
from preflab.training.batches import TokenSequence
from tiny_encoder_decoders import MODELS, tiny_mbart, tiny_t5

PROMPTS = [(5, 6, 1), (9, 8, 7, 10, 1), (4, 1)]
ORDERS = {
    "one row each, exchanged": [1, 0, 2],
    "several rows of the last first": [2, 2, 0, 1],
    "a prompt without a row": [2, 2, 0],
    "a prompt without a row, one row each": [2, 1],
    "one prompt": [1, 1],
}


def alone(model: Any, prompt: int, written: list[int]) -> Tensor:
    """(V,) logits after these tokens, from transformers' own forward pass."""
    ids = torch.tensor([[*family_of(model).start, *written]])
    return model(
        input_ids=torch.tensor([PROMPTS[prompt]]), decoder_input_ids=ids, decoder_attention_mask=torch.ones_like(ids)
    ).logits[0, -1]


@pytest.mark.parametrize("once", [True, False])
@pytest.mark.parametrize("rows", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("make", [tiny_t5, tiny_mbart])
@torch.no_grad()
def test_rows_read_their_own_prompt_in_any_order(make: Any, rows: list[int], once: bool) -> None:
    model = make()
    way = EncoderDecoderPass(model, 0, once=once)
    logits = way.start(PROMPTS, torch.tensor(rows))
    tokens = [6 + row for row in range(len(rows))]
    after = way.step(torch.tensor(tokens))
    for row, prompt in enumerate(rows):
        assert torch.allclose(logits[row], alone(model, prompt, []), atol=1e-5)
        assert torch.allclose(after[row], alone(model, prompt, [tokens[row]]), atol=1e-5)
    held = len(set(rows)) if once else len(rows)
    assert len(way.mask) == len(way.encoded) == held
    assert {len(layer.keys) for layer in way.read.layers} == {len(layer.values) for layer in way.read.layers} == {held}
    # The last row takes the place of the first, and only that row goes on.
    way.move_rows(torch.tensor([len(rows) - 1]), torch.tensor([0]), 1)
    (last,) = way.step(torch.tensor([3]))
    assert torch.allclose(last, alone(model, rows[-1], [tokens[-1], 3]), atol=1e-5)
    way.release()
    assert len(way.mask) == len(way.encoded) == len(way.prompt_rows) == 0
    assert not way.read.layers


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_decoder_sees_padding_tokens_that_the_policy_wrote(name: str) -> None:
    """0 is the padding token; T5Gemma would hide it without a mask."""
    model = MODELS[name]()
    family = family_of(model)
    rows = [TokenSequence(PROMPTS[0], (6, 0, 0, 9)), TokenSequence(PROMPTS[1], (0, 3, 8))]
    states = family.states(model, family.inputs(family.collate(rows, 0), torch.float32))
    for row, ours in zip(rows, states, strict=True):
        ids = torch.tensor([[*family.start, *row.completion_ids]])
        encoded = model.get_encoder()(input_ids=torch.tensor([row.prompt_ids])).last_hidden_state
        expected = model.get_decoder()(
            input_ids=ids, attention_mask=torch.ones_like(ids), encoder_hidden_states=encoded
        ).last_hidden_state[0]
        assert torch.allclose(ours[: len(expected)], expected, atol=1e-5)


@torch.no_grad()
def test_the_faster_way_comes_first_and_holds_prompts_once() -> None:
    model = tiny_t5()
    assert [way.once for way in ways_of_encoder_decoders(model, 0)] == [True, False]
    model = tiny_t5()
    model.config._attn_implementation = "something else"
    assert [way.once for way in ways_of_encoder_decoders(model, 0)] == [False]
