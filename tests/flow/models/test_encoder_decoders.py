"""Encoder–decoders in the trunk: their log-probabilities are the model's own, whatever shares the batch."""

from __future__ import annotations

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from preflab.models.tiny import build_tokenizer
from preflab.models.trunk import Trunk
from preflab.settings.learning import LoraSettings
from preflab.training.batches import TokenSequence

ROWS = [TokenSequence((5, 6, 7), (4, 3)), TokenSequence((5,), (6, 7, 4, 3, 5))]


def tiny_t5(*, scaled: bool) -> tuple[T5ForConditionalGeneration, object]:
    """A T5 whose decoder starts with the padding token; v1.0 scales the states before its head, v1.1 does not."""
    tokenizer = build_tokenizer(["where is my parcel ?", "please wait until today ."], context=16)
    torch.manual_seed(0)
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "eos_token_id")}
    config = T5Config(
        vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4,
        decoder_start_token_id=tokenizer.pad_token_id, scale_decoder_outputs=scaled, **ids,
    )  # fmt: skip
    return T5ForConditionalGeneration(config).eval(), tokenizer


@pytest.mark.parametrize("scaled", [True, False])
def test_log_probabilities_are_those_of_the_model_alone(scaled: bool) -> None:
    model, tokenizer = tiny_t5(scaled=scaled)
    expected = []
    for row in ROWS:
        read = torch.tensor([[*row.prompt_ids, model.config.eos_token_id]])
        decoder = torch.tensor([[model.config.pad_token_id, *row.completion_ids[:-1]]])
        logps = model(input_ids=read, decoder_input_ids=decoder).logits[0].log_softmax(-1)
        expected.append(logps[range(len(row.completion_ids)), row.completion_ids])
    trunk = Trunk(model, tokenizer, lora=LoraSettings(rank=2), roles=("policy", "value"))
    assert (trunk.plain_because is not None) == scaled
    logps = trunk(trunk.collate(ROWS), ("policy",))["policy"].logps
    for row, own in zip(logps, expected, strict=True):
        assert torch.allclose(row[: len(own)], own, atol=1e-5)
        assert not row[len(own) :].any()
