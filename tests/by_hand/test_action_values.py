"""The Q head by hand: Q of the tokens that were written, the target copy, and models that cannot have one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from preflab.errors import PreflabError
from preflab.models.action_values import QHead, add_q_head
from preflab.models.trunk import Trunk
from preflab.training.batches import TokenSequence
from preflab.training.joined_rows import join_rows
from tiny_encoder_decoders import tiny_t5
from tiny_worlds import tiny_trunk


def head_by_hand() -> QHead:
    """Width 2, three tokens: weights (1, 0), (0, 1), (2, 2), biases 0, 0, 5; common weight (10, 20), bias 1."""
    head = QHead(2, 3)
    with torch.no_grad():
        head.tokens.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]]))
        head.tokens.bias.copy_(torch.tensor([0.0, 0.0, 5.0]))
        head.common.weight.copy_(torch.tensor([[10.0, 20.0]]))
        head.common.bias.fill_(1.0)
    return head


def test_q_of_the_written_tokens() -> None:
    head = head_by_hand()
    batch = join_rows([TokenSequence((0,), (2, 0)), TokenSequence((0,), (1,))], 0)
    states = torch.tensor([[1.0, 1.0], [3.0, 0.0], [0.0, 2.0]])
    outputs = head.outputs(states, batch)
    # (2·1 + 2·1 + 5) + (10 + 20 + 1) = 40;  (1·3) + (30 + 1) = 34;  (1·2) + (40 + 1) = 43.
    assert outputs["action_values"].tolist() == [[40.0, 34.0], [43.0, 0.0]]
    assert outputs["target_action_values"].tolist() == [[0.0, 0.0], [0.0, 0.0]]
    weight, bias = head.linear()
    assert (states[0] @ weight[2] + bias[2]).item() == 40


def test_the_target_copy_follows() -> None:
    """From 0 at rate ¼: a quarter of 40 after one step, 40 · (1 − (3/4)²) = 17.5 after two, all of it at rate 1."""
    head = head_by_hand()
    batch, states = join_rows([TokenSequence((0,), (2,))], 0), torch.tensor([[1.0, 1.0]])
    for rate, expected in ((0.25, 10.0), (0.25, 17.5), (1.0, 40.0)):
        head.follow(rate)
        outputs = head.outputs(states, batch)
        assert outputs["target_action_values"].item() == pytest.approx(expected)
        assert not outputs["target_action_values"].requires_grad
    assert outputs["action_values"].requires_grad
    assert {name for name, _ in head.named_parameters()} == {
        "common.weight", "common.bias", "tokens.weight", "tokens.bias"
    }  # fmt: skip


def test_models_that_cannot_have_a_q_head_are_refused() -> None:
    """A soft cap comes after the head, and an encoder–decoder's states are scaled before it."""
    config = Gemma2Config(
        vocab_size=11, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, head_dim=8, final_logit_softcapping=30.0,
    )  # fmt: skip
    capped = Trunk(Gemma2ForCausalLM(config), SimpleNamespace(pad_token_id=0), lora=None, roles=("reference", "value"))
    with pytest.raises(PreflabError, match="final_logit_softcapping = 30"):
        add_q_head(capped)
    with pytest.raises(PreflabError, match="an encoder–decoder"):
        add_q_head(tiny_trunk(("reference", "value"), model=tiny_t5(8), sharpen=1.0))
